"""EXIF orientation is applied to pictures."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ctxvision.data import orientation
from ctxvision.data.pictures import picture_decoder


def compiled(exif_of):
    def reader(image_bytes):
        return orientation.orientation_of(exif_of(image_bytes))

    return tf.function(reader, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


READERS = {
    "JPEG": compiled(orientation.jpeg_exif),
    "PNG": compiled(orientation.png_exif),
    "WEBP": compiled(orientation.webp_exif),
}
DECODE = picture_decoder(8)
FORMATS = ("JPEG", "PNG", "WEBP")


def picture(size=(12, 8)):
    """Makes a picture whose four quarters have different colours."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, size[0] // 2 :, 0] = 200
    pixels[size[1] // 2 :, :, 1] = 200
    pixels[: size[1] // 2, : size[0] // 2, 2] = 200
    return Image.fromarray(pixels)


def exif(orientation, order="<", **changes):
    """Makes a TIFF header and a directory of three entries."""
    fields = {
        "tag": 0x0112,
        "type": 3,
        "count": 1,
        "value": orientation,
        "offset": 8,
        "entries": 3,
        **changes,
    }
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", fields["offset"])
    value = struct.pack(order + "HH", fields["value"], 0)
    entries = [
        struct.pack(order + "HHI", 0x010F, 2, 4) + b"abc\0",
        struct.pack(order + "HHI", fields["tag"], fields["type"], fields["count"]) + value,
        struct.pack(order + "HHIHH", 0x0128, 3, 1, 2, 0),
    ]
    return header + struct.pack(order + "H", fields["entries"]) + b"".join(entries) + bytes(4)


def encoded(image, kind, block=b"", **options):
    file = io.BytesIO()
    lossless = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    image.save(file, kind, **lossless, **({"exif": block} if block else {}), **options)
    return file.getvalue()


def as_pillow_writes(block):
    return b"Exif\0\0" + block


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_orientation_equals_pillow(kind, order):
    decode = picture_decoder()
    for number in range(1, 9):
        content = encoded(picture(), kind, as_pillow_writes(exif(number, order)))
        assert int(READERS[kind](content)) == number
        shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
        np.testing.assert_allclose(
            decode(content).numpy().astype(int), shown, atol=30
        )  # JPEG decoders differ


@pytest.mark.parametrize("kind", FORMATS)
def test_a_resized_picture_does_not_depend_on_its_stored_orientation(kind):
    """Stores a picture in all eight orientations; resizing is exact because the sides are multiples."""
    meant = picture((32, 16))
    wanted = DECODE(encoded(meant, "PNG")).numpy().astype(int)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose numbers
    for number, operation in undo.items():
        stored = meant.transpose(Image.Transpose(operation))
        content = encoded(stored, kind, as_pillow_writes(exif(number)))
        np.testing.assert_allclose(DECODE(content).numpy().astype(int), wanted, atol=3)


def test_exif_behind_other_segments_and_without_any():
    plain = encoded(picture(), "JPEG")
    segment = as_pillow_writes(exif(6))
    app1 = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    adobe = b"\xff\xee" + struct.pack(">H", 8) + b"Adobe\0"
    comment = b"\xff\xfe" + struct.pack(">H", 5) + b"hey"
    xmp = b"\xff\xe1" + struct.pack(">H", 30) + b"http://ns.adobe.com/xap/1.0/"
    read = READERS["JPEG"]
    assert int(read(plain[:2] + adobe + comment + xmp + app1 + plain[2:])) == 6
    assert int(read(plain[:20] + comment + app1 + plain[20:])) == 6  # behind JFIF
    assert int(read(plain[:2] + app1 + plain[20:])) == 6  # without JFIF
    assert int(read(plain)) == int(read(plain[:2] + plain[20:])) == 1
    assert int(read(plain[:2] + xmp + plain[2:])) == 1
    assert int(read(plain + app1)) == 1


def test_exif_of_a_png_behind_other_chunks():
    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    plain = encoded(picture(), "PNG")
    text, block = chunk(b"tEXt", b"Title\0picture"), chunk(b"eXIf", exif(8))
    read = READERS["PNG"]
    assert plain[37:41] == b"IDAT"
    assert int(read(plain[:33] + block + plain[33:])) == 8
    assert int(read(plain[:33] + text + block + plain[33:])) == 8
    assert int(read(plain[:33] + text + plain[33:])) == int(read(plain[:-12] + block + plain[-12:])) == 1


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_that_are_not_pictures_are_upright(kind):
    whole = encoded(picture(), kind, as_pillow_writes(exif(6)))
    assert int(READERS[kind](whole)) == 6
    for content in (b"", b"\xff\xd8", b"\x89PNG", b"RIFF", *(whole[:end] for end in range(2, 40))):
        assert int(READERS[kind](content)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 0},
        {"value": 9},
        {"value": 65535},
        {"type": 4},
        {"count": 2},
        {"offset": 0xFFFFFFFF},
        {"offset": 60000},
        {"entries": 0},
        {"tag": 0x0113},
    ],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_exif_without_orientation_is_ignored(kind, changes):
    content = encoded(picture(), kind, as_pillow_writes(exif(**{"orientation": 6, **changes})))
    assert int(READERS[kind](content)) == 1


def test_a_too_large_number_of_entries_is_tolerated():
    content = encoded(picture(), "JPEG", as_pillow_writes(exif(6, entries=65535)))
    assert int(READERS["JPEG"](content)) == 6


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.one_of(
        st.binary(max_size=80),
        st.tuples(st.integers(0, 70), st.integers(0, 255)).map(
            lambda change: exif(6)[: change[0]] + bytes([change[1]]) + exif(6)[change[0] + 1 :]
        ),
        st.integers(0, 60).map(lambda end: exif(6)[:end]),
    ),
)
def test_fuzzed_exif_never_breaks_decoding(kind, block):
    content = encoded(picture((16, 16)), kind, as_pillow_writes(block))
    number = int(READERS[kind](content))
    assert 1 <= number <= 8
    stored = DECODE(encoded(picture((16, 16)), kind)).numpy()
    shown = DECODE(content).numpy()
    if number == 1:
        np.testing.assert_array_equal(shown, stored)
    else:
        np.testing.assert_array_equal(np.sort(shown.reshape(-1)), np.sort(stored.reshape(-1)))
