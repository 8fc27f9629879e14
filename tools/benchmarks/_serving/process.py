"""Runs `ctxvision serve` in its own process."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


class ServerProcess:
    """A server on free ports of this machine, for the duration of a `with` block.

    Args:
        directory: folder of the model.

    Attributes:
        address: HOST:PORT of gRPC.
        url: URL of the page and REST.
    """

    def __init__(self, directory: Path):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (read until the server ends)
        command = [
            sys.executable,
            "-m",
            "ctxvision.cli",
            "serve",
            str(directory),
            "--port",
            "0",
            "--rest-port",
            "0",
        ]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment
        )
        assert self._process.stdout is not None
        first, second = self._process.stdout.readline(), self._process.stdout.readline()
        if not second:
            self.__exit__()
            raise RuntimeError(f"the server did not start: {self.errors()}")
        self.address = f"127.0.0.1:{first.rpartition(':')[2].strip()}"
        self.url = second.split()[-1]

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def errors(self) -> str:
        """Returns the server's standard error."""
        self._errors.seek(0)
        return self._errors.read()

    def memory(self, peak: bool = False) -> int:
        """Returns the resident memory in bytes, or its peak."""
        text = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        found = re.search(rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", text, re.MULTILINE)
        assert found is not None
        return 1024 * int(found[1])
