"""Clips to scores with the eager network."""

from __future__ import annotations

import numpy as np
import paddle


class EagerEngine:
    """The network itself, in evaluation mode.

    model: a NonLocalModel with its weights. `scores(clips float32 [N, 3, T, H, W])` returns float32 [N, K]: softmax
    over the classes, mean over output positions.
    """

    name = "paddle"
    precision = "float32"

    def __init__(self, model):
        self.model = model
        model.eval()

    def scores(self, clips: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            return self.model.class_scores(self.model(paddle.to_tensor(clips))).numpy()
