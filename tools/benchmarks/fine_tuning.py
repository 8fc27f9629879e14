"""Compares visual encoders that start from weights of other labels with encoders that start from random weights.

    python tools/benchmarks/fine_tuning.py DATA NAME [--folder FOLDER]

Every second label of DATA, a folder with images.csv and images/, pre-trains the small ConvNet: it learns the labels of
their pictures in `web` and `train`. The `train` pictures of the other labels then train two encoders for each share of
the labels: one is fine-tuned from these weights in two steps (`visual_train` "all"), one starts from random weights. Three
heads over each encoder answer the `test` pictures of these labels. Top-1 and the gain with its 95% interval go to
results/fine_tuning-NAME.json, with date, commit, versions and settings. --folder keeps the runs; the same command with it
resumes. Without arguments it prints these lines.
"""

import argparse
import csv
import datetime
import functools
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import ctxvision as cv
from ctxvision._files import write_json
from ctxvision.classifier.head import probabilities_of
from ctxvision.classifier.pool import train_pool
from ctxvision.classifier.run_folder import create_run
from ctxvision.classifier.visual import train_visual
from ctxvision.metrics.intervals import paired_interval
from ctxvision.training.fine_tuning import TOWER_RATE, TOWER_STEPS
from ctxvision.training.progress import Progress
from ctxvision.training.versions import installed_versions, source_commit

RESULTS = Path(__file__).parent / "results"
FRACTIONS = (0.1, 0.3, 1.0)
IMAGE_SIZE = 48
STEPS, PRETRAINING_STEPS = 2000, 4000
SEEDS = 3


def main(arguments: list[str]) -> None:
    if not arguments:
        print(__doc__)
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--folder", help="folder for the runs; default: temporary")
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(chosen.folder or stack.enter_context(tempfile.TemporaryDirectory()))
        others, own = halves(Path(chosen.data), folder)
        weights = folder / "pretrained.weights.h5"
        if not weights.is_file():
            pretrained = encoders(folder / "pretrained", others, [1.0], PRETRAINING_STEPS)
            pretrained.visual_encoder(1.0).tower.save_weights(weights)
        start = {"visual_weights": str(weights), "visual_train": "all"}
        started = encoders(folder / "started", own, FRACTIONS, STEPS, **start)
        random = encoders(folder / "random", own, FRACTIONS, STEPS)
        rows = [compared(started, random, fraction) for fraction in FRACTIONS]
    settings = {
        "image_size": IMAGE_SIZE,
        "steps": STEPS,
        "pretraining_steps": PRETRAINING_STEPS,
        "visual_train": "all",
        "tower_rate": TOWER_RATE,
        "tower_steps": TOWER_STEPS,
        "heads": SEEDS,
    }
    facts = {
        "date": datetime.date.today().isoformat(),
        "commit": source_commit(),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": installed_versions(),
    }
    write_json(RESULTS / f"fine_tuning-{chosen.name}.json", {**facts, "settings": settings, "rows": rows})


def halves(data: Path, folder: Path) -> tuple[Path, Path]:
    """Writes the data folders of the labels that pre-train, and of those that are measured."""
    with open(data / "images.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = sorted({row["label"] for row in rows})
    pretrain = set(labels[1::2])
    others = [row for row in rows if row["label"] in pretrain]
    own = [row for row in rows if row["label"] not in pretrain and row["split"] != "web"]
    labelled = [{**row, "split": {"web": "train"}.get(row["split"], row["split"])} for row in others]
    return data_folder(data, folder / "others", labelled), data_folder(data, folder / "own", own)


def data_folder(data: Path, folder: Path, rows: Iterable[dict[str, str]]) -> Path:
    """Writes a data folder with rows of another, whose pictures it links."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "images").is_symlink():
        (folder / "images").symlink_to((data / "images").resolve())
    with open(folder / "images.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["image", "split", "label"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def encoders(folder: Path, data: Path, fractions: Sequence[float], steps: int, **settings: Any) -> cv.Run:
    """Trains the visual encoders of a run, and nothing else of it."""
    settings |= {"image_size": IMAGE_SIZE, "fractions": list(fractions), "visual_steps": steps}
    create_run(folder, cv.Config.preset("small", **settings), data, folder / "context", IMAGE_SIZE)
    run, progress = cv.Run(folder), Progress()
    for fraction in fractions:
        run.stages.run(
            f"visual/{fraction:g}", progress, functools.partial(train_visual, run, fraction, progress)
        )
    return run


def compared(started: cv.Run, random: cv.Run, fraction: float) -> dict[str, Any]:
    """Returns the facts of one share of the labels."""
    right = {"started": right_answers(started, fraction), "random": right_answers(random, fraction)}
    top1 = {name: found.mean(axis=1) for name, found in right.items()}
    gain = paired_interval(right["started"] - right["random"])
    return {
        "split": "test",
        "fraction": fraction,
        **{f"top1_{name}": float(values.mean()) for name, values in top1.items()},
        **{f"deviation_{name}": float(values.std(ddof=1)) for name, values in top1.items()},
        "gain": gain.mean,
        "gain_low": gain.low,
        "gain_high": gain.high,
    }


def right_answers(run: cv.Run, fraction: float) -> np.ndarray:
    """Returns float [SEEDS, N]: whether a head over the visual encoder alone answers each test picture right."""
    data = run.data
    train, test = (run.visual_features(split, fraction) for split in ("train", "test"))
    found = []
    for seed in range(SEEDS):
        head = train_pool([train], data.label_targets("train"), len(data.labels), run.head_steps, seed)
        found.append(probabilities_of(head, [test]).argmax(axis=1) == data.label_ids("test"))
    return np.array(found, float)


if __name__ == "__main__":
    main(sys.argv[1:])
