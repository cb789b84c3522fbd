from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn

from configs.schema import Train
from models.nonlocal_model.layers import FrozenAffine
from utils.optim import build_optimizer, learning_rate_at, set_velocities, velocities


def test_step_sizes_are_lengths_of_phases():
    rates = [learning_rate_at(i, 1.0, 0.1, [3, 2, 4]) for i in range(12)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, *[0.01] * 7])


def network():
    paddle.seed(0)
    return nn.Sequential(nn.Conv2D(2, 3, 1), nn.BatchNorm2D(3), FrozenAffine(3), nn.Flatten(), nn.Linear(3, 2))


def loss_of(model):
    return (model(paddle.to_tensor(np.random.default_rng(3).standard_normal((5, 2, 1, 1), np.float32))) ** 2).sum()


def step(model, optimizer, rate):
    loss_of(model).backward()
    gradients = {n: p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}
    optimizer.set_lr(rate)
    optimizer.step()
    optimizer.clear_grad()
    return gradients


@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_equal_the_authors_optimiser_which_rescales_its_velocity(nesterov):
    """Caffe2 keeps lr in the velocity, V := m V + lr g, and multiplies V by lr_new / lr_old when lr changes."""
    recipe = Train(weight_decay=0.01, weight_decay_bn=0.0, nesterov=nesterov, momentum=0.9)
    model = network()
    optimizer = build_optimizer(model, recipe)
    expected = {n: p.numpy().astype(np.float64) for n, p in model.named_parameters() if not p.stop_gradient}
    speed = {n: np.zeros_like(v) for n, v in expected.items()}
    last = None
    for rate in (0.1, 0.1, 0.01, 0.01, 0.1):
        gradients = step(model, optimizer, rate)
        for name in expected:
            decay = 0.0 if name.startswith("1.") else 0.01
            gradient = gradients[name] + decay * expected[name]
            scaled = speed[name] * (rate / last if last else 1.0)
            speed[name] = 0.9 * scaled + rate * gradient
            expected[name] = expected[name] - ((rate * gradient + 0.9 * speed[name]) if nesterov else speed[name])
        last = rate
    for name, parameter in model.named_parameters():
        if name in expected:
            np.testing.assert_allclose(parameter.numpy(), expected[name], rtol=2e-5, atol=1e-6, err_msg=name)


def test_the_frozen_affine_is_neither_trained_nor_decayed():
    model = network()
    optimizer = build_optimizer(model, Train(weight_decay=0.5, weight_decay_bn=0.5))
    before = model[2].weight.numpy().copy()
    step(model, optimizer, 1.0)
    np.testing.assert_array_equal(model[2].weight.numpy(), before)


def test_velocities_continue_under_the_models_names():
    one, two = network(), network()
    first, second = build_optimizer(one, Train()), build_optimizer(two, Train())
    step(one, first, 0.1)
    two.set_state_dict(one.state_dict())
    saved = velocities(one, first)
    assert sorted(saved) == ["0.bias", "0.weight", "1.bias", "1.weight", "4.bias", "4.weight"]
    set_velocities(two, second, saved)
    step(one, first, 0.1)
    step(two, second, 0.1)
    for a, b in zip(one.parameters(), two.parameters()):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
