"""Copies of pictures, found by their content."""

import hashlib
from typing import NamedTuple

from ctxvision.data.split import Split, few

LEARNT_FROM = ("web", "pretrain", "train")


class _Seen(NamedTuple):
    path: str
    labels: tuple[str, ...]


class Copies:
    """Collects pictures and reports which are byte-identical copies."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, bytes], _Seen] = {}
        self._learnt: dict[bytes, str] = {}
        self._tested: dict[str, list[tuple[bytes, str]]] = {}
        self._twice: dict[str, list[str]] = {}
        self._unlike: list[str] = []

    def add(self, split: Split, row: int, encoded: bytes) -> None:
        """Records the encoded picture of a split's row; a path that occurs again is not a copy."""
        path, labels, digest = split.paths[row], split.labels[row], hashlib.sha256(encoded).digest()
        before = self._seen.setdefault((split.name, digest), _Seen(path, labels))
        if before.path != path:
            self._twice.setdefault(split.name, []).append(f"{path} = {before.path}")
            self._unlike += [f"{path} = {before.path}"] if labels != before.labels else []
        if split.name in LEARNT_FROM:
            self._learnt.setdefault(digest, path)
        else:
            self._tested.setdefault(split.name, []).append((digest, path))

    def problems(self) -> list[str]:
        """Returns sentences about copies: tested and learnt from, twice in a split, or under two labels."""
        told = []
        for name, pictures in self._tested.items():
            copies = [f"{path} = {self._learnt[one]}" for one, path in pictures if one in self._learnt]
            if copies:
                told.append(
                    f"{_pictures(copies)} of split {name!r} {_are(copies)} learnt from under another name or split: "
                    f"{few(copies)}"
                )
        for name, same in self._twice.items():
            told.append(f"{_pictures(same)} of split {name!r} {_are(same)} there twice: {few(same)}")
        if self._unlike:
            told.append(
                f"{_pictures(self._unlike)} {_are(self._unlike)} there under two labels: {few(self._unlike)}"
            )
        return told


def _pictures(some: list[str]) -> str:
    return f"{len(some):,} picture{'' if len(some) == 1 else 's'}"


def _are(some: list[str]) -> str:
    return "is" if len(some) == 1 else "are"
