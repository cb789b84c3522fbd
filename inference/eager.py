"""Clips to scores with the eager network."""

from __future__ import annotations

import numpy as np
import paddle

AMP_LEVEL = "O1"  # Paddle's own lists: conv2d, matmul and linear narrow; softmax and means in float32


class EagerEngine:
    """The network itself, in evaluation mode.

    model: a NonLocalModel with its weights. precision: "float32", or on a GPU "bfloat16" or "float16".
    `scores(clips float32 [N, 3, T, H, W])` returns float32 [N, K]: softmax over the classes, mean over
    output positions.
    """

    name = "paddle"

    def __init__(self, model, precision: str = "float32"):
        self.model, self.precision = model, precision
        model.eval()

    def scores(self, clips: np.ndarray) -> np.ndarray:
        narrow = self.precision != "float32"
        dtype = self.precision if narrow else "float16"  # a type is demanded even where it is off
        with paddle.no_grad(), paddle.amp.auto_cast(enable=narrow, dtype=dtype, level=AMP_LEVEL):
            logits = self.model(paddle.to_tensor(clips))
        with paddle.no_grad():
            return self.model.class_scores(logits.astype("float32")).numpy()
