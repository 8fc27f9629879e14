"""The new folder that the converter writes, and the silence on standard error meanwhile."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `out`, renamed to `out` at the end; an error leaves nothing behind."""
    out = out.absolute()
    parents = [parent for parent in out.parents if not parent.exists()]
    prefix = f".{out.name}.{os.getpid()}."
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=out.parent) as temporary:
            folder = Path(temporary, out.name)
            folder.mkdir()
            yield folder
            os.rename(folder, out)
    except BaseException:
        for left in out.parent.glob(f"{prefix}*"):  # a stop during its creation
            shutil.rmtree(left, ignore_errors=True)
        for parent in parents:
            with suppress(OSError):  # another process uses the folder
                parent.rmdir()
        raise


@contextmanager
def quiet() -> Iterator[None]:
    """Discards the output of TensorFlow's C++ code on standard error."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
