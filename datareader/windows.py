"""A video of any length, in order: the times of its frames, its frames in pieces, and clips that slide over it.

timeline = read_timeline(pool, "a.mp4", ReaderSettings())
numbers = np.arange(0, timeline.num_frames, 8)
for some, frames, damage in stream_frames(pool, "a.mp4", ReaderSettings(), timeline, numbers, 256):
    ...                               # uint8 [n, h, w, 3]: memory is that of a piece, not of the video
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from datareader.decoding import MIN_DECODED_RATIO, Damage, FrameSelection, Timeline
from datareader.flow.source import NO_MOTION
from datareader.lists import Sample, VideoItem
from datareader.loaders import Failure, Loader, clip_settings, read_ahead
from datareader.requests import (
    RGB,
    ClipSettings,
    NextFrames,
    ReaderSettings,
    ReadPixelAspect,
    ReadTimeline,
    Source,
    SourceFrames,
)
from datareader.sampling import clip_indices, resampled_frames
from datareader.video import Limits, VideoError
from datareader.views import VideoViews, ViewProtocol, find_crops
from datareader.workers import ReaderPool
from utils.errors import UserError

if TYPE_CHECKING:
    from configs.schema import Config  # a reading process starts faster without

PIECE_FRAMES = 64
PIECE_BYTES = 8 << 20
SOURCE_PIECE_FRAMES = 128  # of other sources than the video's own frames
FRAMES_PER_LIMIT = 1500  # READER.seconds_per_video is the limit for so many frames: a minute for a minute at 25 fps


def read_timeline(pool: ReaderPool, path: str, reader: ReaderSettings) -> Timeline:
    """When the frames of a video are shown. Raises VideoError."""
    answer = _run(pool, ReadTimeline(path, reader))
    if isinstance(answer, Timeline):
        return answer
    longer = replace(reader, limits=limits_for(reader.limits, answer))
    return _run(pool, ReadTimeline(path, longer, may_decode=True))


def read_pixel_aspect(pool: ReaderPool, path: str, reader: ReaderSettings) -> tuple[int, int]:
    """Width and height of a pixel of the upright frames, (1, 1) for square ones. Frames are returned as they are
    stored; to show them, scale them to `datareader.video.display_size`. Raises VideoError."""
    return _run(pool, ReadPixelAspect(path, reader))


def _run(pool: ReaderPool, request: ReadTimeline | ReadPixelAspect):
    return pool.submit(_Answer(request).detail).result()


@dataclass(frozen=True)
class _Answer:
    """Runs a request in a reading process."""

    request: NextFrames | SourceFrames | ReadTimeline | ReadPixelAspect

    def detail(self, reader):
        """The request's answer beside the frames."""
        return reader.run(self.request)[1]

    def owned(self, reader) -> tuple:
        """Frames that own their memory (the next answer overwrites the shared one) and the detail."""
        frames, detail = reader.run(self.request)
        return (frames if frames.flags.owndata else frames.copy()), detail


def limits_for(limits: Limits, num_frames: int) -> Limits:
    """`limits`, with the seconds in proportion to the number of frames from FRAMES_PER_LIMIT on."""
    return replace(limits, seconds=limits.seconds * max(1.0, num_frames / FRAMES_PER_LIMIT))


def stream_frames(
    pool: ReaderPool,
    path: str,
    reader: ReaderSettings,
    timeline: Timeline,
    numbers: np.ndarray,
    short_side: int | None = None,
    keep_aspect_ratio: bool = True,
) -> Iterator[tuple[np.ndarray, np.ndarray, Damage]]:
    """Pieces of a video: (numbers int64 [n], frames uint8 [n, h, w, 3] upright, damage so far), in order.

    pool: of one process, which reads a piece ahead. numbers: ascending. short_side, keep_aspect_ratio: as
    NextFrames has them.
    A lost frame of a damaged file repeats the one before. Raises VideoError where the reading ends early, and at the
    end when more than nine tenths were lost.
    """
    selection = FrameSelection.of(numbers, timeline.num_frames)
    return _FrameStream(pool, path, reader, selection, numbers, short_side, keep_aspect_ratio).pieces()


