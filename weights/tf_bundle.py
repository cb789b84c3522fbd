"""TensorFlow's V2 checkpoints ("bundles") without TensorFlow: NAME.index and NAME.data-00000-of-00001.

The index is a table in LevelDB's format: blocks of prefix-compressed key/value pairs, each with a type byte and a
masked CRC-32C, and a footer of 48 bytes. The value of the key "" is the header, the value of each other key, a
tensor's name, a protobuf that says type, shape, and where in which data file its little-endian numbers lie. Sizes are
compared with the files' lengths before anything is read, and every checksum is verified.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from weights.crc32c import masked_crc32c
from weights.safe_pickle import Refused

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
BLOCK_TRAILER_BYTES = 5  # type, checksum
MAX_INDEX_BYTES = 16 << 20  # of published ones: 11 thousand
MAX_TENSORS = 10_000
MAX_NAME = 4096
BFLOAT16, STRING = 14, 7
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", BFLOAT16: "<u2", 19: "<f2"}
PART = re.compile(r"(.+)\.(?:data-\d{5}-of-\d{5}|meta)")  # of a bundle, beside the index


def bundle_index(path: Path) -> Path | None:
    """The index of the bundle that a path names: its prefix, its index, one of its data files or its folder.

    None for every other path. Raises Refused for a folder of several bundles.
    """
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) > 1:
            raise Refused(f"the folder has several checkpoints of TensorFlow; name one, such as {found[0]}")
        return found[0] if found else None
    if path.suffix == ".index":
        return path
    match = PART.fullmatch(path.name)
    index = path.with_name(f"{match[1] if match else path.name}.index")
    return index if (match or not path.exists()) and index.is_file() else None


def bundle_files(index: Path) -> list[Path]:
    """Index and data files of a bundle, as they are on the disk."""
    return [index, *sorted(index.parent.glob(f"{index.stem}.data-*-of-*"))]


def read_bundle(index: Path) -> dict[str, np.ndarray]:
    """{name: array} of a bundle; text tensors are left out. Raises Refused, OSError."""
    if index.stat().st_size > MAX_INDEX_BYTES:
        raise Refused("its index is larger than that of any network")
    entries = dict(_table_entries(index.read_bytes()))
    header = _fields(entries.pop(b"", b""))
    num_shards = _number(header, 1)
    if _number(header, 2) != 0:
        raise Refused("its numbers are big-endian")
    if not 1 <= num_shards <= MAX_TENSORS:
        raise Refused(f"its index says that it has {num_shards} data files")
    shards: dict[int, tuple[Path, int]] = {}
    used: dict[int, int] = {}
    arrays = {}
    for key, value in entries.items():
        name, entry = key.decode("utf-8", "replace"), _fields(value)
        kind, shard = _number(entry, 1), _number(entry, 3)
        if kind == STRING:
            continue
        if 7 in entry:
            raise Refused(f"{name} is stored in slices, which this program does not join")
        if kind not in TYPES:
            raise Refused(f"{name} is of TensorFlow's type {kind}, not of numbers")
        if not 0 <= shard < num_shards:
            raise Refused(f"{name} is said to be in data file {shard} of {num_shards}")
        if shard not in shards:
            path = index.with_name(f"{index.stem}.data-{shard:05d}-of-{num_shards:05d}")
            if not path.is_file():
                raise Refused(f"its data file {path.name} is missing; it belongs beside the index")
            shards[shard] = path, path.stat().st_size
        arrays[name] = _read_tensor(name, entry, np.dtype(TYPES[kind]), kind, *shards[shard])
        used[shard] = used.get(shard, 0) + _number(entry, 5)
        if used[shard] > shards[shard][1]:
            raise Refused(f"its tensors share bytes of {shards[shard][0].name}, which no checkpoint does")
    if not arrays:
        raise Refused("it holds no tensors")
    return arrays


def _read_tensor(name: str, entry: dict, dtype: np.dtype, kind: int, path: Path, num_bytes: int) -> np.ndarray:
    shape = [_number(_fields(part), 1) for part in _fields(_bytes(entry, 2)).get(2, ())]
    count = 1
    for side in shape:
        count *= side
    offset, size = _number(entry, 4), _number(entry, 5)
    if len(shape) > 8 or count * dtype.itemsize != size:
        raise Refused(f"{name} has {size} bytes for the shape {shape[:8]}")
    if offset + size > num_bytes:
        raise Refused(f"{path.name} is cut off: {name} ends at byte {offset + size} of {num_bytes}")
    with open(path, "rb") as stream:
        stream.seek(offset, os.SEEK_SET)
        data = stream.read(size)
    if len(data) != size or masked_crc32c(data) != _number(entry, 6):
        raise Refused(f"{path.name} is damaged: the checksum of {name} is another one")
    numbers = np.frombuffer(data, dtype).reshape(shape)
    return (numbers.astype(np.uint32) << 16).view(np.float32) if kind == BFLOAT16 else numbers


def _table_entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The pairs of a table, keys in order."""
    footer = data[-FOOTER_BYTES:]
    if len(data) < FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != MAGIC:
        raise Refused("its index is no TensorFlow checkpoint of version 2, or cut off")
    place = 0
    handle = []
    for _ in range(4):  # offset and size of the meta index block, then of the index block
        number, place = _varint(footer, place)
        handle.append(number)
    _block(data, *handle[:2])  # has nothing of use, but is a part of the file
    before, count = None, 0
    for _, block in _block_pairs(_block(data, *handle[2:])):
        offset, place = _varint(block, 0)
        for key, value in _block_pairs(_block(data, offset, _varint(block, place)[0])):
            if before is not None and key <= before:
                raise Refused("the names in its index are out of order")
            before, count = key, count + 1
            if count > MAX_TENSORS:
                raise Refused("it has more tensors than any network")
            yield key, value


