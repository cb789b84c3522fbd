"""Weight files of every kind -> {name: array}; the kind is detected from the first bytes, never by the file's name.

Sizes come from headers and are compared with the file's length before anything is allocated.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from utils.errors import UserError
from utils.files import file_sha256
from weights import ORIGIN_KEY
from weights.safe_pickle import Refused, read_pickle
from weights.tf_bundle import MAGIC as TABLE_MAGIC
from weights.tf_bundle import bundle_files, bundle_index, read_bundle
from weights.torch_file import LEGACY_START, Tensor, read_torch_legacy, read_torch_zip

MAX_MEMBERS = 10_000
MAX_ARCHIVE_BYTES = 4 << 30
MAX_EXPANSION = 20  # floating-point weights hardly shrink; an archive that grows more is a bomb
MXNET_START = struct.pack("<QQ", 0x112, 0)
WRAPPERS = ("blobs", "model_state", "state_dict", "model_state_dict", "model")
SAFETENSORS_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
SAFETENSORS_TYPES.update({"I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"})
FLUID_TYPES = {0: "?", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "u1", 21: "i1"}
MAX_DESCRIPTION = 256
# what the readers of archives raise on damaged or encrypted ones
DAMAGE = (Refused, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError, RuntimeError, KeyError)


@dataclass
class Stored:
    """What a file holds: its kind for people, arrays by name; `unnamed` are the arrays of a file without names;
    `record` is what this program wrote of its weights' origin."""

    kind: str
    arrays: dict[str, np.ndarray]
    unnamed: list[np.ndarray] | None = None
    record: Any = None


def read_stored(path: str | Path) -> Stored:
    """Read a weight file, a folder of one-variable files, or a TensorFlow bundle: its prefix, its index or its folder.

    Raises UserError with the path when it is missing, no weight file, cut off, hostile or larger than the memory.
    """
    path = Path(path)
    try:
        index = bundle_index(path)
        if index is not None:
            return Stored("a TensorFlow checkpoint", read_bundle(index))
        if path.is_dir():
            return _read_folder(path)
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise Refused("it is no regular file")
        with open(path, "rb") as stream:
            return _read_stream(stream)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError(f"{path}: there is not enough memory to read it") from error
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or "it is damaged"
        raise UserError(f"{path} cannot be read as weights: {reason}") from error


def stored_files(path: str | Path) -> list[Path]:
    """All files that `read_stored` reads for a path."""
    path = Path(path)
    try:
        index = bundle_index(path)
    except Refused:  # read_stored says what is wrong
        return [path]
    if index is not None:
        return bundle_files(index)
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def stored_sha256(path: str | Path) -> str:
    """The SHA-256 of a weight file, or of the digests of the files it consists of. Raises OSError."""
    digests = [file_sha256(file) for file in stored_files(path)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _read_stream(stream: BinaryIO) -> Stored:
    start = stream.read(512)
    stream.seek(0)
    if start.startswith(b"PK\3\4"):
        return _read_zip(stream)
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        return _read_tar(stream)
    if start.startswith(LEGACY_START):
        return Stored("a PyTorch file (before 1.6)", flat_arrays(read_torch_legacy(stream)))
    if start.startswith((b"\x80", b"(d", b"}")):
        value = read_pickle(stream)
        record = value.get(ORIGIN_KEY) if isinstance(value, dict) else None
        return Stored("a pickle", flat_arrays(value), record=record)
    if start.startswith(MXNET_START):
        raise Refused(
            "it is MXNet's: load it there with mxnet.nd.load and save the arrays by numpy.savez under its names"
        )
    if start.startswith(b"\0\0\0\0"):
        return Stored("a combined binary of Paddle 1", {}, read_records(stream))
    if start[8:9] == b"{" and b'"' in start[9:16]:
        return Stored("a safetensors file", _read_safetensors(stream))
    if not start:
        raise Refused("it is empty")
    stream.seek(-min(8, len(start)), os.SEEK_END)
    if stream.read(8) == struct.pack("<Q", TABLE_MAGIC):
        raise Refused("it is a TensorFlow checkpoint of version 1; save it there again by tf.compat.v1.train.Saver")
    raise Refused("it is no weight file of a known kind")


def flat_arrays(value: Any) -> dict[str, np.ndarray]:
    """The arrays by name of what a pickle holds, out of the wrappers that programs put around them."""
    for _ in range(2):
        if isinstance(value, dict):
            value = next((value[name] for name in WRAPPERS if isinstance(value.get(name), dict)), value)
    if not isinstance(value, dict):
        raise Refused(f"it holds a {type(value).__name__}, not tensors by name")
    arrays = {}
    for name, item in value.items():
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], np.ndarray):
            item = item[1]  # paddle.save writes a lone tensor with its name
        if isinstance(item, Tensor):
            item = item.array()
        if isinstance(item, (np.ndarray, np.generic, int, float)):
            arrays[str(name)] = np.asarray(item)
    if not arrays:
        raise Refused("it holds no tensors by name")
    return arrays


