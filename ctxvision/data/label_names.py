"""Finds labels that look alike: they differ only in case, spaces, dashes or similar letters."""

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from ctxvision.data.manifest import Manifest
from ctxvision.data.split import Split

# Maps Cyrillic and Greek letters to the Latin letters that look like them in lower case.
_LOOKS_LIKE = str.maketrans(
    "аеорсухіјѕһԁԛԝвкмнтзαβεικνορτυχ",
    "aeopcyxijshdqwbkmht3abeiknoptux",
)
# Hyphens and dashes of all kinds, spaces and underscores.
_SPACES = re.compile(r"[\s_\-\u2010-\u2015\u2212]+")
_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc\u00b4`", "'''''")


def alike(labels: Iterable[str]) -> list[list[str]]:
    """Groups different labels that look the same, sorted: "Cat" and "cat", "red car" and "red_car", "0" and "0.0"."""
    groups: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        groups.setdefault(_looks(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def told_alike(group: Iterable[str], counts: Mapping[str, int]) -> str:
    """Describes a group with the number of pictures of each label: "'cat' 40, 'Cat' 2"."""
    return ", ".join(f"{label!r} {counts.get(label, 0):,}" for label in _by_count(group, counts))


def with_merged_labels(manifest: Manifest) -> Manifest:
    """Merges labels that look alike; a group takes the name that most pictures of `train` have."""
    counts = label_counts(manifest)
    every = {label for split in manifest.by_split.values() for row in split.labels for label in row}
    name = {label: _by_count(group, counts)[0] for group in alike(every) for label in group}
    if not name:
        return manifest
    terms: dict[str, list[str]] = {}
    for label, words in manifest.label_terms.items():
        terms[name.get(label, label)] = [*terms.get(name.get(label, label), []), *words]
    return dataclasses.replace(
        manifest,
        by_split={key: _renamed(split, name) for key, split in manifest.by_split.items()},
        label_terms={label: list(dict.fromkeys(words)) for label, words in terms.items()},
    )


def label_counts(manifest: Manifest) -> Counter[str]:
    """Counts the pictures of each label in `train`."""
    return Counter(label for row in manifest.split("train").labels for label in row)


def _renamed(split: Split, name: Mapping[str, str]) -> Split:
    labels = [_all_renamed(row, name) for row in split.labels]
    absent = None if split.absent is None else [_all_renamed(row, name) for row in split.absent]
    if absent is not None:  # a label is not absent if a merged name of it is present
        absent = [tuple(one for one in row if one not in found) for row, found in zip(absent, labels)]
    return dataclasses.replace(split, labels=labels, absent=absent)


def _all_renamed(row: tuple[str, ...], name: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.get(label, label) for label in row))


def _by_count(group: Iterable[str], counts: Mapping[str, int]) -> list[str]:
    return sorted(group, key=lambda label: (-counts.get(label, 0), label))


def _looks(label: str) -> str:
    """Reduces a label to a form that is equal for labels that look alike."""
    shown = "".join(filter(_is_shown, label.translate(_APOSTROPHES)))
    plain = unicodedata.normalize("NFKC", shown).casefold()
    try:
        return repr(float(plain))
    except ValueError:
        return _SPACES.sub(" ", plain.translate(_LOOKS_LIKE)).strip()


def _is_shown(character: str) -> bool:
    """Tells whether a character has a shape of its own; joiners and variation selectors have none."""
    selector = "\ufe00" <= character <= "\ufe0f" or character == "\u034f"
    return not selector and unicodedata.category(character) != "Cf"
