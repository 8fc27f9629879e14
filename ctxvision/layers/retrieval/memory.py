"""Refuses an index that does not fit into memory before any work is done."""

from pathlib import Path

from ctxvision.errors import InputError
from ctxvision.layers.retrieval.inverted_lists import places_per_row

# The bytes of a phrase, its end and its attributes.
_BYTES_PER_PHRASE = 32
_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def check_memory(num_rows: int, dim: int, row_bytes: int) -> None:
    """Raises if an index of so many rows is larger than the available memory.

    Args:
        num_rows: N, the rows that may be found.
        dim: D.
        row_bytes: bytes per number of a row.

    Raises:
        InputError: the index does not fit. Nothing is raised where the system does not tell its memory.
    """
    needed = num_rows * (places_per_row(num_rows) * (dim * row_bytes + 4) + _BYTES_PER_PHRASE)
    available = available_bytes()
    if available is not None and needed > available:
        raise InputError(
            f"table must leave an index that fits into memory, got {num_rows:,} phrases, whose index takes "
            f"{needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are available: leave phrases out (languages, min_count), "
            "or use a machine with more memory."
        )


def available_bytes() -> int | None:
    """Returns the memory that the process can still get, also within a container's limit; None if it is unknown."""
    try:
        fields = dict(line.split(":") for line in _MEMINFO.read_text(encoding="ascii").splitlines())
        available = 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, KeyError):
        return None
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        held = dict(
            line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        )
        return available if limit == "max" else min(available, int(limit) - int(held["anon"]))
    except (OSError, KeyError):
        return available