class _FrameStream:
    """One pass over the selected frames of a video."""

    def __init__(
        self,
        pool,
        path,
        reader,
        selection: FrameSelection,
        numbers: np.ndarray,
        short_side: int | None,
        keep_aspect_ratio: bool,
    ):
        self.pool, self.path, self.reader, self.keep_aspect_ratio = pool, path, reader, keep_aspect_ratio
        self.selection, self.numbers, self.short_side = selection, numbers, short_side
        self.damage = Damage()
        self.waiting: deque[tuple[int, Future]] = deque()

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray, Damage]]:
        total = len(self.numbers)
        try:
            self._ask(0, 1, None)
            start = self._next()
            yield start
            size = start[1].shape[1:3]
            count = int(np.clip(PIECE_BYTES // start[1].nbytes, 1, PIECE_FRAMES))
            for first in range(1, total, count):
                self._ask(first, min(count, total - first), size)
                if len(self.waiting) > 1:
                    yield self._next()
            while self.waiting:
                yield self._next()
        finally:
            for _, future in self.waiting:
                future.cancel()
        num_good = total - self.damage.num_lost
        if num_good < MIN_DECODED_RATIO * total:
            raise VideoError(self.path, f"damaged: {num_good} of {total} wanted frames can be decoded")

    def _ask(self, first: int, count: int, size: tuple[int, int] | None) -> None:
        limits = limits_for(self.reader.limits, int(self.numbers[first + count - 1]))
        reader = replace(self.reader, limits=limits)
        request = NextFrames(
            self.path, reader, self.selection, first, count, self.short_side, size, self.keep_aspect_ratio
        )
        self.waiting.append((first, self.pool.submit(_Answer(request).owned)))

    def _next(self) -> tuple[np.ndarray, np.ndarray, Damage]:
        first, future = self.waiting.popleft()
        frames, damage = future.result()
        self.damage += damage
        return self.numbers[first : first + len(frames)], frames, self.damage


def window_starts(
    times: np.ndarray, clip_length: int, frame_stride: int, stride_seconds: float | None = None
) -> np.ndarray:
    """First frames of the windows: int64 [W], ascending; a window spans clip_length * frame_stride frames.

    Window k starts at the first frame that is shown at times[0] + k * stride_seconds or later; None: every half window,
    in frames. Where the last one does not reach the end, one more is added that does. A video that is no longer than a
    window has one, from its first frame.
    """
    last = len(times) - clip_length * frame_stride
    if last <= 0:
        return np.zeros(1, np.int64)
    if stride_seconds is None:
        starts = np.arange(0, last + 1, max(1, clip_length // 2) * frame_stride)
    else:
        count = int((times[last] - times[0]) / stride_seconds) + 1
        moments = times[0] + np.arange(count) * stride_seconds
        starts = np.unique(np.searchsorted(times, moments - 1e-6))  # times are rounded in some containers
        starts = starts[starts <= last]
    return starts if starts[-1] == last else np.append(starts, last)


def source_timeline(timeline: Timeline, source: Source, frame_rate: float | None) -> Timeline:
    """When the frames of a source are shown: those of the video, resampled to `frame_rate`; flow i begins with frame i,
    so that the last frame has none."""
    times, fps = timeline.times, timeline.fps
    if frame_rate is not None:
        count, fps = len(resampled_frames(times, timeline.end_seconds, frame_rate)), frame_rate
        times = times[0] + np.arange(count) / frame_rate
    return replace(timeline, times=times[:-1] if source.name == "flow" else times, fps=fps)


@dataclass
class VideoWindows:
    """One video and its windows; the frames are read while `batches` is iterated.

    timeline: of the video; source_times: of the frames of the loader's source, which windows are made of. starts: int64
    [W], first frames; start_seconds, end_seconds: float64 [W], when a window's frames are shown; damage,
    source_warning: what has been found so far.
    """

    path: str
    video_id: int
    timeline: Timeline
    source_times: Timeline
    starts: np.ndarray
    clip: ClipSettings
    protocol: ViewProtocol
    loader: WindowLoader
    damage: Damage = field(default_factory=Damage)
    source_warning: str = ""
    start_seconds: np.ndarray = field(init=False)
    end_seconds: np.ndarray = field(init=False)

    def __post_init__(self):
        span = self.clip.clip_length * self.clip.frame_stride
        self.start_seconds = self.source_times.times[self.starts]
        self.end_seconds = self.source_times.ends(self.starts + span)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def warning(self) -> str:
        """What is damaged or missing in the file, as far as it has been read; "" for nothing."""
        return "; ".join(filter(None, (self.timeline.warning, str(self.damage), self.source_warning)))

    def indices(self, first: int, last: int) -> np.ndarray:
        """The frames of windows first .. last - 1: int64 [n, T]."""
        length, stride, n = self.clip.clip_length, self.clip.frame_stride, self.source_times.num_frames
        return np.stack([clip_indices(int(start), length, stride, n) for start in self.starts[first:last]])

    def numbers(self, first: int = 0) -> np.ndarray:
        """The frames that any window from `first` on needs: int64 [U], ascending."""
        num_frames = self.source_times.num_frames
        wanted = np.zeros(num_frames, bool)
        for i in range(self.clip.clip_length):
            wanted[(self.starts[first:] + i * self.clip.frame_stride) % num_frames] = True
        return np.flatnonzero(wanted)

    def batches(self, num_windows: int, first_window: int = 0) -> Iterator[tuple[slice, VideoViews]]:
        """`num_windows` windows at a time: which ones, and their views, a window a clip. first_window: where to begin;
        only what it and later windows need is read.

        Raises VideoError where the reading ends early; what was yielded before stays valid.
        """
        frames: dict[int, np.ndarray] = {}
        pieces, newest = self._pieces(first_window), -1
        for first in range(first_window, len(self), num_windows):
            indices = self.indices(first, min(first + num_windows, len(self)))
            while newest < indices.max():
                numbers, arrays = next(pieces)
                frames.update(zip(numbers.tolist(), arrays))
                newest = int(numbers[-1])
            needed = np.unique(indices)
            yield slice(first, first + len(indices)), self._views(indices, needed, [frames[i] for i in needed.tolist()])
            oldest = self.starts[first + len(indices)] if first + len(indices) < len(self) else newest + 1
            frames = {number: frame for number, frame in frames.items() if number >= oldest}
        next(pieces, None)  # raises where too few frames decoded

    def _pieces(self, first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers int64 [n] and frames [n, h, w, C] of what the windows from `first` on need, in order."""
        numbers, reader = self.numbers(first), self.loader.reader
        if self.loader.source is not RGB or reader.frame_rate is not None:
            yield from self._source_pieces(numbers)
            return
        pool, clip = self.loader.pool, self.clip
        stream = stream_frames(pool, self.path, reader, self.timeline, numbers, clip.scales[0], clip.keep_aspect_ratio)
        for some, frames, damage in stream:
            self.damage = damage
            yield some, frames

    def _source_pieces(self, numbers: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """`_pieces` of another source than the video's own frames."""
        loader, clip = self.loader, self.clip
        settings = replace(loader.reader, limits=limits_for(loader.reader.limits, self.timeline.num_frames))

        def read(first: int, reader) -> tuple[np.ndarray, np.ndarray, str]:
            piece = numbers[first : first + SOURCE_PIECE_FRAMES]
            request = SourceFrames(self.path, piece, clip.scales[0], settings, loader.source, clip.keep_aspect_ratio)
            return piece, *_Answer(request).owned(reader)

        for piece, frames, warning in read_ahead(loader.pool, range(0, len(numbers), SOURCE_PIECE_FRAMES), read):
            self.source_warning = self.source_warning or warning
            yield piece, frames

    def _views(self, indices: np.ndarray, numbers: np.ndarray, frames: list[np.ndarray]) -> VideoViews:
        return VideoViews(
            video_id=self.video_id,
            label=-1,
            path=self.path,
            num_frames=self.source_times.num_frames,
            frames=np.stack(frames),
            frame_numbers=numbers,
            clip_indices=indices,
            crops=find_crops(frames[0].shape[0], frames[0].shape[1], self.clip.crop_px, self.protocol),
            mean=self.loader.mean,
            std=self.loader.std,
            modality=self.loader.source.name,
        )


class WindowLoader(Loader):
    """Clips of INFER that slide over each video, one video after the other, as VideoWindows or Failure.

    stride_seconds: from one window to the next, None: half a clip. views: the crops of each, 1x1, 1x3 or whole (None).
    READER.decoder does not matter: PyAV reads. Raises UserError for several clips, an empty list, a crop that does not
    fit.
    """

    def __init__(
        self,
        config: Config,
        items: Sequence[Sample | VideoItem],
        *,
        views: str | None = None,
        stride_seconds: float | None = None,
    ):
        super().__init__(config, config.INFER, items, min(1, config.INFER.num_reader_threads))
        self.clip = clip_settings(config, "INFER")
        self.protocol = ViewProtocol.parse(views or "whole", config.INFER.use_multi_crop == 2, num_clips=1)
        self.stride_seconds = stride_seconds
        if self.protocol.num_clips != 1:
            raise UserError(f"views {views!r}: a window is one clip; write 1x3, 1x1 or whole")

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[VideoWindows | Failure]:
        for video_id in range(len(self.items)):
            path = self.path_of(video_id)
            try:
                timeline = read_timeline(self.pool, path, self.reader)
            except VideoError as error:
                yield Failure(path, video_id, error.reason)
                continue
            times = source_timeline(timeline, self.source, self.reader.frame_rate)
            if not times.num_frames:
                yield Failure(path, video_id, NO_MOTION)
                continue
            yield self._windows(path, video_id, timeline, times)

    def _windows(self, path: str, video_id: int, timeline: Timeline, times: Timeline) -> VideoWindows:
        """times: of the frames of the loader's source."""
        clip = self.clip
        starts = window_starts(times.times, clip.clip_length, clip.frame_stride, self.stride_seconds)
        return VideoWindows(path, video_id, timeline, times, starts, clip, self.protocol, self)


build_window_loader = WindowLoader
