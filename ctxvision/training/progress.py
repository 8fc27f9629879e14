"""What a person sees while a run trains."""

import sys
import time
from typing import TextIO


class Progress:
    """Prints stage, share done, elapsed and remaining time: one moving line on a terminal, else plain lines.

    Args:
        stream: where to print; standard error by default.
        every: seconds between plain lines.
    """

    def __init__(self, stream: TextIO | None = None, every: float = 30.0):
        self.stream = stream or sys.stderr
        self.every = every
        self.moving = self.stream.isatty()
        self.start("")

    def start(self, name: str) -> None:
        """A stage begins."""
        self._name = name
        self._start = self._last = self._first_time = time.monotonic()
        self._first: float | None = None  # what was done at the first update
        if name and not self.moving:
            self._print(f"{name}: started")

    def skip(self, name: str) -> None:
        """A stage was done before."""
        self._print(f"{name}: done before, kept")

    def update(self, done: float, note: str = "") -> None:
        """`done` of the stage, in 0..1; what a resumed stage brought with it does not count as speed."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._first_time = done, now
        if not self.moving and now - self._last < self.every:
            return
        self._last = now
        gained = done - self._first
        left = f", {_clock((now - self._first_time) * (1 - done) / gained)} left" if gained > 0 else ""
        text = f"{self._name}: {done:4.0%}, {_clock(now - self._start)} elapsed{left}{'  ' + note if note else ''}"
        if self.moving:
            self.stream.write(f"\r\x1b[K{text}")
            self.stream.flush()
        else:
            self._print(text)

    def finish(self, note: str = "") -> None:
        """The stage is done."""
        if self.moving:
            self.stream.write("\r\x1b[K")
        took = _clock(time.monotonic() - self._start)
        self._print(f"{self._name}: done in {took}{'  ' + note if note else ''}")

    def _print(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
