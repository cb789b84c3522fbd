"""Pack the videos of a list into shards, tar files of about one size: python tools/pack_dataset.py LIST --out shards/

For storage that is slow with many small files. Writes shard-000000.tar ... in the form of WebDataset (000000123.mp4,
000000123.cls, 000000123.json: the video whose place in the list is 123, its label, its path and labels), the index of
each shard and its SHA-256 (`sha256sum --check *.sha256`), and list.txt, which every command takes in place of LIST: the
videos keep their places, so that training gets the same clips. A run that was stopped continues when it is started
again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datareader import VideoError, VideoItem, read_class_names, read_list  # noqa: E402 - started as a file
from datareader.decoding import (  # noqa: E402
    ShardMember,
    check_file,
    identity_of,
    open_file,
    printable,
    shard_index,
    shard_index_path,
)
from utils.cli import Parser, positive_int, run  # noqa: E402
from utils.errors import RunError, UserError  # noqa: E402
from utils.files import sweep, write_json, write_text, write_together  # noqa: E402

RECORD = "pack.json"


@dataclass(frozen=True)
class Entry:
    """A video to pack: its place in the list, its path, its labels, whether it may have several, its size in bytes, and
    what changes with its content."""

    place: int
    path: str
    labels: tuple[int, ...]
    is_multi_label: bool
    size: int
    identity: tuple

    @property
    def key(self) -> str:
        """The name of the sample in its shard."""
        return f"{self.place:09d}"

    @property
    def video_name(self) -> str:
        suffix = os.path.splitext(self.path)[1].lower()
        return self.key + (suffix if re.fullmatch(r"\.[a-z0-9]+", suffix) else ".video")

    @property
    def label_field(self) -> str:
        """As a list has it; "" where labels are unknown."""
        return ",".join(map(str, self.labels)) or ("-" if self.is_multi_label else "")

    def files(self, video: BinaryIO) -> Iterator[tuple[str, int, BinaryIO]]:
        """(name, size, content) of the sample's files."""
        yield self.video_name, self.size, video
        texts = {"cls": self.label_field} if self.labels and not self.is_multi_label else {}
        texts["json"] = json.dumps({"path": self.path, "labels": self.labels})
        for extension, text in texts.items():
            yield f"{self.key}.{extension}", len(text), io.BytesIO(text.encode("ascii"))


def main() -> None:
    arguments = parse_arguments()
    names = read_class_names(arguments.class_names) if arguments.class_names else None
    items = read_list(
        arguments.list, None, names, labels_required=arguments.multi_label, multi_label=arguments.multi_label
    )
    entries = examine(items, arguments.multi_label)
    shards = cut(entries, arguments.shard_mb << 20)
    folder = Path(arguments.out)
    begin(folder, entries, arguments.shard_mb)
    pack(folder, shards)
    write_text(folder / "list.txt", "".join(list_lines(shards)))
    print(f"{len(entries)} videos in {len(shards)} shards: {folder / 'list.txt'}")


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("list", metavar="LIST", help="`path label` lines; labels may be missing")
    parser.add_argument("--out", required=True, help="folder for the shards")
    parser.add_argument("--shard_mb", type=positive_int, default=512, help="MiB of videos in a shard (%(default)s)")
    parser.add_argument("--class_names", help="file of class names; labels may be names")
    parser.add_argument("--multi_label", action="store_true", help="labels are joined by commas")
    return parser.parse_args()


def examine(items: Sequence[VideoItem], is_multi_label: bool) -> list[Entry]:
    """The entries of a list's videos. Raises UserError where one of them is not there or no file."""
    entries, problems = [], []
    for place, item in enumerate(items):
        try:
            check_file(item.path)
            with open_file(item.path) as video:
                size = video.seek(0, os.SEEK_END)
            _, _, *identity = identity_of(item.path)  # device and inode may change at a restart, and the file does not
        except (VideoError, OSError) as error:
            problems.append(str(error))
            continue
        entries.append(Entry(place, item.path, item.target, is_multi_label, size, tuple(identity)))
    if problems:
        raise UserError(
            f"{len(problems)} of {len(items)} videos cannot be packed, the first: {problems[0]}; "
            "tools/check_videos.py --clean_list writes a list without them"
        )
    return entries


