"""Verifies an export with only tensorflow: prints one line for each property that a server needs.

    python export/verify.py DIR [--run RUN] [--images IMAGE...]

DIR is a version, or a folder of versions, whose highest is verified. Without `--images` the program draws pictures.
With `--run` a second process, which needs ctxvision, compares every answer with the run's model in Python. Times are
printed but not checked. The exit status is 0, 1 if a check failed, or 2 for wrong usage.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from _verify import checks  # noqa: E402
from _verify.artefact import Artefact, Miss, drawn_pictures, find_version, sentence  # noqa: E402


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", metavar="DIR", help="folder of an export")
    parser.add_argument("--run", help="folder of the exported run, to compare answers with its model")
    parser.add_argument("--images", nargs="+", metavar="IMAGE", help="pictures to send")
    chosen = parser.parse_args(arguments)
    try:
        artefact = Artefact(find_version(Path(chosen.directory)))
    except Exception as error:
        return refuse(f"DIR must be a complete export, got {chosen.directory!r} ({error}): export again.")
    if chosen.run and not (Path(chosen.run) / "config.json").is_file():
        return refuse(
            f"--run must be the folder of a run, got {chosen.run!r}, which is not one: check the path."
        )
    pictures = drawn_pictures()
    for path in chosen.images or ():
        try:
            tf.io.decode_image(tf.io.read_file(path))
        except tf.errors.OpError:
            return refuse(f"--images must be JPEG, PNG, GIF, BMP or WebP files, got {path!r}: leave it out.")
    if chosen.images:
        pictures = [Path(path).read_bytes() for path in chosen.images]

    print(artefact.directory)
    missed = [
        not passes("ops", lambda: checks.ops(artefact)),
        not passes("signatures", lambda: checks.signatures(artefact)),
        not passes("loads", lambda: checks.loads(artefact)),
    ]
    if artefact.loaded is None:
        return 1
    missed += [
        not passes("batch sizes", lambda: checks.batch_sizes(artefact, pictures)),
        not passes("broken picture", lambda: checks.broken_picture(artefact, pictures)),
        not passes("alone and together", lambda: checks.alone_and_together(artefact, pictures)),
        not passes("about", lambda: checks.about(artefact)),
        not passes("warm-up", lambda: checks.warmup(artefact)),
        not passes("C library", lambda: checks.c_library(artefact, pictures)),
    ]
    if not artefact.is_tagger:
        missed.append(not passes("probabilities", lambda: checks.probabilities(artefact, pictures)))
        missed.append(not passes("labels", lambda: checks.labels(artefact, pictures)))
    if chosen.run:
        missed.append(not passes("parity", lambda: checks.parity(artefact, chosen.run, pictures)))
    print_latency(artefact, pictures)
    return int(any(missed))


def refuse(reason: str) -> int:
    print(f"verify.py: {reason}", file=sys.stderr)
    return 2


def passes(name: str, check: Callable[[], str]) -> bool:
    """Runs a check, prints its line, and returns whether it passed."""
    try:
        told, passed = check(), True
    except Exception as error:  # any error is a miss, and the other checks still run
        told, passed = str(error) if isinstance(error, Miss) else sentence(error), False
    print(f"{'ok' if passed else 'MISS':<5}{name}: {told}", flush=True)
    return passed


def print_latency(artefact: Artefact, pictures: list[bytes], calls: int = 50) -> None:
    for batch in (1, 8):
        inputs = artefact.inputs("serving_default", (pictures * 8)[:batch])
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            artefact.loaded.signatures["serving_default"](**inputs)
            times.append(time.perf_counter() - start)
        print(f"     serving_default, batch {batch}: {1000 * np.median(times):.1f} ms, median of {calls}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
