"""The command line: each verb calls one public function.

Exit status: 0 for success, 2 for wrong usage or bad input with one line that says what to fix, 1 for anything else.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

import ctxvision
from ctxvision.cli.context import add_context
from ctxvision.cli.data import add_data
from ctxvision.cli.parser import Parser, print_error
from ctxvision.cli.phrases import add_concepts, add_phrases
from ctxvision.cli.serving import add_export, add_predict, add_serve
from ctxvision.cli.training import add_demo, add_evaluate, add_plan, add_report, add_train
from ctxvision.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the terminal's encoding may lack letters
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Without this, Python writes the rest when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except InputError as error:
        print_error(f"ctxvision: {error}")
        return 2
    except KeyboardInterrupt:
        print_error("ctxvision: stopped; run the same command again to resume.")
        return 1
    except Exception as error:
        full = "No space left on device" in str(error)  # TensorFlow raises its own errors for a full disk
        if not full and not isinstance(error, OSError | RuntimeError):
            raise
        told = "the disk is full: free some space, then run the same command again." if full else error
        print_error(f"ctxvision: {told}")
        return 1
    return status or 0


def _run(arguments: Sequence[str] | None) -> int | None:
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for a completion
        import argcomplete

        argcomplete.autocomplete(parser, always_complete_options=False)
    chosen = parser.parse_args(arguments)
    if chosen.verbose:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow logs absent GPUs as errors
    return chosen.verb(chosen)


class _Version(argparse.Action):
    """Prints the versions. The metadata of TensorFlow is read only when asked for, to keep the start quick."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from ctxvision.cli.doctor import version_of

        python = ".".join(map(str, sys.version_info[:3]))
        print(f"ctxvision {ctxvision.__version__} (Python {python}, TensorFlow {version_of('tensorflow')})")
        parser.exit()


def _parser() -> Parser:
    parser = Parser(
        "Image classification with context from predicted search phrases.",
        "ctxvision train --help",
        prog="ctxvision",
        epilog='tab completion: eval "$(register-python-argcomplete ctxvision)"',
    )
    parser.set_defaults(quiet=False, verbose=False)
    parser.add_argument("--version", action=_Version, nargs=0, help="show versions and exit")
    for task, verbs in _TASKS.items():
        for add in verbs:
            add(parser, task)
    return parser


def _add_doctor(parser: Parser, task: str) -> None:
    verb = parser.add_verb(
        "doctor", "Check the installation and show what a bug report needs.", "ctxvision doctor", task
    )
    verb.set_defaults(verb=_doctor)


def _doctor(chosen: argparse.Namespace) -> int:
    from ctxvision.cli.doctor import diagnose

    failed = 0
    for finding in diagnose():
        print(f"{finding.name:<12} {finding.told}", flush=True)
        failed += not finding.works
    return int(failed > 0)


_TASKS: dict[str, tuple[Callable[[Parser, str], None], ...]] = {
    "make a context": (add_context, add_phrases),
    "train a classifier": (add_train, add_concepts, add_demo),
    "look into it": (add_evaluate, add_report),
    "serve and ask": (add_export, add_serve, add_predict),
    "data and tools": (add_data, add_plan, _add_doctor),
}
