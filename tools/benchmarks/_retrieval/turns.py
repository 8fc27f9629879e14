"""Times searching processes in turns, so that other load on the machine slows them equally."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROUNDS = 5
SECONDS = 0.15  # per turn, with at least two calls


class Server:
    """Runs `serve.py` in its own process.

    Args:
        method: name of the method.
        folder: folder of the index.
        queries: file of the queries.
        threads: the number of threads for searching.
    """

    def __init__(self, method: str, folder: Path, queries: Path, threads: int):
        program = [sys.executable, str(Path(__file__).with_name("serve.py"))]
        self._process = subprocess.Popen(
            [*program, method, str(folder), str(queries), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Server":
        try:
            self._read()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, name: str, **arguments: Any) -> Any:
        """Calls a method of `Searcher` in the process."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise ServerDied(f"exit code {self._process.wait()}")
        return json.loads(line)


class ServerDied(RuntimeError):
    """A searching process ended early, for example for lack of memory."""


def take_turns(
    server: Server, baseline: Server | None, setting: int, batch: int
) -> tuple[float, float | None]:
    """Measures the median milliseconds of a call, and the median over rounds of baseline time divided by own time."""
    times, ratios = [], []
    for _ in range(ROUNDS):
        own = server.ask("time", setting=setting, batch=batch, seconds=SECONDS)
        times += own
        if baseline is not None:
            theirs = baseline.ask("time", setting=0, batch=batch, seconds=SECONDS)
            ratios.append(statistics.median(theirs) / statistics.median(own))
    return statistics.median(times), statistics.median(ratios) if ratios else None
