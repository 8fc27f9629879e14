import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ctxvision.data import decode_picture, load_pictures, training_batches
from ctxvision.data.picture_header import first_gif_frame
from ctxvision.data.pictures import bits_of, picture_decoder
from ctxvision.errors import InputError


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(content: bytes, image_size: int | None = None) -> np.ndarray:
    return decode_picture(tf.constant(content), image_size).numpy()


def one_row(mode: str, pixels: list) -> Image.Image:
    picture = Image.new(mode, (len(pixels), 1))
    picture.putdata(pixels)
    return picture


def test_rgba_png_is_composited_on_white():
    picture = one_row("RGBA", [(10, 20, 30, 255), (10, 20, 30, 0), (0, 100, 200, 51)])
    # 51 / 255 = 0.2: 0.2 * (0, 100, 200) + 0.8 * 255 = (204, 224, 244)
    assert decoded(encoded(picture, "PNG")).tolist() == [[[10, 20, 30], [255, 255, 255], [204, 224, 244]]]


def test_palette_png_with_transparency_is_composited_on_white():
    picture = one_row("P", [0, 1, 2])
    picture.putpalette([200, 0, 0, 0, 100, 0, 0, 0, 50])
    content = encoded(picture, "PNG", transparency=bytes([255, 0, 102]))
    # 102 / 255 = 0.4: 0.4 * (0, 0, 50) + 0.6 * 255 = (153, 153, 173)
    assert decoded(content).tolist() == [[[200, 0, 0], [255, 255, 255], [153, 153, 173]]]


