"""Stage `text`: a text encoder that knows which queries belong together (section 3.3)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision._files import write_json
from ctxvision.data.associations import association_batches
from ctxvision.layers import DualEncoderText
from ctxvision.models import SiameseText
from ctxvision.prototypes import PhraseTable
from ctxvision.training.config import Config
from ctxvision.training.fit import fit_resumably
from ctxvision.training.progress import Progress
from ctxvision.training.run import Run
from ctxvision.training.strategies import building, is_chief, make_strategy, steps_per_execution
from ctxvision.training.weights import save_weights

STEPS_PER_EPOCH = 100
TEXT_RATE = 0.1
# What new runs' encoders are made with besides the width; see the suite text-encoder for what it is worth.
ENCODER: dict[str, Any] = {"character_ngrams": 32}


def train_text(run: Run, progress: Progress, strategy: tf.distribute.Strategy | None = None) -> None:
    """Trains the text encoder on queries that share a picture, then embeds every phrase of the table.

    Args:
        run: whose data is learnt.
        progress: told after every epoch.
        strategy: where; that in whose scope this is called by default.
    """
    strategy = make_strategy(strategy)
    if run.config.phrase_table:
        if is_chief(strategy):
            _take_text_embeddings(run)
        return
    config, log = run.config, run.data.query_log
    kept = np.isin(log.languages, config.languages)[log.pair_query]
    with building(strategy):
        model = text_model(config)
        model.compile(keras.optimizers.Adagrad(TEXT_RATE), steps_per_execution=steps_per_execution(strategy))
    encoder = model.text_encoder
    untrained = encoder.ngram_table.numpy()
    # Words become numbers here: no string reaches the device.
    ngrams = ngrams_of(encoder, log.phrases)
    steps = min(STEPS_PER_EPOCH, config.text_steps)
    epochs = -(-config.text_steps // steps)

    def batches(epoch: int) -> tf.data.Dataset:
        return association_batches(
            log.pair_picture[kept],
            log.pair_query[kept],
            ngrams,
            config.text_batch_size,
            steps,
            [config.seed, epoch],
        )

    curves = fit_resumably(
        model, batches, epochs, run.unfinished_folder("text"), progress, run.directory / "logs" / "text"
    )
    if not is_chief(strategy):
        return
    forget_untrained(encoder, untrained)
    table = PhraseTable.load(run.stage_folder("prototypes") / "table")
    table.embed_texts(lambda phrases: encoder(tf.constant(phrases)).numpy())
    with run.finishing("text", curves=curves, phrases=len(table)) as folder:
        save_weights(encoder, folder / "weights.npz")
        write_json(folder / "encoder.json", ENCODER)


def _take_text_embeddings(run: Run) -> None:
    """The table has text embeddings by its own tower; the encoder only looks them up, and knows no words."""
    encoder = DualEncoderText(run.config.text_dim, hash_buckets=1, name="dual_encoder_text")
    encoder.ngram_table.assign(tf.zeros_like(encoder.ngram_table))
    with run.finishing("text") as folder:
        save_weights(encoder, folder / "weights.npz")
        write_json(folder / "encoder.json", {"hash_buckets": 1})


def text_model(config: Config) -> SiameseText:
    """The model that the stage trains, with all its weights."""
    keras.utils.set_random_seed(config.seed)
    encoder = DualEncoderText(config.text_dim, **ENCODER, name="dual_encoder_text")
    return SiameseText(encoder, name="siamese_text")


def ngrams_of(encoder: DualEncoderText, phrases: Sequence[str], size: int = 8192) -> np.ndarray:
    """int32 [N, M]: the n-grams of many phrases."""
    parts = [encoder.ngram_ids(tf.constant(phrases[i : i + size])) for i in range(0, len(phrases), size)]
    return np.concatenate(parts)


def forget_untrained(encoder: DualEncoderText, untrained: np.ndarray) -> None:
    """Sets the n-grams that training never moved to zero: their random vectors would only be noise in a phrase.

    Args:
        encoder: after training.
        untrained: float32 [rows, dim], its n-gram table before.
    """
    table = encoder.ngram_table.numpy()
    table[(table == untrained).all(axis=1)] = 0.0
    encoder.ngram_table.assign(table)
