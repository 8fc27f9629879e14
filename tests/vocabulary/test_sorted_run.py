"""Sorted runs return the rows that were written, range by range."""

import numpy as np
import pytest

from ctxvision.vocabulary._sorted_run import RunRows, SortedRun, ranges


def run_of(path, phrases, block=3, dim=2):
    """Makes a run whose rows hold the positions of their phrases."""
    phrases = sorted(phrases)
    places = np.arange(len(phrases))

    def blocks():
        for start in range(0, len(phrases), block):
            part = slice(start, start + block)
            sums = np.repeat(places[part, np.newaxis], dim + 1, axis=1) * [1, 10, 100]
            yield RunRows(phrases[part], places[part] % 3, sums)

    return SortedRun(path, blocks())


def test_reads_any_rows(tmp_path):
    run = run_of(tmp_path / "0", [b"a", b"bb", "größe".encode(), b"\x00", b"z" * 1000, b"a\x00", b"a"])
    assert list(run) == [b"\x00", b"a", b"a", b"a\x00", b"bb", "größe".encode(), b"z" * 1000]
    assert run[1::2] == [b"a", b"a\x00", "größe".encode()]
    phrases, languages, sums = run.read(3, 6)
    assert phrases == [b"a\x00", b"bb", "größe".encode()]
    assert languages.tolist() == [0, 1, 2]
    assert sums.tolist() == [[3, 30, 300], [4, 40, 400], [5, 50, 500]]
    assert run.read(0, 1).phrases == [b"\x00"] and run.read(4, 4).phrases == []


@pytest.mark.parametrize("rows", [1, 10, 64, 10_000])
@pytest.mark.parametrize("sizes", [(1,), (500,), (300, 1, 40), (90,) * 8])
def test_ranges_hold_everything_once_and_are_bounded(tmp_path, rows, sizes):
    rng = np.random.default_rng(rows)
    # Skewed phrases: equal steps through the alphabet would make very unequal ranges.
    phrases = [[b"%06d" % int(10 ** rng.uniform(0, 6)) for _ in range(size)] for size in sizes]
    runs = [run_of(tmp_path / str(i), part) for i, part in enumerate(phrases)]
    found = [[phrase for part in parts for phrase in part.phrases] for parts in ranges(runs, rows)]
    assert sorted(p for part in found for p in part) == sorted(p for part in phrases for p in part)
    assert all(found)
    assert all(max(before) < min(after) for before, after in zip(found, found[1:]))
    most_of_one = max(np.unique([p for part in phrases for p in part], return_counts=True)[1])
    assert max(map(len, found)) <= max(rows, 2 * len(runs)) + most_of_one
    if rows == 10_000:
        assert len(found) == 1


def test_a_phrase_with_more_rows_than_a_range(tmp_path):
    runs = [run_of(tmp_path / str(i), [b"a"] * 4 + [b"b"] * 4) for i in range(3)]
    found = [[phrase for part in parts for phrase in part.phrases] for parts in ranges(runs, 5)]
    assert found == [[b"a"] * 12, [b"b"] * 12]
