"""Requests to a reading process: plain data that is sent to it, with a `read` that does the work there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import numpy as np

from datareader import decoding, sampling, transforms
from datareader.decoding import (
    ChooseIndices,
    Damage,
    FrameSelection,
    Inspection,
    Limits,
    Prepare,
    Reading,
    Timeline,
    VideoError,
)
from datareader.transforms import DrawnTransform, TransformParameters

NO_FRAMES = np.empty(0, np.uint8)


@dataclass(frozen=True)
class ReaderSettings:
    """The decoder and the limits of one video; the frames a second of folders of frames; the rate that videos are
    resampled to before anything else (None: all their frames)."""

    decoder: str = "pyav"
    limits: Limits = field(default_factory=Limits)
    folder_fps: float = decoding.FOLDER_FPS
    frame_rate: float | None = None


@dataclass(frozen=True)
class ClipSettings:
    """A clip's length in frames, the stride between them, the range of the short side and the crop's side in pixels;
    whether it may be mirrored; whether frames keep their aspect ratio or become squares of the short side."""

    clip_length: int
    frame_stride: int
    scales: tuple[int, int]
    crop_px: int
    mirror: bool = True
    keep_aspect_ratio: bool = True


class Source(Protocol):
    """A kind of input of a sample: "rgb" or "flow", its `name` in `sample.sources` and as a modality of transforms. It
    can be sent to a reading process."""

    @property
    def name(self) -> str: ...

    def read(self, path: str, choose: ChooseIndices, reader: ReaderSettings, prepare: Prepare) -> Reading:
        """Chosen frames, each passed through `prepare` (see datareader.decoding.read): uint8 [U, H, W, 3], of flow
        float32 [U, H, W, 2] in [-1, 1].

        Raises VideoError.
        """
        ...

    def reversed(self) -> Source:
        """The source of a video that is played backwards. Frames keep their numbers: who reads it reverses them."""
        ...


class FramePlan:
    """How a source is made of the frames of a video, in three steps, so that several sources can share one decoding:
    `choose_frames` says which frames are decoded, `keep` what is kept of each, `reading` makes the source of them.

    Frames are those of the video resampled to reader.frame_rate. choose, prepare: as in `Source.read`. Raises
    VideoError.
    """

    def __init__(self, path: str, choose: ChooseIndices, reader: ReaderSettings, prepare: Prepare):
        self.path, self.choose, self.reader, self.prepare = path, choose, reader, prepare
        self.resampled: np.ndarray | None = None
        if reader.frame_rate is not None:
            timeline = decoding.timeline(path, reader.limits, True, reader.folder_fps)
            assert isinstance(timeline, Timeline)  # frames may be decoded to be counted
            self.resampled = sampling.resampled_frames(timeline.times, timeline.end_seconds, reader.frame_rate)

    def read(self) -> Reading:
        """All three steps, for one source alone."""
        decoder, limits = self.reader.decoder, self.reader.limits
        return self.reading(decoding.read(self.path, self.choose_frames, decoder, limits, self.keep))

    def choose_frames(self, num_stored: int) -> np.ndarray:
        """Numbers of the frames that are needed of a file with so many, int64 of any shape."""
        resampled = self._frames_of(num_stored)
        return self.choose(num_stored) if resampled is None else resampled[self.choose(len(resampled))]

    def keep(self, frame: np.ndarray) -> np.ndarray:
        """What is kept of a decoded frame, uint8 RGB [H, W, 3]."""
        return self.prepare(frame)

    def reading(self, stored: Reading) -> Reading:
        """The source, of a reading of all frames that are needed, or more, by their numbers in the file."""
        resampled = self._frames_of(stored.num_frames)
        num_frames = stored.num_frames if resampled is None else len(resampled)
        indices = self.choose(num_frames)
        numbers = np.unique(indices)
        wanted = numbers if resampled is None else resampled[numbers]
        frames = stored.frames
        if not np.array_equal(wanted, stored.numbers):
            frames = frames[np.searchsorted(stored.numbers, wanted)]
        return Reading(frames, numbers, indices, num_frames, stored.warning)

    def _frames_of(self, num_stored: int) -> np.ndarray | None:
        """The file's number of each frame of the resampled video; a damaged file has fewer than its times."""
        return None if self.resampled is None else np.minimum(self.resampled, num_stored - 1)


