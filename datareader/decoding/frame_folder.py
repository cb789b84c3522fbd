"""A folder of numbered JPEG files (00001.jpg, 00002.jpg ...), read as a video with one picture a file; or of pairs of
such files (x_00001.jpg and y_00001.jpg), the two planes of optical flow.

The pictures are those that the ffmpeg program decodes. What is missing, broken or of another size is an error of the
video, never another picture in its place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence

import av
import numpy as np

from datareader.decoding.base import (
    SQUARE_PIXELS,
    Budget,
    ChooseIndices,
    Damage,
    FrameKeeper,
    FrameSelection,
    Inspection,
    Limits,
    Prepare,
    Reading,
    Timeline,
    VideoError,
    VideoInfo,
)
from datareader.decoding.colours import Converter, LumaPlane, RgbConverter
from datareader.decoding.containers import frame_number, plane_number
from datareader.decoding.storage import check_file

MAX_FILE_BYTES = 1 << 26
DECODE_ERRORS = (av.FFmpegError, ValueError, IndexError, OSError)


def read(path: str, choose: ChooseIndices, limits: Limits, prepare: Prepare) -> Reading:
    """See datareader.decoding.read."""
    frames = _FrameFiles(path, limits)
    keeper = FrameKeeper(path, choose(len(frames.names)), limits, prepare)
    for number, (_, rgb) in zip(keeper.numbers.tolist(), frames.decode(keeper.numbers)):
        keeper.keep(number, rgb)
    return keeper.reading(len(frames.names))


def read_luma_pairs(path: str, choose: ChooseIndices, limits: Limits, prepare: Prepare) -> Reading:
    """See datareader.decoding.read_luma_pairs."""
    x, y = (_FrameFiles(path, limits, plane) for plane in "xy")
    if len(x.names) != len(y.names):
        raise VideoError(path, f"{len(x.names)} files of the x plane, {len(y.names)} of the y plane")
    keeper = FrameKeeper(path, choose(len(x.names)), limits, prepare)
    planes = zip(x.decode(keeper.numbers), y.decode(keeper.numbers))
    for number, ((_, first), (_, second)) in zip(keeper.numbers.tolist(), planes):
        if first.shape != second.shape:
            raise VideoError(path, f"{x.names[number]} and {y.names[number]} are of different sizes")
        keeper.keep(number, np.stack([first, second], -1))
    return keeper.reading(len(x.names))


def probe(path: str, limits: Limits, fps: float) -> VideoInfo:
    """See datareader.decoding.probe. Only the first frame is decoded."""
    frames = _FrameFiles(path, limits)
    ((_, rgb),) = frames.decode([0])
    return _info(len(frames.names), rgb.shape, fps)


def inspect(path: str, limits: Limits, fps: float) -> Inspection:
    """See datareader.decoding.inspect. Raises VideoError for any frame that is broken."""
    frames, digest, shape = _FrameFiles(path, limits), hashlib.blake2b(digest_size=16), (0, 0)
    for frame, rgb in frames.decode(range(len(frames.names))):
        plane, shape = frame.planes[0], rgb.shape
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height]
        digest.update(np.ascontiguousarray(rows[:, : frame.width]))
    return Inspection(_info(len(frames.names), shape, fps), len(frames.names), 0, digest.hexdigest())


def timeline(path: str, limits: Limits, fps: float) -> Timeline:
    """See datareader.decoding.timeline; the frames are evenly spaced."""
    count = len(_FrameFiles(path, limits).names)
    return Timeline(np.arange(count) / fps, count / fps, fps, 0.0)


def pixel_aspect(path: str, limits: Limits) -> tuple[int, int]:
    """Pixels are taken for square."""
    _FrameFiles(path, limits)
    return SQUARE_PIXELS


def next_frames(
    path: str,
    limits: Limits,
    selection: FrameSelection,
    first: int,
    count: int,
    prepare: Prepare | None,
    size: tuple[int, int] | None,
) -> tuple[np.ndarray, Damage]:
    """See datareader.decoding.next_frames. All frames have one size, so that `size` says nothing new."""
    frames = _FrameFiles(path, limits)
    if len(frames.names) != selection.num_frames:
        raise VideoError(path, f"holds {len(frames.names)} frames now, and held {selection.num_frames} before")
    decoded = (rgb for _, rgb in frames.decode(selection.numbers()[first : first + count]))
    return np.stack([rgb.copy() if prepare is None else prepare(rgb) for rgb in decoded]), Damage()


def _info(num_frames: int, shape: Sequence[int], fps: float) -> VideoInfo:
    return VideoInfo(num_frames, shape[0], shape[1], fps, round(num_frames / fps, 6), "mjpeg", "folder of frames")


class _FrameFiles:
    """The frame files of a folder, in the order of their numbers. Raises VideoError for none, gaps and doubles.

    plane: "x" or "y" for those of a plane of flow, "" for the pictures; names: of the files; frame i is names[i].
    """

    def __init__(self, path: str, limits: Limits, plane: str = ""):
        self.path, self.limits, self.budget, self.plane = path, limits, Budget(path, limits.seconds), plane
        found: dict[int, str] = {}
        is_empty = True
        try:
            for name in sorted(os.listdir(path)):
                number = plane_number(name, plane) if plane else frame_number(name)
                is_empty = False
                if number is None:
                    continue
                if number in found:
                    raise VideoError(path, f"{found[number]} and {name} are the same frame; remove one of them")
                found[number] = name
        except OSError as error:
            raise VideoError(path, (error.strerror or str(error)).lower()) from error
        if not found:
            example = f"{plane}_00001.jpg" if plane else "00001.jpg"
            kind = "an empty folder" if is_empty else f"a directory without numbered JPEG frames ({example})"
            raise VideoError(path, f"{kind}, not a video file")
        if len(found) > limits.max_packets:
            raise VideoError(path, f"holds {len(found)} frames, the limit is {limits.max_packets}")
        numbers = sorted(found)
        first = min(numbers[0], 1)
        if numbers[-1] - first + 1 != len(numbers):
            gap = next(wanted for wanted, number in enumerate(numbers, first) if wanted != number)
            raise VideoError(path, f"frame {gap} is missing: {len(numbers)} files are numbered up to {numbers[-1]}")
        self.names = [found[number] for number in numbers]

    def decode(self, numbers: Sequence[int] | np.ndarray) -> Iterator[tuple[av.VideoFrame, np.ndarray]]:
        """Each of the frames, as decoded and as uint8 RGB [H, W, 3], or [H, W] for a plane of flow (a view of memory
        that the frame owns).

        Raises VideoError for one that cannot be decoded, or is of another size than the folder's first one.
        """
        context = av.CodecContext.create("mjpeg", "r")
        context.thread_count, context.thread_type = 1, "NONE"
        context.options = {"max_pixels": str(self.limits.max_pixels), "flags": "+unaligned", "err_detect": "explode"}
        convert: Converter = LumaPlane(None) if self.plane else RgbConverter(None)
        first = self._decoded(context, convert, 0)
        shape = first[1].shape
        for number in numbers:
            frame, rgb = first if number == 0 else self._decoded(context, convert, int(number))
            if rgb.shape != shape:
                raise self._error(number, f"is {rgb.shape[1]}x{rgb.shape[0]} px, the first is {shape[1]}x{shape[0]} px")
            yield frame, rgb

    def _decoded(self, context, convert: Converter, number: int) -> tuple[av.VideoFrame, np.ndarray]:
        self.budget.check()
        file = os.path.join(self.path, self.names[number])
        try:
            check_file(file)
            if os.path.getsize(file) > MAX_FILE_BYTES:
                raise VideoError(file, f"larger than {MAX_FILE_BYTES >> 20} MiB")
            with open(file, "rb") as stream:
                frames = context.decode(av.Packet(stream.read()))
        except VideoError as error:
            raise self._error(number, error.reason) from error
        except DECODE_ERRORS as error:
            reason = str(getattr(error, "strerror", None) or error).lower()
            raise self._error(number, f"a broken JPEG ({reason})") from error
        if len(frames) != 1:
            raise self._error(number, "a broken JPEG (no picture)")
        convert.size = None  # else a picture of another size would be scaled to the first one's
        return frames[0], convert(frames[0])

    def _error(self, number: int, reason: str) -> VideoError:
        return VideoError(self.path, f"{self.names[number]}: {reason}")
