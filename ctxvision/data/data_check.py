"""Checks a data set before training."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from ctxvision.data.copies import LEARNT_FROM, Copies
from ctxvision.data.folders import describe
from ctxvision.data.label_names import alike, told_alike
from ctxvision.data.manifest import Manifest
from ctxvision.data.picture_header import picture_kind
from ctxvision.data.pictures import bits_of, picture_decoder
from ctxvision.data.refused_pictures import reason_of
from ctxvision.data.split import Split, few, too_many
from ctxvision.data.training_check import (
    USUAL_NEEDS,
    QueryNeeds,
    missing_files,
    query_counts,
    refused_for_training,
    told_missing,
)

SHEET_SIDE = 96
SHEET_PICTURES = 24  # per split


@dataclass
class Shown:
    """A picture of the sheet: uint8 [S, S, 3], with its split, labels and queries."""

    split: str
    pixels: np.ndarray
    labels: Sequence[str]
    queries: Sequence[str]


@dataclass
class DataCheck:
    """The result of `check_data`.

    Attributes:
        facts: (name, value) pairs to print, such as the number of pictures of a split.
        problems: sentences about problems that do not stop training.
        refused: sentences about problems that stop training; empty if training would start.
        sheet: pictures for `write_sheet`.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    sheet: list[Shown] = field(default_factory=list)


def check_data(
    manifest: Manifest,
    multi_label: bool = False,
    queries: QueryNeeds | None = USUAL_NEEDS,
    pictures: int = 2000,
    seed: int = 0,
) -> DataCheck:
    """Checks all rows, and decodes a random sample of the pictures.

    Args:
        manifest: the data.
        multi_label: the `Config.multi_label` that training will use.
        queries: what training needs of the queries; None for a run over a context, which needs no queries.
        pictures: how many pictures to open, divided equally among the splits; 0 opens none.
        seed: the seed of the sample.

    Returns:
        A `DataCheck`. Missing files are found in all rows, on a local disk only. Pictures that do not decode and copies
        under other names are found only in the sample.

    Example:
        >>> check = cv.check_data(cv.load_data("photos"))
        >>> check.refused
        []
    """
    check = DataCheck(refused=refused_for_training(manifest, multi_label, queries))
    missing = {name: missing_files(split) for name, split in manifest.by_split.items()}
    for name, split in manifest.by_split.items():
        _tell_split(check, split)
        if missing[name] and not too_many(len(missing[name]), len(split)):
            check.problems.append(told_missing(split, missing[name]))
    if manifest.left_out:
        check.facts.append(("left out", describe(manifest.left_out)))
    _tell_labels(check, manifest, multi_label)
    if queries is not None:
        _tell_queries(check, manifest, queries)
    _named_twice(check, manifest)
    if pictures:
        unread = ("web",) if queries is None else ()  # a run over a context reads no web pictures
        _open_pictures(check, manifest, missing, pictures, seed, unread)
    return check


def _tell_split(check: DataCheck, split: Split) -> None:
    labelled = sum(map(bool, split.labels))
    queried = sum(map(bool, split.queries))
    verified = "" if split.absent is None else f", {sum(map(bool, split.absent)):,} with verified absences"
    told = f"{_count(len(split), 'picture')}, {labelled:,} with labels, {queried:,} with queries{verified}"
    check.facts.append((f"split {split.name}", told))


def _tell_labels(check: DataCheck, manifest: Manifest, multi_label: bool) -> None:
    counts = Counter(label for row in manifest.split("train").labels for label in row)
    if not counts:
        return
    ranked = counts.most_common()
    (most, many), (least, fewest) = ranked[0], ranked[-1]
    told = f"{len(counts):,} in train, {most!r} {many:,} times to {least!r} {fewest:,} times"
    check.facts.append(("labels", told))
    if many >= 10 * fewest:
        check.problems.append(
            f"labels are unbalanced: {most!r} has {many:,} pictures in train, {least!r} {fewest:,}"
        )
    for group in alike(counts):
        check.problems.append(
            f"labels look alike: {told_alike(group, counts)} pictures in train; --merge-labels makes them one"
        )
    single = [label for label, number in ranked if number == 1]
    if single:
        held = "" if "val" in manifest.by_split else ", so that none is held out for val"
        check.problems.append(
            f"{_count(len(single), 'label')} with one picture in train{held}: {few(single)}"
        )
    for name, split in manifest.by_split.items():
        if name in ("web", "train"):
            continue
        here = {label for row in split.labels for label in row}
        unknown = sorted(here - counts.keys())
        if unknown:  # training refuses these too; the check lists them for every split
            check.problems.append(f"labels of split {name!r} that train does not have: {few(unknown)}")
        absent = sorted(counts.keys() - here)
        if here and absent:
            check.problems.append(
                f"split {name!r} has no picture of {_count(len(absent), 'label')}: {few(absent)}"
            )


