import shutil

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.data import load_data
from ctxvision.data.record_frames import frame, read_frames
from ctxvision.data.training_check import refused_labels
from ctxvision.errors import InputError
from tests.shards import example, write_shard
from tools.write_tfrecords import write_tfrecords

FEATURES = {"name": [], "label": [], "absent": [], "query": [], "language": []}


def record(**features):
    return example(**{"image": [b"picture"], "split": ["train"], **FEATURES, **features})


@pytest.fixture(scope="module")
def shards(tiny_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("records")
    write_tfrecords([str(tiny_data)], str(out), shard_megabytes=0.03)
    return out


@pytest.fixture
def copy(shards, tmp_path):
    return shutil.copytree(shards, tmp_path / "records")


def rows_of(manifest):
    found = {}
    for name in manifest.splits:
        split = manifest.split(name)
        stored = dict(split.encoded())
        for row, path in enumerate(split.paths):
            found[name, path.split("/")[-1]] = split.labels[row], split.queries[row], stored[row]
    return found


def test_records_hold_the_rows_of_their_source(shards, tiny_data):
    assert len(list(shards.glob("train-*.tfrecord"))) > 1
    manifest = load_data(f"records:{shards}/*.tfrecord")
    expected = rows_of(load_data(tiny_data))
    assert rows_of(manifest) == expected and len(expected) == 192
    assert manifest.split("train").absent is None
    train = manifest.split("train")
    stored = dict(train.encoded())
    assert dict(train.take([40, 3]).encoded()) == {0: stored[40], 1: stored[3]}
    assert not refused_labels(manifest)


def test_frames_equal_those_of_tensorflow(tmp_path):
    contents = [b"", b"a", np.random.default_rng(0).bytes(100_000)]
    path = write_shard(tmp_path / "theirs", contents)
    assert path.read_bytes() == b"".join(map(frame, contents))
    assert list(read_frames(str(path))) == contents


def test_verified_absences_are_kept(tmp_path):
    write_shard(tmp_path / "a", [record(label=["cat"], absent=["dog"]), record(label=["dog"])])
    train = load_data(f"records:{tmp_path}/a").split("train")
    assert train.labels == [("cat",), ("dog",)] and train.absent == [("dog",), ()]


def damage(path, number):
    """Flips a bit of a record."""
    frames = [frame(content) for content in read_frames(str(path))]
    content = bytearray(frames[number])
    content[20] ^= 1
    path.write_bytes(b"".join([*frames[:number], content, *frames[number + 1 :]]))


def test_damaged_records_are_counted_named_and_refused_over_one_percent(copy):
    shards = sorted(copy.glob("web-*.tfrecord"))
    damage(shards[0], 2)
    with pytest.warns(
        UserWarning, match=r"1 of 192 records of .* are damaged and are left out: .*00000-of-.* record 2"
    ):
        manifest = load_data(f"records:{copy}/*.tfrecord")
    assert len(manifest.split("web")) == 95 and len(dict(manifest.split("web").encoded())) == 95
    damage(shards[1], 0)
    with pytest.raises(
        InputError, match=r"2 of 192 records of .* are damaged, at most 1% may be: write these records again "
    ):
        load_data(f"records:{copy}/*.tfrecord")


@pytest.mark.parametrize("cut", [-3, 5])
def test_a_truncated_shard(copy, cut):
    shard = next(iter(sorted(copy.glob("train-*.tfrecord"))))
    content = shard.read_bytes()
    shard.write_bytes(content[:cut] if cut < 0 else b"12345" + content[5:])
    with pytest.raises(
        InputError, match=f"shard '{shard}' must hold whole TFRecords, got a truncated or damaged record"
    ):
        load_data(f"records:{copy}/*.tfrecord")


def test_a_record_with_a_missing_feature(tmp_path):
    write_shard(tmp_path / "a", [record(), example(image=[b"x"], label=["cat"])])
    with pytest.raises(
        InputError,
        match="record 1 of .*a' must have the feature 'split' with one value, got the features image, label",
    ):
        load_data(f"records:{tmp_path}/a")
    write_shard(tmp_path / "b", [record(), b"\xff\xff"])
    with pytest.raises(InputError, match="record 1 of .*b' must be a tf.train.Example, got other bytes"):
        load_data(f"records:{tmp_path}/b")
    write_shard(tmp_path / "c", [record(query=["a", "b"], language=["en"])])
    with pytest.raises(
        InputError, match="one language per query, got split 'train', 2 queries and 1 languages"
    ):
        load_data(f"records:{tmp_path}/c")


def test_shards_of_two_schemas(tmp_path):
    write_shard(tmp_path / "a", [record()])
    write_shard(tmp_path / "b", [example(image=[b"x"], split=["train"], label=["cat"])])
    with pytest.raises(
        InputError, match="shards must have one schema, got .*b' and .*a', which differ in feature 'absent'"
    ):
        load_data(f"records:{tmp_path}/*")


def test_no_file_matches(tmp_path):
    with pytest.raises(
        InputError, match="records: must name TFRecord files, got .*none.*, which matches none"
    ):
        load_data(f"records:{tmp_path}/none-*")


def test_numbers_of_records_must_equal_records_json(copy):
    shard = next(iter(sorted(copy.glob("train-*.tfrecord"))))
    write_shard(shard, [content for content in read_frames(str(shard))][:-1])
    with pytest.raises(InputError, match="must hold .* records according to records.json, got"):
        load_data(f"records:{copy}/*.tfrecord")
    facts = copy / "records.json"
    facts.write_text(facts.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(InputError, match="records.json' must describe finished shards, got complete = false"):
        load_data(f"records:{copy}/*.tfrecord")


def test_without_credentials_gs_is_refused_in_one_sentence(monkeypatch):
    def fail(pattern):
        raise tf.errors.UnauthenticatedError(
            None, None, "Error executing an HTTP request:\n HTTP response code 401"
        )

    monkeypatch.setattr(tf.io.gfile, "glob", fail)
    sentence = (
        r"'gs://bucket/train-\*' must be readable, got an error \(Error executing an HTTP request: HTTP response code 401\): "
        "log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
    )
    with pytest.raises(InputError, match=sentence):
        load_data("records:gs://bucket/train-*")


def test_the_error_for_an_unreachable_bucket_is_one_line():
    with pytest.raises(InputError, match="gs://ctxvision-has-no-such-bucket/train-") as caught:
        load_data("records:gs://ctxvision-has-no-such-bucket/train-*")
    assert "\n" not in str(caught.value)
