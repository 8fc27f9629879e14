"""How much memory the process holds, and how much it may."""

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
    """Bytes of "2GB" (10^9 bytes a GB), "1.5 GiB" (2^30 bytes a GiB) or a number of bytes.

    Raises:
        InputError: anything else, or less than one byte.
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
    """Bytes of RAM that the process holds, mapped files among them."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def room(limit: int) -> int:
    """Bytes up to `limit` that the process does not hold yet.

    Raises:
        InputError: they are fewer than anything useful can be done with.
    """
    held = resident()
    if limit - held < LEAST_ROOM:
        needed = -(-(held + LEAST_ROOM) // 10**6)
        raise InputError(
            f"memory must leave {LEAST_ROOM // 10**6} MB beside the {held // 10**6} MB that this process holds already, "
            f"got {limit / 10**6:.0f} MB: give '{needed}MB' or more."
        )
    return limit - held
