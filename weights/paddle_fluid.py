"""Binary records of Paddle before 2.0: a file holds one tensor, or many in the order of their names.

Record: uint32 0, uint64 number of LoD levels, uint32 0, int32 length of a description, the description (protobuf:
field 1 number type, field 2 sides), raw little-endian numbers.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from weights.safe_pickle import Refused

NUMBER_TYPES = {0: "?", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "u1", 21: "i1"}
MAX_DESCRIPTION = 256


def read_records(stream: BinaryIO) -> list[np.ndarray]:
    """All tensors of a file. Raises Refused when it is not made of records or cut off."""
    num_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    records = []
    while stream.tell() < num_bytes:
        records.append(_read_record(stream, num_bytes))
    return records


def _read_record(stream: BinaryIO, num_bytes: int) -> np.ndarray:
    header = stream.read(20)
    if len(header) < 20:
        raise Refused("it is cut off")
    version, lod_levels, tensor_version, length = struct.unpack("<IQIi", header)
    if version or lod_levels or tensor_version or not 0 < length <= MAX_DESCRIPTION:
        raise Refused("it is no file of Paddle tensors, or damaged")
    dtype, shape = _parse_description(stream.read(length))
    count = 1
    for side in shape:
        count *= side
    if count * dtype.itemsize > num_bytes - stream.tell():
        raise Refused(f"it is cut off: a tensor of shape {shape[:6]} needs more bytes than follow")
    return np.frombuffer(stream.read(count * dtype.itemsize), dtype).reshape(shape)


def _parse_description(data: bytes) -> tuple[np.dtype, list[int]]:
    kind, shape = None, []
    numbers = _varints(data)
    for tag in numbers:
        value = next(numbers, None)
        if tag == 0x08:
            kind = value
        elif tag == 0x10 and value is not None and value < 2**40:
            shape.append(value)
        else:
            raise Refused("a tensor of it is described in an unknown way")
    if kind not in NUMBER_TYPES or len(shape) > 8:
        raise Refused("it holds tensors of something other than numbers")
    return np.dtype(NUMBER_TYPES[kind]), shape


def _varints(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
