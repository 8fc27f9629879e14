"""Shows a person the progress of a training."""

import sys
import time
from typing import TextIO

from tqdm import tqdm


class Progress:
    """Shows stage, percent, elapsed and remaining time: a tqdm bar on a terminal, else a line now and then.

    Args:
        stream: where to print; standard error by default.
        every: seconds between the lines where `stream` is no terminal.
    """

    def __init__(self, stream: TextIO | None = None, every: float = 30.0):
        self.stream = stream or sys.stderr
        self.every = every
        self._name, self._started = "", time.monotonic()
        self._bar: tqdm | None = None

    def start(self, name: str) -> None:
        """Starts a stage."""
        self._name, self._started = name, time.monotonic()
        self._close()
        if self.stream.isatty():
            self._open(0.0, None, "", "")
        else:
            self._print(f"{name}: started")

    def skip(self, name: str) -> None:
        """Prints that an earlier call has finished the stage."""
        self._print(f"{name}: done before, kept")

    def update(self, done: float, note: str = "", total: float = 1.0, unit: str = "") -> None:
        """Shows how much of the stage is done.

        Speed and remaining time count from the stage's first update: what a resumed stage did before does not count.
        Both start again when `done` falls or `total` changes, as between the parts of a stage.

        Args:
            done: how much of `total`.
            note: shown behind the times, such as the loss.
            total: 1 where `done` is a share.
            unit: what is counted, such as "pictures"; the speed is shown only with a unit.
        """
        bar = self._bar
        if bar is None or bar.total != total or done < bar.n:
            bar = self._open(done, total, unit, note)
        bar.set_postfix_str(note, refresh=False)
        bar.update(done - bar.n)

    def finish(self, note: str = "") -> None:
        """Ends the stage and prints how long it took."""
        self._close()
        took = tqdm.format_interval(time.monotonic() - self._started)
        self._print(f"{self._name}: done in {took}{'  ' + note if note else ''}")

    def _open(self, done: float, total: float | None, unit: str, note: str) -> tqdm:
        self._close()
        terminal = self.stream.isatty()
        bar, speed = " |{bar:20}|" if terminal else "", ", {rate_noinv_fmt}" if unit else ""
        self._bar = tqdm(
            desc=self._name,
            initial=done,
            total=total,
            unit=f" {unit}",
            postfix=note,
            file=self.stream if terminal else _Lines(self.stream),
            bar_format=f"{{desc}}: {{percentage:3.0f}}%{bar}, {{elapsed}} elapsed, {{remaining}} left{speed}{{postfix}}",
            mininterval=0.1 if terminal else self.every,
            delay=0 if terminal else self.every,
            miniters=0,
            smoothing=0,  # the mean speed: epochs are few
            dynamic_ncols=terminal,
            position=0,
            leave=False,
        )
        return self._bar

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print(self, text: str) -> None:
        tqdm.write(text, file=self.stream)
        self.stream.flush()


class _Lines:
    """A file that gets each state of a tqdm bar as a line of its own."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> None:
        if text.strip():  # a bar is cleared by blanks
            self.stream.write(text.strip() + "\n")

    def flush(self) -> None:
        self.stream.flush()
