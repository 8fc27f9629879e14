"""Stage `phrases`: the phrase generator learns queries as classes (section 3.2)."""

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision._files import write_json
from ctxvision.errors import InputError
from ctxvision.layers import PhraseGenerator
from ctxvision.models import QueryClassifier
from ctxvision.training.batches import epochs_of, tiled_batches
from ctxvision.training.config import Config
from ctxvision.training.fit import cosine_adamw, fit_resumably
from ctxvision.training.progress import Progress
from ctxvision.training.run import Run
from ctxvision.training.strategies import building, is_chief, make_strategy, policy_of, steps_per_execution
from ctxvision.training.towers import new_phrase_generator
from ctxvision.training.two_towers import place_generator
from ctxvision.training.weights import save_weights, take_part_in_saving

SAMPLED_CLASSES = 512


def train_phrases(run: Run, progress: Progress, strategy: tf.distribute.Strategy | None = None) -> None:
    """Trains the phrase generator on the pictures of `web` and the queries that led to them.

    Args:
        run: whose data is learnt.
        progress: told after every epoch.
        strategy: where; that in whose scope this is called by default.
    """
    strategy = make_strategy(strategy)
    if run.config.phrase_table:
        if is_chief(strategy):
            place_generator(run)
        return
    config, log = run.config, run.data.query_log
    classes = class_numbers(run)
    num_classes = int(classes.max()) + 1
    if num_classes < 2:
        raise InputError(
            f"min_class_count must leave at least 2 queries, got {config.min_class_count} which leaves {num_classes}: "
            f"lower it, or give more queries in {', '.join(config.languages)}."
        )
    with building(strategy, policy_of(strategy)):
        keras.utils.set_random_seed(config.seed)
        generator = new_phrase_generator(config)
    pictures = run.tower_inputs(generator, "web")
    targets = padded_classes(len(pictures), log.pair_picture, classes[log.pair_query])
    taught = targets[:, 0] >= 0
    pictures, targets = pictures[taught], targets[taught]

    epochs, steps_per_epoch = epochs_of(len(pictures), config.batch_size, config.phrase_steps)
    with building(strategy, policy_of(strategy)):
        model = phrase_model(generator, num_classes, config)
        model.compile(
            cosine_adamw(config.learning_rate, epochs * steps_per_epoch),
            steps_per_execution=steps_per_execution(strategy),
        )
    curves = fit_resumably(
        model,
        tiled_batches(pictures, (targets,), config.batch_size, config.seed),
        epochs,
        run.unfinished_folder("phrases"),
        progress,
        run.directory / "logs" / "phrases",
    )
    if not is_chief(strategy):
        take_part_in_saving(generator)
        return
    with run.finishing("phrases", curves=curves, classes=num_classes, pictures=len(pictures)) as folder:
        save_weights(generator, folder / "weights.npz")
        write_json(folder / "classes.json", [log.phrases[i] for i in np.flatnonzero(classes >= 0)])


def phrase_model(generator: PhraseGenerator, num_classes: int, config: Config) -> QueryClassifier:
    """The model that the stage trains."""
    return QueryClassifier(
        generator,
        num_classes,
        config.phrase_scale,
        num_sampled=None if num_classes <= config.full_softmax_up_to else SAMPLED_CLASSES,
        seed=config.seed,
        table_dtype=config.class_dtype,
        name="query_classifier",
    )


def class_numbers(run: Run) -> np.ndarray:
    """int32 [Q]: each query's softmax class, by falling count; -1 for those that are none."""
    log, config = run.data.query_log, run.config
    chosen = (log.counts >= config.min_class_count) & np.isin(log.languages, config.languages)
    return np.where(chosen, np.cumsum(chosen) - 1, -1).astype(np.int32)


def padded_classes(num_pictures: int, pair_picture: np.ndarray, pair_class: np.ndarray) -> np.ndarray:
    """int32 [N, Q]: each picture's classes, padded at the end with -1. Pairs are sorted by picture."""
    kept = pair_class >= 0
    pair_picture, pair_class = pair_picture[kept], pair_class[kept]
    counts = np.bincount(pair_picture, minlength=num_pictures)
    place = np.arange(len(pair_picture)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.full((num_pictures, max(1, counts.max(initial=0))), -1, np.int32)
    padded[pair_picture, place] = pair_class
    return padded
