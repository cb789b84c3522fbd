"""The optimiser of the published recipe: momentum with phases by iteration and a separate decay for norms."""

from __future__ import annotations

import paddle
from paddle import nn

NORMS = (nn.BatchNorm2D,)


def learning_rate_at(iteration: int, base: float, decay: float, step_sizes: list[int]) -> float:
    """base * decay^p, p the phase of `iteration` (from 0); `step_sizes` are the phases' lengths.

    Iterations beyond the last phase stay in it.
    """
    phase, end = 0, 0
    for length in step_sizes[:-1]:
        end += length
        phase += iteration >= end
    return base * decay**phase


def build_optimizer(model: nn.Layer, recipe) -> paddle.optimizer.Momentum:
    """V := m V + g + wd p; p -= lr (g + wd p + m V) with Nesterov, p -= lr V without.

    Paddle keeps the learning rate outside the velocity, so nothing is rescaled when it changes (`scale_momentum`).

    recipe: the configuration's TRAIN section. Norm parameters decay by weight_decay_bn, all others by weight_decay;
    frozen ones are left out.
    """
    of_norms = {id(p) for layer in model.sublayers() if isinstance(layer, NORMS) for p in layer.parameters(False)}
    trained = [p for p in model.parameters() if not p.stop_gradient]
    groups = [
        {"params": [p for p in trained if id(p) not in of_norms], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if id(p) in of_norms], "weight_decay": recipe.weight_decay_bn},
    ]
    return paddle.optimizer.Momentum(
        learning_rate=recipe.learning_rate,
        momentum=recipe.momentum,
        parameters=[group for group in groups if group["params"]],
        use_nesterov=recipe.nesterov,
    )


def velocities(model: nn.Layer, optimizer: paddle.optimizer.Momentum) -> dict:
    """The optimiser's velocities as {parameter's name in the model: array}."""
    state = optimizer.state_dict()
    named = ((name, f"{p.name}_velocity_0") for name, p in model.named_parameters())
    return {name: state[slot].numpy() for name, slot in named if slot in state}


def set_velocities(model: nn.Layer, optimizer: paddle.optimizer.Momentum, arrays: dict) -> None:
    """The reverse of `velocities`."""
    slots = {name: f"{p.name}_velocity_0" for name, p in model.named_parameters()}
    optimizer.set_state_dict({slots[name]: paddle.to_tensor(array) for name, array in arrays.items()})
