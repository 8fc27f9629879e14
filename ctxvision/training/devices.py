"""What training devices are said to be able to do, by their makers."""

import re
from typing import NamedTuple

from ctxvision.errors import InputError


class Device(NamedTuple):
    """One chip, or one core of a CPU: peak figures, which no training reaches."""

    what: str
    teraflops: (
        float  # a second, in the numbers that training uses there: bfloat16 on TPU, TF32 or float32 on GPU
    )
    gigabytes: float  # of its own memory
    memory_bandwidth: float  # gigabytes a second
    link_bandwidth: float  # gigabytes a second to the other chips, one way
    names_a_chip: int = 1  # v4 and v5p are named after their TensorCores, two on a chip


# As published by Google and NVIDIA. GPUs: TF32 without sparsity, float32 where there is none.
DEVICES = {
    "v4": Device("TPU v4 chip", 275, 32, 1228, 150, 2),
    "v5e": Device("TPU v5e chip", 197, 16, 819, 200),
    "v5p": Device("TPU v5p chip", 459, 95, 2765, 300, 2),
    "v6e": Device("TPU v6e chip", 918, 32, 1638, 400),
    "t4": Device("NVIDIA T4", 8.1, 16, 320, 16),
    "v100": Device("NVIDIA V100", 15.7, 16, 900, 150),
    "l4": Device("NVIDIA L4", 60, 24, 300, 32),
    "a100": Device("NVIDIA A100", 156, 40, 1555, 300),
    "h100": Device("NVIDIA H100", 494, 80, 3350, 450),
}


def parse_devices(devices: str) -> tuple[str, int]:
    """A name such as "v5e-64" as "v5e" and 64 chips; "cpu-8" are 8 cores.

    Raises:
        InputError: an unknown device, or a number that it does not come in.
    """
    found = re.fullmatch(r"([a-z0-9]+)-([1-9][0-9]*)", str(devices).lower())
    name, number = (found[1], int(found[2])) if found else ("", 0)
    if name not in DEVICES and name != "cpu":
        raise InputError(
            f"devices must be one of cpu, {', '.join(DEVICES)} and how many, such as v5e-64, got {devices!r}: name one."
        )
    names_a_chip = 1 if name == "cpu" else DEVICES[name].names_a_chip
    if number % names_a_chip:
        raise InputError(
            f"devices of {name} must be an even number, for it counts TensorCores, two on a chip, got {devices!r}: "
            f"{name}-{number + 1} are {(number + 1) // 2} chips."
        )
    return name, number // names_a_chip