def test_grey_png_with_alpha_and_without():
    with_alpha = encoded(one_row("LA", [(0, 255), (0, 51), (7, 0)]), "PNG")
    assert decoded(with_alpha)[0, :, 0].tolist() == [0, 204, 255]
    assert decoded(encoded(one_row("L", [0, 9, 255]), "PNG")).tolist() == [[[0] * 3, [9] * 3, [255] * 3]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency, second", [(None, [0, 100, 0]), (1, [255, 255, 255])])
def test_palette_png_of_every_depth(bits, transparency, second):
    picture = one_row("P", [0, 1] + [0] * (bits > 1) * 30)
    picture.putpalette(([200, 0, 0, 0, 100, 0] + [0, 0, 9] * 254)[: 3 * 2**bits])
    content = encoded(picture, "PNG", bits=bits, **({} if transparency is None else {"transparency": 1}))
    assert content[24] == bits
    assert decoded(content)[0, :2].tolist() == [[200, 0, 0], second]


def test_one_bit_png():
    assert decoded(encoded(one_row("1", [0, 255]), "PNG")).tolist() == [[[0] * 3, [255] * 3]]


def test_sixteen_bit_png_keeps_the_upper_bits():
    values = np.array([[0, 0x1234, 0xFFFF]], np.uint16)
    content = encoded(Image.fromarray(values), "PNG")
    assert decoded(content)[0, :, 1].tolist() == [0, 0x12, 255]


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_sixteen_bit_png_with_fewer_used_bits_is_brightened(bits):
    """Cameras write values up to 2**bits - 1 in 16-bit samples."""
    top = (1 << bits) - 1
    values = np.array([[0, top // 2, top]], np.uint16)
    content = encoded(Image.fromarray(values), "PNG")
    assert decoded(content)[0, :, 2].tolist() == [0, 127, 255]
    assert bits_of(content) == bits


def test_bits_of_other_pictures():
    assert bits_of(encoded(Image.fromarray(np.array([[1, 65535]], np.uint16)), "PNG")) == 16
    assert bits_of(encoded(one_row("L", [0, 3]), "PNG")) is None
    assert bits_of(encoded(Image.new("RGB", (8, 8)), "JPEG")) is None
    assert decoded(encoded(Image.fromarray(np.zeros((2, 2), np.uint16)), "PNG")).max() == 0


@pytest.mark.parametrize("mode, colour, expected", [
    ("RGB", (200, 40, 90), (200, 40, 90)),
    ("L", 77, (77, 77, 77)),
    ("CMYK", (255, 0, 0, 0), (0, 255, 255)),  # full cyan ink leaves no red
    ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
])  # fmt: skip
def test_jpeg_of_every_colour_space(mode, colour, expected):
    pixels = decoded(encoded(Image.new(mode, (8, 16), colour), "JPEG", quality=95))
    assert pixels.shape == (16, 8, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels.astype(int), np.broadcast_to(expected, (16, 8, 3)), atol=3)


def test_gif_gives_its_first_frame():
    frames = [Image.new("RGB", (3, 2), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decoded(content).tolist() == [[[255, 0, 0]] * 3] * 2


def test_bmp_of_every_depth():
    colours = [(1, 2, 3), (250, 128, 0)]
    assert decoded(encoded(one_row("RGB", colours), "BMP")).tolist() == [[[1, 2, 3], [250, 128, 0]]]
    assert decoded(encoded(one_row("L", [5, 200]), "BMP")).tolist() == [[[5] * 3, [200] * 3]]
    palette = one_row("P", [1, 0])
    palette.putpalette([9, 8, 7, 60, 70, 80])
    assert decoded(encoded(palette, "BMP")).tolist() == [[[60, 70, 80], [9, 8, 7]]]


@pytest.mark.parametrize("width", [1, 7, 8, 9, 33])
def test_one_bit_bmp(width):
    """A byte holds eight pixels, and rows are padded to four bytes."""
    bits = np.random.default_rng(width).integers(0, 2, (5, width), np.uint8) * 255
    content = encoded(Image.fromarray(bits).convert("1"), "BMP")
    np.testing.assert_array_equal(decoded(content), np.repeat(bits[..., None], 3, axis=2))


@pytest.mark.parametrize("from_the_top", [False, True])
def test_four_bit_bmp(from_the_top):
    """Two rows of three pixels have the colours 1, 2, 3 and 15, 0, 4 of a table in blue, green, red."""
    rows = [bytes([0x12, 0x30, 0, 0]), bytes([0xF0, 0x40, 0, 0])]
    content = bmp(4, 2, 3, b"".join(rows if from_the_top else rows[::-1]), -2 if from_the_top else 2)
    expected = [[[9, 255 - 17 * i, 17 * i] for i in row] for row in ((1, 2, 3), (15, 0, 4))]
    assert decoded(content).tolist() == expected
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(content[:-1])


def bmp(depth, height, width, pixels, told_height=None):
    table = b"".join(bytes([17 * i, 255 - 17 * i, 9, 0]) for i in range(1 << depth))
    start = 54 + len(table)
    head = struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    head += struct.pack(
        "<IiiHHIIiiII", 40, width, told_height or height, 1, depth, 0, len(pixels), 0, 0, 0, 0
    )
    return b"BM" + head + table + pixels


def test_bmp_alpha_is_composited_unless_it_is_padding():
    picture = one_row("RGBA", [(10, 20, 30, 255), (0, 100, 200, 51)])
    assert decoded(encoded(picture, "BMP")).tolist() == [[[10, 20, 30], [204, 224, 244]]]
    padding = one_row("RGBA", [(10, 20, 30, 0), (0, 100, 200, 0)])
    assert decoded(encoded(padding, "BMP")).tolist() == [[[10, 20, 30], [0, 100, 200]]]


def test_resize_averages_and_keeps_flat_pictures():
    assert (decoded(encoded(Image.new("RGB", (31, 17), (12, 34, 56)), "PNG"), 8) == [12, 34, 56]).all()
    # A checkerboard at a quarter of its size is grey with antialiasing, and black or white without.
    board = np.indices((64, 64)).sum(0) % 2 * 255
    small = decoded(encoded(Image.fromarray(board.astype(np.uint8)), "PNG"), 16)
    assert small.shape == (16, 16, 3)
    assert abs(small.astype(int) - 127).max() <= 4


def test_decode_inside_a_graph():
    contents = [encoded(Image.new("RGB", (9, 9), (250, 0, 0)), kind) for kind in ("PNG", "GIF", "BMP")]
    pictures = tf.data.Dataset.from_tensor_slices(contents).map(lambda c: decode_picture(c, 4)).batch(3)
    assert pictures.element_spec.shape.as_list() == [None, 4, 4, 3]
    assert (next(iter(pictures)).numpy() == [250, 0, 0]).all()


def patched(content: bytes, at: int, replacement: bytes) -> bytes:
    return content[:at] + replacement + content[at + len(replacement) :]


def with_crc(png: bytes) -> bytes:
    """Corrects the checksum of a PNG's first chunk."""
    return patched(png, 29, zlib.crc32(png[12:29]).to_bytes(4, "big"))


SMALL = Image.new("RGB", (6, 5), (250, 0, 0))


def huge(kind: str) -> bytes:
    """Makes a file of 6 x 5 pixels that claims 10,001 x 5,000, or 40,001 x 5,000 for a JPEG."""
    wide, high = 40_001 if kind == "JPEG" else 10_001, 5_000
    if kind == "PNG":
        sides = wide.to_bytes(4, "big") + high.to_bytes(4, "big")
        return with_crc(patched(encoded(SMALL, "PNG"), 16, sides))
    if kind == "BMP":
        return patched(encoded(SMALL, "BMP"), 18, struct.pack("<ii", wide, -high))
    if kind == "JPEG":
        content = encoded(SMALL, "JPEG")
        return patched(content, content.index(b"\xff\xc0") + 5, struct.pack(">HH", high, wide))
    if kind == "WebP, lossless":
        bits = (wide - 1) | (high - 1) << 14
        return patched(encoded(SMALL, "WEBP", lossless=True), 21, struct.pack("<I", bits))
    if kind == "WebP, lossy":
        return patched(encoded(SMALL, "WEBP"), 26, struct.pack("<HH", wide, high))
    content = encoded(SMALL, "GIF")
    # Changes the size of the canvas, or of the first frame on a canvas of 6 x 5.
    return patched(content, 6 if kind == "GIF" else content.index(b",") + 5, struct.pack("<HH", wide, high))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG", "GIF", "GIF, frame", "WebP, lossless", "WebP, lossy"])
def test_a_picture_that_claims_too_many_pixels_is_not_decoded(kind):
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=f"must have 1 to {200 if kind == 'JPEG' else 50}000000 pixels, got",
    ):
        decode_picture(tf.constant(huge(kind)), 8)


def test_only_the_first_frame_of_a_gif_is_read():
    frames = [Image.new("RGB", (6, 5), colour) for colour in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    for comment in (b"", b"a comment before the frames" * 20):
        content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=comment)
        second = content.index(b",", content.index(b",") + 10)
        # A frame of 4 gigabytes, which must not be decoded.
        bomb = patched(content, second + 5, b"\xff\xff\xff\xff")
        read = Image.open(io.BytesIO(first_gif_frame(tf.constant(bomb)).content.numpy()))
        assert read.n_frames == 1 and read.convert("RGB").getpixel((5, 4)) == (255, 0, 0)
        assert decoded(bomb).tolist() == [[[255, 0, 0]] * 6] * 5


def test_still_webp_is_read_and_an_animation_is_not():
    for options in ({"lossless": True}, {"quality": 95}, {"lossless": True, "exif": b"Exif\0\0extended"}):
        assert abs(decoded(encoded(SMALL, "WEBP", **options)).astype(int) - [250, 0, 0]).max() <= 4
    frames = [Image.new("RGB", (6, 5), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    animated = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match="must have 1 to 50000000 pixels, got",
    ):
        decoded(animated)


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_with_transparency_is_composited_on_white(lossless):
    picture = Image.new("RGBA", (16, 16), (200, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 8, 16))
    picture.paste((0, 0, 0, 128), (8, 0, 12, 16))
    found = decoded(encoded(picture, "WEBP", lossless=lossless)).astype(int)
    np.testing.assert_allclose(found[8, [2, 10, 14]], [[255] * 3, [127] * 3, [200, 0, 0]], atol=12)


def gif(picture: Image.Image, **options) -> bytes:
    return encoded(picture, "GIF", **options)


def test_a_transparent_gif_is_composited_on_white():
    picture = Image.new("P", (4, 1))
    picture.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0, 9, 9, 9])
    picture.putdata([0, 1, 2, 3])
    for transparent in range(4):
        found = decoded(gif(picture, transparency=transparent))[0]
        wanted = np.array([[0, 0, 0], [250, 0, 0], [0, 250, 0], [9, 9, 9]])
        wanted[transparent] = 255
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(decoded(gif(picture))[0, 0], [0, 0, 0])


def test_a_gif_frame_smaller_than_its_canvas_lies_on_white():
    content = gif(Image.new("RGB", (3, 2), (0, 0, 200)))
    canvas = content[:6] + struct.pack("<HH", 6, 5) + content[10:]
    at = canvas.index(b"\x2c", 13 + 3 * 2 ** ((canvas[10] & 7) + 1))
    moved = canvas[: at + 1] + struct.pack("<HH", 2, 1) + canvas[at + 5 :]
    found = decoded(moved)
    assert found.shape == (5, 6, 3) and (found[1:3, 2:5] == [0, 0, 200]).all()
    found[1:3, 2:5] = 255
    assert (found == 255).all()


def test_a_gif_frame_far_beyond_its_canvas_is_not_decoded():
    content = gif(Image.new("RGB", (3, 2), (0, 0, 200)))
    at = content.index(b"\x2c", 13 + 3 * 2 ** ((content[10] & 7) + 1))
    wide = content[:6] + struct.pack("<HH", 65535, 700) + content[10:]
    bomb = wide[: at + 1] + struct.pack("<HHHH", 0, 0, 700, 65535) + wide[at + 9 :]
    with pytest.raises(tf.errors.InvalidArgumentError, match="a picture must have 1 to 50000000 pixels"):
        decoded(bomb)


def test_long_thin_pictures_are_read():
    for size in ((1, 60_000), (60_000, 1), (1, 1)):
        for kind in ("PNG", "BMP", "JPEG", "GIF"):
            small = decoded(encoded(Image.new("RGB", size, (12, 240, 12)), kind), 8)
            assert abs(small.astype(int) - [12, 240, 12]).max() <= 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"B",
        b"GIF89a",
        b"GIF89a" + bytes(9),
        b"RIFF....WEBP",
        b"no picture",
        b"\x89PNG broken",
        b"BM broken",
    ],
)
def test_bytes_that_are_not_a_picture(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_picture(tf.constant(content), 8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "JPEG"])
def test_messages_about_cut_pictures_can_be_read(kind):
    """A message that holds bytes of the picture would be a UnicodeDecodeError."""
    whole = encoded(Image.new("P" if kind in ("BMP", "GIF") else "RGB", (9, 7)), kind)
    decode, rng = picture_decoder(8), np.random.default_rng(0)
    for length in (5, 10, 14, 20, 23, 24, 30, 50, 80) * 4:
        cut = bytearray(whole[:length])
        for place in rng.integers(2, len(cut), 3):
            cut[place] = rng.integers(128, 256)
        with suppress(tf.errors.InvalidArgumentError):
            decode(tf.constant(bytes(cut)))


@pytest.fixture
def files(tmp_path):
    """Writes 300 files; number 7 is missing, 150 is text and 299 is truncated."""
    paths = [str(tmp_path / f"{number}.png") for number in range(300)]
    for number, path in enumerate(paths):
        Image.new("RGB", (6, 6), (number % 256, 1, 2)).save(path)
    (tmp_path / "7.png").unlink()
    (tmp_path / "150.png").write_text("text")
    (tmp_path / "299.png").write_bytes((tmp_path / "298.png").read_bytes()[:40])
    return paths


def test_load_pictures_keeps_order_and_names_failures(files):
    pictures, undecodable = load_pictures(files, 4)
    assert undecodable == [7, 150, 299]
    expected = [0 if number in undecodable else number % 256 for number in range(300)]
    assert pictures.shape == (300, 4, 4, 3)
    assert (pictures[..., 0] == np.array(expected)[:, None, None]).all()
    assert not pictures[undecodable].any()


def test_load_pictures_into_a_memory_map(files, tmp_path):
    out = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=(300, 4, 4, 3))
    out[:] = 99
    pictures, _ = load_pictures(files, 4, out=out)
    assert pictures is out
    assert (out == load_pictures(files, 4)[0]).all()
    with pytest.raises(ValueError, match=r"out must be uint8 \[300, 8, 8, 3\], got uint8 \[300, 4, 4, 3\]"):
        load_pictures(files, 8, out=out)


def test_load_no_pictures():
    pictures, undecodable = load_pictures([], 4)
    assert pictures.shape == (0, 4, 4, 3)
    assert undecodable == []


PICTURES = np.random.default_rng(0).integers(256, size=(50, 8, 8, 3), dtype=np.uint8)
ROWS = np.arange(50)


def one_epoch(seed, epoch, **options):
    elements = list(training_batches(PICTURES, (ROWS,), 16, seed, epoch, **options))
    return [np.concatenate([element[part].numpy() for element in elements]) for part in (0, 1)]


def test_an_epoch_is_a_function_of_seed_and_epoch():
    pixels, rows = one_epoch(3, 5)
    again, rows_again = one_epoch(3, 5)
    np.testing.assert_array_equal(pixels, again)
    np.testing.assert_array_equal(rows, rows_again)
    for seed, epoch in ((3, 6), (4, 5), (5, 3)):
        other, other_rows = one_epoch(seed, epoch)
        assert (rows != other_rows).any()
        assert np.abs(pixels - other).max() > 10


def test_batches_without_augmentation_are_the_pictures():
    pixels, rows = one_epoch(0, 0, augment=False)
    assert len(rows) == 48  # 3 batches of 16; the last two pictures are dropped
    assert len(set(rows.tolist())) == 48
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, PICTURES[rows].astype(np.float32))


