"""What all back ends share: errors, limits, the properties of a video, and the collector of the requested frames."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from utils.errors import UserError

ChooseIndices = Callable[[int], np.ndarray]
Prepare = Callable[[np.ndarray], np.ndarray]
MIN_DECODED_RATIO = 0.1  # of the frames; a video of which fewer decode is an error
SQUARE_PIXELS = (1, 1)
MAX_DISPLAY_PIXELS = 2**25


class VideoError(UserError):
    """A video that cannot be read: `path`, `reason`, and both as a message of one line."""

    def __init__(self, path: str | os.PathLike, reason: str):
        self.path, self.reason = os.fspath(path), " ".join(reason.split())
        super().__init__(f"{printable(path)}: {self.reason}")

    def __reduce__(self):
        return type(self), (self.path, self.reason)


def printable(path: str | os.PathLike) -> str:
    """The path on one line, unprintable characters escaped."""
    text = os.fsdecode(path)
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True)
class Limits:
    """Limits of one video: seconds of reading, pixels of a frame, packets of the stream, bytes of kept frames."""

    seconds: float = 60.0
    max_pixels: int = 2**25
    max_packets: int = 2**21
    max_bytes: int = 2**30


class Budget:
    """The time left for reading one video."""

    def __init__(self, path: str | os.PathLike, seconds: float):
        self.path, self.seconds, self.end = path, seconds, time.monotonic() + seconds

    def check(self) -> None:
        """Raise VideoError when no time is left."""
        if time.monotonic() > self.end:
            raise VideoError(self.path, f"took longer than {self.seconds:g} s (READER.seconds_per_video)")

    def left(self) -> float:
        """Seconds, above 0."""
        return max(0.001, self.end - time.monotonic())


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video.

    num_frames: frames that decode; height, width: of the upright frame, pixels; fps: the mean rate; rotated: whether
    frames are turned to be upright; variable_rate: whether the times between frames differ; warning: what is damaged or
    missing, "" for nothing; sample_aspect_ratio: width and height of one pixel of the upright frame, as two whole
    numbers, (1, 1) for square pixels.
    """

    num_frames: int
    height: int
    width: int
    fps: float
    duration_seconds: float
    codec: str
    container: str
    rotated: bool = False
    variable_rate: bool = False
    warning: str = ""
    sample_aspect_ratio: tuple[int, int] = SQUARE_PIXELS

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) at which players show the video."""
        return display_size(self.height, self.width, self.sample_aspect_ratio)


def display_size(height: int, width: int, sample_aspect_ratio: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in square pixels of a frame whose pixels are not square: one side is enlarged, so that nothing is
    lost; the other one is reduced instead where that would take more than MAX_DISPLAY_PIXELS."""
    across, down = sample_aspect_ratio
    widens = across >= down
    if height * width * max(across, down) > MAX_DISPLAY_PIXELS * min(across, down):
        widens = not widens
    if widens:
        return height, max(1, round(width * across / down))
    return max(1, round(height * down / across)), width


@dataclass(frozen=True)
class Reading:
    """The requested frames of a video, each once.

    frames: uint8 [U, H, W, C] in the order of `numbers` (int64 [U], ascending); indices: the requested frame numbers,
    of any shape; num_frames: that of the whole video; warning: what is damaged or missing, "" for nothing; positions:
    int64, for each of `indices` its place in `frames`.
    """

    frames: np.ndarray
    numbers: np.ndarray
    indices: np.ndarray
    num_frames: int
    warning: str = ""
    positions: np.ndarray = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "positions", np.searchsorted(self.numbers, self.indices))

    def taken(self) -> np.ndarray:
        """uint8 [*indices.shape, H, W, C]; no copy where each frame was requested once, in ascending order."""
        if np.array_equal(self.positions, np.arange(len(self.frames))):
            return self.frames
        return self.frames[self.positions]


