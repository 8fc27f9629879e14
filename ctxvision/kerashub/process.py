"""Runs the converter of KerasHub presets, which needs Keras 3, in a separate process; this process has Keras 2."""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from ctxvision.errors import InputError

PROGRAM = Path(__file__).with_name("convert.py")
_FORMAT = 1  # format of the towers; another format converts the towers of the cache again


def convert_preset(preset: str, out: str | os.PathLike[str], pixels: str | None = None) -> Path:
    """Converts a KerasHub preset to SavedModels in a separate process.

    Args:
        preset: name, handle (`hf://`, `kaggle://`) or folder of an image backbone or of a two-tower model.
        out: a new folder: a picture tower, or `picture` and `text`; each has a `tower.json`.
        pixels: pixel range that the backbone expects, see `build_backbone`; the preset's own by default.

    Returns:
        `out`.

    Raises:
        InputError: keras-hub is not installed, `out` exists, or the preset cannot be loaded or converted.
        RuntimeError: the process failed for another reason.

    Example:
        >>> towers = convert_preset("clip_vit_base_patch16", "towers/clip")
        >>> cv.build_context("phrases.txt", towers / "text", towers / "picture", "contexts/clip", "photos")
    """
    options = [f"--out={os.fspath(out)}", *([] if pixels is None else [f"--pixels={pixels}"])]
    environment = {
        name: value
        for name, value in os.environ.items()
        # PYTHONSAFEPATH would hide the program's own modules.
        if name not in ("TF_USE_LEGACY_KERAS", "KERAS_BACKEND", "PYTHONSAFEPATH")
    }
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), *options, "--", preset],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        errors="replace",
    ) as process:
        try:
            _, output = process.communicate()
        except BaseException:
            process.terminate()
            raise
    lines = output.strip().splitlines()
    if process.returncode == 2:
        raise InputError(lines[-1])
    if process.returncode:
        tail = "\n".join(lines[-30:])
        raise RuntimeError(f"converting {preset!r} failed with exit status {process.returncode}:\n{tail}")
    return Path(out)


def towers_of(preset: str, pixels: str | None = None) -> Path:
    """Returns the folder of a preset's converted towers, which all runs of a user share.

    The folder is in `$CTXVISION_CACHE/towers`, by default `~/.cache/ctxvision/towers`, under the preset's name and a
    digest of it; the digest of a preset folder covers its path and the names, sizes and times of its files. The first
    call converts, later calls find the folder. The folder can be deleted at any time.

    Args:
        preset: see `convert_preset`.
        pixels: see `convert_preset`.

    Raises:
        InputError: the cache cannot be written, or see `convert_preset`.
        RuntimeError: see `convert_preset`.
    """
    towers = _cache() / "towers"
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", Path(preset).name).strip("-.")
    folder = towers / f"{slug}-{_digest(preset, pixels)}"
    if folder.is_dir():
        return folder
    try:
        towers.mkdir(parents=True, exist_ok=True)
        lock = open(towers / ".lock", "w")  # noqa: SIM115
    except OSError as error:
        raise InputError(
            f"CTXVISION_CACHE must be a folder that can be written, got {str(towers.parent)!r} ({error.strerror}): set "
            f"it to another folder."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder if folder.is_dir() else convert_preset(preset, folder, pixels)


def _cache() -> Path:
    return Path(os.environ.get("CTXVISION_CACHE") or os.path.expanduser("~/.cache/ctxvision"))


def _digest(preset: str, pixels: str | None) -> str:
    facts = [_FORMAT, preset, pixels]
    if os.path.isdir(preset):
        place = Path(preset).resolve()
        files = sorted(path for path in place.rglob("*") if path.is_file())
        sizes = [
            (str(path.relative_to(place)), path.stat().st_size, path.stat().st_mtime_ns) for path in files
        ]
        facts = [_FORMAT, str(place), pixels, *sizes]
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()
