"""Stage `generator`: trains the phrase generator as a classifier of queries (section 3.2)."""

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision._files import write_json
from ctxvision.context.config import ContextConfig
from ctxvision.context.context import Context
from ctxvision.context.held_out import trained_on
from ctxvision.context.towers import copy_tower, new_phrase_generator, tower_name
from ctxvision.layers import PhraseGenerator
from ctxvision.models import QueryClassifier
from ctxvision.training.batches import epochs_of, tiled_batches
from ctxvision.training.cached_features import CachedFeatures
from ctxvision.training.fine_tuning import set_trainable, steps_of
from ctxvision.training.fit import cosine_adamw, fit_resumably
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.progress import Progress
from ctxvision.training.query_log import QueryLog
from ctxvision.training.strategies import building, is_chief, policy_of, steps_per_execution
from ctxvision.training.weights import save_weights, take_part_in_saving

SAMPLED_CLASSES = 512
STAGE = "generator"


def train_generator(
    context: Context, data: LoadedData, progress: Progress, strategy: tf.distribute.Strategy
) -> None:
    """Trains the phrase generator on the pictures of `web` and the queries that led to them.

    Args:
        context: the context to train.
        data: data with queries.
        progress: updated before every epoch.
        strategy: strategy of the training.
    """
    config, log, stages = context.config, data.query_log, context.stages
    classes = class_numbers(log, config)
    num_classes = int(classes.max()) + 1
    with building(strategy, policy_of(strategy)):
        keras.utils.set_random_seed(config.seed)
        generator = new_phrase_generator(config, pretrained=True)
    classes_of_pictures = padded_classes(len(data.split("web")), log.pair_picture, classes[log.pair_query])
    taught = np.flatnonzero((classes_of_pictures[:, 0] >= 0) & trained_on(data))
    targets = classes_of_pictures[taught]

    with building(strategy, policy_of(strategy)):
        model = phrase_model(generator, num_classes, config)
    curves: dict[str, list[float]] = {}
    for step in steps_of(config.phrase_train):
        steps = max(1, round(config.phrase_steps * step.share))
        epochs, steps_per_epoch = epochs_of(len(taught), config.batch_size, steps)
        set_trainable(generator.tower, "none" if step.frozen else config.phrase_train)
        pictures = features_of_web(context, data).tower_inputs(generator, "web", progress)
        with building(strategy, policy_of(strategy)):
            model.compile(
                cosine_adamw(config.learning_rate * step.rate, epochs * steps_per_epoch),
                steps_per_execution=steps_per_execution(strategy),
            )
        found = fit_resumably(
            model,
            tiled_batches(pictures, (targets,), config.batch_size, config.seed, taught),
            epochs,
            stages.unfinished(STAGE) / step.name,
            progress,
            context.directory / "logs" / STAGE / step.name,
        )
        curves = {name: curves.get(name, []) + values for name, values in found.items()}
    if not is_chief(strategy):
        take_part_in_saving(generator)
        return
    facts = {"curves": curves, "classes": num_classes, "pictures": len(taught), "tower": tower_name(config)}
    with stages.finishing(STAGE, **facts) as folder:
        save_weights(generator, folder / "weights.npz")
        write_json(folder / "classes.json", [log.phrases[i] for i in np.flatnonzero(classes >= 0)])
        copy_tower(config, folder)


def features_of_web(context: Context, data: LoadedData) -> CachedFeatures:
    """Returns the cache of towers' features for the data's pictures, which the context keeps until it is finished."""
    return CachedFeatures(context.directory / "features", data.pictures)


def phrase_model(generator: PhraseGenerator, num_classes: int, config: ContextConfig) -> QueryClassifier:
    """Returns the model that the stage trains."""
    return QueryClassifier(
        generator,
        num_classes,
        config.phrase_scale,
        num_sampled=None if num_classes <= config.full_softmax_up_to else SAMPLED_CLASSES,
        seed=config.seed,
        table_dtype=config.class_dtype,
        name="query_classifier",
    )


def class_numbers(log: QueryLog, config: ContextConfig) -> np.ndarray:
    """Returns each query's softmax class, int32 [Q], in descending order of count; -1 for a query without a class."""
    chosen = (log.counts >= config.min_class_count) & np.isin(log.languages, config.languages)
    return np.where(chosen, np.cumsum(chosen) - 1, -1).astype(np.int32)


def padded_classes(num_pictures: int, pair_picture: np.ndarray, pair_class: np.ndarray) -> np.ndarray:
    """Returns each picture's classes, int32 [N, Q], padded at the end with -1; pairs must be sorted by picture."""
    kept = pair_class >= 0
    pair_picture, pair_class = pair_picture[kept], pair_class[kept]
    counts = np.bincount(pair_picture, minlength=num_pictures)
    place = np.arange(len(pair_picture)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.full((num_pictures, max(1, counts.max(initial=0))), -1, np.int32)
    padded[pair_picture, place] = pair_class
    return padded
