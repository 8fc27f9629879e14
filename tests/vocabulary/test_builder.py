"""Prototypes are means, equal to the last bit for any order, batches and memory."""

import errno
import hashlib
import itertools

import numpy as np
import pytest
import tensorflow as tf

from ctxvision import InputError, PhraseTable, build_prototypes
from ctxvision.vocabulary import builder
from ctxvision.vocabulary._fixed_point import MOST_PAIRS, rows_of
from ctxvision.vocabulary._memory import byte_size
from ctxvision.vocabulary._partial_sums import QuerySums, _most_named
from ctxvision.vocabulary._sorted_run import SortedRun
from ctxvision.vocabulary.builder import table_of_sums
from tests.vocabulary.pairs import LARGE, batched, content, some_pairs


@pytest.fixture
def build(tmp_path):
    number = itertools.count()
    return lambda pairs, **options: build_prototypes(
        pairs, tmp_path / f"table{next(number)}", **{"memory": LARGE, **options}
    )


def digest(folder):
    """Reads all files except the lock."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


# === Results ===


def test_mean_of_normalised_embeddings_normalised(build):
    # Normalised, "car" has (1, 0), (1, 0) and (0, 1): mean (2, 1) / 3, normalised (2, 1) / √5.
    table = build([("sky", [0.0, 100.0]), ("car", [4.0, 0.0]), ("car", [0.5, 0.0]), ("car", [0.0, 100.0])])
    assert list(table.phrases) == ["car", "sky"]
    np.testing.assert_allclose(table.prototypes, [[2 / 5**0.5, 1 / 5**0.5], [0, 1]], rtol=1e-6)
    assert table.prototypes.dtype == np.float32
    assert table.counts.tolist() == [3, 1] and table.counts.dtype == np.int64


def test_rows_are_sorted_by_utf_8_and_unicode_forms_are_merged(build, tmp_path):
    # In UTF-16 the emoji, a surrogate pair, would come before the full-width letter.
    names = ["😀", "ａ", "z", "猫", "caf\u00e9", "cafe\u0301", "a b", "a", "a\0"]
    table = build([(name, [1.0, 0.0]) for name in names])
    expected = ["a", "a\0", "a b", "caf\u00e9", "z", "猫", "ａ", "😀"]
    assert list(table.phrases) == expected == sorted(expected, key=str.encode)
    assert table.counts[table.ids(["cafe\u0301"])].tolist() == [2]


def test_a_query_whose_embeddings_cancel_out_is_left_out(build):
    # 0.6² + 0.8² is not 1 in floating point, so opposites leave rounding noise.
    table = build([("no", [0.6, 0.8]), ("no", [-0.3, -0.4]), ("yes", [0.6, 0.8])])
    assert list(table.phrases) == ["yes"]
    with pytest.raises(InputError, match="pairs must leave a direction to at least one query, got .* 'no'"):
        build([("no", [0.6, 0.8]), ("no", [-0.3, -0.4])])


def test_sums_are_exact_over_many_pairs(build):
    # In float32, a million times 1/√2 added one by one is off in the third digit.
    half, whole = (np.tile(np.array(row, np.float32), (10_000, 1)) for row in ([1, 1], [1, 0]))
    batches = [(["x"] * 10_000, rows) for rows in (half, whole) for _ in range(100)]
    table = build(batches)
    # Half-way between 45 and 0 degrees.
    np.testing.assert_allclose(table.prototypes, [[np.cos(np.pi / 8), np.sin(np.pi / 8)]], rtol=1e-6)
    assert table.counts.tolist() == [2_000_000]


def test_agrees_with_means_in_float64(build):
    pairs = some_pairs()
    table = build(pairs)
    for phrase, prototype, count, _ in table:
        rows = np.array([e for q, e, _ in pairs if q == phrase], np.float64)
        mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
        assert count == len(rows)
        np.testing.assert_allclose(prototype, mean / np.linalg.norm(mean), rtol=1e-6, atol=1e-7)
    assert table.counts.sum() == len(pairs)


def test_language_is_the_most_frequent_one(build):
    named = [
        ("a", "es"),
        ("a", "es"),
        ("a", "de"),
        ("b", "es"),
        ("b", "de"),
        ("c", None),
        ("c", ""),
        ("c", "fr"),
    ]
    pairs = [(query, [1.0, 0.0], language) for query, language in named]
    table = build([*pairs, ("d", [1.0, 0.0]), ("a", [1.0, 0.0]), ("a", [1.0, 0.0]), ("a", [1.0, 0.0])])
    languages = dict(zip(table.phrases, table.languages))
    assert languages == {"a": "es", "b": "de", "c": "fr", "d": "en"}


def test_languages_are_weighted_by_pairs():
    groups, languages = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 2, 0, 0, 2, 1])
    named = _most_named(["de", "", "en"], 4, groups, languages, np.array([3, 4, 2, 3, 4, 9]))
    assert named == ["de", "en", "en", "en"]
    assert _most_named([""], 1, np.array([0]), np.array([0]), np.array([1])) == ["en"]


def test_float16(build):
    pairs = some_pairs()
    table = build(pairs, dtype="float16")
    assert table.prototypes.dtype == np.float16
    np.testing.assert_allclose(table.prototypes, build(pairs).prototypes, atol=5e-4)
    with pytest.raises(InputError, match="dtype"):
        build(pairs, dtype="int8")


def test_replaces_the_table_while_others_read_it(tmp_path):
    old = build_prototypes([("old", [1.0, 0.0])], tmp_path / "t", LARGE)
    new = build_prototypes([("new", [0.0, 1.0])], tmp_path / "t", LARGE)
    assert list(old.phrases) == ["old"] and old.prototypes.tolist() == [[1, 0]]
    assert list(new.phrases) == ["new"] and new.directory == tmp_path / "t"
    assert list(PhraseTable.load(tmp_path / "t").phrases) == ["new"]


# === Equality to the last bit ===


@pytest.mark.parametrize("size", [1, 7, 400])
@pytest.mark.parametrize("share", [1e-9, 4e-8, 1.0])
def test_order_batches_and_memory_do_not_matter(build, monkeypatch, size, share):
    """A share of a few bytes spills after every pair, a share of kilobytes sometimes."""
    pairs = some_pairs()
    expected = content(build(pairs))
    shuffled = [pairs[i] for i in np.random.default_rng(size).permutation(len(pairs))]
    runs = []

    class Counted(SortedRun):
        def __init__(self, path, blocks):
            super().__init__(path, blocks)
            runs.append(self)

    monkeypatch.setattr("ctxvision.vocabulary._partial_sums.SortedRun", Counted)
    monkeypatch.setattr(builder, "SHARE", share)
    assert content(build(batched(shuffled, size))) == expected
    assert len(runs) == {1e-9: 400, 1.0: 1}.get(share, len(runs))
    if share == 4e-8:
        assert 2 < len(runs) < 400


def test_single_pairs_and_batches_may_be_mixed(build):
    pairs = some_pairs()
    mixed = [*pairs[:10], *batched(pairs[10:100], 8), ([], np.zeros([0, 5])), *pairs[100:]]
    assert content(build(iter(mixed))) == content(build(pairs))


def test_queries_and_embeddings_may_be_arrays(build):
    rows = np.eye(2, dtype=np.float16)
    for queries in (np.array(["b", "a"]), np.array(["b", "a"], object), ("b", "a")):
        table = build([(queries, rows, np.array(["de", "en"]))])
        assert list(table.phrases) == ["a", "b"] and list(table.languages) == ["en", "de"]
    table = build([(np.str_("b"), tf.constant([1, 2], tf.bfloat16), np.str_("fr"))])
    assert list(table.phrases) == ["b"] and list(table.languages) == ["fr"]


@pytest.mark.parametrize("dim", [1, 3, 8, 64, 129, 1000])
def test_a_row_depends_only_on_its_embedding(dim):
    rng = np.random.default_rng(dim)
    for dtype in (np.float16, np.float32, np.float64):
        embeddings = (rng.normal(size=(33, dim)) * 10.0 ** rng.integers(-3, 4, (33, 1))).astype(dtype)
        names = ["q"] * 33
        together = rows_of(names, embeddings)
        for variant in (embeddings[::2], np.asfortranarray(embeddings)[::2]):
            np.testing.assert_array_equal(rows_of(names, variant), together[::2])
        for i in range(33):
            np.testing.assert_array_equal(rows_of(names, embeddings[i : i + 1]), together[i : i + 1])


def test_rows_are_multiples_of_two_to_the_minus_36():
    (row,) = rows_of(["q"], np.array([[3.0, -4.0]]))
    assert row.tolist() == [round(0.6 * 2**36), -round(0.8 * 2**36), 1]


def test_most_pairs_of_a_query_fit(tmp_path):
    def sums(count):
        return QuerySums(["q"], None, rows_of(["q"], np.array([[-1.0, 0.0]])) * count)

    table = table_of_sums([sums(MOST_PAIRS - 1), sums(1)], tmp_path / "t", byte_size(LARGE))
    assert table.counts.tolist() == [MOST_PAIRS] and table.prototypes.tolist() == [[-1, 0]]
    with pytest.raises(InputError, match="at most 134,217,727 embeddings, got 134,217,728 for 'q'"):
        table_of_sums([sums(MOST_PAIRS), sums(1)], tmp_path / "t", byte_size(LARGE))


# === Interruptions ===


def test_a_failing_stream_leaves_the_old_table(tmp_path):
    def broken():
        yield "b", [1.0, 0.0]
        raise ConnectionError

    build_prototypes([("a", [1.0, 0.0])], tmp_path / "t", LARGE)
    before = digest(tmp_path)
    with pytest.raises(ConnectionError):
        build_prototypes(broken(), tmp_path / "t", LARGE)
    assert digest(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_a_full_disk_leaves_the_old_table(tmp_path, monkeypatch):
    build_prototypes([("a", [1.0, 0.0])], tmp_path / "t", LARGE)
    before = digest(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SortedRun, "__init__", full)
    with pytest.raises(OSError, match="No space left"):
        build_prototypes([("b", [1.0, 0.0])], tmp_path / "t", LARGE)
    assert digest(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_files_of_a_killed_build_are_deleted(tmp_path):
    (tmp_path / ".t.sums-killed").mkdir()
    (tmp_path / ".t.sums-killed" / "0").write_bytes(b"rows")
    (tmp_path / ".other.sums-busy").mkdir()
    build_prototypes([("a", [1.0, 0.0])], tmp_path / "t", LARGE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.sums-busy", "t"]
