"""The Beam pipeline's table equals that of build_prototypes to the last bit."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ctxvision import InputError, PhraseTable, build_prototypes
from ctxvision.context.text import hash_ngrams
from tests.shards import example, write_shard
from tests.vocabulary.pairs import LARGE, content, some_pairs
from tools import beam_prototypes as tool

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    pairs = [
        *some_pairs(),
        ("cancelled", [0.6, 0.8, 0, 0, 0], "en"),
        ("cancelled", [-0.3, -0.4, 0, 0, 0], "en"),
    ]
    for i in range(3):
        records = [
            example(query=[q], embedding=e, **({} if language is None else {"language": [language]}))
            for q, e, language in pairs[i::3]
        ]
        several = example(
            query=["caf\u00e9", "cafe\u0301"], embedding=[i, 1, 2, 3, 4.0], language=["fr", "es"]
        )
        write_shard(folder / f"pairs-{i}", [*records, several])
    return folder


@pytest.fixture(scope="module")
def expected(shards):
    return content(
        build_prototypes(str(shards / "pairs-*"), shards / "table", memory=LARGE, ngrams=hash_ngrams)
    )


@pytest.fixture(scope="module")
def rows(shards, expected):
    """Writes rows by the command line in a separate process."""
    arguments = ["--pairs", shards / "pairs-*", "--rows", shards / "rows", "--runner", "DirectRunner"]
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "beam_prototypes.py", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return shards / "rows"


@pytest.mark.slow
def test_rows_are_collected_later(rows, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("ctxvision.vocabulary.builder.SHARE", 4e-8)  # spills several times
    assert content(tool.collect(str(rows), tmp_path / "table", LARGE)) == expected
    assert "cancelled" not in expected[0] and expected[2][expected[0].index("caf\u00e9")] == 6


def test_one_command_for_both(shards, expected, tmp_path, capsys):
    table = tmp_path / "table"
    tool.main(
        ["--pairs", str(shards / "pairs-*"), "--rows", str(tmp_path / "rows"), "--table", str(table)]
        + ["--memory", LARGE, "--runner", "DirectRunner"]
    )
    assert content(PhraseTable.load(table)) == expected
    assert f"{len(expected[0])} phrases in {table}" in capsys.readouterr().out


def test_shards_of_another_run_or_one_missing(rows, tmp_path):
    for path in rows.parent.glob("rows-*"):
        shutil.copy(path, tmp_path)
    (first, *_) = sorted(tmp_path.iterdir())
    other = shutil.copy(first, tmp_path / "rows-00000-of-00007.tfrecord")
    with pytest.raises(InputError, match="rows must name the shards of one run"):
        tool.collect(str(tmp_path / "rows"), tmp_path / "table", LARGE)
    first.unlink()
    with pytest.raises(InputError, match="rows must name the shards of one run"):
        tool.collect(str(tmp_path / "rows"), tmp_path / "table", LARGE)
    other.unlink()
    with pytest.raises(InputError, match="rows must name TFRecord shards that exist, got '.*rows-"):
        tool.collect(str(tmp_path / "rows"), tmp_path / "table", LARGE)


@pytest.mark.parametrize("records", [[example(query=["a"], embedding=[1.0])], [b"no example"]])
def test_unusable_rows(tmp_path, records):
    write_shard(tmp_path / "rows-00000-of-00001.tfrecord", records)
    with pytest.raises(InputError, match="must hold rows of this pipeline"):
        tool.collect(str(tmp_path / "rows"), tmp_path / "table", LARGE)


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        ("zero", "embeddings must be finite and not zero, got .* for query 'zero'"),
        ("none-*", "pairs must name TFRecord shards that exist, got '.*none-.'"),
    ],
)
def test_bad_pairs_are_one_sentence(tmp_path, capsys, pairs, match):
    write_shard(tmp_path / "zero", [example(query=["zero"], embedding=[0.0, 0.0])])
    with pytest.raises(SystemExit, match="2"):
        tool.main(
            ["--pairs", str(tmp_path / pairs), "--rows", str(tmp_path / "rows"), "--runner", "DirectRunner"]
        )
    assert re.match(match, capsys.readouterr().err)
