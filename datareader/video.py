"""One video file -> exactly the wanted frames, upright, as uint8 RGB; or a VideoError of one line.

    info = probe("a.mp4")                                  # frames, upright size, rate, length
    frames = read_frames("a.mp4", [0, 8, 16])              # uint8 [3, H, W, 3]
    reading = read_chosen("a.mp4", lambda n: np.arange(0, n, 8))   # indices chosen from the true number of frames

Frame i is the i-th picture that the ffmpeg program would write. Three back ends stand behind these functions: pyav (the
default, exact), decord and opencv (docs/data.md says where those two are not exact).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType

import cv2
import numpy as np

from utils.errors import UserError

ChooseIndices = Callable[[int], np.ndarray]
Prepare = Callable[[np.ndarray], np.ndarray]
DECODERS = ("pyav", "decord", "opencv")
MIN_FILE_BYTES = 16
MIN_DECODED_SHARE = 0.1  # less of a video is an error
SQUARE_PIXELS = (1, 1)
MAX_DISPLAY_PIXELS = 2**25


class VideoError(UserError):
    """One video that cannot be read: `path`, `cause`, and both as one line."""

    def __init__(self, path: str | os.PathLike, cause: str):
        self.path, self.cause = os.fspath(path), " ".join(cause.split())
        super().__init__(f"{printable(path)}: {self.cause}")

    def __reduce__(self):
        return type(self), (self.path, self.cause)


def printable(path: str | os.PathLike) -> str:
    """The path on one line, whatever characters it holds."""
    text = os.fsdecode(path)
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True)
class Limits:
    """What one video may cost: time, pixels of a frame, packets of the stream, bytes of the frames that are kept."""

    seconds: float = 60.0
    max_pixels: int = 2**25
    max_packets: int = 2**21
    max_bytes: int = 2**30


class Budget:
    """The time that is left for one video."""

    def __init__(self, path: str | os.PathLike, seconds: float):
        self.path, self.seconds, self.end = path, seconds, time.monotonic() + seconds

    def check(self) -> None:
        """Raise VideoError when the time is over."""
        if time.monotonic() > self.end:
            raise VideoError(self.path, f"took longer than {self.seconds:g} s (READER.seconds_per_video)")

    def left(self) -> float:
        return max(0.001, self.end - time.monotonic())


@dataclass(frozen=True)
class VideoInfo:
    """What is true of a video: frames that decode, upright size in pixels, mean rate, length, and how it is stored.

    sample_aspect_ratio: width and height of one pixel of the upright frame, as two whole numbers; (1, 1): square ones.
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
    complaint: str = ""
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
    """Wanted frames of a video, each once.

    frames: uint8 [U, H, W, 3] in the order of `numbers` (int64 [U], ascending); indices: what was asked for, of any
    shape; num_frames: the true number; complaint: what is not whole about the file, "" for nothing.
    """

    frames: np.ndarray
    numbers: np.ndarray
    indices: np.ndarray
    num_frames: int
    complaint: str = ""
    positions: np.ndarray = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "positions", np.searchsorted(self.numbers, self.indices))

    def taken(self) -> np.ndarray:
        """The frames as asked for: uint8 [*indices.shape, H, W, 3]; no copy when they were asked for once, in order."""
        if np.array_equal(self.positions, np.arange(len(self.frames))):
            return self.frames
        return self.frames[self.positions]


def probe(path: str | os.PathLike, limits: Limits | None = None) -> VideoInfo:
    """The true properties of a video; the header is not trusted. Raises VideoError."""
    limits = limits or Limits()
    check_file(path)
    return backend("pyav").probe(os.fspath(path), limits)


