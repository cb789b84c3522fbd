from __future__ import annotations

import numpy as np
import pytest
from paddle import nn

from training.optimiser import MovingAverage


def small():
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm2D(2))


def test_the_average_follows_the_formula_and_stands_in_only_while_asked():
    model = small()
    average, expected = MovingAverage(model, 0.9), model[0].weight.numpy().copy()
    rng = np.random.default_rng(0)
    for t in range(20):
        model[0].weight.set_value(rng.standard_normal((2, 2)).astype(np.float32))
        average.update(t)
        decay = min(0.9, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * model[0].weight.numpy()
    own = model[0].weight.numpy().copy()
    with pytest.raises(KeyError), average.in_place_of_weights():
        np.testing.assert_allclose(model[0].weight.numpy(), expected, rtol=1e-5)
        raise KeyError
    np.testing.assert_array_equal(model[0].weight.numpy(), own)


def test_the_average_goes_on_from_a_checkpoint():
    model = small()
    one, two = MovingAverage(model, 0.9), MovingAverage(model, 0.9)
    model[0].weight.set_value(np.ones((2, 2), np.float32))
    one.update(5)
    two.load(one.arrays())
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(two.arrays()[name], array)
    assert {"ema/0.weight", "ema/1._mean"} <= set(one.arrays())


def test_no_decay_no_average():
    model = small()
    average = MovingAverage(model, 0.0)
    average.update(3)
    assert average.arrays() == {}
    with average.in_place_of_weights():
        model[0].weight.set_value(np.ones((2, 2), np.float32))
    assert (model[0].weight.numpy() == 1).all()
