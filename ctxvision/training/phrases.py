"""Stage `phrases`: the phrase generator learns queries as classes (section 3.2)."""

import numpy as np
import tf_keras as keras

from ctxvision._files import write_json
from ctxvision.errors import InputError
from ctxvision.models import QueryClassifier
from ctxvision.training.batches import epochs_of, tiled_batches
from ctxvision.training.fit import cosine_adamw, fit_resumably
from ctxvision.training.progress import Progress
from ctxvision.training.run import Run
from ctxvision.training.towers import new_phrase_generator
from ctxvision.training.two_towers import place_generator
from ctxvision.training.weights import save_weights

SAMPLED_CLASSES = 512


def train_phrases(run: Run, progress: Progress) -> None:
    """Trains the phrase generator on the pictures of `web` and the queries that led to them."""
    if run.config.phrase_table:
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
    keras.utils.set_random_seed(config.seed)
    generator = new_phrase_generator(config)
    pictures = run.tower_inputs(generator, "web")
    targets = padded_classes(len(pictures), log.pair_picture, classes[log.pair_query])
    taught = targets[:, 0] >= 0
    pictures, targets = pictures[taught], targets[taught]

    model = QueryClassifier(
        generator,
        num_classes,
        config.phrase_scale,
        num_sampled=None if num_classes <= config.full_softmax_up_to else SAMPLED_CLASSES,
        seed=config.seed,
        table_dtype=config.class_dtype,
        name="query_classifier",
    )
    epochs, steps_per_epoch = epochs_of(len(pictures), config.batch_size, config.phrase_steps)
    model.compile(cosine_adamw(config.learning_rate, epochs * steps_per_epoch))
    curves = fit_resumably(
        model,
        tiled_batches(pictures, (targets,), config.batch_size, config.seed),
        epochs,
        run.unfinished_folder("phrases"),
        progress,
        run.directory / "logs" / "phrases",
    )
    with run.finishing("phrases", curves=curves, classes=num_classes, pictures=len(pictures)) as folder:
        save_weights(generator, folder / "weights.npz")
        write_json(folder / "classes.json", [log.phrases[i] for i in np.flatnonzero(classes >= 0)])


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
