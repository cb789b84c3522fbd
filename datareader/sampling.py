"""Which frames make a clip. Pure functions of the video's number of frames; frames are numbered from 0.

A clip is `clip_length` frames, `frame_stride` frames apart; it spans clip_length * frame_stride frames. The one policy
for running past the end is wrapping: indices are taken modulo the number of frames, so a short video loops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


def random_start(num_frames: int, clip_length: int, frame_stride: int, rng: np.random.Generator) -> int:
    """First frame of a training clip: uniform in [0, num_frames - span], both ends included; 0 for a short video."""
    last = num_frames - clip_length * frame_stride
    return int(rng.integers(0, last, endpoint=True)) if last > 0 else 0


def centre_start(num_frames: int, clip_length: int, frame_stride: int) -> int:
    """First frame of the clip in the middle of the video; 0 for a short video."""
    return max(0, num_frames - clip_length * frame_stride) // 2


def uniform_starts(num_frames: int, num_clips: int) -> list[int]:
    """First frames of the test clips: int(num_frames / num_clips * j) for j = 0 .. num_clips - 1."""
    return [int(num_frames / num_clips * j) for j in range(num_clips)]


def start_around(num_frames: int, clip_length: int, frame_stride: int, frame: int) -> int:
    """First frame of the clip whose middle is `frame`, moved into the video where it would reach beyond an end."""
    span = clip_length * frame_stride
    return max(0, min(frame - span // 2, num_frames - span))


def clip_indices(start: int, clip_length: int, frame_stride: int, num_frames: int) -> np.ndarray:
    """(start + i * frame_stride) modulo num_frames for i = 0 .. clip_length - 1: int64 [clip_length].

    Raises ValueError for a video without frames.
    """
    if num_frames < 1:
        raise ValueError("a video without frames has no clip")
    return (start + np.arange(clip_length, dtype=np.int64) * frame_stride) % num_frames


def uniform_indices(num_frames: int, num_clips: int, clip_length: int, frame_stride: int) -> np.ndarray:
    """The frames of all test clips of a video: int64 [num_clips, clip_length]."""
    starts = uniform_starts(num_frames, num_clips)
    return np.stack([clip_indices(start, clip_length, frame_stride, num_frames) for start in starts])


def resampled_frames(times: np.ndarray, end: float, frame_rate: float) -> np.ndarray:
    """A video at another rate: the frames whose times are nearest to times[0] + k / frame_rate, as many as fit up to
    `end`, the end of the last frame. times: float64 [F], ascending, in seconds. Returns int64 [n], ascending."""
    count = max(1, round((end - times[0]) * frame_rate))
    moments = times[0] + np.arange(count) / frame_rate
    return np.searchsorted((times[:-1] + times[1:]) / 2, moments)


# How a clip is placed in time: policy -> first frame, from (number of frames, the sampler, `where`).
POLICIES: dict[str, Callable[[int, ClipSampler, Any], int]] = {
    "start": lambda n, clip, where: 0,
    "centre": lambda n, clip, where: centre_start(n, clip.clip_length, clip.frame_stride),
    "random": lambda n, clip, rng: random_start(n, clip.clip_length, clip.frame_stride, rng),
    "uniform": lambda n, clip, which: uniform_starts(n, which[1])[which[0]],
    "at": lambda n, clip, frame: start_around(n, clip.clip_length, clip.frame_stride, frame),
}


@dataclass(frozen=True)
class ClipSampler:
    """Places clips of `clip_length` frames, `frame_stride` apart, by a policy of POLICIES.

    "start": from frame 0; "centre": in the middle; "random": `where` is a np.random.Generator; "uniform": `where` is
    (j, num_clips), the j-th of the test clips; "at": `where` is the number of the frame in the middle.
    """

    clip_length: int
    frame_stride: int
    policy: str

    def __call__(self, num_frames: int, where: Any = None) -> np.ndarray:
        """The clip's frames: int64 [clip_length], each in [0, num_frames)."""
        start = POLICIES[self.policy](num_frames, self, where)
        return clip_indices(start, self.clip_length, self.frame_stride, num_frames)


@dataclass(frozen=True)
class RandomPlace:
    """A random clip of one video. `indices` gives the same clip each time it is called with the same number of frames:
    a damaged video may be read again from the start."""

    sampler: ClipSampler
    seed: int

    def indices(self, num_frames: int) -> np.ndarray:
        return self.sampler(num_frames, np.random.default_rng(self.seed))


@dataclass(frozen=True)
class UniformPlaces:
    """The test clips of one video."""

    num_clips: int
    clip_length: int
    frame_stride: int

    def indices(self, num_frames: int) -> np.ndarray:
        """int64 [num_clips, clip_length]."""
        return uniform_indices(num_frames, self.num_clips, self.clip_length, self.frame_stride)
