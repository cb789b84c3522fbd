"""A video of any length, in order, a piece at a time: what a reading process is asked for.

timeline = read_timeline(pool, "a.mp4", ReaderSettings())
numbers = np.arange(0, timeline.num_frames, 8)
for some, frames, damage in stream_frames(pool, "a.mp4", ReaderSettings(), timeline, numbers, 256):
    ...                               # uint8 [n, h, w, 3]: memory follows the piece, not the video
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from datareader.clips import ReaderSettings
from datareader.video import MIN_DECODED_SHARE, Limits, VideoError, check_file
from datareader.workers import ReaderPool

PIECE_FRAMES = 64
PIECE_BYTES = 8 << 20
FRAMES_PER_LIMIT = 1500  # so many frames may take READER.seconds_per_video: a minute for a minute at 25 frames a second


@dataclass(frozen=True)
class Timeline:
    """When the frames of a video are shown.

    times: float64 [F], ascending, in seconds from the start of the file as players count it (`start_seconds` in the
    container's own time); end_seconds: the end of the last frame; fps: the mean rate; complaint: what is not whole;
    is_counted: the frames had to be decoded to be counted.
    """

    times: np.ndarray
    end_seconds: float
    fps: float
    start_seconds: float
    complaint: str = ""
    is_counted: bool = False

    @property
    def num_frames(self) -> int:
        return len(self.times)

    def ends(self, numbers: np.ndarray) -> np.ndarray:
        """When the frame before each of these numbers gives way: the time of that number, or the end of the video."""
        return np.append(self.times, self.end_seconds)[np.minimum(numbers, self.num_frames)]


@dataclass(frozen=True)
class Damage:
    """Of the frames read so far: in damaged parts of the file, and lost, so that the frame before stands in."""

    num_damaged: int = 0
    num_lost: int = 0

    def __add__(self, other: Damage) -> Damage:
        return Damage(self.num_damaged + other.num_damaged, self.num_lost + other.num_lost)

    def __str__(self) -> str:
        if not self.num_damaged:
            return ""
        lost = f", {self.num_lost} of them lost (the frame before stands in)" if self.num_lost else ""
        return f"damaged: {self.num_damaged} frames lie in damaged parts{lost}"


@dataclass(frozen=True)
class ReadTimeline:
    """A request for the Timeline; an int, the number of packets, where the frames must be decoded to be counted and
    `may_decode` is False."""

    path: str
    reader: ReaderSettings
    may_decode: bool = False

    def read(self) -> tuple[np.ndarray, Timeline | int]:
        from datareader.decoding import pyav_stream

        check_file(self.path)
        return np.empty(0, np.uint8), pyav_stream.timeline(self.path, self.reader.limits, self.may_decode)


@dataclass(frozen=True)
class ReadPixelAspect:
    """A request for the sample aspect ratio of the upright frames."""

    path: str
    reader: ReaderSettings

    def read(self) -> tuple[np.ndarray, tuple[int, int]]:
        from datareader.decoding import pyav_backend

        check_file(self.path)
        return np.empty(0, np.uint8), pyav_backend.pixel_aspect(self.path, self.reader.limits)


@dataclass(frozen=True)
class NextFrames:
    """A request for `count` wanted frames from the one at place `first` on. The process goes on where the last request
    ended, or finds its way anew.

    wanted: a compressed mask over the frames of the video. short_side: that the frames are resized to, None: as they
    are. size: (height, width) of the result, None: as the first frame gives it.
    """

    path: str
    reader: ReaderSettings
    wanted: bytes
    num_frames: int
    first: int
    count: int
    short_side: int | None
    size: tuple[int, int] | None

    def numbers(self) -> np.ndarray:
        """The wanted frames' numbers: int64 [n]."""
        bits = np.frombuffer(zlib.decompress(self.wanted), np.uint8)
        return np.flatnonzero(np.unpackbits(bits, count=self.num_frames))

    def read(self) -> tuple[np.ndarray, Damage]:
        """uint8 [count, h, w, 3]."""
        from datareader.decoding import pyav_stream

        check_file(self.path)
        return pyav_stream.next_frames(self)


def read_timeline(pool: ReaderPool, path: str, reader: ReaderSettings) -> Timeline:
    """When the frames of a video are shown. Raises VideoError."""
    answer = _run(pool, ReadTimeline(path, reader))
    if isinstance(answer, Timeline):
        return answer
    longer = replace(reader, limits=_limits_for(reader.limits, answer))
    return _run(pool, ReadTimeline(path, longer, may_decode=True))


def read_pixel_aspect(pool: ReaderPool, path: str, reader: ReaderSettings) -> tuple[int, int]:
    """Width and height of a pixel of the upright frames, (1, 1) for square ones. Frames are handed out as they are
    stored; who draws them for people scales them to `datareader.video.display_size`. Raises VideoError."""
    return _run(pool, ReadPixelAspect(path, reader))


def _run(pool: ReaderPool, request: ReadTimeline | ReadPixelAspect):
    return pool.submit(lambda process: process.run(request)[1]).result()


def _limits_for(limits: Limits, num_frames: int) -> Limits:
    return replace(limits, seconds=limits.seconds * max(1.0, num_frames / FRAMES_PER_LIMIT))


def stream_frames(
    pool: ReaderPool,
    path: str,
    reader: ReaderSettings,
    timeline: Timeline,
    numbers: np.ndarray,
    short_side: int | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, Damage]]:
    """Pieces of a video: (numbers int64 [n], frames uint8 [n, h, w, 3] upright, damage so far), in order.

    pool: of one process, which reads a piece ahead. numbers: ascending. short_side: as NextFrames has it.
    A lost frame of a damaged file is a repetition of the one before. Raises VideoError where the reading ends early,
    and at the end when less than a tenth was not lost.
    """
    mask = np.zeros(timeline.num_frames, bool)
    mask[numbers] = True
    wanted = zlib.compress(np.packbits(mask).tobytes())

    def ask(first: int, count: int, size: tuple[int, int] | None):
        limits = _limits_for(reader.limits, int(numbers[first + count - 1]))
        request = NextFrames(
            path, replace(reader, limits=limits), wanted, timeline.num_frames, first, count, short_side, size
        )
        return first, pool.submit(lambda process: _owned(*process.run(request)))

    def piece(first: int, future) -> tuple[np.ndarray, np.ndarray, Damage]:
        nonlocal damage
        frames, more = future.result()
        damage += more
        return numbers[first : first + len(frames)], frames, damage

    waiting, damage = deque(), Damage()
    try:
        start = piece(*ask(0, 1, None))
        yield start
        size = start[1].shape[1:3]
        count = int(np.clip(PIECE_BYTES // start[1].nbytes, 1, PIECE_FRAMES))
        for first in range(1, len(numbers), count):
            waiting.append(ask(first, min(count, len(numbers) - first), size))
            if len(waiting) > 1:
                yield piece(*waiting.popleft())
        while waiting:
            yield piece(*waiting.popleft())
    finally:
        for _, future in waiting:
            future.cancel()
    num_good = len(numbers) - damage.num_lost
    if num_good < MIN_DECODED_SHARE * len(numbers):
        raise VideoError(path, f"damaged: {num_good} of {len(numbers)} wanted frames can be decoded")


def _owned(frames: np.ndarray, damage: Damage) -> tuple[np.ndarray, Damage]:
    """The next piece overwrites shared memory."""
    return (frames if frames.flags.owndata else frames.copy()), damage
