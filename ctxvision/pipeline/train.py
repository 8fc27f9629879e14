"""Trains a run from a data folder, and measures, reports and exports the run."""

import functools
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import tensorflow as tf

from ctxvision._files import only_here
from ctxvision.classifier.config import Config
from ctxvision.classifier.context_check import check_context
from ctxvision.classifier.fork import fork_table
from ctxvision.classifier.fusion import check_vocabulary, train_classifier
from ctxvision.classifier.run import Run
from ctxvision.classifier.run_folder import OWN_CONTEXT, create_run
from ctxvision.classifier.visual import train_visual
from ctxvision.context.context import Context
from ctxvision.context.towers import new_phrase_generator, with_found_tower
from ctxvision.context.train import train_context
from ctxvision.data import load_data
from ctxvision.data.source import Source
from ctxvision.data.training_check import refuse_unfit, refused_for_training
from ctxvision.evaluation.examples import write_examples
from ctxvision.evaluation.multi_label import multi_label
from ctxvision.evaluation.phrase_hits import measure_phrases
from ctxvision.evaluation.table1 import table1
from ctxvision.metrics.records import Record, save_records
from ctxvision.pipeline.export import export
from ctxvision.pipeline.report import write_report
from ctxvision.training.progress import Progress
from ctxvision.training.random_state import callers_random_state
from ctxvision.training.strategies import check_batch, is_chief, make_strategy, wait_for


@callers_random_state()
def train(
    data: Source,
    out: str | os.PathLike[str],
    config: Config | None = None,
    context: Context | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    strategy: str | tf.distribute.Strategy | None = None,
) -> Run:
    """Trains, measures, reports and exports a run; resumes an earlier call with the same settings.

    Args:
        data: folder with an `images.csv`, or one or several other sources; see `load_data`.
        out: folder of the run, new or left by the same call.
        config: settings; the defaults train on a CPU.
        context: a context or its folder, whose phrases and towers the run uses. Without a context, `data` must have
            queries, and the run first trains a context on them with `config.context`, in `out/context`.
        progress: prints progress, to standard error by default.
        strategy: strategy of the towers and the text encoder: a name of `make_strategy` or a strategy; the strategy in
            scope by default. With several workers, each worker calls this with the same arguments, and all of them see
            the folder `out`. Worker 0 runs every stage that is not training. The others return early, with a run that
            worker 0 finishes.

    Returns:
        The run; `run.classifier` is the end-to-end model.

    Raises:
        InputError: the data, the settings or the context cannot be used; raised before anything is written. A training
            whose loss is not finite raises it later.

    Example:
        >>> config = cv.Config.from_file("settings.json")
        >>> run = cv.train("photos", out="runs/new", config=config)
        >>> run.classifier.predict(pixels, verbose=0)["phrases"].shape
        (4, 3)
    """
    progress, config = progress or Progress(), config or Config()
    strategy = make_strategy(strategy)
    check_batch("batch_size", config.batch_size, strategy)
    given = Context(context) if isinstance(context, (str, os.PathLike)) else context
    of_context = given.config if given else with_found_tower(config.context)
    _check_data(data, config, given)
    if not is_chief(strategy):
        wait_for(Path(out) / "config.json")
    own = Path(out) / OWN_CONTEXT
    place = given.directory if given else own
    file = of_context.phrase_weights or Path(of_context.phrase_backbone).is_file()
    if given is None and file and not (own / "context.json").is_file():
        new_phrase_generator(of_context, pretrained=True)  # raises before anything is written
    with only_here(out, "run") if is_chief(strategy) else nullcontext():
        create_run(out, config, data, place, of_context.image_size)
        run = Run(out, place)
        if not run.stages.is_done("head"):
            for split in ("train", "val", *run.data.test_splits):
                run.data.split(split)  # raises where too many pictures cannot be decoded
        if given is None:
            # Pictures are decoded once if both see them at the same size.
            loaded = run.data if run.data.image_size == of_context.image_size else None
            parts = _Named(progress, OWN_CONTEXT)
            given = train_context(data, own, of_context, progress=parts, strategy=strategy, loaded=loaded)
        _train_parts(run, given, progress, strategy)
    return run


def _train_parts(run: Run, context: Context, progress: Progress, strategy: tf.distribute.Strategy) -> None:
    """Runs the stages of a run over a context; skips finished stages."""
    if is_chief(strategy):
        if run.stages.is_done("table"):
            _ = run.context  # raises for another context
        run.stages.run("table", progress, lambda: fork_table(run, context))
    wait_for(run.directory / "table" / "done.json")
    for fraction in run.config.fractions:
        work = functools.partial(train_visual, run, fraction, progress, strategy)
        run.stages.run(f"visual/{fraction:g}", progress, work)
    if not is_chief(strategy):
        return
    run.stages.run("head", progress, lambda: train_classifier(run, progress))
    run.stages.run("visual_only", progress, lambda: check_context(run, progress))
    # The export tells how good its heads are; the methods that they are compared with can wait until it is there.
    run.stages.run("accuracy", progress, lambda: _accuracy(run, progress))
    if not (run.directory / "export" / "1").is_dir():
        progress.start("export")
        export(run, run.directory / "export")
        progress.finish()
    run.stages.run("evaluation", progress, lambda: _comparisons(run, progress))
    if not (run.directory / "report.html").is_file():
        write_report(run)


def _check_data(data: Source, config: Config, context: Context | None) -> None:
    """Raises for data or a vocabulary that cannot be trained on, before anything is written."""
    manifest = load_data(data, config.label_column, config.merge_labels)
    refuse_unfit(refused_for_training(manifest, config.multi_label, None if context else config.query_needs))
    if context:
        check_vocabulary(Context(context.directory, languages=config.languages), config)


class _Named(Progress):
    """Prints stages as `PREFIX/STAGE`, for a part that has stages of its own."""

    def __init__(self, progress: Progress, prefix: str):
        self._prefix = prefix
        super().__init__(progress.stream, progress.every)

    def start(self, name: str) -> None:
        super().start(f"{self._prefix}/{name}" if name else "")

    def skip(self, name: str) -> None:
        super().skip(f"{self._prefix}/{name}")


def _accuracy(run: Run, progress: Progress) -> None:
    """Measures the heads that an export may hold: with context, and visual only."""
    with run.stages.finishing("accuracy"):
        records = _measured(run, progress, [max(run.config.fractions)], ("multimodal", "visual_only"))
        save_records(run.directory / "metrics.json", records)


def _comparisons(run: Run, progress: Progress) -> None:
    """Measures Table 1 or the suite `multi-label` without training another encoder; writes examples for the report."""
    with run.stages.finishing("evaluation") as folder:
        measure_phrases(run)
        save_records(run.directory / "metrics.json", _measured(run, progress, run.config.fractions))
        write_examples(run, folder / "examples.json")
    write_report(run)


def _measured(
    run: Run, progress: Progress, fractions: Sequence[float], only: Sequence[str] | None = None
) -> list[Record]:
    """Returns the records of the run's own suite; `only` names its methods, by default all."""
    if not run.data.test_splits:
        return []
    if run.config.multi_label:
        return multi_label(run, progress, run.config.seeds, only=only)
    return table1(run, progress, run.config.seeds, fractions, fine_tune=False, only=only)