@dataclass(frozen=True)
class VideoFrames:
    """The frames of a video file, or of a folder of frames, RGB."""

    name: ClassVar[str] = "rgb"

    def read(self, path: str, choose: ChooseIndices, reader: ReaderSettings, prepare: Prepare) -> Reading:
        return self.plan(path, choose, reader, prepare).read()

    def plan(self, path: str, choose: ChooseIndices, reader: ReaderSettings, prepare: Prepare) -> FramePlan:
        return FramePlan(path, choose, reader, prepare)

    def reversed(self) -> VideoFrames:
        return self


RGB = VideoFrames()


@dataclass(frozen=True)
class ClipDetail:
    """num_frames: of the whole video; transform: what was done to each frame of the clip."""

    num_frames: int
    transform: TransformParameters


@dataclass(frozen=True)
class TrainingClip:
    """A random clip. All its randomness comes from default_rng(key), in this order: place in time, short side, mirror,
    crop; it depends neither on the process that reads it nor on the order of reading."""

    path: str
    key: tuple[int, ...]
    clip: ClipSettings
    reader: ReaderSettings
    source: Source = RGB

    def read(self) -> tuple[np.ndarray, ClipDetail]:
        """[T, S, S, C], of the source's type."""
        rng = np.random.default_rng(self.key)
        sampler = sampling.ClipSampler(self.clip.clip_length, self.clip.frame_stride, "random")
        place = sampling.RandomPlace(sampler, int(rng.integers(2**62)))
        clip = self.clip
        transform = transforms.RandomTransform(clip.scales, clip.crop_px, clip.mirror, clip.keep_aspect_ratio)
        drawn = transform.draw(rng)
        return read_clip(self, place.indices, drawn)


@dataclass(frozen=True)
class CentreClip:
    """The clip in the middle, its centre crop at short side scales[0]."""

    path: str
    clip: ClipSettings
    reader: ReaderSettings
    source: Source = RGB

    def read(self) -> tuple[np.ndarray, ClipDetail]:
        """[T, S, S, C], of the source's type."""
        clip = self.clip
        sampler = sampling.ClipSampler(clip.clip_length, clip.frame_stride, "centre")
        drawn = transforms.CentreTransform(clip.scales[0], clip.crop_px, clip.keep_aspect_ratio).draw()
        return read_clip(self, sampler, drawn)


class ClipRequest(Protocol):
    """What `read_clip` needs to know."""

    @property
    def path(self) -> str: ...

    @property
    def reader(self) -> ReaderSettings: ...

    @property
    def source(self) -> Source: ...


def read_clip(request: ClipRequest, choose: ChooseIndices, drawn: DrawnTransform) -> tuple[np.ndarray, ClipDetail]:
    """The frames that `choose` picks, each transformed as `drawn` says: [T, S, S, C]. Raises VideoError."""
    cutter = _FrameCutter(request.path, drawn, request.reader.limits.max_pixels, request.source.name)
    reading = request.source.read(request.path, choose, request.reader, cutter.cut)
    assert cutter.parameters is not None  # a reading holds one frame at least
    return reading.taken(), ClipDetail(reading.num_frames, cutter.parameters)


class _FrameCutter:
    """Resizes and crops each frame as it is decoded; keeps the parameters that were used."""

    def __init__(self, path: str, drawn: DrawnTransform, max_pixels: int, modality: str):
        self.path, self.drawn, self.max_pixels, self.modality = path, drawn, max_pixels, modality
        self.parameters: TransformParameters | None = None

    def cut(self, frame: np.ndarray) -> np.ndarray:
        """[H, W, C] -> [S, S, C]."""
        height, width = frame.shape[:2]
        used = self.parameters
        if used is None or (used.source_height, used.source_width) != (height, width):
            if self.drawn.keep_aspect_ratio:
                check_elongation(self.path, height, width, self.drawn.short_side, self.max_pixels)
            used = self.parameters = self.drawn.parameters(height, width)
        return used.apply(frame, self.modality)


@dataclass(frozen=True)
class ShortSide:
    """Resizes each frame of a video to a short side in pixels, or to a square of it. It can be compared, which a bound
    method cannot."""

    path: str
    short_side: int
    max_pixels: int
    keep_aspect_ratio: bool = True

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """[H, W, C] -> [h, w, C]."""
        height, width = frame.shape[:2]
        if self.keep_aspect_ratio:
            check_elongation(self.path, height, width, self.short_side, self.max_pixels)
        size = transforms.scaled_size(height, width, self.short_side, self.keep_aspect_ratio)
        return transforms.resize_frame(frame, *size)


def check_elongation(path: str, height: int, width: int, short_side: int, max_pixels: int) -> None:
    """Raise VideoError when scaling the short side would make a frame of more than max_pixels (1 px high, say)."""
    scaled_height, scaled_width = transforms.scaled_size(height, width, short_side)
    if scaled_height * scaled_width > max_pixels:
        size = f"{scaled_width}x{scaled_height}"
        raise VideoError(path, f"{width}x{height} px scaled to a short side of {short_side} px would be {size}")


