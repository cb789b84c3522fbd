"""A source of two channels, as optical flow is; the reading processes import this file by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from datareader import Reading, VideoError

NUM_FRAMES, HEIGHT, WIDTH = 40, 64, 84


def flow_field(number: int) -> np.ndarray:
    """The number of the frame in one channel, the column in the other: uint8 [H, W, 2]."""
    field = np.empty((HEIGHT, WIDTH, 2), np.uint8)
    field[..., 0], field[..., 1] = number, np.arange(WIDTH)
    return field


@dataclass(frozen=True)
class DrawnFlow:
    """Fields that are drawn, not read."""

    name: ClassVar[str] = "flow"

    def read(self, path, choose, reader, prepare) -> Reading:
        if path == "broken":
            raise VideoError(path, "no flow")
        indices = np.asarray(choose(NUM_FRAMES))
        numbers = np.unique(indices)
        frames = np.stack([prepare(flow_field(int(number))) for number in numbers])
        return Reading(frames, numbers, indices, NUM_FRAMES)
