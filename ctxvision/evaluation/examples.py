"""Test pictures with their phrases and two answers, for the report."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision._files import write_json
from ctxvision.classifier.head import probabilities_of
from ctxvision.classifier.run import Run
from ctxvision.classifier.trained_head import trained_head
from ctxvision.evaluation.answers import answers_of, explained
from ctxvision.evaluation.features import short_name
from ctxvision.metrics.records import Record, save_records
from ctxvision.serving.shares import joined_shares

SHOWN = {"win": 9, "loss": 9, "both_right": 3, "both_wrong": 6}


def write_examples(run: Run, path: Path) -> list[Record]:
    """Writes a JSON list of test pictures with their answers: a seeded draw of wins, losses and ties.

    A win is a picture for which the run's classifier is right and a visual-only head (same visual encoder, same
    training) is wrong; a loss is the reverse. An answer is right if its top label is a label of the picture.

    Args:
        run: a run whose stages are finished.
        path: path of the JSON file; `write_report` describes its content.

    Returns:
        Suite `answers`, which `metrics.json` then also holds: the share of `win`, `loss`, `both_right` and
        `both_wrong` in each split.
    """
    config, data = run.config, run.data
    fraction = max(config.fractions)
    visual_head = trained_head(run, lambda split: [run.visual_features(split, fraction)], config.seed)
    examples, records = [], []
    for split in data.test_splits:
        visual = probabilities_of(visual_head, [run.visual_features(split, fraction)])
        truth = data.split(split).labels
        both, _ = answers_of(run, run.classifier, split)
        kinds = _kinds(*(_right(answers, data.labels, truth) for answers in (both, visual)))
        rng, drawn = np.random.default_rng(config.seed), {}
        for kind, number in SHOWN.items():
            rows = np.flatnonzero(kinds == kind)
            records.append(
                Record(
                    suite="answers",
                    data=run.data.name,
                    method="multimodal",
                    fraction=fraction,
                    seed=config.seed,
                    split=short_name(split),
                    metric=kind,
                    value=len(rows) / len(kinds),
                )
            )
            drawn[kind] = np.sort(rng.choice(rows, min(number, len(rows)), replace=False))
        told = explained(run, split, np.concatenate(list(drawn.values())))
        shown = [(row, kind) for kind, rows in drawn.items() for row in rows.tolist()]
        for place, (row, kind) in enumerate(shown):
            of_row = {name: values[place] for name, values in told.items()}
            examples.append(_example(run, split, row, of_row, visual[row], kind))
    write_json(path, examples)
    save_records(run.directory / "metrics.json", records)
    return records


def _right(probabilities: np.ndarray, labels: list[str], truth: list[tuple[str, ...]]) -> np.ndarray:
    tops = probabilities.argmax(axis=1)
    return np.array([labels[top] in true for top, true in zip(tops, truth)], bool)


def _kinds(multimodal_right: np.ndarray, visual_right: np.ndarray) -> np.ndarray:
    return np.select(
        [multimodal_right & ~visual_right, ~multimodal_right & visual_right, multimodal_right],
        ["win", "loss", "both_right"],
        "both_wrong",
    )


def _example(
    run: Run, split: str, row: int, told: dict[str, np.ndarray], visual: np.ndarray, kind: str
) -> dict[str, Any]:
    labels, picture = run.data.labels, run.data.pictures(split)[row]
    phrases = [phrase.decode() for phrase in told["phrases"]]
    png = tf.io.encode_png(picture).numpy()
    return {
        "image": "data:image/png;base64," + base64.b64encode(png).decode(),
        "truth": ", ".join(run.data.split(split).labels[row]),
        "split": short_name(split),
        "kind": kind,
        "visual_only": {"label": labels[visual.argmax()], "score": float(visual.max())},
        "multimodal": {"label": labels[int(told["label_ids"][0])], "score": float(told["scores"][0])},
        "visual_share": float(told["visual"][0]),
        "query_share": float(told["query"][0]),
        "phrases": [
            {
                "phrase": ", ".join(phrases[place] for place in places),
                "score": float(told["phrase_scores"][places[0]]),
                "share": share,
            }
            for places, share in joined_shares(phrases, told["shares"][0], told["groups"].tolist())
        ],
    }
