"""A source of two channels, as optical flow is; the reading processes import this file by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from datareader import Reading, VideoError

NUM_FRAMES, HEIGHT, WIDTH = 40, 64, 84


def flow_field(number: int) -> np.ndarray:
    """The column in x, the number of the frame in y: float32 [H, W, 2]."""
    field = np.empty((HEIGHT, WIDTH, 2), np.float32)
    field[..., 0], field[..., 1] = np.arange(WIDTH), number
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

    def reversed(self) -> DrawnFlow:
        return self
