"""Weight files as other programs write them, byte for byte, without those programs."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np


def python2_pickle(arrays: dict[str, np.ndarray], extra: bytes = b"", wrapper: str = "blobs") -> bytes:
    """What Python 2's cPickle writes for {wrapper: {name: array}}, protocol 2; wrapper "": the bare dict.

    extra: further items, already pickled.
    """

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    items = []
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        kind = text(array.dtype.str[1:].encode())
        dtype = b"cnumpy\ndtype\n(" + kind + b"K\0K\1tR(K\3" + text(b"<") + b"NNN" + integer(-1) * 2 + b"K\0tb"
        state = b"(K\1(" + b"".join(map(integer, array.shape)) + b"t" + dtype + b"\x89" + text(array.tobytes()) + b"tb"
        call = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85" + text(b"b") + b"tR"
        items.append(text(name.encode()) + call + state)
    inside = b"}(" + b"".join(items) + extra + b"u"
    return b"\x80\x02" + (b"}" + text(wrapper.encode()) + inside + b"s" if wrapper else inside) + b"."


def fluid_record(array: np.ndarray) -> bytes:
    """One tensor as Paddle 1 wrote it."""

    def varint(value: int) -> bytes:
        data = b""
        while value > 127:
            data, value = data + bytes([value & 127 | 128]), value >> 7
        return data + bytes([value])

    sides = b"".join(b"\x10" + varint(side) for side in array.shape)
    description = b"\x08" + varint({"float32": 5, "int64": 3}[str(array.dtype)]) + sides
    return struct.pack("<IQIi", 0, 0, 0, len(description)) + description + np.ascontiguousarray(array).tobytes()


def write_fluid_folder(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for name, array in arrays.items():
        (folder / name).write_bytes(fluid_record(array))
    return folder


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode, compresslevel=1) if "gz" in mode else tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def torch_program(arrays: dict[str, np.ndarray], wrapper: str = "", extra: bytes = b"") -> bytes:
    """The data.pkl of torch.save for {wrapper: OrderedDict of float32 and int64 tensors}; storages are numbered."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    items = b""
    for index, (name, array) in enumerate(arrays.items()):
        kind = {"float32": b"FloatStorage", "int64": b"LongStorage"}[str(array.dtype)]
        count = b"J" + struct.pack("<i", array.size)
        storage = b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text(str(index)) + text("cpu") + count + b"tQ"
        strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
        hooks = b"ccollections\nOrderedDict\n)R"
        arguments = b"(" + storage + b"K\0" + numbers(array.shape) + numbers(strides) + b"\x89" + hooks + b"t"
        items += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
    inside = b"ccollections\nOrderedDict\n)R(" + items + b"u"
    return b"\x80\x02" + (b"}(" + text(wrapper) + inside + extra + b"u" if wrapper else inside) + b"."


def write_torch_zip(path: Path, arrays: dict[str, np.ndarray], wrapper: str = "", extra: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", torch_program(arrays, wrapper, extra))
        archive.writestr("archive/byteorder", "little")
        for index, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{index}", np.ascontiguousarray(array).tobytes())
        archive.writestr("archive/version", "3\n")
    return path
