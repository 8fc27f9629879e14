"""Measures the gain of a query typed for a picture in the export's answer; writes results/with_context-DATA.json.

    python tools/benchmarks/with_context.py [RUN]

RUN is a trained run whose test pictures have queries; without it the demo is trained first. The run is exported with
text. Its signature `with_context` answers each test picture with one of the picture's own queries in the run's
languages, in three random draws, with the query of another picture, and with no query. The queries may contain words of
the label, like those of callers.
"""

import datetime
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import tensorflow as tf

import ctxvision as cv
from ctxvision._files import read_json, write_json
from ctxvision.serving.loading import load_export
from ctxvision.training.versions import source_commit

RESULTS = Path(__file__).parent / "results"
DRAWS = 3
PICTURES_AT_A_TIME = 64


def main(arguments: list[str]) -> None:
    run = cv.Run(arguments[0]) if arguments else cv.demo("runs/bench-demo")
    with tempfile.TemporaryDirectory() as folder:
        version = cv.export(run, folder, with_text=True)
        # Keeps the export itself, because signatures do not keep its variables alive.
        export = load_export(version)
        rows = [row for split in run.data.test_splits for row in measured(run, split, export.signatures)]
    print(*rows, sep="\n")
    facts = {
        "date": datetime.date.today().isoformat(),
        "commit": source_commit(),
        "versions": read_json(run.directory / "config.json")["versions"],
    }
    write_json(RESULTS / f"with_context-{run.data.name}.json", {**facts, "rows": rows})


def measured(run: cv.Run, split: str, signatures: Any) -> list[dict[str, Any]]:
    """Measures top-1 without words, with a true query and with another picture's, over pictures with queries."""
    data = run.data.split(split)
    queries = [[text for text, language in row if language in run.context.languages] for row in data.queries]
    asked = [place for place, texts in enumerate(queries) if texts]
    images = [Path(data.paths[place]).read_bytes() for place in asked]
    truth = np.array([data.labels[place][0].encode() for place in asked], object)

    def top1(signature: str, texts: list[str] | None = None) -> float:
        found = []
        for start in range(0, len(images), PICTURES_AT_A_TIME):
            part = slice(start, start + PICTURES_AT_A_TIME)
            words = {} if texts is None else {"texts": tf.constant(texts[part])}
            answer = signatures[signature](image_bytes=tf.constant(images[part]), **words)
            found.append(answer["labels"].numpy()[:, 0])
        return float((np.concatenate(found) == truth).mean())

    without = top1("serving_default")
    assert top1("with_context", [""] * len(images)) == without
    draws: dict[str, list[float]] = {"true query": [], "another picture's": []}
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        texts = [queries[place][rng.integers(len(queries[place]))] for place in asked]
        draws["true query"].append(top1("with_context", texts))
        draws["another picture's"].append(top1("with_context", list(rng.permutation(texts))))
    rows = [{"words": "none", "mean": without, "deviation": 0.0}]
    rows += [
        {"words": words, "mean": mean(found), "deviation": stdev(found)} for words, found in draws.items()
    ]
    return [{"split": split, "pictures": len(images), **row} for row in rows]


if __name__ == "__main__":
    main(sys.argv[1:])
