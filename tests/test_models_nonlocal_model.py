from __future__ import annotations

import numpy as np
import paddle
import pytest

import models
from configs import load_config
from models import NonLocalModel
from models.nonlocal_model.options import Norm, Stem, res5_side
from tests.plain_network import plain_logits, randomized
from utils.errors import UserError

SMALL = {
    "blocks_per_stage": (1, 2, 2, 2),
    "widths": {"stem_channels": 8, "res2_channels": 16, "inner_channels": 4},
    "nonlocal_positions": {3: (1,), 4: (0, 1)},
}


def clips(*shape: int):
    return paddle.to_tensor(np.random.default_rng(5).standard_normal(shape).astype(np.float32))


def relative_difference(a, b) -> float:
    return float((a - b).abs().max().item() / b.abs().max().item())


@pytest.mark.parametrize(
    ("arc", "without", "with_five"),
    [(1, 24327632, 31686096), (2, 28043472, 35401936), (3, 43319760, 50678224), (4, 51754192, 59112656)],
)
def test_the_published_networks_have_the_published_number_of_parameters(arc, without, with_five):
    for options, expected in (({"nonlocal_positions": {}}, without), ({}, with_five)):
        model = NonLocalModel(arc, **options)
        assert sum(p.size for p in model.parameters() if not p.stop_gradient) == expected


@pytest.mark.parametrize("arc", [1, 2])
@pytest.mark.parametrize("num_frames", [2, 4, 8])
@pytest.mark.parametrize("side", [(64, 64), (72, 90)])
def test_the_form_over_frames_equals_plain_3d_convolutions(arc, num_frames, side):
    model = randomized(NonLocalModel(arc, 5, head_pool_size=2, **SMALL))
    model.eval()
    x = clips(2, 3, num_frames, *side)
    with paddle.no_grad():
        logits = model(x)
        expected = plain_logits(model.state_dict(), x, head=2)
    assert logits.shape == expected.shape
    assert relative_difference(logits, expected) < 1e-4


def test_the_full_network_equals_plain_3d_convolutions():
    model = randomized(NonLocalModel(2, 7))
    model.eval()
    x = clips(1, 3, 4, 96, 96)
    with paddle.no_grad():
        assert relative_difference(model(x), plain_logits(model.state_dict(), x)) < 1e-4


def test_the_stem_of_the_long_clips_equals_the_plain_one():
    model = randomized(NonLocalModel(2, 5, stem=Stem(2, 2, 2, 1), head_pool_size=0, **SMALL))
    model.eval()
    x = clips(1, 3, 16, 64, 64)
    with paddle.no_grad():
        expected = plain_logits(model.state_dict(), x, stem_temporal_stride=2, pool1=(2, 2), pool_padding=1, head=100)
        assert relative_difference(model(x), expected) < 1e-4


def test_a_frozen_affine_with_folded_statistics_equals_batch_norm():
    trained = randomized(NonLocalModel(1, 5, **SMALL))
    trained.eval()
    frozen = NonLocalModel(1, 5, norm=Norm("frozen_affine"), nonlocal_options={"norm": "frozen_affine"}, **SMALL)
    frozen.eval()
    state = {name: tensor.numpy() for name, tensor in trained.state_dict().items()}
    for name in [n for n in state if n.endswith("bn.weight")]:
        prefix = name[: -len("weight")]
        scale = state[name] / np.sqrt(state.pop(f"{prefix}_variance") + 1e-5)
        state[f"{prefix}bias"] = state[f"{prefix}bias"] - state.pop(f"{prefix}_mean") * scale
        state[name] = scale
    assert sorted(state) == sorted(frozen.state_dict())
    frozen.set_state_dict(state)
    x = clips(1, 3, 4, 64, 64)
    with paddle.no_grad():
        assert relative_difference(frozen(x), trained(x)) < 1e-4
    assert not [n for n, p in frozen.named_parameters() if ".bn." in n and not p.stop_gradient]


@pytest.mark.parametrize(("crop", "side", "positions"), [(224, 7, 1), (256, 8, 4), (112, 4, 1)])
def test_output_positions_of_a_crop(crop, side, positions):
    assert res5_side(crop, 0) == side
    model = NonLocalModel(1, 3, **SMALL)
    model.eval()
    with paddle.no_grad():
        logits = model(clips(1, 3, 2, crop, crop))
        scores = model.class_scores(logits)
    assert logits.shape == [1, positions, 3]
    np.testing.assert_allclose(scores.numpy(), paddle.nn.functional.softmax(logits).numpy().mean(1), rtol=1e-6)


def test_every_parameter_of_a_training_step_gets_a_finite_gradient():
    model = randomized(NonLocalModel(2, 3, head_pool_size=2, **SMALL))
    paddle.nn.functional.cross_entropy(model(clips(2, 3, 4, 64, 64))[:, 0], paddle.to_tensor([0, 2])).backward()
    for name, parameter in model.named_parameters():
        if parameter.stop_gradient:  # running statistics
            continue
        assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), name
        is_silent = name.endswith("phi.bias")  # a constant added to a whole row of the softmax changes nothing
        assert is_silent or np.abs(parameter.grad.numpy()).max() > 0, name


def test_a_fresh_networks_blocks_change_nothing():
    paddle.seed(1)
    model = NonLocalModel(1, 3, **SMALL)
    model.eval()
    x = clips(1, 3, 4, 64, 64)
    with paddle.no_grad():
        logits = model(x)
        for name, layer in model.named_sublayers():
            if name.endswith("nl1") or name.endswith("nl0"):
                layer.forward = lambda x, num_frames: x
        assert (model(x) == logits).all()


