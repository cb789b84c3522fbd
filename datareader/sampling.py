"""Which frames make a clip. Pure functions of the video's number of frames; frames are numbered from 0.

A clip is `clip_length` frames, `frame_stride` frames apart; it spans clip_length * frame_stride frames. The one policy
for running past the end is wrapping: indices are taken modulo the number of frames, so a short video loops.
"""

from __future__ import annotations

import numpy as np


def random_start(num_frames: int, clip_length: int, frame_stride: int, rng: np.random.Generator) -> int:
    """First frame of a training clip: uniform in [0, num_frames - span], both ends included; 0 for a short video."""
    last = num_frames - clip_length * frame_stride
    return int(rng.integers(0, last, endpoint=True)) if last > 0 else 0


def centre_start(num_frames: int, clip_length: int, frame_stride: int) -> int:
    """First frame of the clip in the middle of the video; 0 for a short video."""
    return max(0, num_frames - clip_length * frame_stride) // 2


def test_starts(num_frames: int, num_clips: int) -> list[int]:
    """First frames of the test clips: int(num_frames / num_clips * j) for j = 0 .. num_clips - 1."""
    return [int(num_frames / num_clips * j) for j in range(num_clips)]


test_starts.__test__ = False  # a formula, though pytest takes the name for a test's


def clip_indices(start: int, clip_length: int, frame_stride: int, num_frames: int) -> np.ndarray:
    """(start + i * frame_stride) modulo num_frames for i = 0 .. clip_length - 1: int64 [clip_length].

    Raises ValueError for a video without frames.
    """
    if num_frames < 1:
        raise ValueError("a video without frames has no clip")
    return (start + np.arange(clip_length, dtype=np.int64) * frame_stride) % num_frames


def test_indices(num_frames: int, num_clips: int, clip_length: int, frame_stride: int) -> np.ndarray:
    """The frames of all test clips of a video: int64 [num_clips, clip_length]."""
    starts = test_starts(num_frames, num_clips)
    return np.stack([clip_indices(start, clip_length, frame_stride, num_frames) for start in starts])


test_indices.__test__ = False
