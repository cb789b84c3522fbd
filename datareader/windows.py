"""A video of any length as clips that slide over it; memory follows the clips at hand, not the video's length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from datareader.batches import Failure
from datareader.clips import ClipSettings
from datareader.lists import VideoItem
from datareader.loaders import Loader
from datareader.sampling import clip_indices
from datareader.streaming import Damage, Timeline, read_timeline, stream_frames
from datareader.video import VideoError
from datareader.views import VideoViews, ViewProtocol, find_crops
from datareader.workers import ReaderPool
from utils.errors import UserError


def window_starts(
    times: np.ndarray, clip_length: int, frame_stride: int, hop_seconds: float | None = None
) -> np.ndarray:
    """First frames of the windows: int64 [W], ascending; a window spans clip_length * frame_stride frames.

    Window k starts at the first frame that is shown at times[0] + k * hop_seconds or later; None: every half window,
    in frames. Where the last one does not reach the end, one more is added that does. A video that is no longer than a
    window has one, from its first frame.
    """
    last = len(times) - clip_length * frame_stride
    if last <= 0:
        return np.zeros(1, np.int64)
    if hop_seconds is None:
        starts = np.arange(0, last + 1, max(1, clip_length // 2) * frame_stride)
    else:
        count = int((times[last] - times[0]) / hop_seconds) + 1
        moments = times[0] + np.arange(count) * hop_seconds
        starts = np.unique(np.searchsorted(times, moments - 1e-6))  # times are rounded in some containers
        starts = starts[starts <= last]
    return starts if starts[-1] == last else np.append(starts, last)


@dataclass
class VideoWindows:
    """One video and its windows; the frames are read while `batches` is iterated.

    starts: int64 [W], first frames; start_seconds, end_seconds: float64 [W], when a window's frames are shown;
    damage: what has been met so far.
    """

    path: str
    video_id: int
    timeline: Timeline
    starts: np.ndarray
    clip: ClipSettings
    protocol: ViewProtocol
    loader: WindowLoader
    damage: Damage = field(default_factory=Damage)
    start_seconds: np.ndarray = field(init=False)
    end_seconds: np.ndarray = field(init=False)

    def __post_init__(self):
        span = self.clip.clip_length * self.clip.frame_stride
        self.start_seconds = self.timeline.times[self.starts]
        self.end_seconds = self.timeline.ends(self.starts + span)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def complaint(self) -> str:
        """What is not whole about the file, as far as it has been read."""
        return "; ".join(filter(None, (self.timeline.complaint, str(self.damage))))

    def indices(self, first: int, last: int) -> np.ndarray:
        """The frames of windows first .. last - 1: int64 [n, T]."""
        length, stride, n = self.clip.clip_length, self.clip.frame_stride, self.timeline.num_frames
        return np.stack([clip_indices(int(start), length, stride, n) for start in self.starts[first:last]])

    def numbers(self) -> np.ndarray:
        """The frames that any window needs: int64 [U], ascending."""
        wanted = np.zeros(self.timeline.num_frames, bool)
        for i in range(self.clip.clip_length):
            wanted[(self.starts + i * self.clip.frame_stride) % self.timeline.num_frames] = True
        return np.flatnonzero(wanted)

    def batches(self, num_windows: int) -> Iterator[tuple[slice, VideoViews]]:
        """`num_windows` windows at a time: which ones, and their views, a window a clip.

        Raises VideoError where the reading ends early; what came before stays good.
        """
        pieces, frames, newest = self._pieces(), {}, -1
        for first in range(0, len(self), num_windows):
            indices = self.indices(first, min(first + num_windows, len(self)))
            while newest < indices.max():
                numbers, arrays = next(pieces)
                frames.update(zip(numbers.tolist(), arrays))
                newest = int(numbers[-1])
            needed = np.unique(indices)
            yield slice(first, first + len(indices)), self._views(indices, needed, [frames[i] for i in needed.tolist()])
            oldest = self.starts[first + len(indices)] if first + len(indices) < len(self) else newest + 1
            frames = {number: frame for number, frame in frames.items() if number >= oldest}
        next(pieces, None)  # where it is judged whether enough of them were whole

    def _pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        numbers, reader = self.numbers(), self.loader.reader
        pool, short_side = self.loader.pool, self.clip.scales[0]
        for some, frames, damage in stream_frames(pool, self.path, reader, self.timeline, numbers, short_side):
            self.damage = damage
            yield some, frames

    def _views(self, indices: np.ndarray, numbers: np.ndarray, frames: list[np.ndarray]) -> VideoViews:
        return VideoViews(
            video_id=self.video_id,
            label=-1,
            path=self.path,
            num_frames=self.timeline.num_frames,
            frames=np.stack(frames),
            frame_numbers=numbers,
            clip_indices=indices,
            crops=find_crops(*frames[0].shape[:2], self.clip.crop_px, self.protocol),
            mean=self.loader.mean,
            std=self.loader.std,
        )


class WindowLoader(Loader):
    """The windows of each video, one after the other, as VideoWindows or Failure."""

    def __init__(self, config, items: Sequence[VideoItem], views: str | None = None, hop_seconds: float | None = None):
        super().__init__(config, config.INFER, items, 0, 0, 1)
        self.clip = self._clip_settings(config.INFER, "INFER")
        self.pool = ReaderPool(min(1, config.INFER.num_reader_threads))
        self.protocol = ViewProtocol.parse(views or "whole", config.INFER.use_multi_crop == 2, num_clips=1)
        self.hop_seconds = hop_seconds
        if self.protocol.num_clips != 1:
            raise UserError(f"views {views!r}: a window is one clip; write 1x3, 1x1 or whole")

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[VideoWindows | Failure]:
        for video_id, item in enumerate(self.items):
            try:
                timeline = read_timeline(self.pool, item.path, self.reader)
            except VideoError as error:
                yield Failure(item.path, video_id, error.cause)
                continue
            clip = self.clip
            starts = window_starts(timeline.times, clip.clip_length, clip.frame_stride, self.hop_seconds)
            yield VideoWindows(item.path, video_id, timeline, starts, clip, self.protocol, self)


def build_window_loader(
    config, items: Sequence[VideoItem], *, views: str | None = None, hop_seconds: float | None = None
) -> WindowLoader:
    """Clips of INFER that slide over each video, `hop_seconds` from one to the next (None: half a clip).

    views: the crops of each, 1x1, 1x3 or whole (None). READER.decoder does not matter: PyAV reads.
    Raises UserError for several clips, an empty list, a crop that does not fit.
    """
    return WindowLoader(config, items, views, hop_seconds)
