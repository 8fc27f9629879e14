"""A folder of stages, each of which is there whole or not at all."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ctxvision._files import atomic_directory, read_json, write_json
from ctxvision.errors import InputError
from ctxvision.training.progress import Progress


class Stages:
    """The stages of a context or a run: a stage that is done is skipped, one that was stopped resumes.

        STAGE/done.json         written last: the stage is done
        unfinished/STAGE/       checkpoints of a stage while it runs

    Args:
        directory: the folder.
        remedy: what makes a stage that is missing, for the error's sentence.
    """

    def __init__(self, directory: Path, remedy: str):
        self.directory = directory
        self._remedy = remedy

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

    def facts(self, stage: str) -> dict[str, Any]:
        """What `finishing` was given for a stage that is done."""
        return read_json(self.folder(stage) / "done.json")

    def run(self, stage: str, progress: Progress, work: Callable[[], str | None]) -> None:
        """Runs a stage unless it is done; what `work` returns is printed beside its time."""
        if self.is_done(stage):
            progress.skip(stage)
            return
        progress.start(stage)
        progress.finish(work() or "")

    def unfinished(self, stage: str) -> Path:
        """Where a stage keeps its checkpoints while it runs."""
        return self.directory / "unfinished" / stage.replace("/", "-")

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Stage to training curves, for every finished stage that has some."""
        stages = sorted(path.parent for path in self.directory.glob("**/done.json"))
        facts = {str(stage.relative_to(self.directory)): read_json(stage / "done.json") for stage in stages}
        return {stage: fact["curves"] for stage, fact in facts.items() if "curves" in fact}

    @contextmanager
    def finishing(self, stage: str, **facts: Any) -> Iterator[Path]:
        """Yields a folder for the stage's result; at the end it takes its place and the checkpoints are deleted."""
        with atomic_directory(self.directory / stage) as folder:
            yield folder
            write_json(folder / "done.json", facts)
        shutil.rmtree(self.unfinished(stage), ignore_errors=True)
        with suppress(OSError):  # another stage's checkpoints may be there
            self.unfinished(stage).parent.rmdir()
