import sys

import numpy as np
import pytest

from ctxvision.data import load_data
from ctxvision.data.caption_phrases import caption_phrases
from ctxvision.errors import InputError
from tests.data.layouts import caption_rows, picture, write, write_captions

pyarrow = pytest.importorskip("pyarrow")


def table(path, **columns):
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def test_phrases_are_counted_n_grams_without_stop_words_at_their_ends():
    rows = [
        ("A red car on the beach, a dog.", "en"),
        ("the RED car and dog!", "en"),
        ("red car", "de"),
        ("car of <PERSON> 12 red", "en"),
    ]
    found, counts = caption_phrases(lambda: rows, 2)
    assert list(found) == [
        ("red car", "red", "car", "dog"),
        ("red car", "red", "car", "dog"),
        (),
        ("car", "red"),
    ]
    assert counts == {("red car", "en"): 2, ("red", "en"): 3, ("car", "en"): 3, ("dog", "en"): 2}
    found, counts = caption_phrases(lambda: rows, 1, deny=["red", "the beach"])
    assert all("red" not in phrase.split() for phrase, _ in counts) and ("beach", "en") in counts
    assert ("car on the", "en") not in counts and ("12 red", "en") not in counts


def test_encoded_pictures_in_the_table(tmp_path):
    web = load_data(write_captions(tmp_path)).split("web")
    rows = caption_rows()
    assert len(web) == len(rows)  # the failed download is left out
    assert [query.text for query in web.queries[0]] == ["red square", "red", "square", "wall"]
    stored = dict(web.encoded())
    assert [stored[i] for i in range(len(rows))] == [row["jpg"] for row in rows]
    some = web.take([30, 2, 17])
    assert dict(some.encoded()) == {0: rows[30]["jpg"], 1: rows[2]["jpg"], 2: rows[17]["jpg"]}


def test_files_beside_the_table_languages_and_denied_words(tmp_path):
    """Reads the layout of img2dataset's output_format="files", with LAION's columns."""
    captions = ["a red square", "red square", "ein roter platz", "roter platz", "red square"]
    keys = [f"00000{i:04d}" for i in range(5)]
    languages = ["en", "en", "de", "de", None]
    table(tmp_path / "00000.parquet", TEXT=captions, key=keys, LANGUAGE=languages, status=["success"] * 5)
    for key in keys[:-1]:
        write(tmp_path / "00000" / f"{key}.jpg", picture("red", int(key)))
    write(tmp_path / "deny.txt", "red\n\n")
    web = load_data(f"captions:{tmp_path / '*.parquet'}").split("web")
    assert web.stored is None and web.paths[0] == str(tmp_path / "00000" / "000000000.jpg")
    assert [[tuple(query) for query in row] for row in web.queries] == [
        [("square", "en")],
        [("square", "en")],
        [("roter platz", "de"), ("roter", "de"), ("platz", "de")],
        [("roter platz", "de"), ("roter", "de"), ("platz", "de")],
    ]


def test_pictures_as_structs(tmp_path):
    images = [{"bytes": picture("red", i), "path": f"{i}.jpg"} for i in range(3)]
    table(tmp_path / "train-00000-of-00001.parquet", image=images, text=["red thing"] * 3)
    web = load_data(f"captions:{tmp_path}").split("web")
    np.testing.assert_equal(dict(web.encoded())[2], images[2]["bytes"])


def test_bad_input(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="captions: must name parquet files, got .* which matches none"):
        load_data(f"captions:{tmp_path}")
    write(tmp_path / "a" / "0.parquet", "no parquet")
    with pytest.raises(InputError, match="0.parquet must be a parquet file, got a file that is not"):
        load_data(f"captions:{tmp_path / 'a'}")
    table(tmp_path / "b" / "0.parquet", URL=["http://a"], TEXT=["a red car"])
    with pytest.raises(
        InputError, match="must have a column of encoded pictures .* download the pictures first"
    ):
        load_data(f"captions:{tmp_path / 'b'}")
    table(tmp_path / "c" / "0.parquet", jpg=[b""], title=["a red car"])
    with pytest.raises(
        InputError, match="must have a column caption or TEXT or text, got the columns jpg, title"
    ):
        load_data(f"captions:{tmp_path / 'c'}")
    table(tmp_path / "d" / "0.parquet", jpg=[b""], text=["a red car"])
    with pytest.raises(InputError, match="must name a phrase that 2 captions share, got none"):
        load_data(f"captions:{tmp_path / 'd'}")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.delattr(pyarrow, "parquet", raising=False)
    with pytest.raises(InputError, match=r"needs pyarrow, .*: pip install 'ctxvision\[captions\]'"):
        load_data(f"captions:{tmp_path / 'd'}")