class FrameKeeper:
    """Collects the requested frames of one video, each once, resized to the first one's size, up to limits.max_bytes.

    missing: the numbers of the requested frames that have not been kept yet.
    """

    def __init__(self, path: str, indices: np.ndarray, limits: Limits, prepare: Prepare):
        self.path, self.indices, self.limits, self.prepare = path, np.asarray(indices, np.int64), limits, prepare
        self.numbers = np.unique(self.indices)
        self.place = {int(number): place for place, number in enumerate(self.numbers)}
        self.frames: np.ndarray | None = None
        self.source_shape: tuple[int, ...] = ()
        self.missing = set(self.place)

    def keep(self, number: int, frame: np.ndarray) -> None:
        """Keep frame `number`, uint8 [H, W, 3] upright, if it is requested and new. Raises VideoError at the limit."""
        if number not in self.missing:
            return
        if self.frames is not None and frame.shape != self.source_shape:  # the size changes in mid-stream
            frame = cv2.resize(frame, self.source_shape[1::-1], interpolation=cv2.INTER_LINEAR)
        prepared = self.prepare(frame)
        if self.frames is None:
            total = prepared.nbytes * len(self.numbers)
            if total > self.limits.max_bytes:
                size = f"{len(self.numbers)} frames of {prepared.shape[1]}x{prepared.shape[0]} px"
                limit = self.limits.max_bytes >> 20
                raise VideoError(self.path, f"{size} take {total >> 20} MiB, the limit is {limit} MiB")
            self.frames = np.empty((len(self.numbers), *prepared.shape), prepared.dtype)
            self.source_shape = frame.shape
        self.frames[self.place[number]] = prepared
        self.missing.discard(number)

    def reading(self, num_frames: int, warning: str = "") -> Reading:
        return Reading(self.frames, self.numbers, self.indices, num_frames, warning)


@dataclass(frozen=True)
class Timeline:
    """When the frames of a video are shown.

    times: float64 [F], ascending, in seconds from the start of the file as players count it (`start_seconds` in the
    container's own time); end_seconds: the end of the last frame; fps: the mean rate; warning: what is damaged or
    missing, "" for nothing; is_counted: whether the frames had to be decoded to be counted.
    """

    times: np.ndarray
    end_seconds: float
    fps: float
    start_seconds: float
    warning: str = ""
    is_counted: bool = False

    @property
    def num_frames(self) -> int:
        return len(self.times)

    def ends(self, numbers: np.ndarray) -> np.ndarray:
        """When the frames before these numbers end: the times of the numbers, or the end of the video. float64."""
        return np.append(self.times, self.end_seconds)[np.minimum(numbers, self.num_frames)]


@dataclass(frozen=True)
class Damage:
    """Among the frames read so far: how many lie in damaged parts of the file, and how many of those did not decode and
    repeat the frame before."""

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
class FrameSelection:
    """Frames of a video, ascending, as a compressed mask: small enough to be sent with every request.

    mask: zlib of np.packbits(bool [num_frames]).
    """

    mask: bytes
    num_frames: int

    @classmethod
    def of(cls, numbers: np.ndarray, num_frames: int) -> FrameSelection:
        """numbers: int64 [n], each in [0, num_frames)."""
        mask = np.zeros(num_frames, bool)
        mask[numbers] = True
        return cls(zlib.compress(np.packbits(mask).tobytes()), num_frames)

    def numbers(self) -> np.ndarray:
        """The selected frames' numbers: int64 [n], ascending."""
        bits = np.frombuffer(zlib.decompress(self.mask), np.uint8)
        return np.flatnonzero(np.unpackbits(bits, count=self.num_frames))


@dataclass(frozen=True)
class Inspection:
    """What tools/check_videos.py examines about a video.

    info: its properties; num_packets: the frames that the file holds data for; missing_bytes: by how much the file is
    shorter than its header says; digest: of the decoded brightness, the same for copies in any container.
    """

    info: VideoInfo
    num_packets: int
    missing_bytes: int
    digest: str