def cut(entries: Sequence[Entry], max_bytes: int) -> list[list[Entry]]:
    """Consecutive entries of at most max_bytes together, or one larger entry."""
    shards: list[list[Entry]] = []
    num_bytes = 0
    for entry in entries:
        if not shards or num_bytes + entry.size > max_bytes:
            shards.append([])
            num_bytes = 0
        shards[-1].append(entry)
        num_bytes += entry.size
    return shards


def begin(folder: Path, entries: Sequence[Entry], shard_mb: int) -> None:
    """Note in the folder what is packed into it. Raises UserError where that is something else than last time."""
    content = json.dumps([asdict(entry) for entry in entries])
    record = {"videos": len(entries), "shard_mb": shard_mb, "sha256": hashlib.sha256(content.encode()).hexdigest()}
    path = folder / RECORD
    try:
        before = json.loads(path.read_bytes())
    except FileNotFoundError:
        if folder.is_dir() and any(folder.glob("shard-*.tar")):
            raise UserError(f"{folder} holds shards of another origin; choose an empty folder") from None
        write_json(path, record)
        return
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; choose an empty folder") from error
    if before != record:
        raise UserError(
            f"{folder} holds shards of another list, of files that have changed since, or of another --shard_mb; "
            "choose an empty folder"
        )


def pack(folder: Path, shards: Sequence[Sequence[Entry]]) -> None:
    """Write the shards that are not there yet."""
    from tqdm import tqdm

    sweep(folder, ".shard-*.part")
    for number, entries in enumerate(tqdm(shards, unit="shard")):
        tar = folder / shard_name(number)
        index, checksum = Path(shard_index_path(str(tar))), Path(f"{tar}.sha256")
        if not (tar.is_file() and index.is_file() and checksum.is_file()):
            shard = Shard(tar.name, entries)
            write_together({tar: shard.write, index: shard.write_index, checksum: shard.write_checksum})


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:06d}.tar"


class Shard:
    """Writes a shard, then its index and checksum. Equal videos give equal bytes."""

    def __init__(self, name: str, entries: Sequence[Entry]):
        self.name, self.entries = name, entries
        self.members: list[ShardMember] = []
        self.sha256 = hashlib.sha256()

    def write(self, stream: BinaryIO) -> None:
        """Raises RunError for a video that cannot be read or has changed since it was examined."""
        output = _Hashed(stream, self.sha256)
        with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT, copybufsize=1 << 20) as tar:
            for entry in self.entries:
                with self._open(entry) as video:
                    for name, size, content in entry.files(video):
                        header = tarfile.TarInfo(name)
                        header.size = size
                        self.members.append(ShardMember(name, output.tell() + tarfile.BLOCKSIZE, size))
                        tar.addfile(header, content)

    def _open(self, entry: Entry) -> BinaryIO:
        try:
            video = open_file(entry.path)
        except (VideoError, OSError) as error:
            raise RunError(f"{printable(entry.path)} cannot be read any more: {error}") from error
        if video.seek(0, os.SEEK_END) != entry.size:
            video.close()
            raise RunError(
                f"{printable(entry.path)} has changed since the start; choose an empty folder and start again"
            )
        video.seek(0)
        return video

    def write_index(self, stream: BinaryIO) -> None:
        stream.write(shard_index(self.members))

    def write_checksum(self, stream: BinaryIO) -> None:
        """A line as the program sha256sum writes it."""
        stream.write(f"{self.sha256.hexdigest()}  {self.name}\n".encode("ascii"))


class _Hashed:
    """Writes to a stream and to a digest."""

    def __init__(self, stream: BinaryIO, digest):
        self.stream, self.digest, self.tell = stream, digest, stream.tell

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.stream.write(data)


def list_lines(shards: Sequence[Sequence[Entry]]) -> Iterator[str]:
    """The list's lines with the videos in the shards, relative to their folder."""
    for number, entries in enumerate(shards):
        for entry in entries:
            yield f"{shard_name(number)}#{entry.video_name} {entry.label_field}".rstrip() + "\n"


if __name__ == "__main__":
    run(main)