def test_frames_that_the_pools_do_not_divide_are_refused():
    with pytest.raises(UserError, match="3 frames.*multiple"):
        NonLocalModel(1, 3, **SMALL)(clips(1, 3, 3, 64, 64))


def test_batch_norm_keeps_the_share_of_old_statistics_that_the_configuration_says():
    model = NonLocalModel(1, 3, **SMALL)
    x = clips(2, 3, 4, 64, 64)
    raw = model.stem.conv(x.transpose([0, 2, 1, 3, 4]).flatten(0, 1), 4).numpy()
    model(x)
    np.testing.assert_allclose(model.stem.bn._mean.numpy(), 0.1 * raw.mean((0, 2, 3)), rtol=1e-3, atol=1e-6)


def test_the_configuration_reaches_the_network():
    overrides = ["RESNETS.blocks_per_stage=[1,2,2,1]", "RESNETS.res2_channels=16", "RESNETS.stem_channels=8"]
    config = load_config("configs/nonlocal.yaml", [*overrides, "RESNETS.width_per_group=4", "TRAIN.crop_size=112"])
    model = models.build_model(config)
    assert model.head.options.pool_size == 4
    assert "stage3.nl1.theta.weight" in model.state_dict()
    assert model.head.weight.shape == [128, 400]


@pytest.mark.parametrize("name", ["nonlocal_i3d_r50", "c2d_r50"])
def test_paddle_hub_loads_the_networks(name):
    model = paddle.hub.load(".", name, source="local", num_classes=3, blocks_per_stage=SMALL["blocks_per_stage"])
    assert any(".nl" in key for key in model.state_dict()) == name.startswith("nonlocal")
    with pytest.raises(TypeError):
        paddle.hub.load(".", name, source="local", num_clases=3)


@pytest.mark.parametrize("start", [0.0, 0.25])
def test_a_new_residual_branch_ends_in_the_configured_scale_and_so_begins_as_nothing(start):
    config = load_config("configs/nonlocal.yaml", [f"MODEL.bn_init_gamma={start}", "MODEL.video_arc_choice=2"])
    model = models.build_model(config)
    ends = {name: layer for name, layer in model.named_sublayers() if name.endswith(".c.bn")}
    others = {name: layer for name, layer in model.named_sublayers() if name.endswith((".a.bn", ".b.bn", "stem.bn"))}
    assert (len(ends), len(others)) == (16, 33)
    assert all((norm.weight.numpy() == start).all() for norm in ends.values())
    assert all((norm.weight.numpy() == 1.0).all() for norm in others.values())
    block = model.stage3.block1
    x = clips(8, 512, 4, 4)
    with paddle.no_grad():
        moved = float((block(x, 4) - paddle.nn.functional.relu(x)).abs().max())
    assert (moved == 0.0) == (start == 0.0)


@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_dropout_in_front_of_the_classifier_drops_its_share_and_scales_the_rest(rate):
    """The classifier is made the identity, so the logits are the features as it sees them."""
    model = randomized(NonLocalModel(1, 128, head_pool_size=2, dropout_rate=rate, **SMALL))
    model.eval()
    model.head.weight.set_value(np.eye(128, dtype=np.float32))
    model.head.bias.set_value(np.zeros(128, np.float32))
    x = clips(1, 3, 2, 64, 64)
    with paddle.no_grad():
        features = model(x).numpy().ravel()
        model.head.dropout.train()  # norms stay as they are
        seen = np.stack([model(x).numpy().ravel() for _ in range(60)])
    used = np.abs(features) > 1e-3
    assert used.sum() > 50
    dropped = seen[:, used] == 0
    deviation = np.sqrt(rate * (1 - rate) / dropped.size)
    assert abs(dropped.mean() - rate) < 5 * deviation
    assert dropped.mean(0).min() > 0 and dropped.mean(0).max() < 1  # never the same ones
    kept = np.where(dropped, np.nan, seen[:, used]) / features[used]
    np.testing.assert_allclose(kept[~dropped], 1 / (1 - rate), rtol=1e-4)


def test_scores_of_several_labels_are_the_mean_of_each_ones_sigmoid():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    for average, expected in (
        ("probabilities", (1 / (1 + np.exp(-logits))).mean(1)),
        ("logits", 1 / (1 + np.exp(-logits.mean(1)))),
    ):
        model = NonLocalModel(1, 4, multi_label=True, head_average=average, **SMALL)
        np.testing.assert_allclose(model.class_scores(paddle.to_tensor(logits)).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("side", "overrides", "expected"),
    [
        (224, [], False),
        (192, [], True),  # res5 has a side of 6, and the head's pool one of 7
        (192, ["INPUT.crop_size=192"], False),
        (192, ["MODEL.head_pool_size=0"], False),
        (32, ["MODEL.head_pool_size=0"], True),  # a side of 1, which the blocks' pool passes by
        (448, [], True),  # attention maps too large to be kept whole
    ],
)
def test_exports_of_sizes_where_the_computation_depends_on_the_size_are_fixed(side, overrides, expected):
    config = load_config("configs/nonlocal.yaml", overrides)
    assert models.needs_fixed_sizes(config, 8, side, side) == expected
    assert models.needs_fixed_sizes(config, 4, 448, side) == models.needs_fixed_sizes(config, 4, side, 448)
