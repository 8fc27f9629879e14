"""Peak figures of training devices, as their makers publish them."""

import re
from typing import NamedTuple

from ctxvision.errors import InputError


class Device(NamedTuple):
    """The peak figures of one chip, or of one core of a CPU; no training reaches them."""

    what: str
    teraflops: (
        float  # per second, in the dtype that training uses there: bfloat16 on TPU, TF32 or float32 on GPU
    )
    gigabytes: float  # memory of the chip
    memory_bandwidth: float  # gigabytes per second
    link_bandwidth: float  # gigabytes per second to the other chips, one way
    names_a_chip: int = 1  # device names of v4 and v5p count TensorCores, two on a chip


# Published by Google and NVIDIA. GPUs: TF32 without sparsity, or float32 on GPUs without TF32.
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
    """Splits a device name into its type and the number of chips: "v5e-64" is ("v5e", 64), "cpu-8" is 8 cores.

    The number of v4 and v5p counts TensorCores, two on a chip: "v4-64" is ("v4", 32).

    Raises:
        InputError: the device is unknown, or the number of TensorCores is odd.
    """
    found = re.fullmatch(r"([a-z0-9]+)-([1-9][0-9]*)", str(devices).lower())
    name, number = (found[1], int(found[2])) if found else ("", 0)
    if name not in DEVICES and name != "cpu":
        raise InputError(
            f"devices must be one of cpu, {', '.join(DEVICES)} and a number, such as v5e-64, got {devices!r}: name one."
        )
    names_a_chip = 1 if name == "cpu" else DEVICES[name].names_a_chip
    if number % names_a_chip:
        raise InputError(
            f"devices of {name} must have an even number, which counts TensorCores, two on a chip, got {devices!r}: "
            f"write {name}-{number + 1} for {(number + 1) // 2} chips."
        )
    return name, number // names_a_chip