def read_frames(
    path: str | os.PathLike, indices: np.ndarray | list[int], decoder: str = "pyav", limits: Limits | None = None
) -> np.ndarray:
    """Frames by number: uint8 RGB [*indices.shape, H, W, 3], upright, all of the first frame's size.

    indices: whole numbers from 0, in any order, repeats allowed. Raises VideoError, also for a number beyond the end.
    """
    wanted = np.asarray(indices, dtype=np.int64)

    def choose(num_frames: int) -> np.ndarray:
        if wanted.size and (wanted.min() < 0 or wanted.max() >= num_frames):
            raise VideoError(
                path, f"frame {wanted.max()} is wanted, the video has {num_frames} (0 to {num_frames - 1})"
            )
        return wanted

    if not wanted.size:
        raise VideoError(path, "no frame is wanted")
    return read_chosen(path, choose, decoder, limits).taken()


def read_chosen(
    path: str | os.PathLike,
    choose_indices: ChooseIndices,
    decoder: str = "pyav",
    limits: Limits | None = None,
    prepare: Prepare | None = None,
) -> Reading:
    """Like `read_frames`, with the indices chosen from the number of frames.

    choose_indices: number of frames -> int64 array of any shape. It may be called again when the number first assumed
    proves wrong, so it must depend on nothing else. prepare: applied to each frame as soon as it is decoded (a resize),
    so that memory follows the frames that are kept.
    """
    limits = limits or Limits()
    check_file(path)
    return backend(decoder).read(os.fspath(path), choose_indices, limits, prepare or (lambda frame: frame))


def check_file(path: str | os.PathLike) -> None:
    """Raise VideoError unless the path is a regular file (or a link to one) with something in it. Opens nothing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        if os.path.islink(path):
            raise VideoError(path, "the link leads nowhere") from error
        raise VideoError(path, (getattr(error, "strerror", None) or str(error)).lower()) from error
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        raise VideoError(path, f"{kinds.get(stat.S_IFMT(status.st_mode), 'a device')}, not a video file")
    if status.st_size < MIN_FILE_BYTES:
        raise VideoError(path, "the file is empty" if not status.st_size else f"only {status.st_size} bytes long")
    if not os.access(path, os.R_OK):
        raise VideoError(path, "permission denied")


def check_no_script(path: str | os.PathLike) -> None:
    """Raise VideoError for a text file, which OpenCV and decord might follow to other files or the network, and for a
    path that is not UTF-8, on which OpenCV crashes."""
    with open(path, "rb") as stream:
        head = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"#", b"ffconcat", b"v=0", b"<", b"[", b"http")):
        raise VideoError(path, "a text file, not a video")
    try:
        os.fsdecode(path).encode()
    except UnicodeEncodeError as error:
        raise VideoError(path, "the path is not UTF-8; use READER.decoder pyav") from error


def backend(decoder: str) -> ModuleType:
    """The module of a decoder; its package is imported here and not before."""
    if decoder not in DECODERS:
        raise UserError(f"unknown decoder {decoder!r}; READER.decoder is one of {', '.join(DECODERS)}")
    packages = {"pyav": "av", "decord": "decord", "opencv": "opencv-python-headless"}
    try:
        return import_module(f"datareader.decoding.{decoder}_backend")
    except ImportError as error:
        raise UserError(
            f"READER.decoder {decoder} needs a package: pip install {packages[decoder]} ({error})"
        ) from error


class FrameKeeper:
    """Collects the wanted frames of one video, each once, brought to the size of the first, within a limit of bytes."""

    def __init__(self, path: str, indices: np.ndarray, limits: Limits, prepare: Prepare):
        self.path, self.indices, self.limits, self.prepare = path, np.asarray(indices, np.int64), limits, prepare
        self.numbers = np.unique(self.indices)
        self.place = {int(number): place for place, number in enumerate(self.numbers)}
        self.frames: np.ndarray | None = None
        self.source_shape: tuple[int, ...] = ()
        self.missing = set(self.place)

    def keep(self, number: int, frame: np.ndarray) -> None:
        """Take frame `number`, uint8 [H, W, 3] upright, if it is wanted and new."""
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
            self.frames = np.empty((len(self.numbers), *prepared.shape), np.uint8)
            self.source_shape = frame.shape
        self.frames[self.place[number]] = prepared
        self.missing.discard(number)

    def reading(self, num_frames: int, complaint: str = "") -> Reading:
        return Reading(self.frames, self.numbers, self.indices, num_frames, complaint)
