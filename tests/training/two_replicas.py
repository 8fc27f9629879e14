"""Run as a program: trains each stage on one device and on two replicas, and prints as JSON how far they are apart.

Logical devices are made before TensorFlow runs anything, so this needs a process of its own. Names of stages as
arguments choose among them.
"""

import json
import sys

import numpy as np
import tensorflow as tf

from ctxvision.training.fit import fit
from ctxvision.training.strategies import building, make_strategy
from tests.tiny_model import tiny_classifier
from tests.training.stages import stages


def main(wanted):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = make_strategy("cpu"), make_strategy("mirrored")
    told = {"replicas": two.num_replicas_in_sync, "stages": {}}
    for name, stage in stages():
        if not wanted or name in wanted:
            told["stages"][name] = compared(*(trained(stage, strategy) for strategy in (one, two)))
    told["prediction"] = predicted_apart(two)
    print(json.dumps(told))


def trained(stage, strategy):
    """Loss; weights by number, named, before and after."""
    with building(strategy):
        model = stage.compiled(steps_per_execution=4)
    before = model.get_weights()
    loss = fit(model, stage.batches())["loss"]
    names = [weight.name for weight in model.weights]
    return loss, list(zip(names, before, model.get_weights(), strict=True))


def compared(one, two):
    told = {"loss": [one[0], two[0]], "moved": 0.0, "weights": 0.0, "moving_variance": 0.0}
    for (name, start, a), (_, other_start, b) in zip(one[1], two[1], strict=True):
        np.testing.assert_array_equal(start, other_start)
        if "moving_variance" in name:
            told["moving_variance"] = max(told["moving_variance"], float(np.abs(a / b - 1).max()))
        elif name.split(":")[0] not in ("total", "count"):
            told["weights"] = max(told["weights"], float(np.abs(a - b).max()))
            told["moved"] = max(told["moved"], float(np.abs(a - start).max()))
    return told


def predicted_apart(strategy):
    """The end-to-end model without strings: the largest difference of probabilities, and whether phrases are the same.

    It is made outside the scope, as an index is: one copy, which all replicas read.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    model = tiny_classifier("ivf", rows=600)
    expected = model(pixels)
    halves = strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.from_tensor_slices(pixels.reshape(2, 4, 16, 16, 3))
    )
    found = tf.function(strategy.run)(model.classify, args=(next(iter(halves)),))
    found = {key: np.concatenate(strategy.experimental_local_results(value)) for key, value in found.items()}
    phrases = model.phrases_of(found["phrase_ids"]).numpy()
    return {
        "probabilities": float(np.abs(found["probabilities"] - expected["probabilities"]).max()),
        "same_phrases": bool((phrases == expected["phrases"].numpy()).all()),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
