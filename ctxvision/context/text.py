"""Stage `text`: trains a text encoder that embeds queries of the same picture close together (section 3.3)."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision._files import write_json
from ctxvision.context.config import ContextConfig
from ctxvision.context.context import Context
from ctxvision.data.associations import association_batches, read_associations, shares_pictures
from ctxvision.layers import DualEncoderText
from ctxvision.models import SiameseText
from ctxvision.training.fit import fit_resumably
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.progress import Progress
from ctxvision.training.query_log import QueryLog
from ctxvision.training.strategies import building, is_chief, steps_per_execution
from ctxvision.training.weights import save_weights
from ctxvision.vocabulary import Ngrams

STAGE = "text"
STEPS_PER_EPOCH = 100
TEXT_RATE = 0.1
# Settings of new encoders besides the width; the suite text-encoder measures their effect.
ENCODER: dict[str, Any] = {"character_ngrams": 32}


def train_text(
    context: Context,
    data: LoadedData,
    associations: str | os.PathLike[str] | None,
    progress: Progress,
    strategy: tf.distribute.Strategy,
) -> None:
    """Trains the text encoder on queries that belong together.

    Queries belong together if they share a picture or if `associations` pairs them. If there are no such queries, the
    encoder is not trained: its random n-gram vectors still match phrases with the same letters.

    Args:
        context: the context of the encoder.
        data: data with queries.
        associations: file of more pairs, see `read_associations`.
        progress: updated before every epoch.
        strategy: strategy of the training.
    """
    config, log, stages = context.config, data.query_log, context.stages
    kept = np.isin(log.languages, config.languages)[log.pair_query]
    pictures, queries, weights = log.pair_picture[kept], log.pair_query[kept], None
    if associations is not None:
        pictures, queries, weights = _with_associations(pictures, queries, log, associations)
    learns = shares_pictures(pictures, queries)
    with building(strategy):
        model = text_model(config)
        model.compile(keras.optimizers.Adagrad(TEXT_RATE), steps_per_execution=steps_per_execution(strategy))
    encoder = model.text_encoder
    untrained = encoder.ngram_table.numpy()
    # Words are turned into n-gram numbers here, so no string reaches the device.
    ngrams = encoder.ngrams(log.phrases).ids
    steps = min(STEPS_PER_EPOCH, config.text_steps)
    epochs = -(-config.text_steps // steps)

    def batches(epoch: int) -> tf.data.Dataset:
        return association_batches(
            pictures, queries, ngrams, config.text_batch_size, steps, [config.seed, epoch], weights
        )

    logs = context.directory / "logs" / STAGE
    curves = {}
    if learns:
        curves = fit_resumably(model, batches, epochs, stages.unfinished(STAGE), progress, logs)
    if not is_chief(strategy):
        return
    if learns:
        forget_untrained(encoder, untrained)
    with stages.finishing(STAGE, curves=curves) as folder:
        save_weights(encoder, folder / "weights.npz")
        write_json(folder / "encoder.json", ENCODER)


def _with_associations(
    pictures: np.ndarray, queries: np.ndarray, log: QueryLog, associations: str | os.PathLike[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds each association as a picture of its own with two queries; also returns each picture's drawing weight."""
    pairs, more = read_associations(associations, {phrase: i for i, phrase in enumerate(log.phrases)})
    first = int(pictures.max(initial=-1)) + 1
    numbers = np.repeat(np.arange(first, first + len(pairs), dtype=pictures.dtype), 2)
    weights = np.concatenate([np.ones(first), more])
    return np.concatenate([pictures, numbers]), np.concatenate([queries, pairs.ravel()]), weights


def text_model(config: ContextConfig) -> SiameseText:
    """Returns the model that the stage trains, with all its weights."""
    keras.utils.set_random_seed(config.seed)
    encoder = DualEncoderText(config.text_dim, **ENCODER, name="dual_encoder_text")
    return SiameseText(encoder, name="siamese_text")


def hash_ngrams(phrases: Sequence[str]) -> Ngrams:
    """Returns the n-grams of phrases as new encoders read them; no encoder needs to be trained yet."""
    return DualEncoderText(1, **ENCODER).ngrams(phrases)


def forget_untrained(encoder: DualEncoderText, untrained: np.ndarray) -> None:
    """Sets n-grams that training never moved to zero, since their random vectors would add noise to a phrase.

    Args:
        encoder: the trained encoder.
        untrained: float32 [rows, dim], its n-gram table before training.
    """
    table = encoder.ngram_table.numpy()
    table[(table == untrained).all(axis=1)] = 0.0
    encoder.ngram_table.assign(table)
