"""Draws data as people have it: usual folders and tables with a few faults, for `test_any_data`."""

import csv
import functools
import io
import json
import os
import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from PIL import Image

COLOURS = ((220, 40, 40), (40, 40, 220), (40, 200, 40), (220, 220, 40))
TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)

# Contents that training reads.
READ = ("jpeg", "turned", "animated", "12 bits", "transparent", "palette", "webp", "1 bit", "cmyk", "copy")
# Contents that training cannot read: HEIC and TIFF under the name of a picture, and files that hold none.
REFUSED = ("heic", "tiff", "empty", "text", "half", "too large")
# `gone` is no file at all, and links point to nothing, to another picture or to a folder.
NO_FILES = ("gone", "dead link", "link", "folder")

LABELS = ("Cat", "сat", "ca\u200bt", "cafe\u0301", "café", "0", "0.0", "two\nlines", "a|b", "", "  ", "fox")
QUERIES = (
    "cat photo",
    "my dog",
    "Dog ",
    "x" * 1001,
    "gato",
    "",
    "photo",
    "\u200b",
    "\u200dcat",
    "cafe\u0301",
    "два слова",
    "🐱",
    'quo"te, comma',
    "\x00nul",
    "new\nline",
)
LANGUAGES = ("en", "en", "es", "xx", "EN", "", "x" * 300)
NAMES = (
    "a b",
    "ü",
    "u\u0308",
    'quo"te',
    "com,ma",
    "#1",
    ".hidden",
    "100%",
    "-o",
    "~$a",
    "[1]",
    "a'b",
    "日本",
)
TERMS = (
    '{"cat": {"synset_terms": ["feline", "cat"]}}',
    '\ufeff{"cat": {"synset_terms": ["feline"]}, "unknown": {}}',
    '{"cat": {"synset_terms": []}, "dog": {"synset_terms": ["", "\\u200b", "' + "y" * 1200 + '"]}}',
    '{"cat": {"synset_terms": [1, null, "CAT"]}}',
    '{"cat": "feline"}',
    "[]",
    "not json",
)
SPLITS = ("val", "test", "test:a", "test:a-b", "pretrain")
FORMS = (
    "BOM",
    "CRLF",
    "semicolons",
    "tabs",
    "quotes",
    "odd quote",
    "open quote",
    "short",
    "long",
    "blank lines",
)
IMAGES = (
    "../out.png",
    "/tmp/out.png",
    "",
    "web\\0.png",
    "./web/0.png",
    "web//0.png",
    "gs://a/b.png",
    "a\0.png",
)
BROKEN_FORMS = ("latin-1", "utf-16", "nul", "spaced header", "Header", "no rows", "twice")
FOLDER_SPLITS = (
    ("train", "test"),
    ("train",),
    ("",),
    ("Train", "Valid"),
    ("TRAIN", "test_easy", "TEST-hard"),
    ("train", "old"),
    ("training", "train", "testing"),
    ("old",),
    ("web", "train"),
    ("pretrain", "train"),
)
FOLDER_LABELS = (
    "red car",
    "red_car",
    "cafe\u0301",
    "café",
    "Cat",
    ".git",
    "__MACOSX",
    "a|b",
    "1",
    "\u200b",
    "x.png",
)
OTHERS = (
    "notes.txt",
    "train/Thumbs.db",
    "train/cat/._1.png",
    "train/cat/.ipynb_checkpoints/1.png",
    "train/empty/",
    "cat/deeper/1.png",
    "train/cat/deeper/still/1.jpeg",
    "train/cat/picture.tif",
    "train/cat/folder.png/",
    "desktop.ini",
    "cat.zip",
)
# Links in a folder: name and target, as bytes where a name is no UTF-8.
LINKS = (
    ("train/kitten", "cat"),
    ("train/dog/again", "../../train/cat"),
    ("train/cat/round", ".."),
    ("train/cat/self", "self"),
    ("train/gone", "nowhere"),
    ("train/cat/dead.png", "nowhere.png"),
    ("train/cat/other.png", "0.png"),
    ("val", "train"),
)
NO_UTF8 = (b"train/cat/\xff\xfe.png", b"train/caf\xe9/0.png", b"caf\xe9/0.png")


class World(NamedTuple):
    """Data, the settings to train with, and whether to train over a context."""

    files: dict[str, str]  # path in the folder to kind of content
    rows: list[dict[str, str]]  # of `images.csv`; none for a folder without one
    columns: list[str]
    forms: list[str]
    others: list[str]
    links: list[tuple[str, str]]
    no_utf8: list[bytes]
    terms: str
    settings: dict[str, Any]
    over_context: bool

    @property
    def kinds(self) -> list[str]:
        """How the sources of this world are called."""
        names = {name.partition("/")[0] for name in self.files}
        return [kind for kind in ("table", "folder") if kind in names]


