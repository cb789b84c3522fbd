"""Shards: tar files of many videos with an index beside them, so that one video is read without the rest.

A video in a shard is `SHARD.tar#MEMBER` wherever a path of a video stands. The index SHARD.idx is text in the form of
NVIDIA DALI's wds2idx, version 1.2: `v1.2 N`, then a line for each of N samples with `extension offset size name` of
each of its files, where the files of a sample follow one another and share their name up to the first dot, as
WebDataset has it. offset: of the content, in bytes.
"""

from __future__ import annotations

import itertools
import os
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass

INDEX_VERSION = "v1.2"
REMEDY = "make it with tools/index_shards.py"
MAX_PLAIN_NAME = 100  # bytes of a name that a tar header holds whole in all formats


@dataclass(frozen=True)
class ShardMember:
    """A file in a shard: its name, where its content begins, and its size, both in bytes."""

    name: str
    offset: int
    size: int

    @property
    def sample(self) -> str:
        """The name up to the first dot of its last part."""
        folder, slash, name = self.name.rpartition("/")
        return folder + slash + name.partition(".")[0]

    @property
    def extension(self) -> str:
        return self.name.rpartition("/")[2].partition(".")[2]


def split_member(path: str | os.PathLike) -> tuple[str, str] | None:
    """(shard, name of the member) of `SHARD.tar#MEMBER`; None for the path of a file of its own, which may have such a
    name as well."""
    text = os.fspath(path)
    before, mark, name = text.partition(".tar#")
    if not mark or not name or os.path.lexists(text):
        return None
    return f"{before}.tar", name


def shard_index_path(shard: str) -> str:
    """SHARD.idx of SHARD.tar."""
    return f"{os.path.splitext(shard)[0]}.idx"


def shard_index(members: Iterable[ShardMember]) -> bytes:
    """The content of the index of a shard's files, in their order in the tar. Raises ValueError for a name
    with a line break."""
    members = list(members)
    for member in members:
        if "\n" in member.name:
            raise ValueError(f"an index cannot hold the name {member.name!r}")
    samples = [list(files) for _, files in itertools.groupby(members, lambda member: member.sample)]
    lines = [f"{INDEX_VERSION} {len(samples)}"]
    lines += [" ".join(f"{m.extension} {m.offset} {m.size} {m.name}" for m in sample) for sample in samples]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def find_member(index: bytes, name: str) -> ShardMember | None:
    """The file of this name according to the content of an index. Raises ValueError for one of another form."""
    if not index.startswith(INDEX_VERSION.encode() + b" "):
        raise ValueError(f"no index of version {INDEX_VERSION}")
    entry = b" " + name.encode("utf-8", "surrogateescape")
    start = index.find(entry)
    while start >= 0:
        end = start + len(entry)
        if index[end : end + 1] in (b" ", b"\n", b""):
            place = re.search(rb" (\d{1,18}) (\d{1,18})$", index[max(0, start - 60) : start])
            if place:  # else it is the end of a name with spaces
                return ShardMember(name, int(place[1]), int(place[2]))
        start = index.find(entry, end)
    return None


def reason_against(header: bytes, shard_bytes: int, member: ShardMember) -> str:
    """Why an index cannot be right about a member, or "".

    header: the 512 bytes before the member's content; shard_bytes: size of the shard.
    """
    if member.offset < tarfile.BLOCKSIZE or not _is_header_of(header, member):
        return f"its shard is another one than its index is of; {REMEDY}"
    if shard_bytes < member.offset + member.size:
        return "its shard is cut off before the end of this file"
    return ""


def _is_header_of(header: bytes, member: ShardMember) -> bool:
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    name = member.name
    has_plain_name = name.isascii() and len(name) <= MAX_PLAIN_NAME  # a longer one is cut here
    return info.isreg() and info.size == member.size and (info.name == name or not has_plain_name)