def _tell_queries(check: DataCheck, manifest: Manifest, needs: QueryNeeds) -> None:
    web = manifest.split("web")
    counts: Counter[tuple[str, str]] = Counter()
    for row in web.queries:
        counts.update(row)
    if not counts:
        return
    if manifest.words_for_queries:
        check.problems.append(
            f"{manifest.source} has no queries: phrases are learnt from the words of its labels and add no "
            "information; name a second source with queries, or train over a context"
        )
    spoken: Counter[str] = Counter()
    for (_, language), number in counts.items():
        spoken[language] += number
    told = ", ".join(f"{language} {number:,}" for language, number in spoken.most_common(8))
    check.facts.append(("queries", f"{sum(counts.values()):,} of {len(counts):,} different ones"))
    check.facts.append(("languages", told))
    heard, least = query_counts(web, needs.languages), needs.min_class_count
    classes = sum(number >= least for number in heard.values())
    rare = len(heard) - classes
    spoken_of = ", ".join(needs.languages)
    check.facts.append(("query classes", f"{classes:,} queries in {spoken_of} with {least} pictures or more"))
    if rare:
        check.problems.append(
            f"{rare:,} of {len(heard):,} queries in {spoken_of} have fewer than {least} pictures and get no class"
        )
    if not any(sum(query.text in heard for query in row) > 1 for row in web.queries):
        check.problems.append(
            f"no picture has two queries in {spoken_of}: the text encoder learns nothing and compares phrases by "
            "spelling alone"
        )


def _named_twice(check: DataCheck, manifest: Manifest) -> None:
    learnt = {path for name in LEARNT_FROM for path in manifest.split(name).paths}
    for name, split in manifest.by_split.items():
        both = [path for path in split.paths if path in learnt] if name not in LEARNT_FROM else []
        if both:
            check.problems.append(
                f"{_count(len(both), 'picture')} of split {name!r} {_is(both)} also learnt from: {few(both)}"
            )


def _open_pictures(
    check: DataCheck,
    manifest: Manifest,
    missing: Mapping[str, Sequence[str]],
    most: int,
    seed: int,
    unread: Sequence[str],
) -> None:
    """Decodes a sample and reports sizes, kinds, damaged pictures and copies.

    Args:
        check: gets the facts and problems.
        manifest: the data.
        missing: the missing files of each split.
        most: number of pictures of the sample.
        seed: seed of the sample.
        unread: splits that training does not read, whose damaged pictures are no reason to refuse.
    """
    sizes: list[tuple[int, int]] = []
    kinds: Counter[str] = Counter()
    copies = Copies()
    decode = picture_decoder()
    opened = 0
    for name, split in manifest.by_split.items():
        share = max(1, most // len(manifest.by_split))
        rows = np.arange(len(split))
        if len(split) > share:
            rows = np.sort(np.random.default_rng(seed).choice(len(split), share, replace=False))
        shown = set(rows[np.linspace(0, len(rows) - 1, min(SHEET_PICTURES, len(rows))).astype(int)].tolist())
        damaged, narrow, gone = [], [], set(missing[name])
        for row, encoded in split.take(rows).encoded():
            row, path = int(rows[row]), split.paths[int(rows[row])]
            opened += 1
            if encoded is None:
                damaged += [] if path in gone else [f"{path} (cannot be read)"]
                continue
            try:
                pixels = decode(tf.constant(encoded))
            except tf.errors.OpError:
                damaged.append(f"{path} ({reason_of(encoded).partition(':')[0]})")
                continue
            sizes.append((pixels.shape[1], pixels.shape[0]))
            kinds[picture_kind(encoded)] += 1
            copies.add(split, row, encoded)
            bits = bits_of(encoded)
            if bits is not None and bits < 16:
                narrow.append(f"{path} ({bits})")
            if row in shown:
                small = tf.image.resize(pixels, [SHEET_SIDE, SHEET_SIDE], antialias=True)
                queries = [query.text for query in split.queries[row]]
                check.sheet.append(Shown(name, tf.cast(small, tf.uint8).numpy(), split.labels[row], queries))
        if damaged:
            found = f"{len(damaged)} of {_count(len(rows), 'picture')} opened in split {name!r} cannot be decoded: {few(damaged)}"
            found += (
                f", and {_count(len(missing[name]), 'file')} of it {_is(missing[name])} missing"
                if gone
                else ""
            )
            # As training counts.
            refused = name not in unread and too_many(len(damaged) + len(missing[name]), len(split))
            (check.refused if refused else check.problems).append(found)
        if narrow:
            check.problems.append(
                f"{_count(len(narrow), 'PNG')} of 16 bits in split {name!r} {_use(narrow)} fewer bits, and "
                f"{_is(narrow)} brightened to the whole range: {few(narrow)}"
            )
    check.problems += copies.problems()
    total = sum(map(len, manifest.by_split.values()))
    check.facts.append(("opened", f"{opened:,} of {_count(total, 'picture')}"))
    if sizes:
        wide, high = np.array(sizes).T
        check.facts.append(
            ("sizes", f"{_range(wide)} x {_range(high)} pixels, {len(set(sizes)):,} different")
        )
        check.facts.append(("kinds", ", ".join(f"{kind} {number:,}" for kind, number in kinds.most_common())))


def _range(values: np.ndarray) -> str:
    low, high = values.min(), values.max()
    return str(low) if low == high else f"{low}..{high}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _use(things: Sequence[object]) -> str:
    return "uses" if len(things) == 1 else "use"


def _is(things: Iterable[object]) -> str:
    return "is" if len(list(things)) == 1 else "are"
