"""Saves a tower as a SavedModel and compares its answers with KerasHub's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .graphs import better_graphs
from .refusal import RefusedError, reason
from .tower import Tower

TOLERANCE = 1e-4  # largest difference between a SavedModel and KerasHub, relative to the largest value


def save_tower(tower: Tower, folder: Path, facts: dict[str, Any]) -> None:
    """Writes the SavedModel of a tower and its `tower.json` into `folder`, which is created if it is missing.

    `tower.json` holds the tower's facts, `facts`, the dimension and versions.

    Raises:
        RefusedError: an answer of the SavedModel differs from KerasHub's by more than `TOLERANCE`, or the tokenizer
            does not run in a graph.
    """
    import keras
    import keras_hub
    import tensorflow as tf

    ((name, features),) = _run(tower, lambda: tower.call(tower.samples)).items()
    with better_graphs(tower.tokenizer):
        traced = _run(tower, tf.function(tower.call, [tower.given], autograph=False).get_concrete_function)
        module = tf.Module()
        module.weights = list(traced.variables)
        parts = vars(tower.tokenizer).values() if tower.tokenizer else ()
        module.tables = [part for part in parts if isinstance(part, tf.lookup.StaticHashTable | tf.Module)]
        tf.saved_model.save(module, str(folder), signatures={"serving_default": traced})
    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    answer = _run(tower, lambda: loaded(tower.samples)[name])
    error = float(tf.reduce_max(tf.abs(answer - features)) / (tf.reduce_max(tf.abs(features)) + 1e-12))
    if not error <= TOLERANCE:
        raise RefusedError(
            f"a {tower.facts['kind']} tower must answer as KerasHub does to {TOLERANCE:g}, got a difference of "
            f"{error:.2g} for {tower.facts.get('tokenizer', facts['backbone'])}: convert another preset."
        )
    versions = {"keras": keras.__version__, "keras_hub": keras_hub.__version__, "tensorflow": tf.__version__}
    written = {"format": 1, **tower.facts, "dim": int(features.shape[-1]), **facts, "versions": versions}
    text = json.dumps(written, indent=1, ensure_ascii=False)
    (folder / "tower.json").write_text(text + "\n", encoding="utf-8")


def _run(tower: Tower, step: Callable[[], Any]) -> Any:
    """Runs `step`; an error of a text tower becomes a RefusedError about its tokenizer."""
    try:
        return step()
    except Exception as error:
        if tower.tokenizer is None:
            raise
        raise RefusedError(
            f"a text tower must have a tokenizer that runs in a TensorFlow graph, got {tower.facts['tokenizer']} "
            f"({reason(error)}): convert another preset."
        ) from error
