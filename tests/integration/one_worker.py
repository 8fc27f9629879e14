"""Run as a program, one process per worker of TF_CONFIG: the workers train a small phrase generator together.

Arguments: the run's folder, which all workers share; the file for the chief's weights, with the others' beside it;
the seconds that each batch takes.
"""

import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

import ctxvision as cv
from ctxvision.context.generator import phrase_model
from ctxvision.training.fit import cosine_adamw, fit_resumably
from ctxvision.training.progress import Progress
from ctxvision.training.strategies import building, is_chief, make_strategy, num_workers
from tests.training.stages import tower

EPOCHS, STEPS, BATCH = 4, 20, 8


def main(folder, result, pause):
    strategy = make_strategy("auto")
    with building(strategy):
        keras.utils.set_random_seed(0)
        generator = cv.PhraseGenerator(tower())
        generator(tf.zeros([1, 16, 16, 3]))
        model = phrase_model(generator, 12, cv.ContextConfig(image_size=16))
        model.compile(cosine_adamw(3e-3, EPOCHS * STEPS))

    def batches(epoch):
        rng = np.random.default_rng(epoch)
        pixels = rng.integers(0, 256, (STEPS, BATCH, 16, 16, 3)).astype(np.float32)
        queries = rng.integers(0, 12, (STEPS, BATCH, 2), dtype=np.int32)

        def slow():
            for batch in zip(pixels, queries, strict=True):
                time.sleep(pause)
                yield batch

        signature = tf.TensorSpec((BATCH, 16, 16, 3)), tf.TensorSpec((BATCH, 2), tf.int32)
        slowly = tf.data.Dataset.from_generator(slow, output_signature=signature)
        return slowly.apply(tf.data.experimental.assert_cardinality(STEPS))

    fit_resumably(
        model, batches, EPOCHS, folder / "unfinished", Progress(every=0), folder / "logs", save_every=8
    )
    weights = generator.get_weights()  # needs all workers
    shards = [*model.class_table.table_shards, *model.class_table.square_shards]
    place = result if is_chief(strategy) else result.with_name("of-the-other.npz")
    np.savez(place, *weights, table=shards[0], squares=shards[1])
    print(f"{num_workers(strategy)} workers, chief {is_chief(strategy)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
