"""A folder of stages; each stage is written whole or not at all."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ctxvision._files import atomic_directory, read_json, write_json
from ctxvision.errors import InputError
from ctxvision.training.progress import Progress


class Stages:
    """The stages of a context or a run: a stage that is done is skipped, one that was stopped resumes.

        STAGE/done.json         written last: the stage is done; it tells the seconds of the process that finished it
        unfinished/STAGE/       checkpoints of a stage while it runs

    Args:
        directory: the folder.
        remedy: what makes a stage that is missing, for the error's sentence.
    """

    def __init__(self, directory: Path, remedy: str):
        self.directory = directory
        self._remedy = remedy
        self._started: dict[str, float] = {}

    def folder(self, stage: str) -> Path:
        """The folder of a stage's result.

        Raises:
            InputError: the stage is not done.
        """
        folder = self.directory / stage
        if not self.is_done(stage):
            raise InputError(f"{str(self.directory)!r} has no finished stage {stage!r}: {self._remedy}.")
        return folder

    def is_done(self, stage: str) -> bool:
        """Whether the stage's result is there."""
        return (self.directory / stage / "done.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether any stage, also of a context inside, is done or has left checkpoints."""
        return any(any(self.directory.glob(f"**/{name}")) for name in ("done.json", "unfinished"))

    def facts(self, stage: str) -> dict[str, Any]:
        """What `finishing` was given for a stage that is done."""
        return read_json(self.folder(stage) / "done.json")

    def run(self, stage: str, progress: Progress, work: Callable[[], str | None]) -> None:
        """Runs a stage unless it is done; what `work` returns is printed beside its time."""
        if self.is_done(stage):
            progress.skip(stage)
            return
        progress.start(stage)
        self._started[stage] = time.monotonic()
        progress.finish(work() or "")

    def unfinished(self, stage: str) -> Path:
        """Where a stage keeps its checkpoints while it runs."""
        return self.directory / "unfinished" / stage.replace("/", "-")

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Stage to training curves, for every finished stage that has some."""
        return {stage: facts["curves"] for stage, facts in self._finished().items() if "curves" in facts}

    def seconds(self) -> dict[str, float]:
        """Stage to its seconds, for every finished stage."""
        return {stage: facts["seconds"] for stage, facts in self._finished().items() if "seconds" in facts}

    def _finished(self) -> dict[str, dict[str, Any]]:
        """Stage to facts. A context inside the folder is a part of it, another run is not."""
        folders = sorted(
            path.parent.relative_to(self.directory) for path in self.directory.glob("**/done.json")
        )
        return {
            str(folder): read_json(self.directory / folder / "done.json")
            for folder in folders
            if not any((self.directory / above / "config.json").is_file() for above in folder.parents[:-1])
        }

    @contextmanager
    def finishing(self, stage: str, **facts: Any) -> Iterator[Path]:
        """Yields a folder for the stage's result; at the end it takes its place and the checkpoints are deleted."""
        with atomic_directory(self.directory / stage) as folder:
            yield folder
            if stage in self._started:
                facts["seconds"] = round(time.monotonic() - self._started[stage], 3)
            write_json(folder / "done.json", facts)
        shutil.rmtree(self.unfinished(stage), ignore_errors=True)
        with suppress(OSError):  # another stage's checkpoints may be there
            self.unfinished(stage).parent.rmdir()
