"""Reads and writes single records of TFRecord files.

TensorFlow's own reader gives up a file at its first damaged record; this reader skips the record.
"""

import struct
from collections.abc import Iterator
from typing import Any

import google_crc32c
import tensorflow as tf

from ctxvision.errors import InputError

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_BLOCK = 1 << 20


def frame(record: bytes) -> bytes:
    """Encodes a record for a TFRecord file: its length, the record, and a checksum of each."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _CHECKSUM.pack(_masked(length)), record, _CHECKSUM.pack(_masked(record))))


def read_frames(path: str) -> Iterator[bytes | None]:
    """Yields each record of a TFRecord file, local or on a file system of TensorFlow; None for a wrong checksum.

    Raises:
        InputError: the file is truncated, or a record's length is damaged, so that the next record cannot be found.
    """
    with _opened(path) as file:
        number = 0
        while header := file.read(_HEADER.size):
            length, checksum = _HEADER.unpack(header) if len(header) == _HEADER.size else (0, -1)
            if checksum != _masked(header[:8]):
                raise _broken(path, number)
            content = file.read(length + _CHECKSUM.size)
            if len(content) != length + _CHECKSUM.size:
                raise _broken(path, number)
            record = content[:length]
            yield record if _CHECKSUM.unpack(content[length:])[0] == _masked(record) else None
            number += 1


def _opened(path: str) -> Any:
    return tf.io.gfile.GFile(path, "rb") if "://" in path else open(path, "rb", buffering=_BLOCK)


def _masked(content: bytes) -> int:
    checksum = google_crc32c.value(content)
    return (((checksum >> 15) | (checksum << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _broken(path: str, number: int) -> InputError:
    return InputError(
        f"shard {path!r} must hold whole TFRecords, got a truncated or damaged record {number}, after which no "
        "record can be found: write the shard again."
    )
