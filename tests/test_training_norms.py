from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle import nn

from models import NonLocalModel
from models.nonlocal_model.options import Norm
from models.recognizer import Recognizer
from training.norms import estimate_statistics, freeze, norms_of
from training.precision import recompute_blocks
from utils.errors import UserError
from utils.parallel import Ranks


def network() -> Recognizer:
    paddle.seed(0)
    return NonLocalModel(
        2, 3, blocks_per_stage=[1, 2, 2, 1], nonlocal_positions={3: [1], 4: [1]}, head_pool_size=1, dropout_rate=0.0,
        widths={"stem_channels": 4, "res2_channels": 8, "inner_channels": 4}, norm=Norm(last_init_scale=0.5),
        nonlocal_options={"norm_init_scale": 0.5},
    )  # fmt: skip


def clips(seed: int, size: int = 3):
    return np.random.default_rng(seed).standard_normal((size, 3, 4, 32, 32)).astype(np.float32)


def test_precise_statistics_are_those_of_all_activations_of_the_batches():
    norm = nn.BatchNorm2D(5, momentum=0.9)
    rng = np.random.default_rng(0)
    batches = [SimpleNamespace(clips=rng.normal(i, 1 + i, (4, 5, 3, 3)).astype(np.float32)) for i in range(4)]
    frozen = nn.BatchNorm2D(5)
    model = nn.Sequential(norm, nn.Dropout(0.5), frozen)
    estimate_statistics(model, batches[:3], Ranks(), [frozen])
    seen = np.concatenate([batch.clips for batch in batches[:3]]).astype(np.float64)
    np.testing.assert_allclose(norm._mean.numpy(), seen.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(norm._variance.numpy(), seen.var((0, 2, 3)), rtol=1e-4)
    assert norm._momentum == 0.9 and (frozen._mean.numpy() == 0).all()


@pytest.mark.parametrize("stage", ["res2", "stage2"])
def test_frozen_layers_keep_weights_and_statistics(stage):
    model = network()
    frozen = freeze(model, ["stem", f"{stage}.block0"], with_norms=False)
    assert len(frozen) == 1 + 4 and all(norm in norms_of(model) for norm in frozen)
    for name, parameter in model.named_parameters():
        if "._" not in name:  # statistics are parameters to Paddle
            assert parameter.stop_gradient == name.startswith(("stem.", "stage2.block0."))
    assert len(freeze(network(), None, with_norms=True)) == len(norms_of(network()))


def test_a_name_that_fits_nothing_or_everything_frozen_is_refused():
    with pytest.raises(UserError, match="'stage9'; there are stem, res2"):
        freeze(network(), ["stage9"], False)
    with pytest.raises(UserError, match="nothing to train"):
        freeze(network(), ["stem", "stage2", "stage3", "stage4", "stage5", "head"], False)


def test_synchronised_norms_keep_names_values_and_settings():
    model = network()
    before = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    settings = {(norm._momentum, norm._epsilon) for norm in norms_of(model)}
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms_of(model))
    assert {(norm._momentum, norm._epsilon) for norm in norms_of(model)} == settings
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(np.array_equal(after[name].numpy(), before[name]) for name in before)


@pytest.mark.parametrize("starts", [None, ["stem"]])
def test_recomputed_activations_give_the_same_gradients_and_move_statistics_once(starts):
    plain, recomputed = network(), network()
    for model in (plain, recomputed):
        freeze(model, starts, False)
    recompute_blocks(recomputed)
    for seed in range(2):
        for model in (plain, recomputed):
            model.train()
            (model(paddle.to_tensor(clips(seed))) ** 2).sum().backward()
    for (name, one), two in zip(plain.named_parameters(), recomputed.parameters()):
        assert one.stop_gradient == two.stop_gradient
        if not one.stop_gradient:
            np.testing.assert_allclose(two.grad.numpy(), one.grad.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)
    for (name, one), two in zip(plain.state_dict().items(), recomputed.state_dict().values()):
        np.testing.assert_array_equal(two.numpy(), one.numpy(), err_msg=name)