def test_all_pictures_occur_over_epochs():
    seen = {row for epoch in range(4) for row in one_epoch(0, epoch, augment=False)[1].tolist()}
    assert seen == set(range(50))


def test_elements_and_number_of_batches():
    arrays = {"label": ROWS, "name": ROWS.astype(str), "weight": np.ones((50, 2), np.float32)}
    batches = training_batches(PICTURES, arrays, 16, 0, 0)
    assert batches.cardinality().numpy() == 3
    pixels, values = next(iter(batches))
    assert pixels.shape == (16, 8, 8, 3)
    assert values["weight"].shape == (16, 2)
    assert [int(name) for name in values["name"].numpy()] == values["label"].numpy().tolist()
    pixels, label, weight = next(iter(training_batches(PICTURES, (ROWS, arrays["weight"]), 16, 0, 0)))
    assert label.shape == (16,) and weight.shape == (16, 2)


def left_brighter(flip: bool) -> np.ndarray:
    halves = np.zeros((64, 16, 16, 3), np.uint8)
    halves[:, :, :8] = 200
    pixels, _ = next(iter(training_batches(halves, (np.arange(64),), 64, 0, 0, flip=flip)))
    assert pixels.numpy().min() >= 0 and pixels.numpy().max() <= 255
    return pixels[:, :, 0].numpy().mean((1, 2)) > pixels[:, :, -1].numpy().mean((1, 2))


