"""Runs programs in processes that have imported a few modules and nothing else.

Importing TensorFlow takes seconds. For each set of modules, one process imports them once, and each program runs in a
fork of it: as fresh as a new process, but ready in milliseconds.
"""

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TIMEOUT = 900  # seconds

DRIVER = """
import importlib, json, os, runpy, signal, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    told = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(told["timeout"])
        os.chdir(told["folder"])
        os.dup2(os.open("stdin", os.O_RDONLY | os.O_CREAT), 0)
        os.dup2(os.open("stdout", os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT), 2)
        os.chdir(told["cwd"])
        sys.argv[:], sys.path[:] = told["argv"], [*told["path"], *sys.path]
        status = 1
        try:
            runpy.run_path(told["program"], run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def run_fresh(
    source: str | Path,
    arguments: Sequence[object] = (),
    imports: Sequence[str] = ("tensorflow",),
    cwd: str | Path | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Runs a program in a process that has imported only `imports`, without this process's PYTHONPATH.

    Args:
        source: the program's text, or a `Path` to the program's file, from whose folder it may import.
        arguments: arguments of its command line.
        imports: modules to import, in this order.
        cwd: its working directory; a new folder by default.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "program.py")
        if isinstance(source, str):
            program.write_text(source, encoding="utf-8")
        else:
            program = source
        told = {
            "program": str(program),
            "argv": [str(program), *map(str, arguments)],
            "path": [] if isinstance(source, str) else [str(source.parent)],
            "folder": folder,
            "cwd": str(cwd or folder),
            "timeout": TIMEOUT,
        }
        driver = _driver(tuple(imports))
        assert driver.stdin is not None and driver.stdout is not None
        driver.stdin.write(json.dumps(told) + "\n")
        driver.stdin.flush()
        status = int(driver.stdout.readline())
        out, error = (Path(folder, name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(told["argv"], status, out, error)


@functools.cache
def _driver(imports: tuple[str, ...]) -> "subprocess.Popen[str]":
    bare = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TF_USE_LEGACY_KERAS")}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *imports],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tempfile.gettempdir(),
        env={**bare, "TF_CPP_MIN_LOG_LEVEL": "3"},
        text=True,
    )
    atexit.register(driver.kill)
    return driver
