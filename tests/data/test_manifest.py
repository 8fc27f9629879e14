import json
import unicodedata

import pytest

from ctxvision.data import Manifest, Query, check_pictures
from ctxvision.data.images_csv import clean
from ctxvision.data.training_check import QueryNeeds, refuse_unfit, refused_labels, refused_queries
from ctxvision.errors import InputError

HEADER = "image,split,label,coarse,queries\n"
ROWS = HEADER + (
    "a.png,web,,,cat|kitten\nb.png,train,cat,animal,\nc.png,train,dog,animal,\nd.png,test:new,cat,animal,\n"
)


@pytest.fixture
def load(tmp_path):
    def write(csv: str | bytes, label_column: str = "label", labels: str | None = None) -> Manifest:
        content = csv.encode() if isinstance(csv, str) else csv
        (tmp_path / "images.csv").write_bytes(content)
        if labels is not None:
            (tmp_path / "labels.json").write_text(labels)
        return Manifest.load(tmp_path, label_column)

    return write


def refused(manifest, multi_label=False):
    """What is wrong with it, but for files."""
    return refused_labels(manifest, multi_label) + refused_queries(manifest, QueryNeeds(min_class_count=1))


def test_splits_paths_and_labels(load, tmp_path):
    manifest = load(ROWS)
    assert manifest.splits == ["web", "train", "test:new"]
    train = manifest.split("train")
    assert train.paths == [str(tmp_path / "b.png"), str(tmp_path / "c.png")]
    assert train.labels == [("cat",), ("dog",)]
    assert train.queries == [(), ()]
    assert manifest.split("web").labels == [()]
    assert len(manifest.split("val")) == 0
    assert manifest.require_split("test:new").labels == [("cat",)]
    assert manifest.label_terms == {}
    assert not refused(manifest)


def test_relative_folder_gives_absolute_paths(load, tmp_path, monkeypatch):
    load(ROWS)
    monkeypatch.chdir(tmp_path)
    assert Manifest.load(".").split("web").paths == [str(tmp_path / "a.png")]


def test_another_label_column_and_several_labels(load):
    assert load(ROWS, "coarse").split("train").labels == [("animal",), ("animal",)]
    several = load(HEADER + "a.png,train,cat| dog |cat|,,\n")
    assert several.split("train").labels == [("cat", "dog")]


def test_queries_are_normalised_and_never_repeated(load):
    decomposed = unicodedata.normalize("NFD", "Café")
    manifest = load(HEADER + f"a.png,web,,,  Red   CAR ||red car|{decomposed}|café| \n")
    assert manifest.split("web").queries == [(Query("red car", "en"), Query("café", "en"))]


def test_languages_are_aligned_with_queries(load):
    head = "image,split,label,queries,languages\n"
    manifest = load(head + "a.png,web,,cat||gato|Cat|chat,en|de|es|es|\nb.png,web,,dog|hound,\n")
    first, second = manifest.split("web").queries
    assert first == (Query("cat", "en"), Query("gato", "es"), Query("chat", "en"))
    assert second == (Query("dog", "en"), Query("hound", "en"))
    with pytest.raises(InputError, match="line 2 must name one language per query .* got 1 languages for 2"):
        load(head + "a.png,web,,cat|gato,es\n")


def test_quoted_fields_with_commas_and_newlines_and_a_byte_order_mark(load, tmp_path):
    manifest = load(b"\xef\xbb\xbf" + b'image,split,label,queries\r\n"a, b.png",web,,"red,\ncar|dog"\r\n')
    assert manifest.split("web").paths == [str(tmp_path / "a, b.png")]
    assert [query.text for query in manifest.split("web").queries[0]] == ["red, car", "dog"]


def test_label_terms(load):
    described = {"cat": {"synset_terms": ["cat", "house cat"], "gloss": "a pet"}, "dog": {}}
    assert load(ROWS, labels=json.dumps(described)).label_terms == {"cat": ["cat", "house cat"], "dog": []}


@pytest.mark.parametrize("labels", ['{"cat": ', "[1]", '{"cat": {"synset_terms": "cat"}}', '{"cat": 3}'])
def test_damaged_label_terms(load, labels):
    with pytest.raises(InputError, match="labels.json must be a JSON object .*synset_terms.*correct it"):
        load(ROWS, labels=labels)


def test_a_folder_instead_of_label_terms(load, tmp_path):
    (tmp_path / "labels.json").mkdir()
    with pytest.raises(InputError, match="labels.json must be a JSON object"):
        load(ROWS)


def test_folder_or_file_missing(tmp_path):
    with pytest.raises(InputError, match="data must name a folder .* got .*nowhere, which is not a folder"):
        Manifest.load(tmp_path / "nowhere")
    with pytest.raises(
        InputError, match="must be a folder with an images.csv, got .*, which has none: check"
    ):
        Manifest.load(tmp_path)


def test_a_table_without_the_column_has_no_queries(tmp_path):
    (tmp_path / "images.csv").write_text("image,split,label\na.png,train,cat\n")
    split = Manifest.load(tmp_path).split("train")
    assert split.labels == [("cat",)] and split.queries == [()]


HEAD4 = "image,split,label,queries\n"


