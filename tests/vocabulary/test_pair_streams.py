"""Invalid pairs raise one sentence and leave no files."""

import numpy as np
import pytest

from ctxvision import InputError, build_prototypes
from ctxvision.vocabulary._memory import byte_size, resident
from tests.vocabulary.pairs import LARGE


@pytest.fixture
def build(tmp_path):
    return lambda pairs, **options: build_prototypes(
        pairs, tmp_path / "table", **{"memory": LARGE, **options}
    )


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        ([], "pairs must hold at least one"),
        ([([], [])], "pairs must hold at least one"),
        (
            [("a", [1.0, 0.0]), ("b", [np.nan, 0.0])],
            r"finite and not zero, got \[nan, 0, ...\] for query 'b'",
        ),
        ([(["a", "b"], [[1.0, 0.0], [np.inf, 0.0]])], "finite and not zero, got .* for query 'b'"),
        ([("b", [0.0, 0.0])], "finite and not zero, got .* for query 'b'"),
        ([("a", [1.0, 0.0]), ("b", [1.0])], "must have 2 values like the first, got 1 for query 'b'"),
        (
            [(["a"], [[1.0, 0.0]]), (["b"], [[1.0]])],
            "must have 2 values like the first, got 1 for query 'b'",
        ),
        ([("b", [[1.0, 0.0]])], r"one row of numbers, got shape \[1, 2\] for query 'b'"),
        ([("b", 1.0)], r"one row of numbers, got shape \[\] for query 'b'"),
        ([("b", [])], r"one row of numbers, got shape \[0\] for query 'b'"),
        ([("b", ["x", "y"])], "rows of numbers, got .* for query 'b'"),
        ([(["a", "b"], [[1.0], [1.0, 2.0]])], "rows of numbers, got .* for query 'a'"),
        ([(["a", "b"], [[1.0, 0.0]])], r"shape \[2, D\].*, got \[1, 2\] in the batch that starts with 'a'"),
        ([(["a"], [1.0])], r"shape \[1, D\].*, got \[1\]"),
        (
            [(["a", "b"], np.eye(2), ["en"])],
            "languages must be 2, .*, got 1 in the batch that starts with 'a'",
        ),
        ([("a", [1.0], 5)], "languages must be str, got 5"),
        ([(["a"], [[1.0]], [b"en"])], "languages must be str, got b'en'"),
        ([("", [1.0, 0.0])], "1 to 1,000 bytes of UTF-8, got '' with 0"),
        ([("é" * 501, [1.0, 0.0])], r"1 to 1,000 bytes of UTF-8, got 'é{50}...' with 1,002"),
        ([("\ud800", [1.0, 0.0])], "queries must be Unicode text, got '.ud800'"),
        ([(b"red", [1.0, 0.0])], "queries must be str, got b'red'"),
        ([(["a", 5], np.eye(2))], "queries must be str, got 5"),
        ([(["a", None], np.eye(2))], "queries must be str, got None"),
        ([(["a", ["b"]], np.eye(2))], r"queries must be str, got \['b'\]"),
        ([(5, [1.0])], r"queries must be str, or a sequence of them for a batch, got \(5, "),
        ([5], "pairs must be tuples .query, embedding. .*, got 5"),
        ([("a", [1.0], "en", 1)], "pairs must be tuples .query, embedding."),
        (5, "pairs must be an iterable"),
    ],
)
def test_unusable_pairs(build, tmp_path, pairs, match):
    with pytest.raises(InputError, match=match):
        build(pairs)
    assert list(tmp_path.iterdir()) == []


def test_embed_is_only_for_shards(build):
    with pytest.raises(InputError, match="embed must be None unless pairs names TFRecord shards"):
        build([("a", [1.0])], embed=lambda pictures: pictures)


@pytest.mark.parametrize(
    ("memory", "size"),
    [("2GB", 2 * 10**9), ("1.5 GB", 1.5e9), ("500MB", 5 * 10**8), ("1GiB", 2**30), ("9B", 9), (10**9, 10**9)],
)
def test_sizes(memory, size):
    assert byte_size(memory) == size


@pytest.mark.parametrize("memory", ["", "2", "GB", "2gb", "-2GB", "0GB", 0, -1, True, 1.5])
def test_invalid_sizes(build, memory):
    with pytest.raises(InputError, match="memory must be a size such as '2GB' or a number of bytes, got"):
        build([("a", [1.0])], memory=memory)


def test_memory_below_what_the_process_holds(build):
    with pytest.raises(
        InputError, match=r"memory must leave 128 MB beside the \d+ MB .*, got 5 MB: give '\d+MB'"
    ):
        build(iter(lambda: 1 / 0, None), memory="5MB")
    assert 10**7 < resident() < 10**11


def test_a_folder_with_other_contents(tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(InputError, match="directory must be new, empty or a phrase table's"):
        build_prototypes([("a", [1.0])], tmp_path, LARGE)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
