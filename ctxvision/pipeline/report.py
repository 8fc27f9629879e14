"""Collects the curves and times of a run and writes its report."""

import os
from pathlib import Path
from typing import Any

from ctxvision._files import write_json
from ctxvision.classifier.run import Run
from ctxvision.classifier.run_folder import OWN_CONTEXT
from ctxvision.context.small import FOLDER as SMALL
from ctxvision.report.write import write_report as write_page


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
