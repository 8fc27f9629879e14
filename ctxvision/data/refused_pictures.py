"""Explains to the user why a picture cannot be decoded."""

import struct

import tensorflow as tf

from ctxvision.data.picture_header import MAX_JPEG_PIXELS, MAX_PIXELS

READABLE = "JPEG, PNG, GIF, BMP or still WebP"
# Position and bytes that identify a format that TensorFlow does not read.
_MAGIC = (
    (0, b"II*\x00\x10\x00\x00\x00CR", "camera raw (CR2)"),
    (0, b"FUJIFILMCCD-RAW", "camera raw (RAF)"),
    (0, b"IIRO", "camera raw (ORF)"),
    (0, b"IIU\x00", "camera raw (RW2)"),
    (0, b"II*\x00", "TIFF or camera raw"),
    (0, b"MM\x00*", "TIFF or camera raw"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"\x00\x00\x01\x00", "an icon (ICO)"),
    (0, b"P6", "PPM"),
    (0, b"version https://git-lfs", "a Git LFS pointer"),
    (0, b"<!DOCTYPE html", "an HTML page"),
    (0, b"<!doctype html", "an HTML page"),
    (0, b"<html", "an HTML page"),
)
_REMEDIES = {
    "video": "save one frame of it",
    "a Git LFS pointer": "get the picture with git lfs pull",
    "an HTML page": "download the picture again",
}
_BRANDS = {
    "HEIC": (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"),
    "AVIF": (b"avif", b"avis"),
    "camera raw (CR3)": (b"crx ",),
}


def reason_of(content: bytes) -> str:
    """Explains why `decode_picture` refuses a file's content and what to do, such as "HEIC: convert it to JPEG"."""
    if not content:
        return "an empty file: leave it out"
    if content[4:8] == b"ftyp":
        kind = next((name for name, brands in _BRANDS.items() if content[8:12] in brands), "video")
        return f"{kind}: {_convert(kind)}"
    for at, magic, kind in _MAGIC:
        if content[at : at + len(magic)] == magic:
            return f"{kind}: {_convert(kind)}"
    if content[:4] == b"RIFF" and content[12:16] == b"VP8X" and content[20] & 2:
        return "an animated WebP: save one frame of it"
    if content[:2] == b"BM" and len(content) > 34:
        depth, compression = struct.unpack("<HI", content[28:34])
        if depth == 16 or compression in (1, 2):  # run-length encoded
            return (
                f"a BMP of {depth} bits{', compressed' if compression in (1, 2) else ''}: {_convert('BMP')}"
            )
    most = MAX_JPEG_PIXELS if content[:2] == b"\xff\xd8" else MAX_PIXELS
    if (size := _size(content)) and size[0] * size[1] > most:
        return f"{size[0]:,} x {size[1]:,} pixels, which is more than {most:,}: make it smaller"
    return "damaged, or not a picture: leave it out"


def _convert(kind: str) -> str:
    return _REMEDIES.get(kind, "convert it to JPEG, for example with ImageMagick: magick IN OUT.jpg")


def _size(content: bytes) -> tuple[int, int] | None:
    """Reads the width and height that a JPEG, PNG, GIF or BMP claims; None if there are none."""
    try:
        if content[:4] == b"\x89PNG":
            return struct.unpack(">II", content[16:24])
        if content[:4] == b"GIF8":
            return struct.unpack("<HH", content[6:10])
        if content[:2] == b"BM":
            width, height = struct.unpack("<ii", content[18:26])
            return width, abs(height)
        height, width, _ = tf.io.extract_jpeg_shape(content).numpy()
        return int(width), int(height)
    except (struct.error, tf.errors.OpError):
        return None
