"""What a file's outermost structure claims, read without FFmpeg: samples promised, bytes missing."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_TOP_BOXES = (
    b"ftyp",
    b"moov",
    b"mdat",
    b"free",
    b"skip",
    b"wide",
    b"moof",
    b"mfra",
    b"uuid",
    b"sidx",
    b"styp",
    b"pnot",
)
_MAX_BOXES = 100_000
_MATROSKA, _MATROSKA_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def count_samples(path: str) -> int:
    """The largest number of samples that any track of an mp4/mov file claims; 0 for other files and on any doubt.

    A table of equal-sized samples costs 12 bytes in the file and 24 bytes a sample in memory, so a small file can ask
    for a lot before its first frame is decoded.
    """
    try:
        with open(path, "rb") as stream:
            return _most_samples(stream, 0, os.fstat(stream.fileno()).st_size, [_MAX_BOXES])
    except (OSError, struct.error):
        return 0


def missing_bytes(path: str) -> int:
    """How many bytes the file is shorter than its container says (mp4/mov, avi, mkv/webm); 0 where nothing is said."""
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(64)
            if head[:4] == b"RIFF":
                return max(0, struct.unpack_from("<I", head, 4)[0] + 8 - size)
            if head[:4] == _MATROSKA:
                return max(0, _matroska_end(head) - size)
            if head[4:8] in _TOP_BOXES:
                ends = [stop for kind, _, stop in _boxes(stream, 0, size, [_MAX_BOXES]) if kind in _TOP_BOXES]
                return max(0, ends[-1] - size) if ends else 0
    except (OSError, struct.error):
        pass
    return 0


def _boxes(stream: BinaryIO, start: int, end: int, boxes_left: list[int]) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, end as claimed) of the boxes between two places of an mp4 file."""
    position = start
    while position + 8 <= end and boxes_left[0]:
        boxes_left[0] -= 1
        stream.seek(position)
        size, kind = struct.unpack(">I4s", stream.read(8))
        body = position + 8
        if size == 1:
            size, body = struct.unpack(">Q", stream.read(8))[0], position + 16
        stop = position + size if size else end
        if stop < body:
            return
        yield kind, body, stop
        position = stop


def _most_samples(stream: BinaryIO, start: int, end: int, boxes_left: list[int]) -> int:
    largest = 0
    for kind, body, stop in _boxes(stream, start, end, boxes_left):
        if start == 0 and not kind.isalnum():
            break
        if kind in _PARENTS:
            largest = max(largest, _most_samples(stream, body, min(stop, end), boxes_left))
        elif kind in (b"stsz", b"stz2") and stop >= body + 12:
            stream.seek(body + 8)
            largest = max(largest, struct.unpack(">I", stream.read(4))[0])
    return largest


def _matroska_end(head: bytes) -> int:
    """Where the segment ends, 0 if it does not say (live streams)."""
    place = head.find(_MATROSKA_SEGMENT)
    if place < 0 or place + 5 > len(head):
        return 0
    first = head[place + 4]
    length = 9 - first.bit_length()
    if not first or place + 4 + length > len(head):
        return 0
    value = int.from_bytes(head[place + 4 : place + 4 + length], "big") & ((1 << 7 * length) - 1)
    unknown = (1 << 7 * length) - 1
    return 0 if value == unknown else place + 4 + length + value
