"""Computes the features of pictures once and keeps them as files."""

import functools
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ctxvision._files import atomic_path, file_name, saved_model_content
from ctxvision.layers import PhraseGenerator, VisualEncoder
from ctxvision.layers.backbone_features import features_of
from ctxvision.training.progress import Progress
from ctxvision.training.shared_features import SharedFeatures, ids_of
from ctxvision.training.weights import embed

BATCH = 256
# Pictures per batch of a frozen backbone, which is usually larger than the trained towers and takes larger pictures.
BACKBONE_BATCH = 64
# Pictures per file of intermediate results; a stopped computation repeats at most this many.
SHARD = 2048

Tower: TypeAlias = PhraseGenerator | VisualEncoder


class CachedFeatures:
    """Computes the features that towers give for the pictures of a split, and keeps them as files.

    Features of a tower that no longer learns are also kept for other runs on the same pictures, see `SharedFeatures`.

    Args:
        folder: folder of the files, created if it is missing.
        pictures: function from the name of a split to its pictures, uint8 [N, S, S, 3].
    """

    def __init__(self, folder: Path, pictures: Callable[[str], np.ndarray]):
        self.folder = folder
        self.pictures = pictures

    def of(
        self,
        name: str,
        tower: Callable[[], Tower],
        split: str,
        shared: bool = False,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Returns the features float32 [N, D] that a tower gives for a split.

        Args:
            name: name of the folder of files. The tower is built only if the folder has no file of the split.
            tower: function that builds the tower.
            split: name of the split.
            shared: whether other runs use the same trained tower.
            progress: shows how many pictures are done.
        """

        def computation() -> _Computation:
            built = tower()
            key = _digest_of_weights(built) if shared else None
            return _Computation(built, self.tower_inputs(built, split, progress), BATCH, key, progress)

        return self._cached(name, split, computation)

    def tower_inputs(self, tower: Tower, split: str, progress: Progress | None = None) -> np.ndarray:
        """Returns the inputs of a tower for a split: its pictures, uint8 [N, S, S, 3].

        A tower with a frozen backbone takes the backbone's features instead, float32 [N, D]. They are computed once,
        even if two towers share the backbone.
        """
        if not is_frozen(tower):
            return self.pictures(split)
        name = _fingerprint(tower)
        backbone = functools.partial(features_of, tower.tower)
        return self._cached(
            f"backbone-{name}",
            split,
            lambda: _Computation(backbone, self.pictures(split), BACKBONE_BATCH, name, progress),
        )

    def _cached(self, name: str, split: str, computation: "Callable[[], _Computation]") -> np.ndarray:
        """Reads the file of a split; computes it if it is missing."""
        path = self.folder / name / f"{file_name(split)}.npy"
        if not path.exists():
            needed = computation()
            if needed.key is None or not len(needed.inputs):
                _compute(path, needed)
            else:
                _compute_missing(path, needed, SharedFeatures(needed.key))
        return np.load(path, allow_pickle=False)


class _Computation(NamedTuple):
    """Features that are to be computed."""

    layer: Callable[..., Any]
    inputs: np.ndarray
    batch: int  # pictures per batch
    key: str | None  # digest of the tower; None if the features are not shared
    progress: Progress | None


def _compute(path: Path, computation: _Computation, shards: str = "") -> None:
    """Writes features shard by shard, so that a stop loses little."""
    folder, parts = path.with_name(f"{path.stem}{shards}.shards"), []
    layer, inputs, batch, _, progress = computation
    for start in range(0, max(1, len(inputs)), SHARD):
        part = folder / f"{start}.npy"

        def after_batch(done: int, start: int = start) -> None:
            if progress is not None:
                progress.update(start + done, total=len(inputs), unit="pictures")

        if not part.exists():
            _write(part, embed(layer, inputs[start : start + SHARD], batch, after_batch))
        parts.append(np.load(part, allow_pickle=False))
    _write(path, np.concatenate(parts))
    shutil.rmtree(folder)


def _compute_missing(path: Path, computation: _Computation, shared: SharedFeatures) -> None:
    """Writes features, and computes only those of pictures that no run has computed with this tower."""
    ids = ids_of(computation.inputs)
    known = shared.find(ids, path)
    if known is None:
        return
    found, features = known
    if not found.any():
        _compute(path, computation)
    elif not found.all():
        # The digest names the missing pictures: after a stop, another run may have computed some of them.
        missing, rest = np.flatnonzero(~found), path.with_suffix(".missing.npy")
        digest = hashlib.blake2b(ids[missing].data, digest_size=8).hexdigest()
        _compute(rest, computation._replace(inputs=computation.inputs[missing]), f"-{digest}")
        whole = np.zeros((len(ids), features.shape[1]), np.float32)
        whole[found], whole[missing] = features, np.load(rest, allow_pickle=False)
        _write(path, whole)
        rest.unlink()
    else:
        _write(path, features)
    shared.keep(ids, path)


def is_frozen(tower: Tower) -> bool:
    """Returns whether the tower's backbone does not learn, so that its features can be computed once."""
    return not tower.tower.trainable_weights


def _fingerprint(tower: Tower) -> str:
    """Returns a digest that is equal for copies of a backbone with the same pixel range and input shape."""
    digest = hashlib.sha256(f"{tower.pixels} {tower.tower.input_shape}".encode())
    content = saved_model_content(tower.backbone) if isinstance(tower.backbone, str | os.PathLike) else b""
    digest.update(content)
    if not content:  # a network given by name or file, or the phrase generator's own
        digest.update(str(tower.backbone).encode() if isinstance(tower.backbone, str) else b"")
        for weights in tower.tower.get_weights():
            digest.update(weights.tobytes())
    return digest.hexdigest()[:16]


def _digest_of_weights(tower: Tower) -> str:
    """Returns a digest that is equal for copies of a trained tower; a SavedModel counts by its fingerprint."""
    unit_features = getattr(tower, "unit_features", False)
    digest = hashlib.sha256(f"{type(tower).__name__} {unit_features} {_fingerprint(tower)}".encode())
    for weights in tower.get_weights():
        digest.update(weights.tobytes())
    return digest.hexdigest()[:16]


def _write(path: Path, values: np.ndarray) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, values)
