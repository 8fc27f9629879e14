"""Arguments of the verbs that open a run."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import ctxvision
from ctxvision.errors import InputError

if TYPE_CHECKING:
    from ctxvision.classifier.run import Run
    from ctxvision.context.context import Context


def add_run(verb: argparse.ArgumentParser) -> None:
    """`RUN`, `--context` and `--data`."""
    verb.add_argument("run", metavar="RUN", help="folder of the run")
    _add_context(verb)
    verb.add_argument(
        "--data", nargs="+", help="the run's data, where it was moved since; the run remembers it"
    )


def add_owner(verb: argparse.ArgumentParser) -> None:
    """`CONTEXT|RUN` and `--context`."""
    verb.add_argument("owner", metavar="CONTEXT|RUN", help="folder of a context or a run")
    _add_context(verb)


def run_of(chosen: argparse.Namespace) -> "Run":
    """The run that `add_run`'s arguments name."""
    data = chosen.data[0] if chosen.data and len(chosen.data) == 1 else chosen.data
    return ctxvision.Run(chosen.run, chosen.context, data)


def owner_of(chosen: argparse.Namespace) -> "Context | Run":
    """The context or run that `add_owner`'s arguments name."""
    from ctxvision.classifier.phrases import opened

    if chosen.context is None:
        return opened(chosen.owner)
    if (Path(chosen.owner) / "context.json").is_file():
        raise InputError(
            f"context must be left out beside a context, got {chosen.context!r} for {chosen.owner!r}: it is for a run whose "
            "context has moved."
        )
    return ctxvision.Run(chosen.owner, chosen.context)


def _add_context(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--context", help="folder of the run's context, where it was moved since")
