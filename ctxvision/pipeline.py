"""The whole pipeline, from a data folder to a trained, measured and exported run."""

import functools
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import tensorflow as tf

from ctxvision._files import only_here, read_json, write_json
from ctxvision.classifier.config import Config
from ctxvision.classifier.context_check import check_context, without_context
from ctxvision.classifier.fork import fork_table
from ctxvision.classifier.fusion import check_vocabulary, train_classifier
from ctxvision.classifier.run import Run
from ctxvision.classifier.run_folder import OWN_CONTEXT, create_run
from ctxvision.classifier.visual import train_visual
from ctxvision.context.context import Context
from ctxvision.context.finish import index_settings
from ctxvision.context.small import FOLDER as SMALL
from ctxvision.context.towers import new_phrase_generator, with_found_tower
from ctxvision.context.train import train_context
from ctxvision.data import load_data
from ctxvision.data.source import Source
from ctxvision.data.training_check import refuse_unfit, refused_for_training
from ctxvision.errors import InputError
from ctxvision.evaluation.examples import write_examples
from ctxvision.evaluation.multi_label import multi_label
from ctxvision.evaluation.phrase_hits import measure_phrases
from ctxvision.evaluation.quantization import quantization_cost
from ctxvision.evaluation.run_facts import facts_of
from ctxvision.evaluation.suites import SUITES, Suite
from ctxvision.evaluation.table1 import table1
from ctxvision.metrics.records import save_records
from ctxvision.models.context_tagger import ContextTagger
from ctxvision.report.write import write_report as write_page
from ctxvision.serving import export_saved_model
from ctxvision.serving.export import export_tagger
from ctxvision.training.progress import Progress
from ctxvision.training.random_state import callers_random_state
from ctxvision.training.strategies import check_batch, is_chief, make_strategy, wait_for

# Phrases per picture of a tagger.
TAGS = 10


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
    run.stages.run("evaluation", progress, lambda: _first_evaluation(run, progress))
    if not (run.directory / "report.html").is_file():
        write_report(run)
    if not (run.directory / "export" / "1").is_dir():
        progress.start("export")
        export(run, run.directory / "export")
        progress.finish()


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


def _first_evaluation(run: Run, progress: Progress) -> None:
    """Measures Table 1 or the suite `multi-label` without training another encoder; writes examples for the report."""
    with run.stages.finishing("evaluation") as folder:
        measure_phrases(run)
        config = run.config
        if not run.data.test_splits:
            records = []
        elif config.multi_label:
            records = multi_label(run, progress, config.seeds)
        else:
            records = table1(run, progress, config.seeds, config.fractions, fine_tune=False)
        save_records(run.directory / "metrics.json", records)
        write_examples(run, folder / "examples.json")
    write_report(run)


@callers_random_state()
def evaluate(
    run: Run | str | os.PathLike[str],
    suite: str = "all",
    seeds: int | None = None,
    progress: Progress | None = None,
    trainable_min: int | None = None,
) -> Path:
    """Measures suites, adds their records to `metrics.json` and writes the report again.

    Earlier results of a suite are kept, so a suite that was stopped resumes.

    Args:
        run: a run or its folder.
        suite: one of `SUITES`, or "all", which leaves out suites whose data is missing and gives the reason there and
            in the report.
        seeds: number of heads per row; the run's setting by default.
        progress: prints progress, to standard error by default.
        trainable_min: for the suite `multi-label`, the number of pictures in `train` that a label needs for the mAP;
            100 by default, less if few labels have so many.

    Returns:
        The path of `metrics.json`.

    Raises:
        InputError: the suite is unknown; `seeds` or `trainable_min` is below 1; the run is not finished, or its context
            is missing; there is no test split; or the data does not suit the single suite.

    Example:
        >>> path = cv.evaluate("runs/photos", suite="calibration")
        >>> path.name
        'metrics.json'
    """
    run = run if isinstance(run, Run) else Run(run)
    progress = progress or Progress()
    if suite != "all" and suite not in SUITES:
        raise InputError(
            f"suite must be one of {', '.join([*SUITES, 'all'])}, got {suite!r}: choose one of them."
        )
    if seeds is not None and seeds < 1:
        raise InputError(f"seeds must be at least 1, got {seeds}: 3 is the default.")
    if trainable_min is not None and trainable_min < 1:
        raise InputError(f"trainable_min must be at least 1, got {trainable_min}: 100 is the method's.")
    path, left_out_path = run.directory / "metrics.json", run.directory / "measured" / "left_out.json"
    run.stages.folder("evaluation")
    if not run.data.test_splits:
        raise InputError(
            f"data must have a split test to measure on, got {', '.join(run.data.manifest.splits)} in "
            f"{run.data.name!r}: add test pictures and train a new run."
        )
    _ = run.context  # raises here; else each suite would be left out for a missing context
    suites: dict[str, Suite] = {
        **SUITES,
        "multi-label": functools.partial(multi_label, trainable_min=trainable_min),
    }
    left_out = read_json(left_out_path) if left_out_path.is_file() else {}
    with only_here(run.directory, "run"):
        for name in suites if suite == "all" else [suite]:
            progress.start(name)
            left_out.pop(name, None)
            try:
                save_records(path, suites[name](run, progress, seeds or run.config.seeds))
            except InputError as error:
                if suite != "all":
                    raise
                left_out[name] = str(error)
                progress.finish(f"left out: {error}")
            else:
                progress.finish()
            write_json(left_out_path, left_out)
        write_report(run)
    return path


