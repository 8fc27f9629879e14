"""A folder of stages; each stage is written completely or not at all."""

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
    """The stages of a context or a run: a finished stage is skipped, a stopped stage resumes.

        STAGE/done.json         written last: marks a finished stage, with the seconds of the process that finished it
        unfinished/STAGE/       checkpoints of a running stage

    Args:
        directory: the folder.
        remedy: the action that makes a missing stage, for the error's text.
    """

    def __init__(self, directory: Path, remedy: str):
        self.directory = directory
        self._remedy = remedy
        self._started: dict[str, float] = {}

    def folder(self, stage: str) -> Path:
        """Returns the folder of a stage's result.

        Raises:
            InputError: the stage is not finished.
        """
        folder = self.directory / stage
        if not self.is_done(stage):
            raise InputError(
                f"{str(self.directory)!r} must have the finished stage {stage!r}, got none: {self._remedy}."
            )
        return folder

    def is_done(self, stage: str) -> bool:
        """Returns whether the stage is finished."""
        return (self.directory / stage / "done.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether any stage is finished or has left checkpoints, here or in a context inside the folder."""
        return any(any(self.directory.glob(f"**/{name}")) for name in ("done.json", "unfinished"))

    def facts(self, stage: str) -> dict[str, Any]:
        """Returns the facts that `finishing` stored for a finished stage."""
        return read_json(self.folder(stage) / "done.json")

    def run(self, stage: str, progress: Progress, work: Callable[[], str | None]) -> None:
        """Runs a stage unless it is finished; prints the note that `work` returns beside the stage's time."""
        if self.is_done(stage):
            progress.skip(stage)
            return
        progress.start(stage)
        self._started[stage] = time.monotonic()
        progress.finish(work() or "")

    def unfinished(self, stage: str) -> Path:
        """Returns the folder of a running stage's checkpoints."""
        return self.directory / "unfinished" / stage.replace("/", "-")

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Returns the training curves of every finished stage that has curves, by stage."""
        return {stage: facts["curves"] for stage, facts in self._finished().items() if "curves" in facts}

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of every finished stage that has them, by stage."""
        return {stage: facts["seconds"] for stage, facts in self._finished().items() if "seconds" in facts}

    def _finished(self) -> dict[str, dict[str, Any]]:
        """Returns the facts of finished stages; includes a context inside the folder, but not another run."""
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
        """Yields a folder for the stage's result; at the end, moves it into place and deletes the checkpoints."""
        with atomic_directory(self.directory / stage) as folder:
            yield folder
            if stage in self._started:
                facts["seconds"] = round(time.monotonic() - self._started[stage], 3)
            write_json(folder / "done.json", facts)
        shutil.rmtree(self.unfinished(stage), ignore_errors=True)
        with suppress(OSError):  # the folder may hold checkpoints of another stage
            self.unfinished(stage).parent.rmdir()
