"""Arguments that several verbs share."""

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING

import ctxvision
from ctxvision.errors import InputError

if TYPE_CHECKING:
    from ctxvision.classifier.run import Run
    from ctxvision.context.context import Context
    from ctxvision.training.progress import Progress


def add_sources(verb: argparse.ArgumentParser) -> None:
    """Adds `DATA...`."""
    verb.add_argument(
        "data",
        nargs="+",
        metavar="DATA",
        help="folder with images.csv, or another source such as imagenet:DIR, or several sources",
    )


def add_run(verb: argparse.ArgumentParser) -> None:
    """Adds `RUN`, `--context` and `--data`."""
    verb.add_argument("run", metavar="RUN", help="folder of the run")
    _add_context(verb)
    verb.add_argument("--data", nargs="+", help="data of the run, if it has moved; the run remembers it")


def add_owner(verb: argparse.ArgumentParser) -> None:
    """Adds `CONTEXT|RUN` and `--context`."""
    verb.add_argument("owner", metavar="CONTEXT|RUN", help="folder of a context or a run")
    _add_context(verb)


def add_preset(verb: argparse.ArgumentParser, preset: str = "small") -> None:
    """Adds `--preset`."""
    verb.add_argument(
        "--preset", default=preset, help="small, demo, transfer or paper (default: %(default)s)"
    )


def add_config(verb: argparse.ArgumentParser) -> None:
    """Adds `--config`."""
    verb.add_argument("--config", help="JSON file of settings that replace those of the preset")


def add_strategy(verb: argparse.ArgumentParser) -> None:
    """Adds `--strategy`."""
    verb.add_argument(
        "--strategy",
        default="auto",
        metavar="NAME",
        help="auto, cpu, gpu, mirrored, tpu or multiworker (default: %(default)s)",
    )


def add_to(verb: argparse.ArgumentParser) -> None:
    """Adds `--to`."""
    verb.add_argument("--to", required=True, help="folder of the model; the next version is written into it")


def add_json(verb: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    verb.add_argument("--json", action="store_true", help="print one JSON object a line")


def run_of(chosen: argparse.Namespace) -> "Run":
    """Returns the run that the arguments of `add_run` name."""
    data = chosen.data[0] if chosen.data and len(chosen.data) == 1 else chosen.data
    return ctxvision.Run(chosen.run, chosen.context, data)


def owner_of(chosen: argparse.Namespace) -> "Context | Run":
    """Returns the context or run that the arguments of `add_owner` name."""
    from ctxvision.classifier.phrases import opened

    if chosen.context is None:
        return opened(chosen.owner)
    if (Path(chosen.owner) / "context.json").is_file():
        raise InputError(
            f"context must be left out beside a context, got {chosen.context!r} for {chosen.owner!r}: it names the "
            "context of a run."
        )
    return ctxvision.Run(chosen.owner, chosen.context)


def progress_of(chosen: argparse.Namespace) -> "Progress":
    """Returns the progress on standard error, or nowhere with `--quiet`."""
    from ctxvision.training.progress import Progress

    return Progress(io.StringIO() if chosen.quiet else None)


def _add_context(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--context", help="folder of the run's context, if it has moved")
