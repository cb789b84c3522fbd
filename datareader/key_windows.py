"""The clips around key frames of videos that are predicted, in order, for videos of any length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datareader.decoding import Timeline
from datareader.key_frames import key_frame_indices, nearest_frame
from datareader.lists import Sample, VideoItem
from datareader.windows import VideoWindows, WindowLoader

if TYPE_CHECKING:
    from configs.schema import Config


@dataclass
class KeyFrameWindows(VideoWindows):
    """As VideoWindows, a clip around each key frame; what leaves the video is its first or last frame.

    key_frames: int64 [W], ascending, frames of the video, may be empty; key_seconds: float64 [W], when they are shown.
    """

    def __post_init__(self):
        self.key_frames = self.starts + self.clip.clip_length * self.clip.frame_stride // 2
        self.key_seconds = self.start_seconds = self.end_seconds = self.source_times.times[self.key_frames]

    def indices(self, first: int, last: int) -> np.ndarray:
        """The frames of windows first .. last - 1: int64 [n, T]."""
        length, stride, n = self.clip.clip_length, self.clip.frame_stride, self.source_times.num_frames
        return np.stack([key_frame_indices(int(frame), length, stride, n) for frame in self.key_frames[first:last]])

    def numbers(self, first: int = 0) -> np.ndarray:
        """The frames that any window from `first` on needs: int64 [U], ascending."""
        return np.unique(self.indices(first, len(self)))


class KeyFrameWindowLoader(WindowLoader):
    """The key frames of each video as KeyFrameWindows, of whole frames, or a Failure.

    choose: path and times of the frames in seconds, float64 [F] -> the numbers of the key frames, int64, ascending.
    """

    def __init__(
        self, config: Config, items: Sequence[Sample | VideoItem], choose: Callable[[str, np.ndarray], np.ndarray]
    ):
        super().__init__(config, items)
        self.choose = choose

    def _windows(self, path: str, video_id: int, timeline: Timeline, times: Timeline) -> KeyFrameWindows:
        clip = self.clip
        starts = self.choose(path, times.times) - clip.clip_length * clip.frame_stride // 2
        return KeyFrameWindows(path, video_id, timeline, times, starts, clip, self.protocol, self)


def nearest_frames(times: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The frames nearest to seconds from the video's first frame, int64, each once, ascending. times: float64 [F]."""
    return np.unique(nearest_frame(times, seconds))
