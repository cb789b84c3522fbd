"""Where the bytes of a video lie: in a file of its own, or in a member of a shard (shards.py)."""

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
from datareader.decoding.shards import ShardMember, find_member, is_header_of, shard_index_path, split_member

MIN_FILE_BYTES = 16
KEPT_INDEXES = 64
REMEDY = "make it with tools/index_shards.py"


def exists(path: str | os.PathLike) -> bool:
    """Whether there is something under this path, or such a member in the index of a shard."""
    member = split_member(path)
    if member is None:
        return os.path.lexists(path)
    try:
        _find(os.fspath(path), *member)
    except VideoError:
        return False
    return True


def check_file(path: str | os.PathLike) -> None:
    """Raise VideoError unless the path is a regular file (or a link to one) with content, or such a member of a shard.
    Opens no file of its own."""
    if split_member(path) is not None:
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


def identity_of(path: str | os.PathLike) -> tuple:
    """Another value once the file, or the shard that it is a member of, was replaced. Raises OSError."""
    member = split_member(path)
    status = os.stat(path if member is None else member[0])
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, *(member or ())[1:])


def open_file(path: str | os.PathLike) -> BinaryIO:
    """The bytes of a video, to be read from any place. Raises OSError for a file, VideoError for a member that is not
    there, or not where the index has it."""
    member = split_member(path)
    return open(path, "rb") if member is None else _open_member(os.fspath(path), *member)


def _open_member(path: str, shard: str, name: str) -> BinaryIO:
    member = _find(path, shard, name)
    try:
        file = open(shard, "rb", buffering=0)  # noqa: SIM115 - closed with the range
    except OSError as error:
        raise VideoError(path, f"its shard: {error.strerror or error}") from error
    opened = io.BufferedReader(_Range(file, member, path))
    reason = _reason_against(file, member)
    if reason:
        opened.close()
        raise VideoError(path, reason)
    return opened


def _find(path: str, shard: str, name: str) -> ShardMember:
    """The member as the index of its shard has it. Raises VideoError."""
    index = shard_index_path(shard)
    try:
        check_file(shard)
        if not os.path.exists(index):
            raise VideoError(path, f"its shard has no index; {REMEDY}")
        status = os.stat(index)
        member = find_member(_content(index, status.st_size, status.st_mtime_ns), name)
    except VideoError as error:
        raise VideoError(path, error.reason) from error
    except OSError as error:
        raise VideoError(path, f"the index of its shard: {error.strerror or error}") from error
    except ValueError as error:
        raise VideoError(path, f"the index of its shard is no index of version 1.2; {REMEDY}") from error
    if member is None:
        raise VideoError(path, "no such file in the index of its shard")
    return member


@lru_cache(maxsize=KEPT_INDEXES)
def _content(path: str, num_bytes: int, time_ns: int) -> bytes:
    """An index, read again once its size or time is another one."""
    with open(path, "rb") as stream:
        return stream.read()


def _reason_against(file: io.FileIO, member: ShardMember) -> str:
    """Why the index cannot be right about a member of an open shard, or ""."""
    start = member.offset - tarfile.BLOCKSIZE
    if start < 0 or not is_header_of(os.pread(file.fileno(), tarfile.BLOCKSIZE, start), member):
        return f"its shard is another one than its index is of; {REMEDY}"
    if os.fstat(file.fileno()).st_size < member.offset + member.size:
        return "its shard is cut off before the end of this file"
    return ""


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
    """What av.open reads the video from: the URL of its file, or the open member. Raises what `open_file` raises."""
    if split_member(path) is None:
        yield "file:" + os.path.abspath(path)
        return
    with open_file(path) as stream:
        yield stream


@contextmanager
def local_file(path: str) -> Iterator[str]:
    """The path of a file with the video's bytes, for what cannot read from an open one: a temporary copy of a member.

    Raises what `open_file` raises.
    """
    if split_member(path) is None:
        yield path
        return
    with open_file(path) as stream, tempfile.NamedTemporaryFile(suffix=os.path.splitext(path)[1]) as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        yield copy.name
