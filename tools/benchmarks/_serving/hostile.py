"""Hostile inputs, and checks of a server's answers to them."""

import io
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2

from .load import TIMEOUT_SECONDS, connect, predict_request

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
WITH_EXIF = ("PNG", "JPEG", "WEBP")
MEGABYTES_OF_A_LARGE_ONE = 50
SLOW = 40  # one of this number of inputs is of a large or long kind
# Allowed status codes for a message that is not a valid request for the model.
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
UNREADABLE = "Exception deserializing request!"  # gRPC's message, with status INTERNAL

Rng = np.random.Generator


def picture(rng: Rng, width: int = 40, height: int = 30, kind: str = "PNG", **options: Any) -> bytes:
    """Encodes a picture of random pixels."""
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(file, kind, **options)
    return file.getvalue()


def _any(rng: Rng) -> bytes:
    return picture(rng, kind=FORMATS[rng.integers(len(FORMATS))])


def truncated(rng: Rng) -> bytes:
    whole = _any(rng)
    return whole[: rng.integers(len(whole))]


def flipped(rng: Rng) -> bytes:
    changed = bytearray(_any(rng))
    for place in rng.integers(0, len(changed), rng.integers(1, 20)):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def broken_exif(rng: Rng) -> bytes:
    """Makes a good picture whose EXIF is noise, or has an orientation and then changed bytes or a wrong end."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, int(rng.integers(10)), 0)
    block = bytearray(b"II*\0" + struct.pack("<IH", 8, int(rng.choice([1, 1, 65535]))) + entry + bytes(4))
    for place in rng.integers(0, len(block), rng.integers(0, 4)):
        block[place] = rng.integers(256)
    content = rng.bytes(int(rng.integers(1, 200))) if rng.integers(3) == 0 else bytes(block)
    content = b"Exif\0\0" + content[: rng.integers(1, len(content) + 1)]
    return picture(rng, kind=WITH_EXIF[rng.integers(len(WITH_EXIF))], exif=content)


def wrong_magic(rng: Rng) -> bytes:
    return rng.bytes(8) + _any(rng)[8:]


def other_magic(rng: Rng) -> bytes:
    return _any(rng)[:10] + _any(rng)[10:]


def noise(rng: Rng) -> bytes:
    return rng.bytes(int(rng.integers(0, 5000)))


def zeros(rng: Rng) -> bytes:
    return bytes(int(rng.integers(0, 5000)))


def dot(rng: Rng) -> bytes:
    return picture(rng, 1, 1, FORMATS[rng.integers(len(FORMATS))])


def line(rng: Rng) -> bytes:
    sides = (1, 60_000) if rng.integers(2) else (60_000, 1)
    return picture(rng, *sides, kind=("PNG", "JPEG", "BMP")[rng.integers(3)])


def large(rng: Rng) -> bytes:
    return _any(rng)[: rng.integers(0, 40)] + bytes(MEGABYTES_OF_A_LARGE_ONE * 2**20)


def claimed_png(rng: Rng) -> bytes:
    """Makes a PNG of a few bytes that claims terabytes of pixels."""
    return _png(int(rng.integers(2**16, 2**31)), int(rng.integers(2**16, 2**31)), b"")


def claimed_gif(rng: Rng) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + _any(rng)[13:]


def claimed_bmp(rng: Rng) -> bytes:
    whole = bytearray(picture(rng, kind="BMP"))
    whole[18:26] = struct.pack("<ii", int(rng.integers(2**15, 2**31)), int(rng.integers(2**15, 2**31)))
    return bytes(whole)


def bomb(rng: Rng) -> bytes:
    """Makes a complete PNG of some kilobytes that decodes to gigabytes."""
    side = 30_000
    return _png(side, side, zlib.compress(bytes((1 + side // 8) * side), 9), depth=1)


def _png(width: int, height: int, data: bytes, depth: int = 8) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


PICTURES: tuple[Callable[[Rng], bytes], ...] = (
    truncated, flipped, broken_exif, wrong_magic, other_magic, noise, zeros, dot, claimed_png, claimed_gif, claimed_bmp,
)  # fmt: skip
SLOW_PICTURES: tuple[Callable[[Rng], bytes], ...] = (line, large, bomb)
NEVER_PICTURES = {wrong_magic, noise, zeros, claimed_png, bomb}
ALWAYS_PICTURES = {broken_exif, dot}


def random_message(rng: Rng) -> bytes:
    return rng.bytes(int(rng.integers(0, 2000)))


def flipped_message(rng: Rng) -> bytes:
    changed = bytearray(predict_request([_any(rng)]))
    for place in rng.integers(0, min(len(changed), 120), rng.integers(1, 6)):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def truncated_message(rng: Rng) -> bytes:
    whole = predict_request([_any(rng)])
    return whole[: rng.integers(len(whole))]


MESSAGES: tuple[Callable[[Rng], bytes], ...] = (random_message, flipped_message, truncated_message)
KINDS = (*PICTURES, *MESSAGES)


@dataclass
class Verdicts:
    """Counts answers by kind of input, and lists wrong answers."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def attack(address: str, number: int, seed: int = 0) -> Verdicts:
    """Sends hostile inputs one after another, each picture together with a good one.

    Args:
        address: HOST:PORT of the server.
        number: the number of inputs.
        seed: seed of the inputs.

    Returns:
        The verdicts. An answer is wrong if the good picture's result changes, a row with `valid` false is not blank,
        bytes that are not a picture are valid, or a request fails otherwise than by the refusal of an invalid message.
    """
    verdicts = Verdicts()
    channel, call = connect(address)
    with channel:
        good = picture(np.random.default_rng(seed))
        alone = predict_pb2.PredictResponse.FromString(call(predict_request([good]), timeout=TIMEOUT_SECONDS))
        expected = tf.make_ndarray(alone.outputs["probabilities"])[0]
        for kind, content in _inputs(number, seed):
            message = content if kind in MESSAGES else predict_request([content, good])
            try:
                answer = call(message, timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                verdicts.counts[f"{kind.__name__}: {error.code().name}"] += 1
                if not _is_refusal(kind, error):
                    verdicts.wrong.append(f"{kind.__name__}: {error.code().name}: {error.details()}")
                continue
            verdicts.counts[f"{kind.__name__}: answered"] += 1
            if kind not in MESSAGES and (wrong := _wrong(kind, answer, expected)):
                verdicts.wrong.append(f"{kind.__name__}: {wrong}")
    return verdicts


def _inputs(number: int, seed: int) -> Iterator[tuple[Callable[[Rng], bytes], bytes]]:
    for i in range(number):
        rng = np.random.default_rng([seed, i])
        kind = KINDS[i % len(KINDS)]
        if i % SLOW == SLOW - 1:
            kind = SLOW_PICTURES[i // SLOW % len(SLOW_PICTURES)]
        yield kind, kind(rng)


def _is_refusal(kind: Callable[[Rng], bytes], error: grpc.RpcError) -> bool:
    if kind not in MESSAGES:
        return False  # a picture never fails its request
    unreadable = error.code() == grpc.StatusCode.INTERNAL and UNREADABLE in error.details()
    return unreadable or error.code() in REFUSALS


def _wrong(kind: Callable[[Rng], bytes], answer: bytes, expected: np.ndarray) -> str | None:
    outputs = {
        key: tf.make_ndarray(value)
        for key, value in predict_pb2.PredictResponse.FromString(answer).outputs.items()
    }
    hostile, good = outputs["valid"].tolist()
    if not good or not np.allclose(outputs["probabilities"][1], expected, atol=1e-5):
        return "the result of the good picture changed"
    if hostile and kind in NEVER_PICTURES:
        return "valid, although not a picture"
    if not hostile and kind in ALWAYS_PICTURES:
        return "not valid, although a picture"
    if not hostile and (outputs["probabilities"][0].any() or any(outputs["labels"][0])):
        return "not valid, but not blank"
    if not np.isfinite(outputs["probabilities"]).all():
        return "not finite"
    return None