def _read_folder(path: Path) -> Stored:
    arrays = {}
    for file in sorted(path.iterdir()):
        if file.is_file() and not file.name.startswith(".") and file.name != "__model__":
            try:
                with open(file, "rb") as stream:
                    arrays[file.name] = _single(read_records(stream))
            except Refused as error:
                raise Refused(f"{file.name}: {error}") from error
    if not arrays:
        raise Refused("the folder has no files")
    return Stored("a folder of Paddle 1", arrays)


def _single(records: list[np.ndarray]) -> np.ndarray:
    if len(records) != 1:
        raise Refused(f"it holds {len(records)} tensors where one is expected")
    return records[0]


def _read_tar(stream: BinaryIO) -> Stored:
    """A tar or tar.gz of one-variable files, or of one weight file of any kind; nothing is written to disk."""
    limit = stream.seek(0, os.SEEK_END) * MAX_EXPANSION + (1 << 20)
    stream.seek(0)
    mode = "r:gz" if stream.read(2) == b"\x1f\x8b" else "r:"
    stream.seek(0)
    files: dict[str, bytes] = {}
    total = 0
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for index, member in enumerate(archive):
            parts = Path(member.name).parts
            if member.name.startswith(("/", "\\")) or ".." in parts or ":" in member.name:
                raise Refused(f"its member {member.name!r} would leave the folder")
            if not (member.isreg() or member.isdir()):
                raise Refused(f"its member {member.name!r} is a link or a device")
            total += member.size
            if index >= MAX_MEMBERS or total > min(limit, MAX_ARCHIVE_BYTES):
                raise Refused("it unpacks to far more than it is")
            if member.isreg() and parts and not parts[-1].startswith("."):
                files[parts[-1]] = archive.extractfile(member).read()
        while block := archive.fileobj.read(1 << 20):  # to the checksum at gzip's end
            total += len(block)
            if total > min(limit, MAX_ARCHIVE_BYTES):
                raise Refused("it unpacks to far more than it is")
    if len(files) == 1:
        content = next(iter(files.values()))
        if not content.startswith((b"\x1f\x8b",)) and content[257:262] != b"ustar":
            return _read_stream(io.BytesIO(content))
    arrays = {}
    for name in list(files):
        try:
            arrays[name] = _single(read_records(io.BytesIO(files.pop(name))))
        except Refused as error:
            raise Refused(f"{name}: {error}") from error
    if not arrays:
        raise Refused("the archive has no files")
    return Stored("an archive of a folder of Paddle 1", arrays)


def _read_zip(stream: BinaryIO) -> Stored:
    num_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        total = sum(info.file_size for info in members)
        if len(members) > MAX_MEMBERS or total > min(num_bytes * MAX_EXPANSION, 16 << 30):
            raise Refused("it unpacks to far more than it is")
        if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members):
            raise Refused("its parts are compressed in an unusual way")
        programs = [info.filename for info in members if info.filename.endswith("/data.pkl")]
        if len(programs) == 1:
            return Stored("a PyTorch file", flat_arrays(read_torch_zip(archive, programs[0])))
        if members and all(info.filename.endswith(".npy") for info in members):
            return Stored("an npz file", {info.filename[:-4]: _read_npy(archive, info) for info in members})
    raise Refused("it is a zip of something other than weights")


def _read_npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    data = io.BytesIO(archive.read(info))
    version = np.lib.format.read_magic(data)
    if version != (1, 0):
        raise Refused(f"{info.filename}: an npy file of version {version}")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(data)
    count = 1
    for side in shape:
        count *= side
    if dtype.kind not in "biuf" or count * dtype.itemsize != info.file_size - data.tell():
        raise Refused(f"{info.filename}: its size is not that of its shape")
    numbers = np.frombuffer(data.getbuffer()[data.tell() :], dtype)
    return numbers.reshape(shape, order="F" if is_fortran else "C")


def _read_safetensors(stream: BinaryIO) -> dict[str, np.ndarray]:
    """Read by the library, whose check of the header comes before any tensor; numpy has no bfloat16, so the numbers are
    made here."""
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(stream.read())
    except SafetensorError as error:
        raise Refused(f"its header is damaged, or it is cut off ({error})") from error
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in SAFETENSORS_TYPES:
            raise Refused(f"{name} is of type {entry['dtype']}")
        numbers = np.frombuffer(entry["data"], SAFETENSORS_TYPES[entry["dtype"]]).reshape(entry["shape"])
        is_bfloat16 = entry["dtype"] == "BF16"  # the upper half of a float32
        arrays[name] = (numbers.astype(np.uint32) << 16).view(np.float32) if is_bfloat16 else numbers
    return arrays


def read_records(stream: BinaryIO) -> list[np.ndarray]:
    """All tensors of a file of Paddle before 2.0: one, or many in the order of their names.

    A record: uint32 0, uint64 number of LoD levels, uint32 0, int32 length of a description, the description (protobuf:
    field 1 number type, field 2 sides), raw little-endian numbers. Raises Refused when it is not made of records or
    cut off.
    """
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
    if kind not in FLUID_TYPES or len(shape) > 8:
        raise Refused("it holds tensors of something other than numbers")
    return np.dtype(FLUID_TYPES[kind]), shape


def _varints(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
