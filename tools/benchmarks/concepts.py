"""Measures labels learnt from 5 pictures each; writes results/concepts-DATA.json.

    python tools/benchmarks/concepts.py [RUN] [--groups 5] [--draws 3] [--shots 5]

RUN is a trained run whose data has a `pretrain` split; without it the demo is trained first. The run's labels with
enough pictures are divided into groups. For each group, the visual encoder and the head are trained without the group's
labelled pictures; phrases stay, because they never use a label. Then each label of the group is added by
`Run.add_concept` from pictures of `pretrain`, and once from its terms without a picture.

The end-to-end model is tested on all test pictures: the recall of the new label, and the change of accuracy on the
labels that were never removed. Each added label is removed before the next. All labels are measured, because labels
differ more than draws.
"""

import argparse
import csv
import dataclasses
import datetime
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import ctxvision as cv
from ctxvision._files import read_json, write_json
from ctxvision.classifier.fork import new_run
from ctxvision.classifier.fusion import train_classifier
from ctxvision.classifier.visual import train_visual
from ctxvision.training.progress import Progress
from ctxvision.training.versions import source_commit

RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?")
    parser.add_argument("--groups", type=int, default=5)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--shots", type=int, default=5)
    chosen = parser.parse_args(arguments)
    whole = cv.Run(chosen.run) if chosen.run else cv.demo("runs/bench-demo")
    rng = np.random.default_rng(0)
    names = np.array([row[0] for row in whole.data.split("pretrain").labels])
    enough = [label for label in whole.data.labels if (names == label).sum() >= chosen.shots]
    rows = []
    for held_out in np.array_split(rng.permutation(enough), chosen.groups):
        with tempfile.TemporaryDirectory() as folder:
            run = run_without(whole, sorted(held_out.tolist()), Path(folder))
            rows += added(run, whole, sorted(held_out.tolist()), chosen.draws, chosen.shots, rng)
    by_words = [row for row in rows if row["draw"] is None]
    found = summary([row for row in rows if row["draw"] is not None]) | {"words": summary(by_words)}
    print(found)
    write_json(
        RESULTS / f"concepts-{whole.data.name}.json",
        {
            "date": datetime.date.today().isoformat(),
            "commit": source_commit(),
            "versions": read_json(whole.directory / "config.json")["versions"],
            "shots": chosen.shots,
            "labels": len(enough),
            "others_before": round(mean(row["others_before"] for row in rows), 4),
            **found,
            "rows": rows,
        },
    )


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Computes mean, deviation, minimum and maximum of each figure."""
    return {
        f"{name}_{what}": round(of([row[name] for row in rows]), 4)
        for name in ("recall", "others_change", "seconds")
        for what, of in (("mean", mean), ("deviation", stdev), ("least", min), ("most", max))
    }


def added(
    run: cv.Run, whole: cv.Run, held_out: list[str], draws: int, shots: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Measures each label with several draws of pictures, and once by its words (`draw` None)."""
    names = np.array([row[0] for row in whole.data.split("pretrain").labels])
    tests = whole.data.test_splits
    truth = np.array([row[0] for split in tests for row in whole.data.split(split).labels])
    pixels = np.concatenate([whole.data.pictures(split) for split in tests])
    others = ~np.isin(truth, held_out)
    before = accuracy(run, pixels[others], truth[others])
    rows = []
    for label in held_out:
        words = whole.data.manifest.label_terms.get(label) or [label]
        for draw in (*range(draws), None):
            shown = rng.permutation(np.flatnonzero(names == label))[:shots]
            pictures = None if draw is None else whole.data.pictures("pretrain")[shown]
            start = time.monotonic()
            run.add_concept(f"concept {label}", pictures, label, words if draw is None else ())
            row = {"label": label, "draw": draw, "seconds": round(time.monotonic() - start, 2)}
            row["recall"] = accuracy(run, pixels[truth == label], truth[truth == label])
            row["others_before"] = before
            row["others_change"] = accuracy(run, pixels[others], truth[others]) - before
            run.remove_concept(f"concept {label}")
            rows.append(row)
            print(row, flush=True)
    return rows


def run_without(whole: cv.Run, held_out: list[str], folder: Path) -> cv.Run:
    """Trains a run like `whole` whose visual encoder and head have not seen the labels `held_out`."""
    data, out = folder / whole.data.name, folder / "run"
    data.mkdir()
    for path in Path(whole.data.manifest.root).iterdir():
        if path.name != "images.csv":
            (data / path.name).symlink_to(path.resolve())
    with open(Path(whole.data.manifest.root, "images.csv"), encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns, rows = reader.fieldnames or (), list(reader)
    column = whole.config.label_column
    with open(data / "images.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in rows if row["split"] == "web" or row[column] not in held_out)
    config = dataclasses.replace(whole.config, fractions=(max(whole.config.fractions),))
    run = new_run(out, config, data, whole.context)
    progress = Progress()
    progress.start("visual encoder")
    train_visual(run, config.fractions[0], progress)
    progress.finish()
    progress.start("classifier")
    train_classifier(run, progress)
    progress.finish()
    return run


def accuracy(run: cv.Run, pixels: np.ndarray, truth: np.ndarray) -> float:
    """Computes the top-1 accuracy of the end-to-end model."""
    model = run.classifier
    answers = model.predict(pixels, batch_size=256, verbose=0)["probabilities"].argmax(axis=1)
    return float((np.array(model.labels)[answers] == truth).mean())


if __name__ == "__main__":
    main(sys.argv[1:])
