"""argparse with verbs grouped by task, an example in each help page, and errors of one line."""

import argparse
import difflib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviated options and suggests the nearest verb or option.

    Args:
        summary: first line of the help page.
        example: a command, the last line of the help page.
        settings: passed on to `argparse.ArgumentParser`.
    """

    def __init__(self, summary: str, example: str, **settings: Any):
        super().__init__(allow_abbrev=False, **settings)
        self.summary, self.example = summary, example
        self._tasks: dict[str, dict[str, Parser]] = {}
        self._subparsers_action: Any = None
        messages = self.add_argument_group("messages").add_mutually_exclusive_group()
        # Without a default, a verb's parser does not overwrite what was given before the verb.
        for option, told in (
            ("--quiet", "show only results, warnings and errors"),
            ("--verbose", "show TensorFlow's own log too"),
        ):
            messages.add_argument(option, action="store_true", default=argparse.SUPPRESS, help=told)

    @property
    def verbs(self) -> dict[str, "Parser"]:
        """Name to parser of each verb, empty for a parser without verbs."""
        return {name: verb for verbs in self._tasks.values() for name, verb in verbs.items()}

    def add_verb(self, name: str, summary: str, example: str, task: str = "verbs") -> "Parser":
        """Adds a verb; the help page lists it under the heading `task`."""
        if self._subparsers_action is None:
            self._subparsers_action = self.add_subparsers(
                required=True, metavar="VERB", help="one of the list above"
            )
        verb: Parser = self._subparsers_action.add_parser(name, summary=summary, example=example)
        self._tasks.setdefault(task, {})[name] = verb
        return verb

    def format_help(self) -> str:
        """Writes the help page: summary, verbs by task, argparse's own page, example."""
        tasks = [
            f"{task}:\n"
            + "\n".join(
                f"  {name:<9} {verb.summary}\n{'':12}$ {verb.example}" for name, verb in verbs.items()
            )
            for task, verbs in self._tasks.items()
        ]
        page = super().format_help().rstrip()
        return "\n\n".join([self.summary, *tasks, page, f"example:\n  $ {self.example}"]) + "\n"

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parses the arguments; exits with status 2 and one line on wrong usage."""
        given = list(sys.argv[1:] if args is None else args)
        self._check_names(given)
        return super().parse_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with status 2."""
        print_error(f"{self.prog}: {message} (see {self.prog} --help)")
        self.exit(2)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Flushes standard output, so that a closed pipe raises here, and exits."""
        sys.stdout.flush()
        super().exit(status, message)

    def _check_names(self, given: list[str]) -> None:
        """Exits at the first unknown option or verb. argparse alone suggests nothing before Python 3.14."""
        for number, word in enumerate(given):
            option = word.partition("=")[0]
            if option == "--":
                return
            if option.startswith("--") and " " not in option and option not in self._option_string_actions:
                self.error(f"unrecognized arguments: {option}{_nearest(option, self._option_string_actions)}")
            if self.verbs and not word.startswith("-"):
                if word not in self.verbs:
                    self.error(f"unknown verb {word!r}{_nearest(word, self.verbs)}")
                return self.verbs[word]._check_names(given[number + 1 :])


def print_error(sentence: str) -> None:
    """Prints a line to standard error, in red on a terminal unless NO_COLOR is set."""
    from tqdm import tqdm

    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        sentence = f"\x1b[31m{sentence}\x1b[0m"
    tqdm.write(sentence, file=sys.stderr)  # clears a progress bar first


def _nearest(word: str, names: Iterable[str]) -> str:
    names = sorted(names)
    found = [name for name in names if name.startswith(word)] or difflib.get_close_matches(word, names, n=1)
    return f", did you mean {found[0]}?" if found else ""
