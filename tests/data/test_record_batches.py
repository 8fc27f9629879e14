import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ctxvision.data import load_data, load_encoded, record_batches
from ctxvision.data.record_batches import _augmented
from ctxvision.errors import InputError
from tests.data.layouts import picture, write_image_folder
from tests.shards import example, write_shard
from tests.tiny_data import COLOURS
from tools.write_tfrecords import write_tfrecords

CLASSES = [f"{colour} square" for colour in COLOURS]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("records")
    source = write_image_folder(tmp_path_factory.mktemp("folder"))
    write_tfrecords([source], str(out), shard_megabytes=0.01)
    return out


def test_shapes_are_static_and_ids_fit_the_pixels(shards):
    batches = record_batches(f"{shards}/train-*", CLASSES, 8, 12, epochs=1, seed=3)
    assert batches.element_spec == (tf.TensorSpec([8, 12, 12, 3], tf.float32), tf.TensorSpec([8], tf.int32))
    seen = list(batches.as_numpy_iterator())
    assert sum(len(ids) for _, ids in seen) == 32
    assert np.bincount(np.concatenate([ids for _, ids in seen])).tolist() == [8, 8, 8, 8]
    for pixels, ids in seen:
        assert pixels.min() >= 0 and pixels.max() <= 255
        nearest = (
            np.square(pixels.mean(axis=(1, 2))[:, None] - np.array(list(COLOURS.values()))).sum(-1).argmin(1)
        )
        assert (nearest == ids).mean() > 0.8
    again = next(record_batches(f"{shards}/train-*", CLASSES, 8, 12, epochs=1, seed=3).as_numpy_iterator())
    np.testing.assert_array_equal(again[0], seen[0][0])
    other = next(record_batches(f"{shards}/train-*", CLASSES, 8, 12, epochs=1, seed=4).as_numpy_iterator())
    assert not np.array_equal(other[0], seen[0][0])


def test_queries_are_padded(shards):
    queries = ["square", "red square", "red"]
    batches = record_batches(f"{shards}/web-*", queries, 4, 8, "query", most=4, epochs=1, shuffle=0)
    ids = np.concatenate([ids for _, ids in batches.as_numpy_iterator()])
    assert ids.shape == (32, 4)
    assert sorted({tuple(row) for row in ids.tolist()}) == [(0, -1, -1, -1), (1, 2, 0, -1)]


def test_hosts_share_the_shards(shards):
    def names(host):
        batches = record_batches(
            f"{shards}/train-*", CLASSES, 1, 8, epochs=1, augment=False, host=host, hosts=2
        )
        return {pixels.tobytes() for pixels, _ in batches.as_numpy_iterator()}

    first, second = names(0), names(1)
    assert first and second and not first & second and len(first | second) == 32
    with pytest.raises(InputError, match="hosts at most the number of shards, got host 1, hosts 99 and"):
        record_batches(f"{shards}/train-*", CLASSES, 1, 8, host=1, hosts=99)


def test_pictures_of_other_formats_and_damaged_ones(tmp_path):
    kinds = [picture("red", i, kind) for i, kind in enumerate(("PNG", "GIF", "BMP", "JPEG"))]
    write_shard(tmp_path / "a", [example(image=[one], label=[CLASSES[0]]) for one in [*kinds, b"no picture"]])
    ((pixels, _),) = record_batches(str(tmp_path / "a"), CLASSES, 4, 8, epochs=1).as_numpy_iterator()
    assert (pixels.mean(axis=(1, 2)).argmax(axis=1) == 0).all()


def test_a_service_does_the_work(shards):
    dispatcher = tf.data.experimental.service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    worker = tf.data.experimental.service.WorkerServer(
        tf.data.experimental.service.WorkerConfig(dispatcher_address=address)
    )
    batches = record_batches(f"{shards}/train-*", CLASSES, 8, 8, epochs=1, service=dispatcher.target)
    assert sum(len(ids) for _, ids in batches.as_numpy_iterator()) == 32
    del worker


def test_bad_input(shards):
    with pytest.raises(
        InputError, match="batch_size, image_size, most and the number of classes must be 1 or more"
    ):
        record_batches(f"{shards}/train-*", [], 8, 8)
    with pytest.raises(InputError, match="which matches none"):
        record_batches(f"{shards}/dev-*", CLASSES, 8, 8)


def test_pictures_equal_those_of_the_manifest(shards):
    expected = load_data(f"records:{shards}/train-*").split("train")
    batches = record_batches(f"{shards}/train-*", CLASSES, 1, 8, epochs=1, augment=False, shuffle=0)
    pictures, _ = load_encoded(expected.encoded(), len(expected), 8)
    found = {pixels.astype(np.uint8).tobytes() for pixels, _ in batches.as_numpy_iterator()}
    assert found == {one[None].tobytes() for one in pictures}


def test_exif_orientation_of_a_jpeg_is_applied():
    """The left half is stored white; orientation 6, a quarter turn to the right, makes it the top half."""
    stored = np.zeros((32, 32, 3), np.uint8)
    stored[:, :16] = 255
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(file, "JPEG", exif=exif)
    for seed in range(5):
        pixels = _augmented(tf.constant(file.getvalue()), 8, tf.constant([seed, 0])).numpy()
        assert pixels[0].mean() - pixels[-1].mean() > 150