@st.composite
def worlds(draw: Any) -> World:
    """Draws a table, a folder, or both as two sources; about half of the worlds can be trained on."""
    # Hypothesis prefers the first and the shortest choice of its own strategies, which are seldom the usual ones here.
    return _any_world(draw(st.randoms(use_true_random=True)))


def _any_world(rng: random.Random) -> World:
    kinds = rng.choice([("table",)] * 5 + [("folder",)] * 4 + [("table", "folder")])
    over_context = one_in(rng, 3)
    settings: dict[str, Any] = {
        "multi_label": one_in(rng, 5),
        "merge_labels": one_in(rng, 5),
        "context_phrases": 2 if one_in(rng, 4) else 0,
    }
    if not over_context:
        settings["languages"] = rng.choice([["en"]] * 6 + [["en", "es"], ["es"]])
        settings["min_phrase_count"] = rng.choice([1, 2, 2])
    files: dict[str, str] = {}
    rows: list[dict[str, str]] = []
    columns, forms, terms = ["image", "split", "label", "queries"], [], ""
    if "table" in kinds:
        rows = _rows(rng, files)
        for column in ("coarse", "languages"):
            if one_in(rng, 4):
                columns.insert(rng.randint(0, len(columns)), column)
        if "coarse" in columns and kinds == ("table",):
            settings["label_column"] = rng.choice(["label", "label|coarse", "coarse|label", "coarse"])
            settings["multi_label"] |= "|" in settings["label_column"] and not one_in(rng, 5)
        forms += [rng.choice(FORMS)] if one_in(rng, 3) else []
        forms += [rng.choice(BROKEN_FORMS)] if one_in(rng, 20) else []
    others, links, no_utf8 = [], [], []
    if "folder" in kinds:
        _folder(rng, files)
        others = some(rng, OTHERS, 2)
        links = some(rng, LINKS, 1)
        no_utf8 = some(rng, NO_UTF8, 1) if one_in(rng, 2) else []
    if one_in(rng, 4):
        terms = rng.choice(TERMS if one_in(rng, 2) else TERMS[:4])
    return World(files, rows, columns, forms, others, links, no_utf8, terms, settings, over_context)


def one_in(rng: random.Random, number: int) -> bool:
    return rng.randrange(number) == 0


def some(rng: random.Random, things: Sequence[Any], most: int) -> list[Any]:
    return rng.sample(things, rng.randint(0, most))


def _rows(rng: random.Random, files: dict[str, str]) -> list[dict[str, str]]:
    usual = rng.choice([("web", "train")] * 10 + [("train",)] * 2 + [("web",)])
    labels = ["cat", "dog", *some(rng, LABELS, 1)]
    queries = ["cat photo", "my dog", *some(rng, QUERIES, 2)]
    language = rng.choice(LANGUAGES)
    misaligned = one_in(rng, 40)
    again = one_in(rng, 8)
    rows = []
    for split in (*usual, *some(rng, SPLITS, 2)):
        number = rng.choice([12, 12, 12, 12, 12, 12, 3, 2, 1, 101])
        strange = {rng.randrange(number): rng.choice(NAMES)} if one_in(rng, 2) else {}
        contents = _contents(rng, number)
        for i in range(number):
            name = f"{split.replace(':', '-')}/{strange.get(i, i)}.png"
            files[f"table/{name}"] = contents.get(i, "png")
            told = queries[i % len(queries)] + "|" + queries[(i + 1) % len(queries)]
            row = {
                "image": name,
                "split": split,
                "label": "" if split == "web" else labels[i % len(labels)],
                "coarse": "" if split == "web" else ("pet", "thing")[i % 2],
                "queries": told if split == "web" else "",
            }
            spoken = [language] * (1 + row["queries"].count("|") + misaligned)
            row["languages"] = "|".join(spoken) if split == "web" else ""
            rows.append(row)
            if again and i == 1:
                rows.append({**row, "label": rng.choice([row["label"], "dog"])})
    if one_in(rng, 12):
        split = rng.choice(["test", "Train", " train ", "test:", "", "exam", "val"])
        rows.append({**rng.choice(rows), "split": split})
    if one_in(rng, 20):
        rows.append({**rows[0], "image": rng.choice(IMAGES)})
    return rows


def _contents(rng: random.Random, number: int) -> dict[int, str]:
    """Draws the contents that are no usual PNG; in one split of twelve, training cannot read one or two of them."""
    found = {rng.randrange(number): rng.choice(READ) for _ in range(rng.randint(0, 2))}
    if one_in(rng, 12 if number < 100 else 2):
        for _ in range(rng.choice([1, 1, 2])):
            found[rng.randrange(number)] = rng.choice(REFUSED + NO_FILES)
    return found


def _folder(rng: random.Random, files: dict[str, str]) -> None:
    labels = ["cat", "dog", *some(rng, FOLDER_LABELS, 2)]
    for split in rng.choice(FOLDER_SPLITS):
        number = rng.choice([7, 7, 7, 3, 1, 40])
        contents = _contents(rng, number * len(labels))
        for i in range(number * len(labels)):
            path = Path("folder", split, labels[i % len(labels)], f"{i // len(labels)}.png")
            files[str(path)] = contents.get(i, "png")


