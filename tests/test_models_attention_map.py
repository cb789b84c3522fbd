from __future__ import annotations

import itertools

import numpy as np
import paddle
import pytest

from models import NonLocalModel
from models.nonlocal_model.attention_map import (
    Grid,
    attention_rows,
    grid_of_stage,
    nonlocal_blocks,
    recorded_inputs,
)
from models.nonlocal_model.nonlocal_block import EXTENTS, INSTANTIATIONS, NonLocalBlock
from models.nonlocal_model.options import Norm, Stem
from utils.errors import UserError

NARROW = {"stem_channels": 4, "res2_channels": 8, "inner_channels": 2}


@pytest.mark.parametrize(
    ("instantiation", "extent", "group_frames", "subsample"),
    list(itertools.product(INSTANTIATIONS, EXTENTS, (None, 2), (True, False))),
)
def test_rows_are_the_weights_that_the_block_uses(instantiation, extent, group_frames, subsample):
    paddle.seed(1)
    options = {"extent": extent, "group_frames": group_frames, "subsample": subsample, "conv_init_std": 0.5}
    block = NonLocalBlock(6, 4, instantiation, norm="none", **options)
    block.out.weight.set_value(paddle.eye(6, 4).reshape([6, 4, 1, 1, 1]))  # z - x is y itself in the first 4 channels
    x = paddle.randn([3, 6, 4, 5])
    y = (block(x, 3) - x)[:, :4].numpy()
    places = list(np.ndindex(3, 4, 5))
    weights, values = attention_rows(block, x, 3, places)
    for (t, h, w), row in zip(places, weights):
        assert np.abs((row[..., None] * values).sum((0, 1, 2)) - y[t, :, h, w]).max() < 1e-5
        if instantiation.endswith("gaussian"):
            assert row.sum() == pytest.approx(1, abs=1e-5)
    assert (weights.min() < 0) == (instantiation == "dot_product")
    with pytest.raises(UserError, match="outside"):
        attention_rows(block, x, 3, [(3, 0, 0)])


@pytest.mark.parametrize("pool_padding", [0, 1])
@pytest.mark.parametrize(("stage", "position"), [(2, (4, 6)), (3, (3, 4)), (4, (2, 2)), (5, (1, 1))])
def test_positions_lie_where_the_network_looks(stage, position, pool_padding):
    """Pixels that move a feature lie around the place that the grid names: measured with gradients."""
    paddle.seed(0)
    # one residual block a stage: a receptive field that a 161-pixel clip holds whole
    wide = {"stem_channels": 16, "res2_channels": 32, "inner_channels": 16}
    stem, norm = Stem(pool_padding=pool_padding), Norm(last_init_scale=1.0)
    model = NonLocalModel(1, 2, widths=wide, blocks_per_stage=(1, 1, 1, 1), nonlocal_positions={}, stem=stem, norm=norm)
    model.eval()
    touched = np.zeros((161, 161), bool)
    for _ in range(12):
        clips = paddle.randn([1, 3, 2, 161, 161])
        clips.stop_gradient = False
        features = []
        hook = getattr(model, f"stage{stage}").block0.register_forward_post_hook(
            lambda *a, kept=features: kept.append(a[2])
        )
        model(clips)
        hook.remove()
        features[0][:, :, position[0], position[1]].sum().backward()
        touched |= np.abs(clips.grad.numpy()).sum((0, 1, 2)) > 0
    grid = grid_of_stage(model, f"res{stage}", 161)
    for axis in (0, 1):
        lines = np.flatnonzero(touched.any(1 - axis))
        assert (lines[0] + lines[-1]) / 2 == pytest.approx(grid.centre(position[axis]), abs=0.25 * grid.stride_px)
        assert grid.nearest(grid.centre(position[axis]) + 0.4 * grid.stride_px, 99) == position[axis]


def test_heat_lies_on_the_centres_of_its_cells():
    grid = Grid(16, 2.0, 2)
    values = np.random.default_rng(0).random((5, 7))
    heat = grid.spread(values, 80, 112)
    assert np.allclose(heat[2::16, 2::16], values) and np.allclose(heat[0], heat[2], equal_nan=True)
    pooled = grid.pooled()
    assert (pooled.centre(0), pooled.centre(1)) == (10, 42) == (np.mean([2, 18]), np.mean([34, 50]))
    assert np.allclose(grid.spread(values[:1, :1], 8, 8), values[0, 0])
    beyond = grid.spread(values, 100, 130)  # five rows of cells, each 8 px around its centre: the last ends at 74
    assert np.isnan(beyond[75:]).all() and not np.isnan(beyond[:75, :107]).any() and np.isnan(beyond[:, 107:]).all()


def test_frames_per_step_follow_the_pools():
    for stem, expected in ((Stem(), (1, 2)), (Stem(2, 2, 2), (4, 8)), (Stem(temporal_pool=False), (1, 1))):
        model = NonLocalModel(1, 2, widths=NARROW, blocks_per_stage=(1, 1, 1, 1), nonlocal_positions={}, stem=stem)
        assert tuple(grid_of_stage(model, f"res{stage}", 64).frames_per_step for stage in (2, 3)) == expected


def test_inputs_are_recorded_only_within_the_context():
    model = NonLocalModel(1, 2, widths=NARROW, blocks_per_stage=(1, 1, 1, 1), nonlocal_positions={2: (0,), 3: (0,)})
    blocks = nonlocal_blocks(model)
    assert list(blocks) == ["stage2.nl0", "stage3.nl0"]
    clips = paddle.randn([1, 3, 4, 64, 64])
    with recorded_inputs(blocks["stage3.nl0"]) as calls:
        model(clips)
    model(clips)
    ((x, num_frames),) = calls
    assert x.shape[0] == num_frames == 2 and x.shape[1] == 16
