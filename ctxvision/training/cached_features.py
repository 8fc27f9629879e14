"""Features of pictures, computed once and kept as files."""

import functools
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ctxvision._files import atomic_path
from ctxvision.layers import PhraseGenerator, VisualEncoder
from ctxvision.layers.backbone import features_of
from ctxvision.training.weights import embed

BATCH = 256
# Of a frozen backbone: it is as a rule larger than those that are trained here, as are the pictures inside it.
BACKBONE_BATCH = 64
# Pictures: what is computed again at most after a stop.
SHARD = 2048

Tower: TypeAlias = PhraseGenerator | VisualEncoder


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

        def asked() -> tuple[Tower, np.ndarray, int]:
            built = tower()
            return built, self.tower_inputs(built, split), BATCH

        return self._cached(name, split, asked)

    def tower_inputs(self, tower: Tower, split: str) -> np.ndarray:
        """What a tower is trained on and asked about: the pictures of a split, uint8 [N, S, S, 3].

        Of a frozen backbone they are its features of them, float32 [N, D], computed once even where both towers
        stand on it.
        """
        if not is_frozen(tower):
            return self.pictures(split)
        name = _fingerprint(tower)
        backbone = functools.partial(features_of, tower.tower)
        return self._cached(
            f"backbone-{name}", split, lambda: (backbone, self.pictures(split), BACKBONE_BATCH)
        )

    def _cached(
        self, name: str, split: str, asked: Callable[[], tuple[Callable[..., Any], np.ndarray, int]]
    ) -> np.ndarray:
        """What is in the file or, by the layer, of the inputs and in batches of `asked()`, shard by shard computed."""
        path = self.folder / name / f"{split.replace(':', '-')}.npy"
        if not path.exists():
            layer, inputs, batch = asked()
            shards = path.with_suffix(".shards")
            parts = []
            for start in range(0, len(inputs), SHARD):
                part = shards / f"{start}.npy"
                if not part.exists():
                    _write(part, embed(layer, inputs[start : start + SHARD], batch))
                parts.append(np.load(part, allow_pickle=False))
            _write(path, np.concatenate(parts))
            shutil.rmtree(shards)
        return np.load(path, allow_pickle=False)


def is_frozen(tower: Tower) -> bool:
    """Whether the tower's backbone does not learn, so that its features can be computed once."""
    return not tower.tower.trainable_weights


def _fingerprint(tower: Tower) -> str:
    """The same for two copies of a backbone that want the same pixels."""
    digest = hashlib.sha256(tower.pixels.encode())
    if isinstance(tower.backbone, str | os.PathLike):
        place = Path(tower.backbone)
        # The index of a SavedModel's variables has a checksum of each.
        parts = [place / "saved_model.pb", place / "variables" / "variables.index"]
        found = [part for part in parts if part.is_file()] or ([place] if place.is_file() else [])
        for part in found:
            digest.update(part.read_bytes())
        if not found:
            digest.update(os.fspath(tower.backbone).encode())
    else:  # the phrase generator's own ConvNet, trained and frozen
        for weights in tower.tower.get_weights():
            digest.update(weights.tobytes())
    return digest.hexdigest()[:8]


def _write(path: Path, values: np.ndarray) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, values)
