"""Stage `visual`: a ConvNet trained on a share of the labelled pictures (section 3.4)."""

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers import VisualEncoder
from ctxvision.losses import KnownLabels
from ctxvision.training.batches import epochs_of, tiled_batches
from ctxvision.training.fit import cosine_adamw, fit_resumably
from ctxvision.training.progress import Progress
from ctxvision.training.run import Run
from ctxvision.training.weights import save_weights


def train_visual(run: Run, fraction: float, progress: Progress) -> None:
    """Trains a visual encoder on `fraction` of each label's pictures in `pretrain` (else `train`).

    A linear layer over the encoder's features learns the labels, under `multi_label` each on its own (sigmoid);
    the features are what the run keeps.
    """
    config, data = run.config, run.data
    rows = data.fraction_of("pretrain", fraction)
    pictures, targets = data.pictures("pretrain")[rows], data.label_targets("pretrain")[rows]
    keras.utils.set_random_seed(config.seed)
    encoder = VisualEncoder(config.visual_backbone, config.image_size, name="visual_encoder")
    pixels = keras.Input((config.image_size, config.image_size, 3))
    logits = keras.layers.Dense(len(data.labels), dtype="float32")(encoder(pixels))
    model = keras.Model(pixels, logits, name=f"visual_{fraction:g}")
    steps = max(1, round(config.visual_steps * max(fraction, 0.25)))
    epochs, steps_per_epoch = epochs_of(len(pictures), config.batch_size, steps)
    model.compile(
        cosine_adamw(config.learning_rate, epochs * steps_per_epoch, weight_decay=0.05),
        KnownLabels(keras.losses.BinaryCrossentropy(from_logits=True))
        if config.multi_label
        else keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    )
    if not config.multi_label:
        targets = tf.one_hot(targets, len(data.labels)).numpy()
    stage = f"visual/{fraction:g}"
    curves = fit_resumably(
        model,
        tiled_batches(pictures, (targets,), config.batch_size, config.seed),
        epochs,
        run.unfinished_folder(stage),
        progress,
        run.directory / "logs" / stage,
    )
    with run.finishing(
        stage, curves=curves, pictures=len(pictures), steps=epochs * steps_per_epoch
    ) as folder:
        save_weights(encoder, folder / "weights.npz")
