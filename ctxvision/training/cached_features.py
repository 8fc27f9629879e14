"""Features of a run's pictures, computed once and kept beside it."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tf_keras as keras

from ctxvision._files import atomic_path
from ctxvision.layers.backbone import features_of
from ctxvision.training.towers import SHARED, Tower, is_frozen
from ctxvision.training.weights import embed

# Of a frozen backbone: it is as a rule larger than those that are trained here, as are the pictures inside it.
BACKBONE_BATCH = 64


class CachedFeatures:
    """What towers make of the pictures of a split, as files.

    Args:
        folder: of the files; made where it is missing.
        pictures: a split's name to its uint8 [N, S, S, 3].
    """

    def __init__(self, folder: Path, pictures: Callable[[str], np.ndarray]):
        self.folder = folder
        self.pictures = pictures

    def of(self, name: str, tower: Callable[[], Tower], split: str) -> np.ndarray:
        """float32 [N, D]: what `tower()` makes of a split; the tower is built where no file of that name is there."""

        def compute() -> np.ndarray:
            built = tower()
            return embed(built, self.tower_inputs(built, split))

        return self._cached(name, split, compute)

    def tower_inputs(self, tower: Tower, split: str) -> np.ndarray:
        """What a tower is trained on and asked about: the pictures of a split, uint8 [N, S, S, 3].

        Of a frozen backbone they are its features of them, float32 [N, D], computed once even where both towers
        stand on it.
        """
        if not is_frozen(tower):
            return self.pictures(split)
        shared = isinstance(tower.backbone, keras.Model)  # then it is the phrase generator's own
        backbone_name = SHARED if shared else f"{tower.backbone} {tower.pixels}"
        name = hashlib.sha256(backbone_name.encode()).hexdigest()[:8]
        backbone = functools.partial(features_of, tower.tower)
        return self._cached(
            f"backbone-{name}", split, lambda: embed(backbone, self.pictures(split), BACKBONE_BATCH)
        )

    def _cached(self, name: str, split: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        path = self.folder / name / f"{split.replace(':', '-')}.npy"
        if not path.exists():
            values = compute()
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.save(file, values)
        return np.load(path, allow_pickle=False)
