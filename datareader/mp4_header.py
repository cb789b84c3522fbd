"""How many samples an mp4's header promises, before FFmpeg makes room for them."""

from __future__ import annotations

import struct

_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_MAX_BOXES = 100_000


def count_samples(path: str) -> int:
    """The largest number of samples that any track of an mp4/mov file claims; 0 for other files and on any doubt.

    A table of equal-sized samples costs 12 bytes in the file and 24 bytes a sample in memory.
    """
    try:
        with open(path, "rb") as stream:
            stream.seek(0, 2)
            return _walk(stream, 0, stream.tell(), [_MAX_BOXES])
    except (OSError, struct.error):
        return 0


def _walk(stream, start: int, end: int, boxes_left: list[int]) -> int:
    largest, position = 0, start
    while position + 8 <= end and boxes_left[0]:
        boxes_left[0] -= 1
        stream.seek(position)
        size, kind = struct.unpack(">I4s", stream.read(8))
        body = position + 8
        if size == 1:
            size, body = struct.unpack(">Q", stream.read(8))[0], position + 16
        stop = min(end, position + size) if size else end
        if stop < body or (start == 0 and not kind.isalnum()):
            return largest
        if kind in _PARENTS:
            largest = max(largest, _walk(stream, body, stop, boxes_left))
        elif kind in (b"stsz", b"stz2") and stop >= body + 12:
            stream.seek(body + 8)
            largest = max(largest, struct.unpack(">I", stream.read(4))[0])
        position = stop
    return largest
