"""Measures whether the input pipeline is as fast as the training step; writes results/input-DATA.json.

    python tools/benchmarks/input.py [DATA] [--steps N] [--image-size S]

It measures images per second of the phrase generator's training step on DATA (any data that `ctxvision train` takes;
default: the demo's pictures), fed in three ways in turns:

- `cached`: augmented batches in memory as tensors, repeated: the speed of the step alone.
- `memory`: decoded pictures in memory, shuffled and augmented by the pipeline of `ctxvision train`.
- `records`: streamed TFRecords of the same pictures: read, decoded in the cropped region, augmented.

Ratios to `cached` compare means over rounds; the ratio of each round is listed too.
"""

import argparse
import datetime
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import ctxvision as cv
from ctxvision._files import write_json
from ctxvision.context.generator import padded_classes, phrase_model
from ctxvision.context.towers import new_phrase_generator
from ctxvision.data import record_batches, write_demo_data
from ctxvision.training.batches import tiled_batches
from ctxvision.training.fit import cosine_adamw
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.versions import installed_versions, source_commit

sys.path.insert(0, str(Path(__file__).parents[1]))
from write_tfrecords import write_tfrecords  # noqa: E402

RESULTS = Path(__file__).parent / "results"
ROUNDS = 5
CACHED_BATCHES = 16


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", help="folder or source; default: the demo's pictures")
    parser.add_argument(
        "--steps", type=int, default=60, help="steps per way and round (default: %(default)s)"
    )
    parser.add_argument("--image-size", type=int, help="default: that of the demo, or of the settings")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"image_size": given.image_size} if given.image_size else {}
        config = cv.ContextConfig.preset("small" if given.data else "demo", **settings)
        if given.data is None:
            given.data = f"{folder}/emoji"
            write_demo_data(given.data)
        found = measured(given.data, config, given.steps, folder)
    facts = {
        "date": datetime.date.today().isoformat(),
        "commit": source_commit(),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": installed_versions(),
        "data": Path(given.data).name,
    }
    write_json(RESULTS / f"input-{Path(given.data).name}.json", {**facts, **found})


def measured(source: str, config: cv.ContextConfig, steps: int, folder: str) -> dict[str, Any]:
    """Measures images per second for each way of feeding the same step."""
    start = time.monotonic()
    data = LoadedData(source, config.image_size)
    pictures = data.pictures("web")
    decoding = time.monotonic() - start
    log = data.query_log
    classes = (log.counts >= config.min_class_count).cumsum() - 1
    classes[log.counts < config.min_class_count] = -1
    targets = padded_classes(len(pictures), log.pair_picture, classes[log.pair_query])
    taught = np.flatnonzero(targets[:, 0] >= 0)
    targets = targets[taught]
    names = [phrase for phrase, number in zip(log.phrases, classes) if number >= 0]

    start = time.monotonic()
    write_tfrecords([source], f"{folder}/records", shard_megabytes=4.0)
    writing = time.monotonic() - start
    batches = tiled_batches(pictures, (targets,), config.batch_size, config.seed, taught)
    kept = batches(0).take(CACHED_BATCHES).cache()
    for _ in kept:  # fills the cache
        pass
    streamed = record_batches(
        f"{folder}/records/web-*", names, config.batch_size, config.image_size, "query", targets.shape[1]
    )
    ways = {
        "cached": kept.repeat(),
        "memory": tf.data.Dataset.range(10**6).flat_map(lambda _: batches(1)),
        "records": streamed,
    }
    model = step_of(config, len(names))
    for batches_of in ways.values():
        model.fit(batches_of.take(5), verbose=0)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, batches_of in ways.items():
            rates[way].append(images_a_second(model, batches_of, steps, config.batch_size))
    rows = [
        {
            "way": way,
            "images_per_second": round(mean(found), 1),
            "deviation": round(stdev(found), 1),
            "of_cached": round(mean(found) / mean(rates["cached"]), 3),
            "of_cached_by_round": [round(a / b, 3) for a, b in zip(found, rates["cached"])],
        }
        for way, found in rates.items()
    ]
    print(*rows, sep="\n")
    return {
        "image_size": config.image_size,
        "batch_size": config.batch_size,
        "pictures": len(taught),
        "classes": len(names),
        "decoded_per_second": round(len(pictures) / decoding),
        "seconds_to_write_records": round(writing, 1),
        "steps": steps,
        "rounds": ROUNDS,
        "rows": rows,
    }


def step_of(config: cv.ContextConfig, num_classes: int) -> keras.Model:
    """Makes the phrase generator's training model, compiled."""
    keras.utils.set_random_seed(config.seed)
    model = phrase_model(new_phrase_generator(config), num_classes, config)
    model.compile(cosine_adamw(config.learning_rate, config.phrase_steps))
    return model


def images_a_second(model: keras.Model, batches: tf.data.Dataset, steps: int, batch_size: int) -> float:
    """Measures `model.fit` from its third batch on, which excludes the start of the pipeline."""
    clock = _Clock()
    model.fit(batches.take(steps + 2), verbose=0, callbacks=[clock])
    return (len(clock.ends) - 3) * batch_size / (clock.ends[-1] - clock.ends[2])


class _Clock(keras.callbacks.Callback):
    """Records when each batch ended; it waits for the loss, as training's progress does."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.ends.append(time.monotonic())


if __name__ == "__main__":
    main(sys.argv[1:])