@dataclass(frozen=True)
class ViewFrames:
    """The frames that the test clips of a video need, each once, resized to the short side (keep_aspect_ratio False: to
    a square of it) but not cropped. clips: the numbers of those that are read, None: all."""

    path: str
    num_clips: int
    clip_length: int
    frame_stride: int
    short_side: int
    reader: ReaderSettings
    source: Source = RGB
    keep_aspect_ratio: bool = True
    clips: tuple[int, ...] | None = None

    def read(self) -> tuple[np.ndarray, Reading]:
        """[U, h, w, C], and the reading without its frames (indices are [clips, clip_length])."""
        reading = self.source.read(self.path, self.choose, self.reader, self.resizer())
        return reading.frames, without_frames(reading)

    def choose(self, num_frames: int) -> np.ndarray:
        """The frames of the clips of a video of that length, int64 [clips, clip_length]."""
        indices = sampling.UniformPlaces(self.num_clips, self.clip_length, self.frame_stride).indices(num_frames)
        return indices if self.clips is None else indices[list(self.clips)]

    def resizer(self) -> ShortSide:
        """What each frame, or each field of flow, passes through."""
        return ShortSide(self.path, self.short_side, self.reader.limits.max_pixels, self.keep_aspect_ratio)


def without_frames(reading: Reading) -> Reading:
    """The rest of a reading, small enough to be sent beside the frames."""
    return replace(reading, frames=np.empty((0, *reading.frames.shape[1:]), reading.frames.dtype))


@dataclass(frozen=True)
class SourceFrames:
    """Frames of any source by their numbers, int64 [n] ascending, resized as `ShortSide` does. A number beyond the end
    of a damaged video stands for its last frame."""

    path: str
    numbers: np.ndarray
    short_side: int
    reader: ReaderSettings
    source: Source
    keep_aspect_ratio: bool

    def read(self) -> tuple[np.ndarray, str]:
        """[n, h, w, C], and what is damaged."""
        resizer = ShortSide(self.path, self.short_side, self.reader.limits.max_pixels, self.keep_aspect_ratio)
        reading = self.source.read(self.path, lambda n: np.minimum(self.numbers, n - 1), self.reader, resizer)
        return reading.taken(), reading.warning


@dataclass(frozen=True)
class ReadTimeline:
    """When the frames of a video are shown; an int, the number of packets, where the frames must be decoded to be
    counted and `may_decode` is False."""

    path: str
    reader: ReaderSettings
    may_decode: bool = False

    def read(self) -> tuple[np.ndarray, Timeline | int]:
        """No frames, and the timeline."""
        return NO_FRAMES, decoding.timeline(self.path, self.reader.limits, self.may_decode, self.reader.folder_fps)


@dataclass(frozen=True)
class ReadPixelAspect:
    """The sample aspect ratio of the upright frames."""

    path: str
    reader: ReaderSettings

    def read(self) -> tuple[np.ndarray, tuple[int, int]]:
        """No frames, and (width, height) of a pixel."""
        return NO_FRAMES, decoding.pixel_aspect(self.path, self.reader.limits)


@dataclass(frozen=True)
class NextFrames:
    """`count` of the selected frames from the one at place `first` on. The process continues where the last request
    ended, or starts again.

    short_side: that the frames are resized to, None: as they are; keep_aspect_ratio False: to a square of it. size:
    (height, width) of the result, None: as the first frame gives it.
    """

    path: str
    reader: ReaderSettings
    selection: FrameSelection
    first: int
    count: int
    short_side: int | None
    size: tuple[int, int] | None
    keep_aspect_ratio: bool = True

    def read(self) -> tuple[np.ndarray, Damage]:
        """uint8 [count, h, w, 3]."""
        limits, prepare = self.reader.limits, None
        if self.short_side is not None:
            prepare = ShortSide(self.path, self.short_side, limits.max_pixels, self.keep_aspect_ratio)
        return decoding.next_frames(self.path, limits, self.selection, self.first, self.count, prepare, self.size)


@dataclass(frozen=True)
class InspectVideo:
    """Decode the whole video and keep nothing."""

    path: str
    reader: ReaderSettings = field(default_factory=ReaderSettings)

    def read(self) -> tuple[np.ndarray, Inspection]:
        """No frames, and the inspection."""
        return NO_FRAMES, decoding.inspect(self.path, self.reader.limits, self.reader.folder_fps)
