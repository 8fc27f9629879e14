import numpy as np
import pytest

from ctxvision import InputError, PhraseTable
from ctxvision.vocabulary import Ngrams, PhraseTableWriter
from tests.vocabulary.small_table import COUNTS, LANGUAGES, PHRASES, PROTOTYPES, contents


def write(directory, **columns):
    with PhraseTableWriter(directory, dim=2) as writer:
        writer.append(**{"phrases": ["a", "b"], "prototypes": [[1.0, 0.0], [0.0, 1.0]], **columns})


def test_appends_are_one_table(table, tmp_path):
    with PhraseTableWriter(tmp_path / "table", dim=2, flags=["adult"]) as writer:
        for rows in (slice(0, 1), slice(1, 4)):
            writer.append(
                PHRASES[rows],
                PROTOTYPES[rows],
                COUNTS[rows],
                LANGUAGES[rows],
                np.eye(4)[rows],
                {"adult": table.flags["adult"][rows]},
            )
    written = PhraseTable.load(tmp_path / "table")
    assert contents(written) == contents(table)
    assert written.ids([*PHRASES, "dog"]).tolist() == [0, 1, 2, 3, -1]


def test_many_rows_in_uneven_batches(tmp_path):
    """The header's number of rows grows from one digit to five."""
    phrases, prototypes = (
        [f"phrase {i}" for i in range(12345)],
        np.random.default_rng(0).normal(size=(12345, 3)),
    )
    with PhraseTableWriter(tmp_path / "table", dim=3) as writer:
        for start, stop in ((0, 1), (1, 8), (8, 1000), (1000, 12345)):
            writer.append(phrases[start:stop], prototypes[start:stop], np.arange(start, stop))
    table = PhraseTable.load(tmp_path / "table")
    assert list(table.phrases) == phrases and table.counts.tolist() == [*range(12345)]
    unit = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
    np.testing.assert_array_equal(table.prototypes, unit.astype(np.float32))
    assert table.ids(phrases[::-7]).tolist() == [*range(12345)][::-7]


def test_defaults(tmp_path):
    with PhraseTableWriter(tmp_path / "table", dim=2, dtype="float16", flags=["odd", "even"]) as writer:
        writer.append(["a"], [[3.0, 4.0]], flags={"even": [True]})
        writer.append(["b"], [[0.0, 1.0]], languages=["de"])
    table = PhraseTable.load(tmp_path / "table")
    np.testing.assert_array_equal(table.prototypes, np.array([[0.6, 0.8], [0, 1]], np.float16), strict=True)
    assert table.counts.tolist() == [1, 1] and table.languages.tolist() == ["en", "de"]
    assert {name: flag.tolist() for name, flag in table.flags.items()} == {
        "odd": [False] * 2,
        "even": [True, False],
    }
    assert table.text_embeddings is None


def test_writes_the_next_generation(table, tmp_path):
    table.save(tmp_path / "table")
    before = PhraseTable.load(tmp_path / "table")
    write(tmp_path / "table")
    assert list(PhraseTable.load(tmp_path / "table").phrases) == ["a", "b"]
    assert contents(before) == contents(table)
    with pytest.raises(
        InputError,
        match="must be at generation 1, .* got 2, written by another process: load the table again",
    ):
        before.remove(["猫"])


@pytest.mark.parametrize("first", [True, False])
def test_an_exception_leaves_nothing(table, tmp_path, first):
    if not first:
        table.save(tmp_path / "table")
    with pytest.raises(ZeroDivisionError), PhraseTableWriter(tmp_path / "table", dim=2) as writer:
        writer.append(["a"], [[1.0, 0.0]])
        1 / 0  # noqa: B018
    if first:
        assert [*tmp_path.iterdir()] == []
    else:
        assert contents(PhraseTable.load(tmp_path / "table")) == contents(table)
        names = sorted(path.name for path in (tmp_path / "table").iterdir())
        assert names == [".lock", "generation-1", "table.json"]


