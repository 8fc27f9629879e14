"""Measures the suites of a trained run."""

import functools
import os
from pathlib import Path

from ctxvision._files import only_here, read_json, write_json
from ctxvision.classifier.run import Run
from ctxvision.errors import InputError
from ctxvision.evaluation.multi_label import multi_label
from ctxvision.evaluation.suites import SUITES, Suite
from ctxvision.metrics.records import save_records
from ctxvision.pipeline.report import write_report
from ctxvision.training.progress import Progress
from ctxvision.training.random_state import callers_random_state


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