@pytest.mark.parametrize("csv, sentence", [
    (HEADER.encode() + b"a.png,web,,,caf\xe9\n", "must be UTF-8, got byte 0xe9 in line 2: save"),
    ("image,label,queries\na.png,,\n", "must have a column 'split', got image, label, queries"),
    ("", "must have a column 'image', got none"),
    (HEAD4, "must have a row per picture, got none below the header"),
    (HEAD4 + "a.png,web,,red, car\n", "line 2 must have 4 fields, got 5"),
    (HEAD4 + 'a.png,web,,"cat\n', "must be a csv file, got .* in line 2: correct"),
    (HEAD4 + "a.png,web,,cat\n ,web,,cat\n", "line 3 must name a picture, got an empty column 'image'"),
    (HEAD4 + "a\0.png,web,,cat\n", "NUL"),  # from our check, or from Python's csv module up to 3.10
    (HEAD4 + "a.png\n", "line 2 must name a split, got an empty column 'split'"),
    (HEAD4 + "a.png,dev,,cat\n", "line 2 must be one of web, pretrain, .* or test:NAME, got 'dev'"),
    (HEAD4 + "a.png,test:,,cat\n", "must be one of .* got 'test:'"),
    (HEAD4 + "/etc/a.png,web,,cat\n", "a relative path inside the data folder, got '/etc/a.png'"),
    (HEAD4 + "b/../../a.png,web,,cat\n", "a relative path inside the data folder, got 'b/../../a.png'"),
])  # fmt: skip
def test_bad_files(load, csv, sentence):
    with pytest.raises(InputError, match=sentence):
        load(csv)


def test_a_parent_folder_inside_the_data_folder_is_allowed(load, tmp_path):
    assert load(HEAD4 + "x/../a.png,web,,cat\n").split("web").paths == [str(tmp_path / "a.png")]


def test_label_column_missing(load):
    with pytest.raises(InputError, match="label column must be one of label, coarse in .*, got 'colour'"):
        load(ROWS, "colour")


def test_several_label_columns_are_united(load):
    rows = "e.png,train,cat|pet,pet|animal,\nf.png,train,dog,,\n"
    train = load(ROWS + rows, "label|coarse").split("train")
    assert train.labels == [("cat", "animal"), ("dog", "animal"), ("cat", "pet", "animal"), ("dog",)]
    with pytest.raises(InputError, match="label column must be one of label, coarse in .*, got 'colour'"):
        load(ROWS, "label|colour")


def test_split_missing(load):
    with pytest.raises(InputError, match="must have rows with split 'val', got web, train, test:new"):
        load(ROWS).require_split("val")


@pytest.mark.parametrize("csv, sentence", [
    (HEAD4 + "b.png,train,cat,\nc.png,train,dog,\n", "must have rows with split 'web', got train"),
    (HEAD4 + "a.png,web,,cat\n", "must have rows with split 'train', got web"),
    (HEAD4 + "a.png,web,, |\nb.png,train,cat,\nc.png,train,dog,\n", "the web rows .* must have queries"),
    (HEAD4 + "a.png,web,,cat\nb.png,train,,\n", "train rows .* must have labels, got an empty column 'label'"),
    (HEAD4 + "a.png,web,,cat\nb.png,train,cat,\n", "at least 2 labels, got only 'cat' in column 'label'"),
    (ROWS + "e.png,train,,,\n", "every picture of split 'train' must have one label, got none for e.png"),
    (ROWS + "e.png,train,cat|dog,,\n", "one label, got cat.dog for e.png: correct the row or train with"),
    (ROWS + "e.png,test,emu,,\nf.png,test,yak,,\n", "split 'test' must also be in .* 'train', got emu, yak"),
    (ROWS + "e.png,val,emu,,\n", "label of split 'val' must also be in split 'train', got emu"),
])  # fmt: skip
def test_not_fit_for_training(load, csv, sentence):
    with pytest.raises(InputError, match=sentence):
        refuse_unfit(refused(load(csv)))


def test_multi_label_allows_several_labels_and_none(load):
    assert not refused(load(ROWS + "e.png,train,,,\nf.png,train,cat|dog,,\n"), multi_label=True)


@pytest.fixture
def big_split(load):
    return load(HEAD4 + "".join(f"{i}.png,train,cat,q{i}\n" for i in range(200))).split("train")


def test_few_undecodable_pictures_are_left_out_with_a_warning(big_split, recwarn):
    assert check_pictures(big_split, []) is big_split
    assert not recwarn
    with pytest.warns(UserWarning, match=r"2 of 200 .* 'train' .* are left out: .*0.png, .*5.png\."):
        left = check_pictures(big_split, [5, 0])
    assert len(left) == len(left.labels) == len(left.queries) == 198
    assert left.paths[4].endswith("6.png")
    assert left.queries[4] == (Query("q6", "en"),)


def test_many_undecodable_pictures_are_refused(big_split):
    sentence = "4 of 200 .* 'train' cannot be .* at most 1% .*0.png, .*1.png, .*2.png and 1 more"
    with pytest.raises(InputError, match=sentence):
        check_pictures(big_split, [0, 1, 2, 3])


def test_invisible_characters_are_removed_from_names():
    assert clean(" red\u200b\n car\ufeff ") == clean("re\u00add car") == "red car"
    assert clean("cafe\u0301") == "caf\u00e9"
    assert clean("\U0001f468\u200d\U0001f373") == "\U0001f468\u200d\U0001f373"  # one emoji of two, joined