def test_flip_mirrors_half_of_the_pictures_and_only_when_asked():
    assert 16 < left_brighter(flip=True).sum() < 48
    assert left_brighter(flip=False).all()


def test_crop_keeps_three_quarters_of_the_area():
    # Red counts rows and green counts columns, so their range in a crop is the share of the side.
    ramp = np.zeros((64, 32, 32, 3), np.uint8)
    ramp[..., 0] = np.linspace(60, 190, 32)[:, None]
    ramp[..., 1] = np.linspace(60, 190, 32)[None, :]
    ramp[..., 2] = 125
    pixels = next(iter(training_batches(ramp, (np.arange(64),), 64, 0, 0, flip=False)))[0].numpy()
    high = pixels[:, -1, :, 0].mean(1) - pixels[:, 0, :, 0].mean(1)
    wide = pixels[:, :, -1, 1].mean(1) - pixels[:, :, 0, 1].mean(1)
    np.testing.assert_allclose(high, wide, rtol=0.03)  # the aspect ratio stays
    assert high.min() > 130 * 0.8 * np.sqrt(0.75) - 2  # contrast 0.8 to 1.2
    assert high.max() < 130 * 1.2 + 2
    assert high.std() > 5


def test_bad_batches():
    with pytest.raises(InputError, match="batch_size must not exceed .* got batch_size 51 with 50 pictures"):
        training_batches(PICTURES, (ROWS,), 51, 0, 0)
    with pytest.raises(ValueError, match="must have a row per picture, got 49 rows for 50 pictures"):
        training_batches(PICTURES, (ROWS[1:],), 16, 0, 0)


def test_rows_select_pictures():
    pictures = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)
    rows, labels = np.array([3, 3, 17, 5, 8, 0, 11]), np.arange(7)
    whole = training_batches(pictures[rows], (labels,), 3, seed=1, epoch=2)
    chosen = training_batches(pictures, (labels,), 3, seed=1, epoch=2, rows=rows)
    for expected, found in zip(whole.as_numpy_iterator(), chosen.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(expected[0], found[0])
        np.testing.assert_array_equal(expected[1], found[1])


def test_calls_outside_a_graph_share_one_trace():
    for kind in ("PNG", "GIF", "BMP", "PNG"):
        assert decode_picture(encoded(Image.new("RGB", (9, 9)), kind), 9).shape == (9, 9, 3)
    assert picture_decoder(9).experimental_get_tracing_count() == 1