def _curves(run: Run) -> dict[str, dict[str, list[float]]]:
    own = run.stages.curves()
    if (run.directory / OWN_CONTEXT).is_dir():
        return own  # the context's stages lie inside
    of_context = {
        stage: c for stage, c in run.context.stages.curves().items() if not _of_small_context(stage)
    }
    return own | {f"{OWN_CONTEXT}/{stage}": curves for stage, curves in of_context.items()}


def _times(run: Run) -> list[dict[str, Any]]:
    """Returns the seconds of the context, of the run, and of runs inside its folder over the same context."""
    own = {stage: s for stage, s in run.stages.seconds().items() if Path(stage).parts[0] != OWN_CONTEXT}
    inside = [Run(path.parent, run.context.directory) for path in sorted(run.directory.glob("*/config.json"))]
    inside = [one for one in inside if one.stages.is_done("head")]
    parts = [
        (
            "context",
            {stage: s for stage, s in run.context.stages.seconds().items() if not _of_small_context(stage)},
        ),
        (f"{len(run.choice.labels)} labels", own),
        *((f"{len(one.choice.labels)} labels over the same context", one.stages.seconds()) for one in inside),
    ]
    return [{"part": part, "seconds": round(sum(seconds.values()), 1)} for part, seconds in parts]


def _of_small_context(stage: str) -> bool:
    """Returns whether a stage belongs to the second, small generator of the suite `table2`."""
    return Path(stage).parts[0] == SMALL


def write_report(run: Run | str | os.PathLike[str]) -> Path:
    """Writes `report.html` from the figures of a run, and returns its path.

    Example:
        >>> cv.write_report("runs/photos").name
        'report.html'
    """
    run = run if isinstance(run, Run) else Run(run)
    write_json(run.directory / "logs" / "history.json", _curves(run))
    write_json(run.directory / "logs" / "times.json", _times(run))
    return write_page(run.directory)


def export(
    run: Run | str | os.PathLike[str],
    directory: str | os.PathLike[str],
    retrieval: str = "ivf",
    context: bool = True,
    with_text: bool = False,
    quantize: str | None = None,
) -> Path:
    """Exports a run's classifier for TF Serving.

    Args:
        run: a run or its folder.
        directory: folder of the model; the export becomes its next version, `directory/<version>`.
        retrieval: `"ivf"` and `"exact"` run on an unmodified TF Serving; `"scann"` needs ScaNN's op library.
        context: False exports the visual-only head that training compared on `val`: phrases are found and shown, but
            decide nothing.
        with_text: whether to export the text encoder, for the signature `with_context` and for the words of labels in
            `zero_shot`; see `export_saved_model`.
        quantize: "float16" or "int8" tables, see `Run.build_classifier`; their cost on `val` is measured, and the
            export tells it as `quantized`.

    Returns:
        The folder of the version.

    Raises:
        InputError: the run is not finished, or an argument does not fit it; see `Run.build_classifier` and
            `export_saved_model`.

    Example:
        >>> version = cv.export("runs/photos", "serving/photos", retrieval="exact")
    """
    run = run if isinstance(run, Run) else Run(run)
    with only_here(directory, "export"):
        version = _next_version(directory)
        build = run.build_classifier if context else functools.partial(without_context, run)
        model, facts = build(retrieval, quantize), facts_of(run, context)
        if quantize:
            facts["quantized"] = {"tables": quantize, **quantization_cost(run, build(retrieval), model)}
        return export_saved_model(model, version, with_text=with_text, facts=facts)


def export_context(
    context: Context | str | os.PathLike[str], directory: str | os.PathLike[str], k: int = TAGS
) -> Path:
    """Exports a context as a tagger for TF Serving, which answers pictures with phrases, without a taxonomy.

    Args:
        context: a context or its folder.
        directory: folder of the model; the export becomes its next version, `directory/<version>`.
        k: phrases per picture; limited to the number of retrievable phrases.

    Returns:
        The folder of the version.

    Example:
        >>> version = cv.export_context("contexts/web", "serving/tagger", k=5)
    """
    context = context if isinstance(context, Context) else Context(context)
    retrieval = context.retrieval(min(k, context.num_retrievable()), "ivf", **index_settings(context))
    facts = {"context": {"name": context.directory.resolve().name, "fingerprint": context.fingerprint}}
    tagger = ContextTagger(context.phrase_generator, retrieval)
    with only_here(directory, "export"):
        return export_tagger(tagger, _next_version(directory), facts)


def _next_version(directory: str | os.PathLike[str]) -> Path:
    versions = [int(path.name) for path in Path(directory).glob("*") if path.name.isdigit()]
    return Path(directory) / str(max(versions, default=0) + 1)
