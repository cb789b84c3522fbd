"""The optimiser of the published recipe (momentum, a separate decay for norms), its learning rates, and the moving
average of the weights."""

from __future__ import annotations

import contextlib
import dataclasses
import math

import numpy as np
import paddle
from paddle import nn

from configs.schema import Train
from training.norms import NORMS

AVERAGE_PREFIX = "ema/"  # of the moving average's names in a checkpoint


def learning_rate_at(iteration: int, base: float, decay: float, step_sizes: list[int]) -> float:
    """base * decay^p, p the phase of `iteration` (from 0); `step_sizes` are the phases' lengths.

    Iterations beyond the last phase stay in it.
    """
    phase, end = 0, 0
    for length in step_sizes[:-1]:
        end += length
        phase += iteration >= end
    return base * decay**phase


def scheduled_rate(iteration: int, recipe: Train, total: int) -> float:
    """The recipe's learning rate of `iteration` (from 0) in a run of `total` iterations.

    Phases, or base (1 + cos(pi iteration / total)) / 2; both times (iteration + 1) / w in the first w =
    warmup_iterations.
    """
    if recipe.schedule == "cosine":
        rate = recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(iteration, total) / total))
    else:
        rate = learning_rate_at(iteration, recipe.learning_rate, recipe.learning_rate_decay, recipe.step_sizes)
    return rate * min(1.0, (iteration + 1) / max(1, recipe.warmup_iterations))


def scaled_recipe(recipe: Train) -> Train:
    """The recipe for its own batch size by the linear rule (Goyal et al. 2017), or as it is without a reference.

    With k = batch_size / reference_batch_size: learning_rate x k; step_sizes, max_iter and warmup_iterations / k.
    """
    if not recipe.reference_batch_size:
        return recipe
    factor = recipe.batch_size / recipe.reference_batch_size

    def shorter(iterations: int) -> int:
        return max(1, round(iterations / factor))

    return dataclasses.replace(
        recipe,
        learning_rate=recipe.learning_rate * factor,
        step_sizes=[shorter(length) for length in recipe.step_sizes],
        max_iter=shorter(recipe.max_iter),
        warmup_iterations=shorter(recipe.warmup_iterations) if recipe.warmup_iterations else 0,
    )


def build_optimizer(model: nn.Layer, recipe: Train) -> paddle.optimizer.Momentum:
    """V := m V + g + wd p; p -= lr (g + wd p + m V) with Nesterov, p -= lr V without.

    Paddle keeps the learning rate outside the momentum buffer V, so that nothing is rescaled when it changes (the
    zoo's `scale_momentum`).

    recipe: the configuration's TRAIN section. Norm parameters decay by weight_decay_bn, all others by weight_decay;
    all but the classifier (`model.head`) learn at trunk_learning_rate_factor of the rate; frozen ones are left out.
    """
    head = getattr(model, "head", None)
    of_head = {id(p) for p in head.parameters()} if head is not None else set()
    of_norms = {id(p) for layer in model.sublayers() if isinstance(layer, NORMS) for p in layer.parameters(False)}
    groups: dict[tuple[float, float], list] = {}
    for parameter in model.parameters():
        if not parameter.stop_gradient:
            decay = recipe.weight_decay_bn if id(parameter) in of_norms else recipe.weight_decay
            factor = 1.0 if id(parameter) in of_head else recipe.trunk_learning_rate_factor
            groups.setdefault((decay, factor), []).append(parameter)
    return paddle.optimizer.Momentum(
        learning_rate=recipe.learning_rate,
        momentum=recipe.momentum,
        parameters=[{"params": p, "weight_decay": d, "learning_rate": f} for (d, f), p in groups.items()],
        use_nesterov=recipe.nesterov,
    )


@paddle.no_grad()
def gradient_norm(parameters: list) -> float:
    """The Euclidean norm of all gradients together; NaN or infinite when one of them is."""
    squares = [
        parameter.grad.astype("float32").square().sum() for parameter in parameters if parameter.grad is not None
    ]
    return math.sqrt(paddle.stack(squares).sum().item()) if squares else 0.0


@paddle.no_grad()
def clip_gradients(parameters: list, norm: float, longest: float) -> None:
    """Multiply all gradients by longest / norm where their norm is larger than `longest`."""
    if norm > longest:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.scale_(longest / norm)


def momentum_buffers(model: nn.Layer, optimizer: paddle.optimizer.Momentum) -> dict[str, np.ndarray]:
    """The optimiser's momentum buffers as {parameter's name in the model: array}."""
    state = optimizer.state_dict()
    named = ((name, f"{p.name}_velocity_0") for name, p in model.named_parameters())
    return {name: state[slot].numpy() for name, slot in named if slot in state}


def set_momentum_buffers(model: nn.Layer, optimizer: paddle.optimizer.Momentum, arrays: dict) -> None:
    """The reverse of `momentum_buffers`."""
    slots = {name: f"{p.name}_velocity_0" for name, p in model.named_parameters()}
    optimizer.set_state_dict({slots[name]: paddle.to_tensor(array) for name, array in arrays.items()})


class MovingAverage:
    """The moving average of a network's weights (Polyak and Juditsky 1992), which is evaluated in their place.

    average := d average + (1 - d) weights after each step, norm statistics included; d = 0: the weights themselves.

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
        return {AVERAGE_PREFIX + name: tensor.numpy() for name, tensor in self.tensors.items()}

    def load(self, arrays: dict) -> None:
        """Continue from a checkpoint's arrays; without an average among them, from the model's weights."""
        for name, tensor in self.tensors.items():
            tensor.set_value(arrays.get(AVERAGE_PREFIX + name, self.model.state_dict()[name]))
