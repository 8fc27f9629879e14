"""Compares random changes, in memory and on disk, with a plain dict."""

import functools
import tempfile
import unicodedata
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ctxvision import InputError, PhraseTable

PHRASES = ["a", "b", "ab", "\u00e9", "e\u0301", "猫", "red car", "x" * 300]
LANGUAGES = ["en", "de", "xx"]
T = 2

phrases = st.lists(st.sampled_from(PHRASES), min_size=1, max_size=4).map(
    lambda names: [*{unicodedata.normalize("NFC", name): name for name in names}.values()]
)
vectors = st.tuples(st.integers(-3, 3), st.integers(-3, 3)).filter(any)


@st.composite
def rows(draw, always=False):
    """Draws arguments of `upsert`, or all arguments of `from_arrays`."""
    names = draw(phrases)

    def column(values):
        return draw(st.lists(values, min_size=len(names), max_size=len(names)))

    given_columns = {"phrases": names, "prototypes": column(vectors)}
    optional = {
        "counts": st.integers(0, 5),
        "languages": st.sampled_from(LANGUAGES),
        "text_embeddings": st.tuples(*[st.integers(-9, 9)] * T),
    }
    for name, values in optional.items():
        if always or draw(st.booleans()):
            given_columns[name] = column(values)
    if draw(st.booleans()):
        given_columns["flags"] = {draw(st.sampled_from(["odd", "even"])): column(st.booleans())}
    return given_columns


changes = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), rows()),
        st.tuples(st.just("merge"), rows()),
        st.tuples(st.just("remove"), phrases),
        st.tuples(st.just("shrink"), st.integers(0, 3)),
    ),
    max_size=8,
)


def unit(vector):
    return np.asarray(vector) / np.linalg.norm(vector)


class Model:
    """Converts a table to a dict from phrase to row, in the order of the ids."""

    def __init__(self):
        self.rows = {}

    def put(self, given_columns, merge=False):
        text, flags = given_columns.get("text_embeddings"), given_columns.get("flags", {})
        for i, name in enumerate(given_columns["phrases"]):
            name = unicodedata.normalize("NFC", name)
            old = self.rows.get(name)
            new = {
                "prototype": unit(given_columns["prototypes"][i]),
                "count": given_columns.get("counts", [1] * 4)[i],
                "language": given_columns.get("languages", ["en"] * 4)[i],
                "flags": {flag for flag, values in flags.items() if values[i]},
                "text": text[i] if text else None,
                "live": True,
            }
            if old is None:
                self.rows[name] = new
            elif not old["live"]:
                self.rows[name] = {**new, "text": new["text"] or old["text"]}
            elif merge:
                a, b = (old["count"], new["count"]) if old["count"] + new["count"] else (1, 1)
                mean = a * old["prototype"] + b * new["prototype"]
                if np.linalg.norm(mean) > 1e-6 * (a + b):
                    old["prototype"] = unit(mean)
                old["count"] += new["count"]
                old["flags"] |= new["flags"]
            else:
                old["prototype"], old["text"] = new["prototype"], new["text"] or old["text"]
                old["count"] = new["count"] if "counts" in given_columns else old["count"]
                old["language"] = new["language"] if "languages" in given_columns else old["language"]
                old["flags"] = (old["flags"] - set(flags)) | new["flags"]

    def remove(self, names):
        for name in names:
            self.rows[unicodedata.normalize("NFC", name)]["live"] = False

    def live(self):
        return {name for name, row in self.rows.items() if row["live"]}

    def shrink(self, min_count):
        self.rows = {n: row for n, row in self.rows.items() if row["live"] and row["count"] >= min_count}


def check(table, model):
    names = list(model.rows)
    assert list(table.phrases) == names
    prototypes = np.stack([row["prototype"] for row in model.rows.values()])
    np.testing.assert_allclose(table.prototypes, prototypes, atol=1e-5)
    assert table.counts.tolist() == [row["count"] for row in model.rows.values()]
    assert table.languages.tolist() == [row["language"] for row in model.rows.values()]
    assert table.live.tolist() == [row["live"] for row in model.rows.values()]
    flagged = [{flag for flag, values in table.flags.items() if values[i]} for i in range(len(table))]
    assert flagged == [row["flags"] for row in model.rows.values()]
    assert table.text_embeddings.tolist() == [list(row["text"]) for row in model.rows.values()]
    expected = [names.index(name) if name in model.live() else -1 for name in map(_nfc, PHRASES)]
    assert table.ids(PHRASES).tolist() == expected
    assert [row.phrase for row in table] == [name for name in names if name in model.live()]


def _nfc(name):
    return unicodedata.normalize("NFC", name)


def apply(table, model, kind, argument):
    """Changes table and model; the table must refuse what the model forbids."""
    if kind in ("upsert", "merge"):
        if kind == "upsert":
            change = functools.partial(table.upsert, **argument)
        else:
            change = functools.partial(table.merge, PhraseTable.from_arrays(**argument))
        if "text_embeddings" not in argument and not {*map(_nfc, argument["phrases"])} <= {*model.rows}:
            return refused(change)
        ids = change()
        model.put(argument, merge=kind == "merge")
        assert ids.tolist() == [list(model.rows).index(_nfc(name)) for name in argument["phrases"]]
    elif kind == "remove":
        wanted = {_nfc(name) for name in argument}
        if wanted <= model.live() and wanted != model.live():
            ids = [list(model.rows).index(_nfc(name)) for name in argument]
            assert table.remove(argument).tolist() == ids
            model.remove(argument)
        else:
            refused(lambda: table.remove(argument))
    else:
        if any(row["live"] and row["count"] >= argument for row in model.rows.values()):
            table.shrink(argument)
            model.shrink(argument)
        else:
            refused(lambda: table.shrink(argument))
    return None


def refused(call):
    try:
        call()
    except InputError:
        return
    raise AssertionError("what must be refused was done")


@settings(max_examples=150, deadline=None)
@given(start=rows(always=True), sequence=changes, one_hash=st.booleans(), on_disk=st.booleans())
def test_changes_equal_those_of_a_dict(start, sequence, one_hash, on_disk):
    # Few different hashes make phrases share them, and small blocks split columns.
    hashes = mock.Mock(side_effect=lambda encoded: np.array([len(e) % 2 for e in encoded], np.uint64))
    weak = [
        mock.patch(f"ctxvision.vocabulary.{m}.phrase_hashes", hashes) for m in ("_checks", "phrase_table")
    ]
    with tempfile.TemporaryDirectory() as folder, mock.patch("ctxvision.vocabulary._columns.BLOCK_BYTES", 24):
        for patch in weak if one_hash else []:
            patch.start()
        try:
            table, model = PhraseTable.from_arrays(**start), Model()
            model.put(start)
            if on_disk:
                table.save(folder)
                table = PhraseTable.load(folder)
            check(table, model)
            for kind, argument in sequence:
                apply(table, model, kind, argument)
                check(table, model)
            if on_disk:
                check(PhraseTable.load(folder), model)
        finally:
            mock.patch.stopall()
