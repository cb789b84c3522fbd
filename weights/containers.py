"""Weight files of every kind -> {name: array}; the kind is told by the first bytes, never by the file's name.

Sizes come from headers and are compared with the file's length before anything is allocated.
"""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from utils.errors import UserError
from weights.paddle_fluid import read_records
from weights.safe_pickle import Refused, read_pickle
from weights.torch_file import LEGACY_START, Tensor, read_torch_legacy, read_torch_zip

MAX_MEMBERS = 10_000
MAX_ARCHIVE_BYTES = 4 << 30
MAX_EXPANSION = 20  # floating-point weights hardly shrink; an archive that grows more is a bomb
WRAPPERS = ("blobs", "model_state", "state_dict", "model_state_dict", "model")
SAFETENSORS_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
SAFETENSORS_TYPES.update({"I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"})
# what the readers of archives raise on damaged or encrypted ones
DAMAGE = (Refused, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError, RuntimeError, KeyError)


@dataclass
class Stored:
    """What a file holds: its kind for people, arrays by name; `unnamed` are the arrays of a file without names."""

    kind: str
    arrays: dict[str, np.ndarray]
    unnamed: list[np.ndarray] | None = None


def read_stored(path: str | Path) -> Stored:
    """Read a weight file or a folder of one-variable files.

    Raises UserError with the path when it is missing, no weight file, cut off, hostile or larger than the memory.
    """
    path = Path(path)
    try:
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
        return Stored("a pickle", flat_arrays(read_pickle(stream)))
    if start.startswith(b"\0\0\0\0"):
        return Stored("a combined binary of Paddle 1", {}, read_records(stream))
    if start[8:9] == b"{" and b'"' in start[9:16]:
        return Stored("a safetensors file", _read_safetensors(stream))
    if not start:
        raise Refused("it is empty")
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
    num_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > min(num_bytes - 8, 100 << 20):
        raise Refused("it is cut off, or no safetensors file")
    try:
        header = json.loads(stream.read(length))
    except RecursionError as error:
        raise Refused("its header is damaged") from error
    start, arrays = 8 + length, {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape = np.dtype(SAFETENSORS_TYPES[entry["dtype"]]), entry["shape"]
            begin, end = entry["data_offsets"]
            count = dtype.itemsize
            for side in shape:
                count *= side
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(f"the entry {name} of its header is damaged") from error
        if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)) or end - begin != count:
            raise Refused(f"the entry {name} of its header is damaged")
        if start + end > num_bytes:
            raise Refused("it is cut off")
        stream.seek(start + begin)
        numbers = np.frombuffer(stream.read(count), dtype).reshape(shape)
        arrays[name] = (numbers.astype(np.uint32) << 16).view(np.float32) if entry["dtype"] == "BF16" else numbers
    return arrays
