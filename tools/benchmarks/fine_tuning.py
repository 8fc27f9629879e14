"""Compares the visual encoders of two runs on the same data: started from given weights, and from random ones.

    python tools/benchmarks/fine_tuning.py STARTED RANDOM NAME

Both runs have the same data and fractions. For each fraction and test split it trains three heads over each encoder, and
writes top-1 and the gain with its 95% interval to results/fine_tuning-NAME.json, with date, commit, versions and settings.
Without runs it prints these lines.
"""

import datetime
import os
import platform
import sys
from pathlib import Path

import numpy as np

import ctxvision as cv
from ctxvision._files import read_json, write_json
from ctxvision.classifier.head import probabilities_of
from ctxvision.classifier.trained_head import trained_head
from ctxvision.evaluation.features import Features
from ctxvision.metrics.intervals import paired_interval
from ctxvision.training.fine_tuning import TOWER_RATE, TOWER_STEPS
from ctxvision.training.progress import Progress

RESULTS = Path(__file__).parent / "results"
SEEDS = 3


def main(arguments: list[str]) -> None:
    if not arguments:
        print(__doc__)
        return
    started, random, name = arguments
    runs = {"started": cv.Run(started), "random": cv.Run(random)}
    config = runs["started"].config
    splits = runs["started"].data.test_splits
    rows = []
    for fraction in config.fractions:
        right = {key: right_answers(run, fraction, splits) for key, run in runs.items()}
        for split in splits:
            top1 = {key: found[split].mean(axis=1) for key, found in right.items()}
            gain = paired_interval(right["started"][split] - right["random"][split])
            rows.append({
                "split": split,
                "fraction": fraction,
                **{f"top1_{key}": float(values.mean()) for key, values in top1.items()},
                **{f"deviation_{key}": float(values.std(ddof=1)) for key, values in top1.items()},
                "gain": gain.mean,
                "gain_low": gain.low,
                "gain_high": gain.high,
            })  # fmt: skip
    trained = read_json(Path(started) / "config.json")
    write_json(
        RESULTS / f"fine_tuning-{name}.json",
        {
            "date": datetime.date.today().isoformat(),
            "commit": trained["commit"],
            "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
            "versions": trained["versions"],
            "settings": {
                "visual_train": config.visual_train,
                "tower_rate": TOWER_RATE,
                "tower_steps": TOWER_STEPS,
                "heads": SEEDS,
            },
            "rows": rows,
        },
    )


def right_answers(run: cv.Run, fraction: float, splits: list[str]) -> dict[str, np.ndarray]:
    """Split to float [SEEDS, N]: whether a head over the visual encoder alone answers right."""
    features = Features(run, Progress())
    heads = [
        trained_head(run, lambda split: [features.visual(split, fraction)], seed) for seed in range(SEEDS)
    ]
    return {
        split: np.stack([
            probabilities_of(head, [features.visual(split, fraction)]).argmax(axis=1)
            == run.data.label_ids(split)
            for head in heads
        ]).astype(float)
        for split in splits
    }  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
