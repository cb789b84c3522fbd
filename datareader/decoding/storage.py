"""Where the bytes of a video lie: in a file of its own, a member of a shard (shards.py), or a store (stores.py)."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import BinaryIO

from datareader.decoding.base import VideoError
from datareader.decoding.shards import REMEDY, ShardMember, find_member, reason_against, shard_index_path, split_member
from datareader.decoding.stores import is_url, open_object, open_remote
from utils.errors import RunError

MIN_FILE_BYTES = 16
KEPT_INDEXES = 64


def exists(path: str | os.PathLike) -> bool:
    """Whether there is something under this local path, or such a member in the index of a shard. False for objects of
    stores, which are not asked."""
    member = split_member(path)
    if member is None:
        return os.path.lexists(path)
    if is_url(path):
        return False
    try:
        _find(os.fspath(path), *member)
    except VideoError:
        return False
    return True


def check_file(path: str | os.PathLike) -> None:
    """Raise VideoError unless the path is a regular file (or a link to one) with content, a member of a shard or an
    object of a store with content. Opens no file of its own."""
    if not _is_file(path):
        with open_file(path) as stream:
            _check_size(path, stream.seek(0, os.SEEK_END))
        return
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        if os.path.islink(path):
            raise VideoError(path, "the link leads nowhere") from error
        raise VideoError(path, (getattr(error, "strerror", None) or str(error)).lower()) from error
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        raise VideoError(path, f"{kinds.get(stat.S_IFMT(status.st_mode), 'a device')}, not a video file")
    _check_size(path, status.st_size)
    if not os.access(path, os.R_OK):
        raise VideoError(path, "permission denied")


def _check_size(path: str | os.PathLike, num_bytes: int) -> None:
    if num_bytes < MIN_FILE_BYTES:
        raise VideoError(path, "the file is empty" if not num_bytes else f"only {num_bytes} bytes long")


def _is_file(path: str | os.PathLike) -> bool:
    """Whether a path can only be that of a file of its own."""
    return not is_url(path) and split_member(path) is None


def identity_of(path: str | os.PathLike) -> tuple:
    """(device, inode, bytes, time of change in ns ...) of a file, or of the shard that it is a member of: another value
    once it was replaced. Objects of stores are taken for unchangeable. Raises OSError."""
    if is_url(path):
        return 0, 0, 0, 0, path
    member = split_member(path)
    status = os.stat(path if member is None else member[0])
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, *(member or ())[1:])


def open_file(path: str | os.PathLike) -> BinaryIO:
    """The bytes of a video, to be read from any place. Raises OSError for a local file, VideoError for a member that is
    not there, or not where the index has it, and for an object that its store does not give."""
    if _is_file(path):
        return open(path, "rb")
    path, member = os.fspath(path), split_member(path)
    try:
        if member is None:
            return open_object(path)
        shard, name = member
        found = _find(path, shard, name)
        return open_object(shard, found) if is_url(shard) else _open_member(path, shard, found)
    except FileNotFoundError as error:
        raise VideoError(path, "no such file or directory") from error
    except VideoError as error:
        raise VideoError(path, error.reason) from error
    except (OSError, RunError) as error:
        raise VideoError(path, f"its storage: {getattr(error, 'strerror', None) or error}") from error


def open_list(path: str | os.PathLike) -> BinaryIO:
    """The bytes of a list of videos; of one in a store, as it is now (videos are taken for unchangeable, and copied).
    Raises OSError, and RunError of a store."""
    return io.BufferedReader(open_remote(os.fspath(path))) if is_url(path) else open(path, "rb")


def _open_member(path: str, shard: str, member: ShardMember) -> BinaryIO:
    file = open(shard, "rb", buffering=0)  # noqa: SIM115 - closed with the range
    opened = io.BufferedReader(_Range(file, member, path))
    header = os.pread(file.fileno(), tarfile.BLOCKSIZE, max(0, member.offset - tarfile.BLOCKSIZE))
    reason = reason_against(header, os.fstat(file.fileno()).st_size, member)
    if reason:
        opened.close()
        raise VideoError(path, reason)
    return opened


def _find(path: str, shard: str, name: str) -> ShardMember:
    """The member as the index of its shard has it. Raises VideoError, and RunError of a store."""
    index = shard_index_path(shard)
    try:
        if not is_url(shard):
            check_file(shard)
        member = find_member(_content(index, *identity_of(index)[2:4]), name)
    except FileNotFoundError as error:
        raise VideoError(path, f"its shard has no index; {REMEDY}") from error
    except ValueError as error:
        raise VideoError(path, f"the index of its shard is no index of version 1.2; {REMEDY}") from error
    if member is None:
        raise VideoError(path, "no such file in the index of its shard")
    return member


@lru_cache(maxsize=KEPT_INDEXES)
def _content(path: str, num_bytes: int, time_ns: int) -> bytes:
    """An index, read again once its size or time is another one. Raises OSError, and RunError of a store."""
    with open_object(path) if is_url(path) else open(path, "rb") as stream:
        return stream.read()


class _Range(io.RawIOBase):
    """A member of an open shard as a file of its own; the shard is closed with it.

    path: of the video; its suffix is all that FFmpeg may know of it.
    """

    def __init__(self, file: io.FileIO, member: ShardMember, path: str):
        self.file, self.start, self.size, self.place = file, member.offset, member.size, 0
        self.name = "video" + os.path.splitext(path)[1].encode("ascii", "replace").decode()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence] + offset
        if place < 0:
            raise OSError(f"a place before the start: {place}")
        self.place = place
        return place

    def readinto(self, buffer) -> int:
        wanted = max(0, min(len(buffer), self.size - self.place))
        data = os.pread(self.file.fileno(), wanted, self.start + self.place)
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


def check_no_script(path: str | os.PathLike) -> None:
    """Raise VideoError for a text file, which OpenCV and decord might follow to other files or the network, and for a
    path that is not UTF-8, on which OpenCV crashes."""
    with open_file(path) as stream:
        head = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"#", b"ffconcat", b"v=0", b"<", b"[", b"http")):
        raise VideoError(path, "a text file, not a video")
    try:
        os.fsdecode(path).encode()
    except UnicodeEncodeError as error:
        raise VideoError(path, "the path is not UTF-8; use READER.decoder pyav") from error


@contextmanager
def ffmpeg_input(path: str) -> Iterator[str | BinaryIO]:
    """What av.open reads the video from: the URL of its file, or an open member or copy. Raises as `open_file` does."""
    if _is_file(path):
        yield "file:" + os.path.abspath(path)
        return
    with open_file(path) as stream:
        yield stream


@contextmanager
def local_file(path: str) -> Iterator[str]:
    """The path of a file with the video's bytes, a temporary one for a member or object, for what cannot read from open
    files. Raises as `open_file` does."""
    if _is_file(path):
        yield path
        return
    with open_file(path) as stream, tempfile.NamedTemporaryFile(suffix=os.path.splitext(path)[1]) as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        yield copy.name
