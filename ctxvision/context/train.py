"""Trains a context from pictures and the queries that led to them."""

import os
import warnings
from contextlib import nullcontext
from pathlib import Path

import tensorflow as tf

from ctxvision._files import only_here
from ctxvision.context.config import ContextConfig
from ctxvision.context.context import QUERIES, Context
from ctxvision.context.finish import finish_context
from ctxvision.context.folder import create_context
from ctxvision.context.generator import train_generator
from ctxvision.context.table import make_table
from ctxvision.context.text import train_text
from ctxvision.context.towers import with_found_tower
from ctxvision.data.associations import read_associations
from ctxvision.data.source import Source
from ctxvision.data.training_check import QueryNeeds, refuse_unfit, refused_queries
from ctxvision.training.data_facts import file_digest
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.progress import Progress
from ctxvision.training.random_state import callers_random_state
from ctxvision.training.strategies import check_batch, is_chief, make_strategy, wait_for


@callers_random_state()
def train_context(
    data: Source,
    out: str | os.PathLike[str],
    config: ContextConfig | None = None,
    associations: str | os.PathLike[str] | None = None,
    licence: str = "",
    progress: Progress | None = None,
    strategy: str | tf.distribute.Strategy | None = None,
    loaded: LoadedData | None = None,
) -> Context:
    """Trains a context on picture-query pairs; resumes an earlier call with the same settings.

    Args:
        data: data with a split `web`, whose pictures have queries; see `load_data`. For a released data set without
            queries, the words of its labels serve as queries, with a warning.
        out: folder of the context, new or left by the same call.
        config: settings; the defaults train on a CPU.
        associations: file of more pairs of queries from a log, in addition to the queries that share a picture: a TSV
            of query, query and an optional weight.
        licence: licence of the data, for the card.
        progress: prints progress, to standard error by default.
        strategy: strategy that trains generator and text encoder; see `train`.
        loaded: the same data, if it is already loaded at the image size of the generator.

    Returns:
        The context.

    Raises:
        InputError: the data has no queries, the settings cannot be used, `out` holds a context of other settings or
            data, or another process works there; nothing is written then. A training whose loss is not finite raises
            it later.

    Example:
        >>> config = cv.ContextConfig(phrase_steps=100, text_steps=100)
        >>> context = cv.train_context("photos", out="contexts/new", config=config)
    """
    progress, config = progress or Progress(), with_found_tower(config or ContextConfig())
    strategy = make_strategy(strategy)
    check_batch("batch_size", config.batch_size, strategy)
    check_batch("text_batch_size", config.text_batch_size, strategy)
    known = Path(out) / "pictures.json"
    loaded = loaded or LoadedData(
        data, config.image_size, config.seed, folder=Path(out) / "pictures", known=known
    )
    manifest = loaded.manifest
    needs = QueryNeeds(config.languages, config.min_class_count, config.min_phrase_count)
    refuse_unfit(refused_queries(manifest, needs))
    if manifest.words_for_queries:
        warnings.warn(
            f"{manifest.source} has no queries: phrases are learnt from the words of its labels, which add nothing to "
            "the labels; name a second source with queries, such as captions:DIR, or train over a context.",
            stacklevel=2,
        )
    if not is_chief(strategy):
        wait_for(Path(out) / "context.json")
    if associations is not None:
        read_associations(associations, {text: i for i, text in enumerate(loaded.query_log.phrases)})
    made_from = {"associations": file_digest(associations)} if associations is not None else {}
    with only_here(out, "context") if is_chief(strategy) else nullcontext():
        context = create_context(out, config, data, QUERIES, licence, made_from)
        stages = context.stages
        stages.run("generator", progress, lambda: train_generator(context, loaded, progress, strategy))
        wait_for(stages.directory / "generator" / "done.json")
        if is_chief(strategy):
            stages.run("table", progress, lambda: make_table(context, loaded, progress))
        stages.run("text", progress, lambda: train_text(context, loaded, associations, progress, strategy))
        if is_chief(strategy):
            finish_context(context, loaded, progress)
        return context
