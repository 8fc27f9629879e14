import io

from ctxvision.training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_when_it_is_no_terminal():
    stream = io.StringIO()
    progress = Progress(stream, every=0.0)
    progress.start("phrases")
    progress.update(0.0)
    progress.update(0.5, "loss 1.000")
    progress.finish()
    progress.skip("text")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "phrases: started"
    assert lines[2].startswith("phrases:  50%, 0:00 elapsed, 0:00 left  loss 1.000")
    assert lines[3].startswith("phrases: done in 0:00")
    assert lines[4] == "text: done before, kept"


def test_no_more_plain_lines_than_asked_for():
    stream = io.StringIO()
    progress = Progress(stream, every=60.0)
    progress.start("phrases")
    for step in range(100):
        progress.update(step / 100)
    assert stream.getvalue().splitlines() == ["phrases: started"]


def test_one_moving_line_on_a_terminal():
    stream = Terminal()
    progress = Progress(stream)
    progress.start("phrases")
    progress.update(0.25)
    progress.update(0.5)
    assert "\n" not in stream.getvalue() and stream.getvalue().count("\r") == 2
    progress.finish()
    assert stream.getvalue().endswith("phrases: done in 0:00\n")
