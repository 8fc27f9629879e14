"""What suites have measured, on disk: a suite that is started again goes on where it was."""

from collections.abc import Callable

import numpy as np

from ctxvision._files import atomic_path
from ctxvision.classifier.run import Run


class Kept:
    """Arrays by name, in `RUN/measured/SUITE/<generation of the vocabulary>`.

    Args:
        run: trained to the end.
        suite: whose measurements they are.
    """

    def __init__(self, run: Run, suite: str):
        self._folder = run.directory / "measured" / suite / str(run.context.vocabulary_generation)

    def arrays(self, name: str, measure: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """What `measure` returned the first time it was called for this name."""
        path = self._folder / f"{name}.npz"
        if not path.exists():
            values = measure()
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **values)  # type: ignore[arg-type]
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