@functools.cache
def content_of(kind: str, number: int) -> bytes:
    """Returns the content of a picture of a colour, or of a file that is no picture."""
    pixels = np.random.default_rng(0 if kind == "copy" else number).normal(
        COLOURS[number % 4], 25, (20, 20, 3)
    )
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    match kind:
        case "jpeg":
            return _saved(image, "JPEG")
        case "turned":
            return _saved(image, "JPEG", exif=TURNED)
        case "animated":
            return _saved(image, "GIF", save_all=True, append_images=[image.rotate(90)])
        case "12 bits":
            return _saved(Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) << 4), "PNG")
        case "transparent":
            image.putalpha(90)
            return _saved(image, "PNG")
        case "palette":
            return _saved(image.quantize(4), "PNG", transparency=0)
        case "webp":
            image.putalpha(90)
            return _saved(image, "WEBP")
        case "1 bit":
            return _saved(image.convert("1"), "BMP")
        case "cmyk":
            return _saved(image.convert("CMYK"), "JPEG")
        case "heic":
            return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
        case "tiff":
            return _saved(image, "TIFF")
        case "empty":
            return b""
        case "text":
            return b"nothing that is a picture"
        case "half":
            return _saved(image, "JPEG")[:200]
        case "too large":
            return (
                b"\x89PNG\r\n\x1a\n"
                + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60000, 60000, 8, 2, 0, 0, 0)
                + bytes(99)
            )
    return _saved(image, "PNG")


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write(world: World, root: Path) -> list[str]:
    """Writes a world and returns its sources."""
    for number, (name, kind) in enumerate(world.files.items()):
        _write_file(root / name, kind, number)
    if world.rows:
        (root / "table").mkdir(exist_ok=True)
        (root / "table" / "images.csv").write_bytes(_table(world))
    if "folder" in world.kinds:
        for other in world.others:
            place = root / "folder" / other
            if other.endswith("/"):
                place.mkdir(parents=True, exist_ok=True)
            elif not place.exists():
                _write_file(place, "png" if place.suffix == ".png" else "text", 0)
        for name, target in world.links:
            place = root / "folder" / name
            if not place.is_symlink() and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(target)
        for raw in world.no_utf8:
            _write_file(root / "folder" / os.fsdecode(raw), "png", 0)
    if world.terms:
        for kind in world.kinds:
            (root / kind / "labels.json").write_text(world.terms, encoding="utf-8")
    places = {"table": str(root / "table"), "folder": f"folder:{root / 'folder'}"}
    return [places[kind] for kind in world.kinds]


def _write_file(path: Path, kind: str, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists() or kind == "gone":
        return
    if kind == "dead link":
        path.symlink_to("nowhere.png")
    elif kind == "link":
        (path.parent / f".{path.name}").write_bytes(content_of("png", number))
        path.symlink_to(f".{path.name}")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(content_of(kind, number))


def _table(world: World) -> bytes:
    columns, forms = list(world.columns), world.forms
    delimiter = ";" if "semicolons" in forms else "\t" if "tabs" in forms else ","
    quoting = csv.QUOTE_ALL if "quotes" in forms else csv.QUOTE_MINIMAL
    file = io.StringIO(newline="")
    writer = csv.writer(
        file, delimiter=delimiter, quoting=quoting, lineterminator="\r\n" if "CRLF" in forms else "\n"
    )
    header = {"spaced header": [f" {name}" for name in columns], "Header": [name.title() for name in columns]}
    form = next((form for form in forms if form in header), "")
    if "twice" in forms:
        columns.append("label")
    writer.writerow(header.get(form, columns))
    for row in world.rows if "no rows" not in forms else []:
        writer.writerow([row[name] for name in columns])
    text = file.getvalue()
    last = world.rows[-1]["image"]
    text += {"short": f"{last},train\n", "long": f"{last},train,cat,,,,\n"}.get(forms[0], "") if forms else ""
    text += 'web/0.png,web,,say "cat" now\n' if "odd quote" in forms else ""
    text += 'web/0.png,web,,"cat photo\n' if "open quote" in forms else ""
    if "blank lines" in forms:
        text = text.replace("\n", "\n\n", 3) + "\n\n"
    if "nul" in forms:
        text = text.replace("cat", "c\x00at", 1)
    if "latin-1" in forms:
        return text.encode("latin-1", "replace") + "web/ü.png,web,,\n".encode("latin-1")
    return text.encode("utf-16" if "utf-16" in forms else "utf-8-sig" if "BOM" in forms else "utf-8")


def told(world: World) -> str:
    """Describes a world in one line, for logs of many."""
    strange = {name: kind for name, kind in world.files.items() if kind != "png"}
    return json.dumps(
        {**world._asdict(), "files": f"{len(world.files)} files", "strange": strange}, default=repr
    )
