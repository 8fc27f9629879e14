"""Compares training on one device and on two replicas, and prints the differences of each stage as a line of JSON.

Runs as a program, because logical devices must be made before TensorFlow runs anything. Arguments name the stages to
run; all stages run by default.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.training.checkpoints import Checkpoints
from ctxvision.training.fit import fit
from ctxvision.training.strategies import building, make_strategy
from tests.tiny_model import tiny_classifier
from tests.training.stages import stages


def main(wanted):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = make_strategy("cpu"), make_strategy("mirrored")
    assert two.num_replicas_in_sync == 2
    for name, stage in stages():
        if not wanted or name in wanted:
            tell(name, compared(*(trained(stage, strategy) for strategy in (one, two))))
    tell("prediction", predicted_apart(two))
    tell("checkpoint", read_again(dict(stages())["phrases, sampled"], two))


def tell(name, found):
    print(json.dumps({"name": name, **found}), flush=True)


def trained(stage, strategy):
    """Returns the loss and the weights by number, name, and value before and after."""
    with building(strategy):
        model = stage.compiled(steps_per_execution=4)
    before = values(model)
    loss = fit(model, stage.batches())["loss"]
    return loss, [(name, before[name], value) for name, value in values(model).items()]


def values(model):
    """Returns every weight by name, with the replicas' shards of class rows joined."""
    table = getattr(model, "class_table", None)
    sharded = [*table.table_shards, *table.square_shards] if table else []
    found = {
        f"{i} {weight.name}": weight.numpy()
        for i, weight in enumerate(model.weights)
        if not any(weight is shard for shard in sharded)
    }
    if table:
        for name, shards in (("table", table.table_shards), ("squares", table.square_shards)):
            rows = np.concatenate([shard[: table.shard_rows] for shard in shards])
            found[name] = rows[: table.num_classes]
    return found


def compared(one, two):
    told = {"loss": [one[0], two[0]], "moved": 0.0, "weights": 0.0, "moving_variance": 0.0}
    for (name, start, a), (_, other_start, b) in zip(one[1], two[1], strict=True):
        np.testing.assert_array_equal(start, other_start)
        name = name.split()[-1]
        if "moving_variance" in name:
            told["moving_variance"] = max(told["moving_variance"], float(np.abs(a / b - 1).max()))
        elif name.split(":")[0] not in ("total", "count"):
            told["weights"] = max(told["weights"], float(np.abs(a - b).max()))
            told["moved"] = max(told["moved"], float(np.abs(a - start).max()))
    return told


def predicted_apart(strategy):
    """Compares the end-to-end model on one device with one made in the scope, where each replica holds index and text.

    Returns the largest difference of probabilities in the replicas' own steps and in `predict` after `fit`, whether
    phrases are equal, and whether each replica has its own tables.
    """
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8), np.arange(8) % 4
    models = []
    for scope in (tf.distribute.OneDeviceStrategy("/cpu:0"), strategy):
        with building(scope):
            model = tiny_classifier("ivf", rows=600, dropout=0.0)
            model.phrase_generator.trainable = model.visual_encoder.trainable = False
            model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
        models.append(model)
    one, two = models
    halves = strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.from_tensor_slices(pixels.reshape(2, 4, 16, 16, 3))
    )
    found = tf.function(strategy.run)(two.classify, args=(next(iter(halves)),))
    found = {key: np.concatenate(strategy.experimental_local_results(value)) for key, value in found.items()}
    expected = one(pixels)
    before = two.fusion.get_weights()
    for model in models:
        model.fit(pixels, labels, batch_size=8, shuffle=False, verbose=0)
    again, expected_again = (model.predict(pixels, batch_size=8, verbose=0) for model in (two, one))
    return {
        "probabilities": float(np.abs(found["probabilities"] - expected["probabilities"]).max()),
        "same_phrases": bool((two.phrases_of(found["phrase_ids"]) == expected["phrases"]).numpy().all()),
        "after_fit": float(np.abs(again["probabilities"] - expected_again["probabilities"]).max()),
        "moved": float(max(np.abs(a - b).max() for a, b in zip(before, two.fusion.get_weights()))),
        "phrases_after_fit": bool((again["phrases"] == expected["phrases"].numpy()).all()),
        "copies": [len(strategy.experimental_local_results(weight)) for weight in two.weights],
    }


def read_again(stage, strategy):
    """Restores a checkpoint into a new model; returns the restored values and each replica's number of class rows."""
    models = []
    for _ in range(2):
        with building(strategy):
            models.append(stage.compiled())
            models[-1].optimizer.build(models[-1].trainable_variables)
    trained, other = models
    fit(trained, stage.batches())
    expected, unlike = values(trained), values(other)["table"]
    with tempfile.TemporaryDirectory() as folder:
        Checkpoints(trained, Path(folder)).write({"epoch": 1, "step": 0, "curves": {}, "partial": {}})
        state = Checkpoints(other, Path(folder)).read()
    found = values(other)
    return {
        "epoch": state["epoch"],
        "same": all((a == b).all() for a, b in zip(found.values(), expected.values(), strict=True)),
        "moved": float(np.abs(expected["table"] - unlike).max()),
        "rows": [shard.shape[0] for shard in other.class_table.table_shards],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
