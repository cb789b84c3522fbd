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


def masked_crc32c_slowly(data: bytes) -> int:
    """CRC-32C, a bit at a time from its definition, turned and shifted as LevelDB stores it."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    crc = register ^ 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def protobuf(*fields: tuple[int, int | bytes]) -> bytes:
    """(number, value) pairs; an int as varint (field 6: fixed 32 bits), bytes with their length."""
    message = b""
    for number, value in fields:
        if isinstance(value, bytes):
            message += leb128(number << 3 | 2) + leb128(len(value)) + value
        elif number == 6:
            message += leb128(number << 3 | 5) + struct.pack("<I", value)
        else:
            message += leb128(number << 3) + leb128(value)
    return message


def leb128(value: int) -> bytes:
    data = b""
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])


def table_block(pairs: list[tuple[bytes, bytes]], restart_interval: int = 16) -> bytes:
    """A block of a LevelDB table: keys without what they share with the one before, and where they are whole."""
    block, restarts, before = b"", [], b""
    for index, (key, value) in enumerate(pairs):
        shared = 0
        if index % restart_interval == 0:
            restarts.append(len(block))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        block += leb128(shared) + leb128(len(key) - shared) + leb128(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    return block + b"".join(struct.pack("<I", place) for place in restarts) + struct.pack("<I", len(restarts))


def bundle_index_bytes(pairs: list[tuple[bytes, bytes]], per_block: int = 20, compression: int = 0, crc=None) -> bytes:
    """The .index of a bundle: data blocks, an empty meta block, the index block, the footer."""
    crc = crc or masked_crc32c_slowly
    data, handles = b"", []

    def add(block: bytes) -> bytes:
        nonlocal data
        handle = leb128(len(data)) + leb128(len(block))
        data += block + bytes([compression]) + struct.pack("<I", crc(block + bytes([compression])))
        return handle

    for start in range(0, len(pairs), per_block):
        some = pairs[start : start + per_block]
        handles.append((some[-1][0], add(table_block(some))))
    meta = add(table_block([]))
    footer = meta + add(table_block(handles, 1))
    return data + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


TF_TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def bundle_files_bytes(arrays: dict[str, np.ndarray], num_shards: int = 1, crc=None) -> tuple[list, list[bytes]]:
    """The pairs of the index and the data files of a bundle."""
    crc = crc or masked_crc32c_slowly
    shards = [b""] * num_shards
    pairs = [(b"", protobuf((1, num_shards), (3, protobuf((1, 1)))))]
    for index, name in enumerate(sorted(arrays, key=str.encode)):
        array = np.ascontiguousarray(arrays[name])
        data, shard = array.tobytes(), index % num_shards
        shape = b"".join(protobuf((2, protobuf((1, side)))) for side in array.shape)
        fields = [(1, TF_TYPES[str(array.dtype)]), (2, shape), (3, shard), (4, len(shards[shard])), (5, len(data))]
        pairs.append((name.encode(), protobuf(*fields, (6, crc(data)))))
        shards[shard] += data
    return pairs, shards


def write_bundle(prefix: Path, arrays: dict[str, np.ndarray], num_shards: int = 1, crc=None) -> Path:
    """A V2 checkpoint of TensorFlow; returns its prefix. crc: a faster checksum than the slow one here."""
    pairs, shards = bundle_files_bytes(arrays, num_shards, crc)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_name(f"{prefix.name}.index").write_bytes(bundle_index_bytes(pairs, crc=crc))
    for index, data in enumerate(shards):
        prefix.with_name(f"{prefix.name}.data-{index:05d}-of-{num_shards:05d}").write_bytes(data)
    return prefix