@pytest.mark.parametrize("later", ["caf\u00e9", "cafe\u0301"])
def test_a_repeated_phrase_is_named_at_the_end(tmp_path, later):
    with pytest.raises(InputError, match="phrases must differ .*, got 'caf\u00e9' twice"):  # noqa: SIM117
        with PhraseTableWriter(tmp_path / "table", dim=1) as writer:
            writer.append(["a", "cafe\u0301"], [[1.0], [1.0]])
            writer.append(["b", later], [[1.0], [1.0]])
    assert [*tmp_path.iterdir()] == []


def test_no_row_at_all(tmp_path):
    with pytest.raises(InputError, match="phrases must not be empty, got none"):  # noqa: SIM117
        with PhraseTableWriter(tmp_path / "table", dim=2):
            pass


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"phrases": ["a", "b" * 10_000]}, "phrases must have at most 1,000 UTF-8 bytes, got 10,000"),
        ({"phrases": ["a", 3]}, "phrases must be a sequence of str, got 3"),
        ({"prototypes": [[1.0, 0.0], [0.0, 0.0]]}, "prototypes must be finite and not zero, got .* for 'b'"),
        ({"prototypes": [[1.0], [1.0]]}, "prototypes must have 2 columns like those of the table, got 1"),
        ({"counts": [1]}, r"counts must have shape \[2\]"),
        ({"flags": {"odd": [True, False]}}, r"flags must be among the writer's \[\], got 'odd'"),
    ],
)
def test_bad_rows(tmp_path, columns, match):
    with pytest.raises(InputError, match=match):
        write(tmp_path / "table", **columns)
    assert [*tmp_path.iterdir()] == []


def test_a_refused_append_can_be_left_out(tmp_path):
    with PhraseTableWriter(tmp_path / "table", dim=2) as writer:
        writer.append(["a"], [[1.0, 0.0]], text_embeddings=[[1.0, 2.0]])
        for text in (None, [[1.0]]):
            with pytest.raises(
                InputError, match="text_embeddings must (come with every append|have 2 columns)"
            ):
                writer.append(["b"], [[1.0, 0.0]], languages=["xx"], text_embeddings=text)
        writer.append(["c"], [[0.0, 1.0]], text_embeddings=[[3.0, 4.0]])
    table = PhraseTable.load(tmp_path / "table")
    assert list(table.phrases) == ["a", "c"] and table.text_embeddings.tolist() == [[1, 2], [3, 4]]
    assert table.language_codes == ["en"]


def test_ngrams_come_with_every_append(tmp_path):
    with PhraseTableWriter(tmp_path / "table", dim=2) as writer:
        writer.append(["a"], [[1.0, 0.0]], ngrams=Ngrams(np.array([[5, 0]]), 7))
        for ngrams, match in (
            (None, "ngrams must come with every append or with none, got none at 'b'"),
            (Ngrams(np.array([[5]]), 7), "ngrams must have 2 columns like those of the table, got 1"),
            (Ngrams(np.array([[5, 0]]), 9), "ngrams must have 7 hash buckets like those of the table, got 9"),
        ):
            with pytest.raises(InputError, match=match):
                writer.append(["b"], [[1.0, 0.0]], ngrams=ngrams)
        writer.append(["c"], [[0.0, 1.0]], ngrams=Ngrams(np.array([[7, 1]]), 7))
    table = PhraseTable.load(tmp_path / "table")
    assert table.ngrams.ids.tolist() == [[5, 0], [7, 1]] and table.ngrams.hash_buckets == 7
    assert table.ngrams.ids.dtype == np.uint16 and table.text_embeddings is None


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"dtype": "int8"}, "dtype must be 'float32' or 'float16', got 'int8'"),
        ({"flags": ["../x"]}, r"flags must have names that are Python identifiers, got '\.\./x'"),
        ({"flags": "adult"}, "flags must have names that are Python identifiers"),
        ({"dim": 0}, "dim must be at least 1, got 0"),
    ],
)
def test_bad_arguments(tmp_path, arguments, match):
    with pytest.raises(InputError, match=match):
        PhraseTableWriter(tmp_path / "table", **{"dim": 2, **arguments})


def test_never_replaces_other_contents(tmp_path):
    (tmp_path / "letter.txt").write_text("keep me")
    for place in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(InputError, match="directory must be new, empty or a phrase table's"):
            write(place)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
