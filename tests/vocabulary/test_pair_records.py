"""TFRecord shards give the same table as pairs in memory."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from ctxvision import InputError, PhraseGenerator, build_prototypes
from tests.shards import example, write_shard
from tests.vocabulary.pairs import LARGE, batched, content, some_pairs


def build(shards, tmp_path, **options):
    return build_prototypes(shards, tmp_path / "table", memory=LARGE, **options)


@pytest.fixture
def shards(tmp_path):
    """Writes 400 pairs in three shards."""
    for i, pairs in enumerate((some_pairs()[:150], some_pairs()[150:160], some_pairs()[160:])):
        records = [
            example(query=[q], embedding=e, **({} if language is None else {"language": [language]}))
            for q, e, language in pairs
        ]
        write_shard(tmp_path / f"pairs-{i}", records)
    return tmp_path


def test_shards_by_pattern_list_or_name(shards):
    expected = content(build_prototypes(batched(some_pairs(), 100), shards / "memory", LARGE))
    names = [shards / f"pairs-{i}" for i in range(3)]
    for given in (str(shards / "pairs-*"), names, [str(shards / "pairs-[12]"), names[0]]):
        assert content(build(given, shards)) == expected
    assert build(names[1], shards).counts.sum() == 10


def test_records_with_several_queries(tmp_path):
    records = [
        example(query=["a", "b", "a"], embedding=[1.0, 0.0], language=["de", "", "de"]),
        example(query=["b"], embedding=[0.0, 1.0]),
        example(query=["b"], embedding=[0.0, 2.0], language=["fr"]),
    ]
    table = build(write_shard(tmp_path / "s", records), tmp_path)
    assert list(table.phrases) == ["a", "b"] and list(table.languages) == ["de", "fr"]
    np.testing.assert_allclose(table.prototypes, [[1, 0], [1 / 5**0.5, 2 / 5**0.5]], rtol=1e-6)
    assert table.counts.tolist() == [2, 3]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    path = write_shard(tmp_path / "pairs[1].tfrecord", [example(query=["a"], embedding=[1.0])])
    assert list(build(str(path), tmp_path).phrases) == ["a"]


def without_bytes(value):
    """Names a test without the record, whose feature order differs between processes."""
    return value if isinstance(value, str) else "record"


@pytest.mark.parametrize(
    ("record", "match"),
    [
        (example(embedding=[1.0, 0.0]), "got a record without query"),
        (example(query=["b"]), "got a record without embedding"),
        (
            example(query=["b"], image=[b"jpeg"]),
            "embed must be given if records hold pictures, like those of .*bad",
        ),
        (example(query=["b"], embedding=[1.0]), "must have 2 values like the first, got 1 for query 'b'"),
        (example(query=["b"], embedding=[0.0, 0.0]), "finite and not zero, got .* for query 'b'"),
        (
            example(query=["b"], embedding=["x"]),
            "shard '.*bad' must be .*, got Name: <unknown>, Key: embedding",
        ),
        (
            example(query=["b", "c"], embedding=[1.0, 0.0], language=["en"]),
            "got a record with different numbers of queries and",
        ),
        (example(query=[b"\xff"], embedding=[1.0, 0.0]), r"shard '.*bad' .*got b'\\xff'"),
        (example(query=[""], embedding=[1.0, 0.0]), "1 to 1,000 bytes of UTF-8, got ''"),
        (b"no example", "shard '.*bad' must be tf.train.Examples"),
    ],
    ids=without_bytes,
)
def test_unusable_records(tmp_path, record, match):
    path = write_shard(tmp_path / "bad", [example(query=["a"], embedding=[1.0, 0.0]), record])
    with pytest.raises(InputError, match=match):
        build(path, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-3], lambda b: b[:40] + b"?" + b[41:], lambda b: b"text\n" * 9]
)
def test_damaged_shards_are_named(shards, damage):
    path = shards / "pairs-2"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="shard '.*/pairs-2' must hold whole TFRecords, got damaged ones"):
        build(str(shards / "pairs-*"), shards)
    assert not (shards / "table").exists()


def test_no_such_shard(tmp_path):
    with pytest.raises(InputError, match="pairs must name TFRecord shards that exist, got '.*none-.'"):
        build(str(tmp_path / "none-*"), tmp_path)


def test_an_empty_shard(tmp_path):
    with pytest.raises(InputError, match="pairs must hold at least one"):
        build(write_shard(tmp_path / "empty", []), tmp_path)


# === Pictures ===


def colour(red, green, blue, size=4):
    return tf.io.encode_png(np.full((size, size, 3), (red, green, blue), np.uint8)).numpy()


def mean_colour(pictures):
    assert pictures.dtype == np.uint8 and pictures.shape[1:] == (4, 4, 3)
    return pictures.mean(axis=(1, 2), dtype=np.float32)


def picture_shard(tmp_path, number=150):
    records = [example(query=[f"q{i % 7}"], image=[colour(i, 255 - i, 9)]) for i in range(number)]
    return write_shard(tmp_path / "pictures", records)


def test_pictures_go_through_embed(tmp_path):
    pairs = [(f"q{i % 7}", np.float32([i, 255 - i, 9])) for i in range(150)]
    expected = content(build_prototypes(pairs, tmp_path / "memory", LARGE))
    assert content(build(picture_shard(tmp_path), tmp_path, embed=mean_colour)) == expected


def test_a_phrase_generator_gets_pictures_of_its_size(tmp_path):
    pixels = keras.Input((2, 2, 3))
    generator = PhraseGenerator(keras.Model(pixels, keras.layers.Flatten()(pixels)), 5)
    colours = [(i, 2 * i, 100 - i) for i in range(20)]
    records = [example(query=["all"], image=[colour(*c, size=3 + i)]) for i, c in enumerate(colours)]
    table = build(write_shard(tmp_path / "s", records), tmp_path, embed=generator)
    embeddings = generator(
        np.stack([np.full((2, 2, 3), c, np.uint8) for c in colours]), training=False
    ).numpy()
    mean = embeddings.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(table.prototypes[0], mean / np.linalg.norm(mean), atol=1e-5)
    assert table.counts.tolist() == [20]


@pytest.mark.parametrize(
    ("record", "embed", "match"),
    [
        (
            example(query=["b"], image=[b"text"]),
            mean_colour,
            "does not decode for query 'b' in shard '.*bad'",
        ),
        (
            example(query=["b"], embedding=[1.0]),
            mean_colour,
            "features query .*, image .*, got a record without image",
        ),
        (example(query=["b"], image=[colour(1, 2, 3)] * 2), mean_colour, "got a record with several"),
        (
            example(query=["b"], image=[colour(1, 2, 3, 5)]),
            mean_colour,
            r"one size .* got \(4, 4\) and \(5, 5\)",
        ),
        (
            example(query=["b"], image=[colour(1, 2, 3)]),
            lambda p: p[:1, 0, 0],
            r"embed must return .* got shape \[1, 3\]",
        ),
        (
            example(query=["b"], image=[colour(1, 2, 3)]),
            lambda p: p,
            r"embed must return .* got shape \[2, 4, 4, 3\]",
        ),
        (
            example(query=["b"], image=[colour(0, 0, 0)]),
            mean_colour,
            "finite and not zero, got .* for query 'b'",
        ),
    ],
    ids=without_bytes,
)
def test_unusable_pictures(tmp_path, record, embed, match):
    path = write_shard(tmp_path / "bad", [example(query=["a"], image=[colour(1, 2, 3)]), record])
    with pytest.raises(InputError, match=match):
        build(path, tmp_path, embed=embed)
