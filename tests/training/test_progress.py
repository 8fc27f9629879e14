import io
import re

import pytest

from ctxvision.training.progress import Progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def drawn(stream):
    """The successive states of a terminal's line."""
    return [state.strip() for state in re.split("[\r\n]", stream.getvalue()) if state.strip()]


class Clock:
    """Replaces the clock of tqdm."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("tqdm.std.time", lambda: self.now)


def test_a_line_now_and_then_without_a_terminal(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    progress = Progress(stream, every=32.0)
    progress.start("phrases")
    for step in range(128):  # a second each
        progress.update(step / 128, f"loss {128 - step}")
        clock.now += 1.0
    progress.finish("10 classes")
    progress.skip("text")
    assert stream.getvalue().splitlines() == [
        "phrases: started",
        "phrases:  25%, 00:32 elapsed, 01:36 left, loss 96",
        "phrases:  50%, 01:04 elapsed, 01:04 left, loss 64",
        "phrases:  75%, 01:36 elapsed, 00:32 left, loss 32",
        "phrases: done in 00:00  10 classes",
        "text: done before, kept",
    ]


def test_one_bar_on_a_terminal():
    stream = Terminal()
    progress = Progress(stream)
    progress.start("phrases")
    progress.update(0.25, "loss 2.000")
    assert "\n" not in stream.getvalue()
    assert drawn(stream)[-1] == "phrases:  25% |█████               |, 00:00 elapsed, ? left, loss 2.000"
    progress.finish()
    assert stream.getvalue().endswith("\rphrases: done in 00:00\n") and stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_speed_and_remaining_time_do_not_count_what_a_resumed_stage_did_before(kind, monkeypatch):
    clock, stream = Clock(monkeypatch), kind()
    progress = Progress(stream, every=1.0)
    progress.start("predict")
    clock.now += 100  # the model loads
    progress.update(600, "", 1000, "pictures")
    clock.now += 50
    progress.update(700, "", 1000, "pictures")  # 2 a second, 300 are left
    assert drawn(stream)[-1].endswith(", 00:50 elapsed, 02:30 left,  2.00 pictures/s")
    clock.now += 10
    progress.update(0.5)  # another part of the stage
    clock.now += 10
    progress.update(0.75)
    assert drawn(stream)[-1].endswith(", 00:10 elapsed, 00:10 left")
    progress.update(64, "", 640, "pictures")  # a part of more
    clock.now += 10
    progress.update(128, "", 640, "pictures")
    assert drawn(stream)[-1].startswith("predict:  20%")


def test_a_stage_inside_a_stage():
    stream = io.StringIO()
    outer = Progress(stream, every=0.0)
    outer.start("table2")
    outer.update(0.5)
    inner = Progress(outer.stream, outer.every)
    inner.start("text")
    inner.finish()
    outer.finish()
    assert "\x1b" not in stream.getvalue() and "" not in stream.getvalue().splitlines()
