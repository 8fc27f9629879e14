"""Measurements of suites on disk, so that an interrupted suite resumes."""

from collections.abc import Callable

import numpy as np

from ctxvision._files import atomic_path
from ctxvision.classifier.concept_store import ConceptStore
from ctxvision.classifier.run import Run


class Kept:
    """Arrays by name in `RUN/measured/SUITE/<generation of the vocabulary>`, with a digest of the concepts if there are any.

    Args:
        run: a run whose stages are finished.
        suite: name of the suite.
    """

    def __init__(self, run: Run, suite: str):
        state = str(run.context.vocabulary_generation)
        if concepts := run.concepts():  # from words alone, they leave the vocabulary as it is
            state += f"-{ConceptStore(run.directory).head(concepts).stem}"
        self._folder = run.directory / "measured" / suite / state

    def arrays(self, name: str, measure: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Returns the stored arrays of this name; calls `measure` and stores its result if there are none."""
        path = self._folder / f"{name}.npz"
        if not path.exists():
            values = measure()
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **values)  # type: ignore[arg-type]
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
