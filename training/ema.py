"""The moving average of a network's weights (Polyak and Juditsky 1992), evaluated in their place."""

from __future__ import annotations

import contextlib

import numpy as np
import paddle

PREFIX = "ema/"


class MovingAverage:
    """average := d average + (1 - d) weights after each step, norm statistics included; d = 0: the weights themselves.

    d = min(decay, (1 + t) / (10 + t)) at iteration t, so that the first weights are soon forgotten.
    """

    def __init__(self, model, decay: float):
        self.model, self.decay = model, decay
        self.tensors = {n: t.detach().clone() for n, t in model.state_dict().items()} if decay else {}

    def update(self, iteration: int) -> None:
        """Take in the weights after iteration `iteration` (from 0)."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        weights = self.model.state_dict() if self.tensors else {}
        with paddle.no_grad():
            for name, weight in weights.items():
                self.tensors[name].scale_(decay).add_(weight * (1.0 - decay))

    @contextlib.contextmanager
    def in_place_of_weights(self):
        """While entered, the model holds the average (without one: its own weights)."""
        if not self.tensors:
            yield
            return
        own = {n: t.detach().clone() for n, t in self.model.state_dict().items()}
        try:
            self.model.set_state_dict(self.tensors)
            yield
        finally:
            self.model.set_state_dict(own)

    def arrays(self) -> dict[str, np.ndarray]:
        """The average for a checkpoint, its names marked."""
        return {PREFIX + name: tensor.numpy() for name, tensor in self.tensors.items()}

    def load(self, arrays: dict) -> None:
        """Continue from a checkpoint's arrays; without an average among them, from the model's weights."""
        for name, tensor in self.tensors.items():
            tensor.set_value(arrays.get(PREFIX + name, self.model.state_dict()[name]))
