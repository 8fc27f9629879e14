"""Runs the demo: the whole pipeline on pictures from installed packages."""

import dataclasses
import os
from pathlib import Path

from ctxvision.classifier.config import Config
from ctxvision.classifier.run import Run
from ctxvision.data import write_demo_data
from ctxvision.pipeline import train, write_report
from ctxvision.serving import Prediction, Server, predict
from ctxvision.training.progress import Progress

# Number of pictures that the export is asked to explain.
_PICTURES = 3
# About a tenth of the training.
QUICK = {"phrase_steps": 600, "visual_steps": 200, "text_steps": 300, "head_steps": 200, "seeds": 1}


def demo(
    out: str | os.PathLike[str] = "runs/demo",
    seed: int = 0,
    quick: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Trains the whole pipeline on the demo's pictures, which come with installed packages.

    The run makes a context and learns the pictures' subgroups. A second run, in `out/groups`, learns their groups over
    the same context.

    Args:
        out: folder of the run; the data set is written to `out/emoji`.
        seed: seed of all training; it does not change the splits (see `write_demo_data` for that).
        quick: whether to train about a tenth of the steps, as a check; its accuracies mean little.
        progress: prints progress, to standard error by default.

    Returns:
        The first run.

    Raises:
        InputError: the packages of the extra `demo` are not installed, or `out` holds another run.

    Example:
        >>> run = cv.demo(out="runs/demo", quick=True)
    """
    progress = progress or Progress()
    data = Path(out) / "emoji"
    if not (data / "images.csv").is_file():
        write_demo_data(data)
    config = Config.preset("demo", **(QUICK if quick else {}), seed=seed)
    run = train(data, out, config, progress=progress)
    groups = dataclasses.replace(config, label_column="coarse_label", fractions=(max(config.fractions),))
    train(data, Path(out) / "groups", groups, run.context.directory, progress)
    write_report(run)
    return run


def demo_prediction(run: Run) -> list[Prediction]:
    """Serves a run's export on a free port, and asks it to explain three pictures of the first test split.

    Args:
        run: a finished run.

    Returns:
        Three predictions, for the same pictures in each call.

    Raises:
        InputError: the run has no export.

    Example:
        >>> predictions = cv.demo_prediction(cv.Run("runs/photos"))
        >>> len(predictions)
        3
    """
    paths = run.data.split(run.data.test_splits[0]).paths
    chosen = [paths[(2 * i + 1) * len(paths) // (2 * _PICTURES)] for i in range(_PICTURES)]
    with Server(run.directory / "export", port=0) as server:
        return predict(f"{server.host}:{server.port}", chosen, explain=True)
