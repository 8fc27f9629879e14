"""Decodes the pictures that a caller names, or refuses them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ctxvision.data import folders
from ctxvision.data.decoding import load_pictures
from ctxvision.data.refused_pictures import READABLE, reason_of
from ctxvision.errors import InputError

# Paths of pictures or of folders with pictures, or uint8 [N, S, S, 3].
Images = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | np.ndarray


def given_pictures(images: Images, size: int, most: int | None = None) -> np.ndarray:
    """Returns pictures uint8 [N, S, S, 3], N at least 1; files are decoded to side `size`, each file once.

    Args:
        images: see `Images`; an array is returned as it is, in its own size.
        size: side in pixels.
        most: largest number of pictures; any number by default.

    Raises:
        InputError: there are no pictures or more than `most`, or a picture is missing or cannot be decoded.
    """
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
            raise InputError(
                f"images must be uint8 [N, S, S, 3] with N at least 1, got {images.dtype} {list(images.shape)}: "
                f"decode them to RGB."
            )
        _check_number(len(images), most)
        return images
    files = picture_files(images)
    _check_number(len(files), most)
    pictures, broken = load_pictures(files, size)
    if broken:
        others = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise InputError(
            f"images must be {READABLE} files, got {files[broken[0]]!r}{others} that cannot be decoded, "
            f"{reason_of(Path(files[broken[0]]).read_bytes())}."
        )
    return pictures


def picture_files(images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """Returns the picture files that paths of pictures and of folders name, each once, in the order given.

    Those of a folder are sorted, see `folders.picture_files`.

    Raises:
        InputError: there are no pictures, or a path does not exist.
    """
    paths = [images] if isinstance(images, (str, os.PathLike)) else list(images)
    files = list(dict.fromkeys(file for path in paths for file in _files(Path(path))))
    if not files:
        raise InputError(
            f"images must name pictures or a folder that holds some, got {[str(path) for path in paths]}: give at "
            f"least one {', '.join(folders.PICTURE_SUFFIXES)} file."
        )
    return files


def _check_number(number: int, most: int | None) -> None:
    if most is not None and number > most:
        raise InputError(f"images must be 1 to {most} pictures, got {number}: give fewer pictures.")


def _files(path: Path) -> Iterable[str]:
    if not path.exists():
        raise InputError(f"images must exist, got {str(path)!r}: check the path.")
    if path.is_dir():
        return folders.picture_files(str(path))
    return [str(path)]
