"""One video file -> exactly the wanted frames, upright, as uint8 RGB; or a VideoError of one line.

    info = probe("a.mp4")                                  # frames, upright size, rate, length
    frames = read_frames("a.mp4", [0, 8, 16])              # uint8 [3, H, W, 3]
    reading = read_chosen("a.mp4", lambda n: np.arange(0, n, 8))   # indices chosen from the true number of frames

Frame i is the i-th picture that the ffmpeg program would write. This is the public door; the work is done in
datareader/decoding.
"""

from __future__ import annotations

import os

import numpy as np

from datareader import decoding
from datareader.decoding import (
    DECODERS,
    Limits,
    Reading,
    VideoError,
    VideoInfo,
    display_size,
    printable,
    probe,
)

__all__ = [
    "DECODERS",
    "Limits",
    "Reading",
    "VideoError",
    "VideoInfo",
    "display_size",
    "printable",
    "probe",
    "read_chosen",
    "read_frames",
]

read_chosen = decoding.read


def read_frames(
    path: str | os.PathLike, indices: np.ndarray | list[int], decoder: str = "pyav", limits: Limits | None = None
) -> np.ndarray:
    """Frames by number: uint8 RGB [*indices.shape, H, W, 3], upright, all of the first frame's size.

    indices: whole numbers from 0, in any order, repeats allowed. Raises VideoError, also for a number beyond the end.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    if not wanted.size:
        raise VideoError(path, "no frame is wanted")
    return read_chosen(path, _Wanted(path, wanted).indices, decoder, limits).taken()


class _Wanted:
    """Given frame numbers, compared with the number of frames."""

    def __init__(self, path: str | os.PathLike, numbers: np.ndarray):
        self.path, self.numbers = path, numbers

    def indices(self, num_frames: int) -> np.ndarray:
        if self.numbers.min() < 0 or self.numbers.max() >= num_frames:
            last = f"{num_frames} (0 to {num_frames - 1})"
            raise VideoError(self.path, f"frame {self.numbers.max()} is wanted, the video has {last}")
        return self.numbers
