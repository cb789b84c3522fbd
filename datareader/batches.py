"""What the loaders hand out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Failure:
    """A video that could not be read: data, not an exception."""

    path: str
    video_id: int
    cause: str


@dataclass
class Batch:
    """Clips float32 [N, 3, T, S, S]; label, video_id, view_id int64 [N]; labels: all of each clip's labels; failures:
    the videos that could not be read while the batch was made.

    A video's id is its place in the list of items, from 0.
    """

    clips: np.ndarray
    label: np.ndarray
    video_id: np.ndarray
    view_id: np.ndarray
    labels: list[tuple[int, ...]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.label)
