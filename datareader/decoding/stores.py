"""Objects of stores (s3://bucket/key, gs://bucket/key, hdfs://host:port/path) through a folder of local copies.

pyarrow copies them; it takes credentials and end points from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL,
GOOGLE_APPLICATION_CREDENTIALS ...). Of a shard only the index and the wanted members are copied. The folder is
$PADDLE_NONLOCAL_CACHE (default ~/.cache/paddle_nonlocal) and holds at most $PADDLE_NONLOCAL_CACHE_GB (default 20); what
was not used for longest is removed first. Any number of processes may share it. Objects are taken for unchangeable.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from datareader.decoding.base import VideoError
from datareader.decoding.shards import ShardMember, reason_against
from utils.errors import RunError, UserError
from utils.files import sweep, write_atomically

FOLDER_VARIABLE = "PADDLE_NONLOCAL_CACHE"
SIZE_VARIABLE = "PADDLE_NONLOCAL_CACHE_GB"
DEFAULT_GB = "20"
_URL = re.compile(r"((s3|gs|hdfs)://[^/]+)/+(.+)", re.DOTALL)
REQUEST_BYTES = 8 << 20
MAX_TRIES = 5
COPIES = "[0-9a-f]" * 64 + "*"  # their names; nobody else's file is removed


def is_url(path: str | os.PathLike) -> bool:
    """Whether a path is that of an object of a store."""
    return _URL.fullmatch(os.fspath(path)) is not None


def open_object(url: str, member: ShardMember | None = None) -> BinaryIO:
    """An object, or a member of the shard that it is: its local copy, made where there is none.

    Raises FileNotFoundError for an object that is not there, RunError for a store that cannot be read, VideoError for a
    member that the shard does not have there, UserError where a package is missing.
    """
    return _cache().open(url, member)


class _Cache:
    """Copies of objects in a folder, in files named by the checksum of their URL."""

    def __init__(self, folder: Path, max_bytes: int):
        self.folder, self.max_bytes = folder, max_bytes
        self.unchecked_bytes = max_bytes  # copied since the size of the folder was checked

    def open(self, url: str, member: ShardMember | None) -> BinaryIO:
        name = url if member is None else f"{url}#{member.name}"
        suffix = os.path.splitext(name)[1]
        suffix = suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", suffix) else ""
        file = self.folder / (hashlib.sha256(os.fsencode(name)).hexdigest() + suffix)
        for _ in range(MAX_TRIES):  # another process may remove what was just copied
            try:
                os.utime(file)
                return open(file, "rb")
            except FileNotFoundError:
                self._copy(url, member, file)
        raise RunError(f"copies in {self.folder} are removed before they are read; {SIZE_VARIABLE} is too small")

    def _copy(self, url: str, member: ShardMember | None, file: Path) -> None:
        with open_remote(url) as source:
            size = source.size() if member is None else member.size
            pieces = _pieces(source, 0, size) if member is None else _member_pieces(source, url, member)
            write_atomically(file, lambda stream: stream.writelines(pieces))
        self.unchecked_bytes += size
        if self.unchecked_bytes > self.max_bytes // 100:
            self._trim(file)
            self.unchecked_bytes = 0

    def _trim(self, newest: Path) -> None:
        """Remove the copies not used for longest, down to nine tenths of the size, if they are more than it."""
        sweep(self.folder, f".{COPIES}.part")
        found = []
        for path in self.folder.glob(COPIES):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        left = sum(size for _, size, _ in found)
        if left <= self.max_bytes:
            return
        for _, size, path in sorted(found):
            if left <= 0.9 * self.max_bytes:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                left -= size


@lru_cache(maxsize=1)
def _cache() -> _Cache:
    text = os.environ.get(SIZE_VARIABLE) or DEFAULT_GB
    try:
        max_bytes = int(float(text) * 1e9)
    except (ValueError, OverflowError):
        max_bytes = 0
    if max_bytes <= 0:
        raise UserError(f"{SIZE_VARIABLE} is a number of gigabytes above 0, not {text!r}")
    folder = os.environ.get(FOLDER_VARIABLE)
    return _Cache(Path(folder).expanduser() if folder else Path.home() / ".cache" / "paddle_nonlocal", max_bytes)


def file_system(url: str) -> tuple[Any, str]:
    """The store of an object as a pyarrow.fs.FileSystem, and the object's path there. Raises UserError and RunError."""
    root, _, key = _URL.fullmatch(url).groups()
    with store_errors():
        system, prefix = _file_system(root)
    return system, f"{prefix.rstrip('/')}/{key}"


@lru_cache(maxsize=64)
def _file_system(root: str) -> tuple[Any, str]:
    """The store of s3://bucket and what stands before its keys."""
    try:
        from pyarrow import fs
    except ImportError as error:
        raise UserError(f"{root} needs a package: pip install pyarrow ({error})") from error
    # small objects in one request; by default Google's client tries again for 15 minutes
    options = {"s3": "?allow_delayed_open=true", "gs": "?retry_limit_seconds=30"}
    return fs.FileSystem.from_uri(root + options.get(root.partition(":")[0], ""))


def open_remote(url: str):
    """A pyarrow file, to be read from any place. Raises FileNotFoundError and RunError."""
    system, path = file_system(url)
    with store_errors():
        return system.open_input_file(path)


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Errors of a store as RunError, so that they are not taken for those of the disk."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's own errors are of these classes
        raise RunError(" ".join(str(error).split())) from error


def _pieces(source, start: int, size: int) -> Iterator[bytes]:
    """The bytes of an object from `start` on. Raises RunError where it is shorter."""
    while size:
        with store_errors():
            piece = source.read_at(min(size, REQUEST_BYTES), start)
        if not piece:
            raise RunError("the object ended early")
        start, size = start + len(piece), size - len(piece)
        yield piece


def _member_pieces(source, url: str, member: ShardMember) -> Iterator[bytes]:
    """The bytes of a member, read together with the header before it. Raises VideoError for the header of another."""
    pieces = _pieces(source, max(0, member.offset - tarfile.BLOCKSIZE), tarfile.BLOCKSIZE + member.size)
    first = next(pieces)
    reason = reason_against(first[: tarfile.BLOCKSIZE], source.size(), member)
    if reason:
        raise VideoError(url, reason)
    yield first[tarfile.BLOCKSIZE :]
    yield from pieces
