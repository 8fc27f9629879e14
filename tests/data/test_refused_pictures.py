import io
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ctxvision.data.pictures import decode_picture
from ctxvision.data.refused_pictures import reason_of
from tests.data.test_pictures import huge


def box(brand):
    return b"\x00\x00\x00\x18ftyp" + brand + bytes(12)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "an empty file: leave it out"),
        (box(b"heic"), "HEIC: convert it to JPEG"),
        (box(b"mif1"), "HEIC: "),
        (box(b"avif"), "AVIF: convert"),
        (box(b"crx "), r"camera raw \(CR3\): convert"),
        (box(b"isom"), "video: save one frame"),
        (b"II*\x00\x10\x00\x00\x00CR\x02", r"camera raw \(CR2\)"),
        (b"MM\x00*" + bytes(20), "TIFF or camera raw: convert"),
        (b"\x00\x00\x00\x0cJXL \r\n", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer: get the picture with git lfs pull",
        ),
        (b"<!doctype html><title>404</title>", "an HTML page: download the picture again"),
        (b"BM" + bytes(26) + b"\x10\x00" + bytes(30), "a BMP of 16 bits: convert"),
        (b"BM" + bytes(26) + b"\x08\x00\x01" + bytes(30), "a BMP of 8 bits, compressed: convert"),
        (b"hello", "damaged, or not a picture: leave it out"),
        (b"\xff\xd8\xff", "damaged, or not a picture"),
    ],
)
def test_the_reason_names_the_format_and_what_to_do(content, told):
    with pytest.raises(tf.errors.OpError):
        decode_picture(tf.constant(content), 8)
    assert re.match(told, reason_of(content))


def test_tiff_and_animated_webp_as_pillow_writes_them():
    frames = [Image.new("RGB", (6, 5), (shade, 0, 0)) for shade in (1, 200)]
    for kind, told in (("TIFF", "TIFF or camera raw"), ("WEBP", "an animated WebP: save one frame of it")):
        file = io.BytesIO()
        frames[0].save(
            file, kind, **({"save_all": True, "append_images": frames[1:]} if kind == "WEBP" else {})
        )
        assert reason_of(file.getvalue()).startswith(told)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF"])
def test_too_many_pixels_are_reported_with_the_limit(kind):
    assert reason_of(huge(kind)) == "10,001 x 5,000 pixels, which is more than 50,000,000: make it smaller"


def test_too_many_pixels_of_a_jpeg():
    told = "40,001 x 5,000 pixels, which is more than 200,000,000: make it smaller"
    assert reason_of(huge("JPEG")) == told


def test_a_jpeg_between_the_limits_is_decoded_smaller():
    picture = np.zeros((5120, 10240, 3), np.uint8)
    picture[:, 5120:] = [200, 100, 0]
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=50)
    assert picture.size / 3 > 50_000_000
    found = decode_picture(tf.constant(file.getvalue()), 16).numpy().astype(int)
    np.testing.assert_allclose(found[:, :7], 0, atol=4)
    np.testing.assert_allclose(found[:, 9:], np.broadcast_to([200, 100, 0], (16, 7, 3)), atol=4)
    assert decode_picture(tf.constant(file.getvalue())).shape == (1280, 2560, 3)
