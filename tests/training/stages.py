"""Each stage's own model on tiny data, to compile and fit under any strategy."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

import ctxvision as cv
from ctxvision.classifier.attention_head import attention_head_model
from ctxvision.classifier.head import head_model
from ctxvision.classifier.task import ONE_LABEL, SEVERAL_LABELS
from ctxvision.classifier.visual import visual_model
from ctxvision.context.generator import phrase_model
from ctxvision.context.text import TEXT_RATE, text_model
from ctxvision.data.associations import association_batches
from ctxvision.layers import DualEncoderText, PhraseEmbeddings, PhraseGenerator, VisualEncoder
from ctxvision.layers._batch_norm import batch_norm
from ctxvision.losses import WeightedCrossEntropy
from ctxvision.training.batches import tiled_batches
from ctxvision.training.fit import cosine_adamw

CONFIG = cv.ContextConfig(image_size=16, full_softmax_up_to=20)
BATCH, STEPS = 16, 8


class Stage(NamedTuple):
    """`model()` runs in a strategy's scope; `optimizer()` and `loss` compile it; `batches` are `STEPS` global batches."""

    model: Callable[[], keras.Model]
    optimizer: Callable[[], keras.optimizers.Optimizer]
    loss: object
    batches: Callable[[], tf.data.Dataset]

    def compiled(self, **settings: object) -> keras.Model:
        model = self.model()
        model.compile(self.optimizer(), self.loss, **settings)
        return model


def tower() -> keras.Model:
    """A convolution with batch normalisation, since tracing a ResNet would take most of a test's time."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 64.0, offset=-2.0)(pixels)
    x = keras.layers.Conv2D(12, 3, 2, use_bias=False)(x)
    x = keras.layers.ReLU()(batch_norm(momentum=0.95)(x))
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x))


def stages() -> Iterator[tuple[str, Stage]]:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (BATCH * STEPS, 16, 16, 3), dtype=np.uint8)
    queries = rng.integers(-1, 12, (BATCH * STEPS, 3), dtype=np.int32)
    labels = rng.integers(0, 2, (BATCH * STEPS, 5)).astype(np.float32)

    def adamw() -> keras.optimizers.Optimizer:
        return cosine_adamw(3e-3, STEPS, weight_decay=0.05)

    def pixels(*targets: np.ndarray) -> Callable[[], tf.data.Dataset]:
        return lambda: tiled_batches(pictures, targets, BATCH, seed=0)(0).take(STEPS)

    def phrases(num_classes: int) -> Callable[[], keras.Model]:
        def model() -> keras.Model:
            generator = PhraseGenerator(tower())
            generator(pictures[:1])
            return phrase_model(generator, num_classes, CONFIG)

        return model

    # Two replicas cannot share an odd number of classes equally.
    yield "phrases, full softmax", Stage(phrases(13), adamw, None, pixels(queries))
    # More classes than `full_softmax_up_to`, so 512 are sampled.
    yield "phrases, sampled", Stage(phrases(601), adamw, None, pixels(queries * 40))
    for name, task in (("visual, single label", ONE_LABEL), ("visual, multi-label", SEVERAL_LABELS)):
        yield (
            name,
            Stage(
                lambda: visual_model(
                    VisualEncoder(tower()), keras.layers.Dense(5, dtype="float32"), [16, 16, 3], "visual"
                ),
                adamw,
                task.encoder_loss(),
                pixels(labels),
            ),
        )

    pairs = np.arange(40) // 4, rng.integers(0, 12, 40)

    def associations() -> tf.data.Dataset:
        encoder = DualEncoderText(character_ngrams=32)
        ngrams = encoder.ngrams([f"query {i} of {i % 3} kinds" for i in range(12)]).ids
        return association_batches(*pairs, ngrams, BATCH, STEPS)

    yield (
        "text",
        Stage(
            lambda: text_model(CONFIG),
            lambda: keras.optimizers.Adagrad(TEXT_RATE),
            None,
            associations,
        ),
    )

    visual, context = (rng.normal(size=(BATCH, STEPS, width)).astype(np.float32) for width in (12, 10))
    classes = labels.argmax(axis=1).astype(np.int32).reshape(BATCH, STEPS)
    several = labels.reshape(BATCH, STEPS, 5)

    def rows(*parts: np.ndarray) -> Callable[[], tf.data.Dataset]:
        *inputs, targets = (np.swapaxes(part, 0, 1) for part in parts)
        return lambda: tf.data.Dataset.from_tensor_slices((tuple(inputs), targets))

    # No dropout, whose zeros differ between replicas.
    for name, loss, targets in (
        ("head, single label", "sparse_categorical_crossentropy", classes),
        ("head, multi-label", WeightedCrossEntropy([1.0, 2.0, 3.0, 4.0, 5.0]), several),
    ):
        yield (
            name,
            Stage(
                lambda several=targets is several: head_model([12, 10], 5, several, 0, dropout=0.0),
                adamw,
                loss,
                rows(visual, context, targets),
            ),
        )
    ids, scores = (
        rng.integers(0, 12, (BATCH, STEPS, 4)).astype(np.int32),
        rng.random((BATCH, STEPS, 4), np.float32),
    )

    def attention_head() -> keras.Model:
        encoder = DualEncoderText(10, character_ngrams=32)
        text = PhraseEmbeddings(encoder=encoder, trainable=False)
        text.assign(encoder.ngrams([f"phrase {i}" for i in range(12)]))
        return attention_head_model([visual[0], ids[0], scores[0]], 5, 0, text, dropout=0.0)

    yield (
        "head, attention",
        Stage(
            attention_head,
            adamw,
            "sparse_categorical_crossentropy",
            rows(visual, ids, scores, classes),
        ),
    )
