"""Trains the demo for each of three seeds, with new splits and label noise; writes results/demo_seeds.json.

    python tools/benchmarks/demo_seeds.py [FOLDER [SEED ...]]

The demo's own table has one draw of the splits and one training of each tower. Here each seed draws the splits and
trains all parts again, in FOLDER/SEED (runs/bench-seeds; seeds 0, 1, 2); an interrupted folder resumes. The same
pictures are then learnt with several labels each, subgroup and group, with the same phrases. Accuracies are means over
the heads of a seed, and deviations are over these means.

The precision of several-label thresholds is also measured for other choices of `val`: `val` and test are joined, and a
subset of the size of `val` is drawn 60 times to fit thresholds.
"""

import argparse
import dataclasses
import datetime
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import ctxvision as cv
from ctxvision._files import read_json, write_json
from ctxvision.classifier.thresholds import PRECISION, fit_thresholds
from ctxvision.data import write_demo_data
from ctxvision.evaluation.calibration import at_thresholds, probabilities_on_val_and_test
from ctxvision.evaluation.features import Features
from ctxvision.metrics.records import load_records, summary
from ctxvision.training.progress import Progress
from ctxvision.training.versions import source_commit

RESULTS = Path(__file__).parent / "results"
# Measured in addition to the suites of training.
SUITES = ("bottleneck", "zero-shot", "calibration")
KEYS = ("suite", "split", "fraction", "method", "metric")
METRICS = ("top1", "ece", "ece_by_chance", "map", "recall_at_precision_80", "precision_at_threshold")
DEALS = 60


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/bench-seeds"))
    parser.add_argument("seeds", nargs="*", type=int)
    chosen = parser.parse_args(arguments)
    seeds = chosen.seeds or [0, 1, 2]
    measured, deals = [], []
    for seed in seeds:
        one_label = trained(chosen.folder / str(seed), seed)
        several = with_several_labels(one_label, chosen.folder / f"{seed}-several")
        for suite in SUITES:
            cv.evaluate(one_label, suite)
        cv.evaluate(several, "calibration")
        measured.append(figures(one_label) | figures(several))
        deals.append({"seed": seed, **precision_over_redraws(several, DEALS)})
        print(deals[-1], flush=True)
    write_json(
        RESULTS / "demo_seeds.json",
        {
            "date": datetime.date.today().isoformat(),
            "commit": source_commit(),
            "versions": read_json(one_label.directory / "config.json")["versions"],
            "seeds": seeds,
            "rows": over_seeds(measured),
            "thresholds": deals,
        },
    )


def trained(out: Path, seed: int) -> cv.Run:
    """Trains the demo with this seed, which also draws its data."""
    data = out / "emoji"
    if not (data / "images.csv").is_file():
        write_demo_data(data, seed=seed)
    return cv.demo(out, seed=seed)


def with_several_labels(run: cv.Run, out: Path) -> cv.Run:
    """Trains a run with subgroup and group labels on the same pictures; parts without labels are shared."""
    config = dataclasses.replace(
        run.config,
        multi_label=True,
        label_column="label|coarse_label",
        fractions=(max(run.config.fractions),),
    )
    return cv.train(run.data.manifest.root, out, config, context=run.context.directory)


def figures(run: cv.Run) -> dict[tuple[Any, ...], float]:
    """Maps `KEYS` to the mean of `METRICS` over the heads."""
    records = [one for one in load_records(run.directory / "metrics.json") if one.metric in METRICS]
    return {tuple(row[key] for key in KEYS): row["mean"] for row in summary(records, KEYS)}


def over_seeds(measured: list[dict[tuple[Any, ...], float]]) -> list[dict[str, Any]]:
    """Computes mean and sample deviation over the seeds, for figures that all seeds have, and lists the values."""
    rows = []
    for key in measured[0]:
        values = [one[key] for one in measured if key in one]
        if len(values) == len(measured):
            spread = stdev(values) if len(values) > 1 else 0.0
            rows.append(dict(zip(KEYS, key)) | {"mean": mean(values), "deviation": spread, "values": values})
    return rows


def precision_over_redraws(run: cv.Run, deals: int) -> dict[str, Any]:
    """Measures the precision of thresholds for other choices of `val` among the pictures that no training saw."""
    splits = ["val", *run.data.test_splits]
    targets = np.concatenate([run.data.label_targets(split) for split in splits])
    features = Features(run, Progress())
    heads = [probabilities_on_val_and_test(features, seed) for seed in range(run.config.seeds)]
    answers = [np.concatenate([head[split] for split in splits]) for head in heads]
    size = len(run.data.label_targets("val"))
    reached = []
    for deal in range(deals):
        order = np.random.default_rng(deal).permutation(len(targets))
        val, test = order[:size], order[size:]
        found = [
            at_thresholds(head[test], targets[test], fit_thresholds(head[val], targets[val]))
            for head in answers
        ]
        reached.append(
            mean(one["precision_at_threshold"] for one in found if "precision_at_threshold" in one)
        )
    return {
        "wanted": PRECISION,
        "val": size,
        "test": len(targets) - size,
        "deals": deals,
        "mean": mean(reached),
        "deviation": stdev(reached),
        "least": min(reached),
        "most": max(reached),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
