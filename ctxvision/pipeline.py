"""The whole way: from a data folder to a trained, measured, exported run."""

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from ctxvision._files import read_json, write_json
from ctxvision.data import write_demo_data
from ctxvision.data.source import Source
from ctxvision.errors import InputError
from ctxvision.evaluation import SUITES, measure_phrases, save_records, table1, write_examples, write_report
from ctxvision.evaluation.multi_label import multi_label
from ctxvision.evaluation.quantization import quantization_cost
from ctxvision.evaluation.run_facts import facts_of
from ctxvision.evaluation.suites import Suite
from ctxvision.serving import export_saved_model
from ctxvision.training import Config, Progress, Run
from ctxvision.training.classifier import train_classifier
from ctxvision.training.context_check import check_context, without_context
from ctxvision.training.phrases import train_phrases
from ctxvision.training.prototypes import make_prototypes
from ctxvision.training.strategies import check_batch, is_chief, make_strategy
from ctxvision.training.text import train_text
from ctxvision.training.towers import SHARED
from ctxvision.training.visual import train_visual

LONGEST_WAIT = 600  # seconds
# A tenth of the demo's training.
QUICK = {"phrase_steps": 600, "visual_steps": 200, "text_steps": 300, "head_steps": 200, "seeds": 1}


def train(
    data: Source,
    out: str | os.PathLike[str],
    config: Config | None = None,
    progress: Progress | None = None,
    strategy: str | tf.distribute.Strategy | None = None,
) -> Run:
    """Trains, measures, reports and exports; what an earlier call with the same settings did is kept.

    Args:
        data: folder with an `images.csv`, or another source, or several; see `load_data`.
        out: the run's folder, new or left by the same call.
        config: settings; the defaults train on a CPU.
        progress: where progress is printed; standard error by default.
        strategy: where the towers and the text encoder train: a name of `make_strategy`, or any strategy; by default
            that in whose scope this is called. Under several workers each calls this with the same arguments, `out`
            being a folder that all see; the first does alone what is not training, and the others return a run that
            the first has still to finish.

    Returns:
        The run; `run.classifier` is the end-to-end model.

    Raises:
        InputError: data or settings that cannot be used, before anything is written.

    Example:
        >>> run = cv.train(data="photos", out="runs/photos", config=cv.Config(seed=1))
        >>> run.classifier.predict(pixels)["phrases"]
    """
    progress, config = progress or Progress(), config or Config()
    strategy = make_strategy(strategy)
    check_batch("batch_size", config.batch_size, strategy)
    check_batch("text_batch_size", config.text_batch_size, strategy)
    if not is_chief(strategy):
        _wait_for(Path(out) / "config.json")
    run = Run.create(out, config, data)

    def stage(name: str, work: Callable[[], str | None]) -> None:
        if run.is_done(name):
            progress.skip(name)
            return
        progress.start(name)
        progress.finish(work() or "")

    shared = run.config.visual_backbone == SHARED
    if shared:  # the visual encoder stands on what this stage trains
        stage("phrases", lambda: train_phrases(run, progress, strategy))
        _wait_for(run.directory / "phrases" / "done.json")
    for fraction in run.config.fractions:
        stage(f"visual/{fraction:g}", functools.partial(train_visual, run, fraction, progress, strategy))
    if not shared:
        stage("phrases", lambda: train_phrases(run, progress, strategy))
    if is_chief(strategy):
        stage("prototypes", lambda: make_prototypes(run, progress))
    stage("text", lambda: train_text(run, progress, strategy))
    if not is_chief(strategy):
        return run
    stage("classifier", lambda: train_classifier(run, progress))
    stage("context", lambda: check_context(run, progress))
    stage("evaluation", lambda: _first_evaluation(run, progress))
    if not (run.directory / "report.html").is_file():
        report(run)
    if not (run.directory / "export" / "1").is_dir():
        progress.start("export")
        export(run, run.directory / "export")
        progress.finish()
    return run


def _wait_for(path: Path) -> None:
    """Waits until the first worker has written a file of the run."""
    end = time.monotonic() + LONGEST_WAIT
    while not path.is_file():
        if time.monotonic() > end:
            raise InputError(
                f"out must be a folder that all workers see, got {str(path.parent)!r} where the first one has written "
                f"no {path.name} within {LONGEST_WAIT} s: give a shared folder, and look at what the first worker says."
            )
        time.sleep(0.2)