def _block(data: bytes, offset: int, size: int) -> bytes:
    """The pairs and restarts of a block, verified."""
    end = offset + size
    if end + BLOCK_TRAILER_BYTES > len(data) - FOOTER_BYTES:
        raise Refused("its index is cut off or damaged")
    stored = int.from_bytes(data[end + 1 : end + BLOCK_TRAILER_BYTES], "little")
    if masked_crc32c(data[offset : end + 1]) != stored:
        raise Refused("its index is damaged: the checksum of a block is another one")
    if data[end] == 1:
        raise Refused(
            "its index is compressed with Snappy, which this program does not read; save it again uncompressed"
        )
    if data[end] != 0:
        raise Refused(f"its index is compressed in an unknown way ({data[end]})")
    return data[offset:end]


def _block_pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    num_restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (num_restarts + 1)
    if len(block) < 4 or end < 0:
        raise Refused("its index is damaged")
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        rest, place = _varint(block, place)
        length, place = _varint(block, place)
        if shared > len(key) or shared + rest > MAX_NAME or place + rest + length > end:
            raise Refused("its index is damaged")
        key = key[:shared] + block[place : place + rest]
        place += rest + length
        yield key, block[place - length : place]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise Refused("its index is damaged")


def _fields(message: bytes) -> dict[int, list]:
    """Field number -> its values (int or bytes) in a protobuf message."""
    found: dict[int, list] = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, place = _varint(message, place)
        elif kind in (1, 2, 5):
            length = 8 if kind == 1 else 4
            if kind == 2:
                length, place = _varint(message, place)
            if place + length > len(message):
                raise Refused("its index is damaged")
            value = message[place : place + length]
            place += length
            if kind != 2:
                value = int.from_bytes(value, "little")
        else:
            raise Refused("its index is damaged")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _number(fields: dict[int, list], field: int) -> int:
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        raise Refused("its index is damaged")
    return value


def _bytes(fields: dict[int, list], field: int) -> bytes:
    value = fields.get(field, [b""])[-1]
    if not isinstance(value, bytes):
        raise Refused("its index is damaged")
    return value
