"""PyTorch's files without PyTorch: the zip of 2020 and later, and the row of pickles before it.

Both hold one pickle in which tensors are calls of a few known functions on storages that lie elsewhere in the file.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from weights.safe_pickle import Inert, Maker, Refused, read_pickle

LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
MAX_PROGRAM = 1 << 28
BFLOAT16 = "bfloat16"  # numpy has none; it is the upper half of a float32
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
TYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


class Storage:
    """A row of numbers that lies elsewhere in the file; `read` fetches its bytes when they are wanted."""

    def __init__(self, kind: str, count: int, read: Callable[[], bytes] | None = None):
        self.is_bfloat16 = kind == BFLOAT16
        self.dtype = np.dtype("<u2" if self.is_bfloat16 else kind)
        self.count, self.read = count, read
        self._data: np.ndarray | None = None

    @property
    def data(self) -> np.ndarray:
        if self._data is None:
            data = self.read() if self.read else b""
            if len(data) != self.count * self.dtype.itemsize:
                raise Refused(f"a tensor of it has {len(data)} bytes in place of {self.count * self.dtype.itemsize}")
            self._data = np.frombuffer(data, self.dtype)
        return self._data


class Tensor:
    """A view into a storage."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any):
        sides = (*_sides(shape), *_sides(strides))
        if not isinstance(storage, Storage) or len(shape) != len(strides):
            raise Refused("a tensor of it is damaged")
        if any(type(number) is not int or number < 0 for number in (offset, *sides)):
            raise Refused("a tensor of it is damaged")
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def __setstate__(self, state):
        raise Refused("a tensor of it is damaged")

    def array(self) -> np.ndarray:
        """Its numbers; raises Refused when they reach outside the storage."""
        storage, count = self.storage, 1
        for side in self.shape:
            count *= side
        if count == 0:
            return np.zeros(self.shape, np.float32)
        last = self.offset + sum((side - 1) * stride for side, stride in zip(self.shape, self.strides))
        if last >= storage.count or count > storage.count:
            raise Refused("a tensor of it reaches outside its data")
        strides = [stride * storage.dtype.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(storage.data[self.offset :], self.shape, strides, writeable=False)
        if storage.is_bfloat16:
            return (view.astype(np.uint32) << 16).view(np.float32)
        return view


def _sides(sides: Any) -> tuple:
    if not isinstance(sides, (tuple, list)) or len(sides) > 32:
        raise Refused("a tensor of it is damaged")
    return tuple(sides)


def _rebuild(storage, offset, shape, strides, *_) -> Tensor:
    return Tensor(storage, offset, shape, strides)


NAMES = {
    ("torch._utils", "_rebuild_tensor_v2"): Maker(_rebuild),
    ("torch._utils", "_rebuild_tensor"): Maker(_rebuild),
    ("torch._utils", "_rebuild_parameter"): Maker(lambda tensor, *_: tensor),
    ("torch", "Size"): Maker(_sides),
    ("torch", "device"): Inert,
    **{("torch", name): kind for name, kind in STORAGES.items()},
    **{("torch", name): name for name in TYPES},
}


def read_torch_zip(archive: zipfile.ZipFile, program: str) -> Any:
    """What torch.save wrote, with Tensor objects; `archive` must stay open for their numbers.

    program: the name of the member data.pkl. Raises Refused.
    """
    prefix = program[: -len("data.pkl")]
    members = {info.filename: info for info in archive.infolist()}
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise Refused("its parts are compressed, which torch.save never does")
    order = members.get(f"{prefix}byteorder")
    if order is not None and order.file_size < 100 and archive.read(order).strip() != b"little":
        raise Refused("its numbers are big-endian")
    if members[program].file_size > MAX_PROGRAM:
        raise Refused("it has more items than any weight file")
    storages: dict[str, Storage] = {}

    def find_storage(pid: Any) -> Storage:
        kind, key, count = _parse_reference(pid)
        member = members.get(f"{prefix}data/{key}")
        if member is None:
            raise Refused(f"the data of a tensor, {key!r}, is missing")
        return storages.setdefault(key, Storage(kind, count, lambda: archive.read(member)))

    data_bytes = sum(info.file_size for info in members.values())
    return read_pickle(io.BytesIO(archive.read(program)), "utf-8", NAMES, find_storage, data_bytes)


def read_torch_legacy(stream: BinaryIO) -> Any:
    """What torch.save wrote before PyTorch 1.6; `stream` must stay open as above. Raises Refused."""
    num_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    storages: dict[str, Storage] = {}

    def find_storage(pid: Any) -> Storage:
        if isinstance(pid, tuple) and len(pid) == 6 and pid[5] is not None:
            raise Refused("its tensors share data in the way of PyTorch 0.4; save it again with a newer PyTorch")
        kind, key, count = _parse_reference(pid[:5] if isinstance(pid, tuple) else pid)
        return storages.setdefault(key, Storage(kind, count))

    def reader(place: int, length: int):
        def read() -> bytes:
            stream.seek(place)
            return stream.read(length)

        return read

    for _ in range(3):  # a number, a version, the sizes of C types
        read_pickle(stream)
    value = read_pickle(stream, "utf-8", NAMES, find_storage, num_bytes)
    for key in read_pickle(stream):
        header = stream.read(8)
        count, storage = int.from_bytes(header, "little"), storages.get(key)
        if len(header) < 8 or storage is None or count != storage.count:
            raise Refused("it is cut off or damaged")
        length = count * storage.dtype.itemsize
        if length > num_bytes - stream.tell():
            raise Refused("it is cut off")
        storage.read = reader(stream.tell(), length)
        stream.seek(length, os.SEEK_CUR)
    return value


def _parse_reference(pid: Any) -> tuple[str, str, int]:
    """("storage", kind, key, place, count) -> kind, key, count."""
    if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
        raise Refused("a tensor of it is damaged")
    _, kind, key, _, count = pid
    if kind not in STORAGES.values() or not isinstance(key, str) or type(count) is not int or count < 0:
        raise Refused("a tensor of it is damaged")
    return kind, key, count