def _first_evaluation(run: Run, progress: Progress) -> None:
    """Table 1, or the suite `multi-label`, on the encoders that the run has trained, and pictures for the report."""
    with run.finishing("evaluation") as folder:
        measure_phrases(run)
        config = run.config
        if config.multi_label:
            records = multi_label(run, progress, config.seeds)
        else:
            records = table1(run, progress, config.seeds, config.fractions)
        save_records(run.directory / "metrics.json", records)
        write_examples(run, folder / "examples.json")
    report(run)


def evaluate(
    run: Run | str | os.PathLike[str],
    suite: str = "all",
    seeds: int | None = None,
    progress: Progress | None = None,
    trainable_min: int | None = None,
) -> Path:
    """Measures suites, adds their records to `metrics.json` and writes the report anew.

    What a suite has measured before is kept, so that one that was stopped goes on where it was.

    Args:
        run: a run or its folder.
        suite: one of `SUITES`, or "all": then a suite whose data is missing is left out with a sentence, which the
            report repeats.
        seeds: heads for each row; the run's own setting by default.
        progress: where progress is printed; standard error by default.
        trainable_min: of the suite `multi-label`, the pictures in `train` that a label of its mAP needs; 100 by
            default, less where few labels have as many.

    Returns:
        The path of `metrics.json`.

    Raises:
        InputError: an unknown suite, fewer than 1 seed, a run that is not trained to the end, or data that the
            one suite asked for needs and the run lacks.
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
    run.stage_folder("evaluation")
    suites: dict[str, Suite] = {
        **SUITES,
        "multi-label": functools.partial(multi_label, trainable_min=trainable_min),
    }
    left_out = read_json(left_out_path) if left_out_path.is_file() else {}
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
    report(run)
    return path


def report(run: Run | str | os.PathLike[str]) -> Path:
    """Writes `report.html` from what a run has measured, and returns its path."""
    run = run if isinstance(run, Run) else Run(run)
    write_json(run.directory / "logs" / "history.json", run.curves())
    return write_report(run.directory)


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
        directory: of the model; the export becomes the next version in it, `directory/<version>`.
        retrieval: `"ivf"` and `"exact"` run on an unmodified TF Serving; `"scann"` needs ScaNN's op library.
        context: False exports the visual-only head that training compared on `val`: phrases are still found and
            shown, but decide nothing.
        with_text: whether the text encoder goes along, for the signature `with_context` and the labels of `zero_shot`
            as words; see `export_saved_model`.
        quantize: "float16" or "int8", of the tables, see `Run.build_classifier`; what it costs on `val` is measured, and
            told by the export as `quantized`.

    Returns:
        The version's folder.

    Raises:
        InputError: the run is not trained to the end.
    """
    run = run if isinstance(run, Run) else Run(run)
    if with_text and run.config.phrase_table:
        raise InputError(
            "with_text must be left out for a run whose phrases are a text tower's, got True: callers embed their words "
            "with that tower."
        )
    versions = [int(path.name) for path in Path(directory).glob("*") if path.name.isdigit()]
    version = Path(directory) / str(max(versions, default=0) + 1)
    build = run.build_classifier if context else functools.partial(without_context, run)
    model, facts = build(retrieval, quantize), facts_of(run, context)
    if quantize:
        facts["quantized"] = {"tables": quantize, **quantization_cost(run, build(retrieval), model)}
    return export_saved_model(model, version, with_text=with_text, facts=facts)


def demo(
    out: str | os.PathLike[str] = "runs/demo",
    seed: int = 0,
    quick: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Trains the whole pipeline on the demo's pictures, which installed packages carry.

    Args:
        out: the run's folder; the data set is written to `out/emoji`.
        seed: of all training; which thing is in which split does not depend on it (see `write_demo_data` for that).
        quick: a tenth of the training, to see that everything works; its accuracies mean little.
        progress: where progress is printed; standard error by default.

    Returns:
        The run.

    Raises:
        InputError: the packages of the extra `demo` are not installed, or `out` holds another run.
    """
    data = Path(out) / "emoji"
    if not (data / "images.csv").is_file():
        write_demo_data(data)
    return train(data, out, Config.preset("demo", **(QUICK if quick else {}), seed=seed), progress)
