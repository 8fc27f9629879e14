"""Measures and limits the memory of the process."""

import os
import re

from ctxvision.errors import InputError

GIGABYTE = 10**9
LEAST_ROOM = 128 * 10**6

_UNITS = {
    unit + ending: base**power
    for power, unit in enumerate(("", "K", "M", "G", "T"))
    for ending, base in (("B", 1000), ("iB", 1024))
}


def byte_size(memory: str | int) -> int:
    """Converts "2GB" (10^9 bytes per GB), "1.5 GiB" (2^30 bytes per GiB) or a number of bytes to bytes.

    Raises:
        InputError: `memory` is anything else, or less than one byte.
    """
    size = 0.0
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B)\s*", memory)
        size = float(found[1]) * _UNITS[found[2]] if found else 0.0
    elif isinstance(memory, int) and not isinstance(memory, bool):
        size = memory
    if size < 1:
        raise InputError(
            f"memory must be a size such as '2GB' or a number of bytes, got {memory!r}: correct it."
        )
    return int(size)


def resident() -> int:
    """Returns the process's resident memory in bytes, including mapped files."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def room(limit: int) -> int:
    """Returns the bytes that the process may still allocate up to `limit`.

    Raises:
        InputError: there are fewer than `LEAST_ROOM`.
    """
    held = resident()
    if limit - held < LEAST_ROOM:
        needed = -(-(held + LEAST_ROOM) // 10**6)
        raise InputError(
            f"memory must leave {LEAST_ROOM // 10**6} MB beside the {held // 10**6} MB that this process already "
            f"holds, got {limit / 10**6:.0f} MB: give '{needed}MB' or more."
        )
    return limit - held
