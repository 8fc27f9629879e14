"""Features of pictures, computed once and kept as files."""

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ctxvision._files import atomic_path, link_or_copy
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

    Features of a tower that no longer learns are also linked into a folder that all runs of a user share, under a digest
    of the tower and the pictures: the next run over the same pictures finds them. The folder is `$CTXVISION_CACHE`, by
    default `~/.cache/ctxvision`; it can be deleted at any time.

    Args:
        folder: of the files; made where it is missing.
        pictures: a split's name to its uint8 [N, S, S, 3].
    """

    def __init__(self, folder: Path, pictures: Callable[[str], np.ndarray]):
        self.folder = folder
        self.pictures = pictures

    def of(self, name: str, tower: Callable[[], Tower], split: str, shared: bool = False) -> np.ndarray:
        """float32 [N, D]: what `tower()` makes of a split.

        Args:
            name: of the folder of files. The tower is built where the split has no file there.
            tower: makes the tower.
            split: of the pictures.
            shared: whether other runs use the same trained tower.
        """

        def asked() -> _Asked:
            built = tower()
            key = _digest_of_weights(built) if shared else None
            return _Asked(built, self.tower_inputs(built, split), BATCH, key)

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
            f"backbone-{name}", split, lambda: _Asked(backbone, self.pictures(split), BACKBONE_BATCH, name)
        )

    def _cached(self, name: str, split: str, asked: "Callable[[], _Asked]") -> np.ndarray:
        """The file of a split, made where it is missing."""
        path = self.folder / name / f"{split.replace(':', '-')}.npy"
        if not path.exists():
            wanted = asked()
            shared = _shared_path(wanted)
            if shared is None or not shared.exists():
                _compute(path, wanted)
                if shared is not None:
                    _link_quietly(path, shared)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(shared, path)
        return np.load(path, allow_pickle=False)


class _Asked(NamedTuple):
    """Features to compute."""

    layer: Callable[..., Any]
    inputs: np.ndarray
    batch: int  # pictures at a time
    key: str | None  # digest of the tower; None: the features are not shared


def _compute(path: Path, asked: _Asked) -> None:
    """Writes features shard by shard, so that little is lost by a stop."""
    shards, parts = path.with_suffix(".shards"), []
    for start in range(0, len(asked.inputs), SHARD):
        part = shards / f"{start}.npy"
        if not part.exists():
            _write(part, embed(asked.layer, asked.inputs[start : start + SHARD], asked.batch))
        parts.append(np.load(part, allow_pickle=False))
    _write(path, np.concatenate(parts))
    shutil.rmtree(shards)


def _shared_path(asked: _Asked) -> Path | None:
    if asked.key is None or not len(asked.inputs):
        return None
    folder = os.environ.get("CTXVISION_CACHE") or os.path.expanduser("~/.cache/ctxvision")
    if folder.startswith("~"):  # nobody's home is known
        return None
    inputs = hashlib.blake2b(np.ascontiguousarray(asked.inputs).data, digest_size=16).hexdigest()
    return Path(folder) / "features" / f"{asked.key}-{inputs}.npy"


def _link_quietly(source: Path, target: Path) -> None:
    """Links a file into the shared folder. Errors are ignored: the folder may be read-only or full."""
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            temporary.unlink()
            link_or_copy(source, temporary)


def is_frozen(tower: Tower) -> bool:
    """Whether the tower's backbone does not learn, so that its features can be computed once."""
    return not tower.tower.trainable_weights


def _fingerprint(tower: Tower) -> str:
    """The same for two copies of a backbone that see pixels in the same way."""
    digest = hashlib.sha256(f"{tower.pixels} {tower.tower.input_shape}".encode())
    if isinstance(tower.backbone, str | os.PathLike):
        place = Path(tower.backbone)
        # The index of a SavedModel's variables has a checksum of each.
        parts = [place / "saved_model.pb", place / "variables" / "variables.index"]
        found = [part for part in parts if part.is_file()] or ([place] if place.is_file() else [])
        for part in found:
            digest.update(part.read_bytes())
    else:
        found = []
    if not found:  # a network given by name, or the phrase generator's own
        digest.update(str(tower.backbone).encode() if isinstance(tower.backbone, str) else b"")
        for weights in tower.tower.get_weights():
            digest.update(weights.tobytes())
    return digest.hexdigest()[:16]


def _digest_of_weights(tower: Tower) -> str:
    """The same for two copies of a trained tower. A SavedModel inside counts by its fingerprint."""
    unit_features = getattr(tower, "unit_features", False)
    digest = hashlib.sha256(f"{type(tower).__name__} {unit_features} {_fingerprint(tower)}".encode())
    for weights in tower.get_weights():
        digest.update(weights.tobytes())
    return digest.hexdigest()[:16]


def _write(path: Path, values: np.ndarray) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, values)
