"""Stage `visual`: a ConvNet trained on a share of the labelled pictures (section 3.4)."""

import tensorflow as tf
import tf_keras as keras

from ctxvision.training.batches import epochs_of, tiled_batches
from ctxvision.training.fit import cosine_adamw, fit_resumably
from ctxvision.training.progress import Progress
from ctxvision.training.run import Run
from ctxvision.training.towers import new_visual_encoder
from ctxvision.training.weights import save_weights


def train_visual(run: Run, fraction: float, progress: Progress) -> None:
    """Trains a visual encoder on `fraction` of each label's pictures in `pretrain` (else `train`).

    A linear layer over the encoder's features learns the labels, under `multi_label` each on its own (sigmoid);
    the features are what the run keeps. Of a frozen backbone without a mapping nothing is left to learn.
    """
    config, data, stage = run.config, run.data, f"visual/{fraction:g}"
    keras.utils.set_random_seed(config.seed)
    encoder = new_visual_encoder(config)
    if not encoder.trainable_weights:
        with run.finishing(stage, pictures=0, steps=0) as folder:
            save_weights(encoder, folder / "weights.npz")
        return
    rows = data.fraction_of("pretrain", fraction)
    pictures, targets = run.tower_inputs(encoder, "pretrain")[rows], data.label_targets("pretrain")[rows]
    pixels = keras.Input(pictures.shape[1:])
    logits = keras.layers.Dense(len(data.labels), dtype="float32")(encoder(pixels))
    model = keras.Model(pixels, logits, name=f"visual_{fraction:g}")
    steps = max(1, round(config.visual_steps * max(fraction, 0.25)))
    epochs, steps_per_epoch = epochs_of(len(pictures), config.batch_size, steps)
    model.compile(
        cosine_adamw(config.learning_rate, epochs * steps_per_epoch, weight_decay=0.05),
        keras.losses.BinaryCrossentropy(from_logits=True)
        if config.multi_label
        else keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    )
    if not config.multi_label:
        targets = tf.one_hot(targets, len(data.labels)).numpy()
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
