"""The optimiser of the published recipe: momentum, a separate decay for norms, and its learning rates."""

from __future__ import annotations

import dataclasses
import math

import paddle
from paddle import nn

NORMS = (nn.BatchNorm2D, nn.SyncBatchNorm)
CLASSIFIER = "head."


def learning_rate_at(iteration: int, base: float, decay: float, step_sizes: list[int]) -> float:
    """base * decay^p, p the phase of `iteration` (from 0); `step_sizes` are the phases' lengths.

    Iterations beyond the last phase stay in it.
    """
    phase, end = 0, 0
    for length in step_sizes[:-1]:
        end += length
        phase += iteration >= end
    return base * decay**phase


def scheduled_rate(iteration: int, recipe, total: int) -> float:
    """The recipe's learning rate of `iteration` (from 0) in a run of `total` iterations.

    Phases, or base (1 + cos(pi iteration / total)) / 2; both times (iteration + 1) / w in the first w =
    warmup_iterations.
    """
    if recipe.schedule == "cosine":
        rate = recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(iteration, total) / total))
    else:
        rate = learning_rate_at(iteration, recipe.learning_rate, recipe.learning_rate_decay, recipe.step_sizes)
    return rate * min(1.0, (iteration + 1) / max(1, recipe.warmup_iterations))


def scaled_recipe(recipe):
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


def build_optimizer(model: nn.Layer, recipe) -> paddle.optimizer.Momentum:
    """V := m V + g + wd p; p -= lr (g + wd p + m V) with Nesterov, p -= lr V without.

    Paddle keeps the learning rate outside the velocity, so nothing is rescaled when it changes (`scale_momentum`).

    recipe: the configuration's TRAIN section. Norm parameters decay by weight_decay_bn, all others by weight_decay;
    all but the classifier learn at trunk_learning_rate_factor of the rate; frozen ones are left out.
    """
    of_norms = {id(p) for layer in model.sublayers() if isinstance(layer, NORMS) for p in layer.parameters(False)}
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            decay = recipe.weight_decay_bn if id(parameter) in of_norms else recipe.weight_decay
            factor = 1.0 if name.startswith(CLASSIFIER) else recipe.trunk_learning_rate_factor
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


def velocities(model: nn.Layer, optimizer: paddle.optimizer.Momentum) -> dict:
    """The optimiser's velocities as {parameter's name in the model: array}."""
    state = optimizer.state_dict()
    named = ((name, f"{p.name}_velocity_0") for name, p in model.named_parameters())
    return {name: state[slot].numpy() for name, slot in named if slot in state}


def set_velocities(model: nn.Layer, optimizer: paddle.optimizer.Momentum, arrays: dict) -> None:
    """The reverse of `velocities`."""
    slots = {name: f"{p.name}_velocity_0" for name, p in model.named_parameters()}
    optimizer.set_state_dict({slots[name]: paddle.to_tensor(array) for name, array in arrays.items()})
