from __future__ import annotations

import dataclasses

import numpy as np
import paddle
import pytest
from paddle import nn

from configs.schema import Train
from models.layers import FrozenAffine
from training.optimiser import (
    build_optimizer,
    clip_gradients,
    gradient_norm,
    learning_rate_at,
    momentum_buffers,
    scaled_recipe,
    scheduled_rate,
    set_momentum_buffers,
)


def test_step_sizes_are_lengths_of_phases():
    rates = [learning_rate_at(i, 1.0, 0.1, [3, 2, 4]) for i in range(12)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, *[0.01] * 7])


def test_cosine_and_warm_up_follow_their_formulas():
    recipe = Train(learning_rate=0.2, schedule="cosine", warmup_iterations=4)
    for i in range(20):
        expected = 0.1 * (1 + np.cos(np.pi * i / 20)) * min(1, (i + 1) / 4)
        assert scheduled_rate(i, recipe, 20) == pytest.approx(expected)
    steps = Train(learning_rate=1.0, step_sizes=[3, 9], warmup_iterations=2)
    assert [scheduled_rate(i, steps, 12) for i in range(4)] == pytest.approx([0.5, 1, 1, 0.1])


def test_the_published_recipes_follow_from_each_other_by_the_linear_rule():
    """The authors' rates: 0.01 for a batch of 64, 0.005 and twice the iterations for 32, 0.0025 for 16."""
    whole = Train(reference_batch_size=64, step_sizes=[150000, 150000, 100000])
    half = scaled_recipe(dataclasses.replace(whole, batch_size=32))
    assert (half.learning_rate, half.step_sizes, half.max_iter) == (0.005, [300000, 300000, 200000], 800000)
    assert scaled_recipe(dataclasses.replace(whole, batch_size=16)).learning_rate == 0.0025
    assert scaled_recipe(whole) == whole
    alone = Train(batch_size=8)
    assert scaled_recipe(alone) is alone


def test_the_gradients_norm_is_measured_and_cut():
    model = network()
    loss_of(model).backward()
    parameters = [p for p in model.parameters() if not p.stop_gradient]
    before = [p.grad.numpy().copy() for p in parameters]
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in before))
    assert gradient_norm(parameters) == pytest.approx(norm, rel=1e-5)
    clip_gradients(parameters, gradient_norm(parameters), 2 * norm)
    np.testing.assert_array_equal(parameters[0].grad.numpy(), before[0])
    clip_gradients(parameters, gradient_norm(parameters), norm / 4)
    for parameter, gradient in zip(parameters, before):
        np.testing.assert_allclose(parameter.grad.numpy(), gradient / 4, rtol=1e-5, atol=1e-9)


def test_the_trunk_can_learn_more_slowly_than_the_classifier():
    class Trunk(nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.head(self.conv(x))

    paddle.seed(0)
    model = Trunk()
    plain = Train(momentum=0.0, nesterov=False, weight_decay=0.0, trunk_learning_rate_factor=0.1)
    optimizer = build_optimizer(model, plain)
    before = {name: parameter.numpy().copy() for name, parameter in model.named_parameters()}
    (model(paddle.ones([2, 3])) ** 2).sum().backward()
    gradients = {name: parameter.grad.numpy().copy() for name, parameter in model.named_parameters()}
    optimizer.set_lr(0.5)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 0.5 if name.startswith("head.") else 0.05
        expected = before[name] - factor * gradients[name]
        np.testing.assert_allclose(parameter.numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=name)


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


def test_momentum_buffers_continue_under_the_models_names():
    one, two = network(), network()
    first, second = build_optimizer(one, Train()), build_optimizer(two, Train())
    step(one, first, 0.1)
    two.set_state_dict(one.state_dict())
    saved = momentum_buffers(one, first)
    assert sorted(saved) == ["0.bias", "0.weight", "1.bias", "1.weight", "4.bias", "4.weight"]
    set_momentum_buffers(two, second, saved)
    step(one, first, 0.1)
    step(two, second, 0.1)
    for a, b in zip(one.parameters(), two.parameters()):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


class WithBiases(nn.Layer):
    """Each parameter's gradient is far from 0: two linear layers and a norm between them, under a tanh."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(3, 4), nn.BatchNorm2D(4), nn.Linear(4, 2)
        self.norm.eval()

    def forward(self, x):
        x = self.norm(self.first(x).unsqueeze([2, 3])).flatten(1)
        return self.head(paddle.tanh(x))


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.9, 0.6])
def test_every_parameter_moves_by_momentum_and_its_own_decay(nesterov, momentum):
    """V := m V + g + wd p; p -= lr (g + wd p + m V) with Nesterov, p -= lr V without; biases decay like weights."""
    recipe = Train(momentum=momentum, nesterov=nesterov, weight_decay=0.3, weight_decay_bn=0.05)
    paddle.seed(1)
    model = WithBiases()
    for parameter in model.parameters():
        parameter.set_value(parameter + 0.5)
    model.norm.eval()
    optimizer = build_optimizer(model, recipe)
    decays = {"first.weight": 0.3, "first.bias": 0.3, "head.weight": 0.3, "head.bias": 0.3}
    decays.update({"norm.weight": 0.05, "norm.bias": 0.05})
    expected = {name: p.numpy().astype(np.float64) for name, p in model.named_parameters() if name in decays}
    speed = {name: np.zeros_like(value) for name, value in expected.items()}
    x, rate = paddle.to_tensor(np.random.default_rng(2).standard_normal((8, 3), np.float32)), 0.02
    for _ in range(6):
        (model(x) - 1.0).square().mean().backward()
        gradients = {n: p.grad.numpy().astype(np.float64) for n, p in model.named_parameters() if n in decays}
        assert min(np.abs(gradient).max() for gradient in gradients.values()) > 1e-3
        optimizer.set_lr(rate)
        optimizer.step()
        optimizer.clear_grad()
        for name, decay in decays.items():
            pull = gradients[name] + decay * expected[name]
            speed[name] = momentum * speed[name] + pull
            expected[name] = expected[name] - rate * (pull + momentum * speed[name] if nesterov else speed[name])
        for name, parameter in model.named_parameters():
            if name in decays:
                np.testing.assert_allclose(parameter.numpy(), expected[name], rtol=2e-5, atol=1e-6, err_msg=name)
