import pytest

from ctxvision.data import check_data, load_data
from ctxvision.data.label_names import alike


@pytest.mark.parametrize(
    "group",
    [
        ("Cat", "cat"),
        ("0", "0.0", "00"),
        ("red car", "red-car", "red_car"),
        ("cat", "с\u0430t"),  # Cyrillic
        ("Straße", "strasse"),
        ("ﬁsh", "fish"),
        ("cat", "ca\u200dt", "ca\u200ct"),
        ("\u2764", "\u2764\ufe0f"),  # a heart with and without its colour
        ("t-shirt", "t\u2013shirt", "t\u2011shirt"),
        ("bird's nest", "bird\u2019s nest"),
    ],
)
def test_labels_that_look_alike(group):
    assert alike(["another", *group]) == [sorted(group)]


def test_labels_that_look_different():
    assert alike(["c", "c++", "c#", "cat", "cats", "1", "1.5", "café", "cafe", "кот", "nan", "inf", ""]) == []


@pytest.fixture
def folder(tmp_path):
    rows = [
        ("web", ""),
        *[("train", label) for label in ("cat", "cat", "Cat", "dog")],
        ("test", "CAT"),
        ("test", "dog"),
    ]
    lines = [f"{number}.png,{split},{label},cat" for number, (split, label) in enumerate(rows)]
    (tmp_path / "images.csv").write_text("\n".join(["image,split,label,queries", *lines]))
    (tmp_path / "labels.json").write_text(
        '{"Cat": {"synset_terms": ["kitten"]}, "cat": {"synset_terms": ["tom"]}}'
    )
    return tmp_path


def test_they_are_told_and_stay_apart(folder):
    manifest = load_data(folder)
    assert set(manifest.split("train").labels) == {("cat",), ("Cat",), ("dog",)}
    problems = check_data(manifest, pictures=0).problems
    assert "labels look alike: 'cat' 2, 'Cat' 1 pictures in train; --merge-labels makes them one" in problems


def test_they_become_one_where_that_is_asked_for(folder):
    manifest = load_data(folder, merge_labels=True)
    assert manifest.split("train").labels == [("cat",), ("cat",), ("cat",), ("dog",)]
    assert manifest.split("test").labels == [("cat",), ("dog",)]
    assert manifest.label_terms == {"cat": ["kitten", "tom"]}
    assert not any("look alike" in problem for problem in check_data(manifest, pictures=0).problems)
