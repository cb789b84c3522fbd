"""Make the index of tar files of videos, which lists need to read them: python tools/index_shards.py shards/*.tar

Writes SHARD.idx beside each SHARD.tar, in the form of NVIDIA DALI's wds2idx (tools/pack_dataset.py has written those of
its shards). --list FILE writes a list of all videos in the shards; the label of SAMPLE.mp4 is what SAMPLE.cls holds,
with underscores for spaces.
"""

from __future__ import annotations

import os
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datareader.decoding import (  # noqa: E402 - started as a file
    VIDEO_SUFFIXES,
    ShardMember,
    printable,
    shard_index,
    shard_index_path,
)
from utils.cli import Parser, run  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import write_atomically, write_text  # noqa: E402

MAX_LABEL_BYTES = 1000


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("shards", nargs="+", metavar="SHARD", help="uncompressed tar files")
    parser.add_argument("--list", metavar="FILE", help="write a list of the videos")
    arguments = parser.parse_args()
    lines: list[str] = []
    for shard in arguments.shards:
        if not shard.endswith(".tar"):
            raise UserError(f"{printable(shard)}: the name of a shard ends in .tar")
        members, labels = examine(shard)
        index = index_of(shard, members)
        write_atomically(shard_index_path(shard), lambda stream, index=index: stream.write(index))
        if arguments.list:
            folder = os.path.dirname(os.path.abspath(arguments.list))
            lines += list_lines(os.path.relpath(shard, folder), members, labels)
    if arguments.list:
        if not lines:
            raise UserError(f"the shards hold no video; looked for {' '.join(VIDEO_SUFFIXES)}")
        write_text(arguments.list, "".join(lines))
        print(f"{len(lines)} videos: {arguments.list}")


def examine(shard: str) -> tuple[list[ShardMember], dict[str, str]]:
    """The files of a shard, and by sample what its file .cls says. Raises UserError for what is no whole tar."""
    members: list[ShardMember] = []
    labels: dict[str, str] = {}
    try:
        with tarfile.open(shard, "r:", encoding="utf-8", errors="surrogateescape") as tar:
            for info in tar:
                if info.isreg() and not info.issparse():
                    member = ShardMember(info.name, info.offset_data, info.size)
                    members.append(member)
                    if member.extension == "cls":
                        text = tar.extractfile(info).read(MAX_LABEL_BYTES).decode()
                        labels[member.sample] = "_".join(text.split())
    except OSError as error:
        raise UserError(f"cannot read {printable(shard)}: {error.strerror or error}") from error
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise UserError(f"{printable(shard)} is no whole, uncompressed tar file: {error}") from error
    name, count = Counter(member.name for member in members).most_common(1)[0] if members else ("", 0)
    if count > 1:
        raise UserError(f"{printable(shard)} holds {count} files called {printable(name)}; a name must be there once")
    return members, labels


def index_of(shard: str, members: list[ShardMember]) -> bytes:
    """The content of the index. Raises UserError for a name that it cannot hold."""
    try:
        return shard_index(members)
    except ValueError as error:
        raise UserError(f"{printable(shard)}: {error}") from error


def list_lines(shard: str, members: list[ShardMember], labels: dict[str, str]) -> Iterator[str]:
    """`path label` lines of the videos of a shard, whose path stands in front."""
    for member in members:
        if f".{member.extension.rpartition('.')[2].lower()}" in VIDEO_SUFFIXES:
            yield f"{shard}#{member.name} {labels.get(member.sample, '')}".rstrip() + "\n"


if __name__ == "__main__":
    run(main)
