from __future__ import annotations

import numpy as np
import paddle
import pytest

from configs import load_config
from models import NonLocalModel, build_model
from models.nonlocal_model.options import Norm, Stem
from models.nonlocal_model.placement import block_positions, group_frames_by_stage
from utils.errors import UserError

NARROW = {"stem_channels": 4, "res2_channels": 8, "inner_channels": 2}


@pytest.mark.parametrize(
    ("depth", "keys", "expected"),
    [
        (50, {}, {3: (1, 3), 4: (1, 3, 5)}),
        (101, {}, {3: (1, 3), 4: (6, 13, 20)}),
        (50, {"layer_mod": 1}, {3: (0, 1, 2, 3), 4: (0, 1, 2, 3, 4, 5)}),
        (50, {"layer_mod": 3}, {3: (2,), 4: (2, 5)}),
        (101, {"layer_mod": 3}, {3: (1, 3), 4: (10, 21)}),  # res3 stays at 2, res4 takes 4 * 3 - 1
        (50, {"conv3_nonlocal": False}, {4: (1, 3, 5)}),
        (101, {"conv4_nonlocal": False}, {3: (1, 3)}),
        (50, {"conv3_nonlocal": False, "conv4_nonlocal": False}, {}),
        (50, {"layer_mod": 9}, {}),
        (50, {"blocks_per_stage": (1, 1, 2, 1)}, {4: (1,)}),
        (50, {"preset": 0}, {}),
        (50, {"preset": 1}, {4: (4,)}),
        (101, {"preset": 1}, {4: (21,)}),
        (50, {"preset": 5, "layer_mod": 1, "conv3_nonlocal": False}, {3: (1, 3), 4: (1, 3, 5)}),
        (101, {"preset": 5}, {3: (1, 3), 4: (6, 13, 20)}),
        (50, {"preset": 10}, {3: (0, 1, 2, 3), 4: (0, 1, 2, 3, 4, 5)}),
        (101, {"preset": 10}, {3: (0, 1, 2, 3), 4: (2, 6, 10, 14, 18, 22)}),
        (50, {"positions": {"res2": [1], "res5": [2, 0], "res3": []}}, {2: (1,), 5: (0, 2)}),
        (50, {"positions": {}}, {}),
    ],
)
def test_blocks_go_where_keys_presets_and_positions_say(depth, keys, expected):
    assert block_positions(depth, **keys) == expected


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"positions": {"res3": [4]}}, "blocks 0 to 3"),
        ({"positions": {"res3": [-1]}}, "does not exist"),
        ({"positions": {"res3": [1, 1]}}, "twice"),
        ({"positions": {"res3": 1}}, "list"),
        ({"positions": {"res3": [True]}}, "list"),
        ({"positions": {"conv3": [1]}}, "res2, res3, res4, res5"),
        ({"positions": {"res3": [1]}, "preset": 5}, "leave one out"),
        ({"preset": 3}, "0, 1, 5, 10"),
    ],
)
def test_impossible_places_are_refused_in_words(keys, word):
    with pytest.raises(UserError, match=word):
        block_positions(50, **keys)


def test_groups_by_stage():
    assert group_frames_by_stage(None, False) == {} and group_frames_by_stage(None, True) == {3: 4}
    assert group_frames_by_stage({}, True) == {} and group_frames_by_stage({"res4": 2}, False) == {4: 2}
    for wrong in ({"res4": 0}, {"res4": "4"}, {"res9": 4}):
        with pytest.raises(UserError, match="NONLOCAL.group_frames"):
            group_frames_by_stage(wrong, False)


def test_configuration_keys_reach_the_blocks():
    def blocks(*overrides):
        small = ["RESNETS.res2_channels=8", "RESNETS.stem_channels=4", "RESNETS.width_per_group=2"]
        model = build_model(load_config("configs/nonlocal.yaml", [*small, *overrides]))
        return {n: b for n, b in model.named_sublayers() if n.split(".")[-1].startswith("nl")}

    assert list(blocks()) == ["stage3.nl1", "stage3.nl3", "stage4.nl1", "stage4.nl3", "stage4.nl5"]
    assert {b.instantiation for b in blocks("NONLOCAL.use_softmax=False").values()} == {"dot_product"}
    assert list(blocks("NONLOCAL.num_blocks=1")) == ["stage4.nl4"]
    (block,) = blocks(
        "NONLOCAL.positions={res5: [1]}", "NONLOCAL.instantiation=gaussian", "NONLOCAL.extent=space",
        "NONLOCAL.group_frames={res5: 2}", "NONLOCAL.query_chunk=9", "NONLOCAL.pool_after_projection=True",
    ).values()  # fmt: skip
    assert (block.instantiation, block.extent, block.group_frames, block.query_chunk, block.pool_after_projection) == (
        "gaussian", "space", 2, 9, True,
    )  # fmt: skip
    frozen = blocks("MODEL.use_affine=True", "NONLOCAL.use_bn=False", "NONLOCAL.use_zero_init_conv=True")
    assert [b.group_frames for b in frozen.values()] == [4, 4, None, None, None]
    assert all(b.bn is None and not b.out.weight.numpy().any() for b in frozen.values())
    with pytest.raises(UserError, match="use_softmax"):
        blocks("NONLOCAL.use_softmax=False", "NONLOCAL.instantiation=gaussian")


@pytest.mark.parametrize(
    ("instantiation", "expected"),
    [
        # C2D R50 without blocks 24,327,632. A block of C channels, d = C / 2: g d C + d, out C d + C, norm 2 C.
        # Gaussian: 512: 131072 + 256 + 131072 + 512 + 1024 = 263,936 (2 of them); 1024: 524288 + 512 + 524288 + 1024
        # + 2048 = 1,052,160 (3 of them).
        ("gaussian", 24327632 + 2 * 263936 + 3 * 1052160),
        # Concatenation: besides theta and phi, each d C + d, the vector w_f of 2 d = C: 526,592 + 512 and
        # 2,101,760 + 1024.
        ("concatenation", 24327632 + 2 * (526592 + 512) + 3 * (2101760 + 1024)),
        ("dot_product", 31686096),
    ],
)
def test_parameters_of_the_other_instantiations_counted_by_hand(instantiation, expected):
    model = NonLocalModel(1, nonlocal_options={"instantiation": instantiation})
    assert sum(p.size for p in model.parameters() if not p.stop_gradient) == expected


@pytest.mark.parametrize("arc", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("num_frames", "stem"), [(8, Stem()), (16, Stem()), (64, Stem()), (32, Stem(2, 2, 2)), (128, Stem(2, 2, 2))]
)
def test_every_arc_takes_clips_of_8_to_128_frames(arc, num_frames, stem):
    model = NonLocalModel(
        arc, 5, widths=NARROW, stem=stem, blocks_per_stage=(1, 2, 2, 1), nonlocal_positions={3: (1,), 4: (1,)}
    )
    model.eval()
    with paddle.no_grad():
        logits = model(paddle.randn([1, 3, num_frames, 32, 32]))
    assert logits.shape == [1, 1, 5] and np.isfinite(logits.numpy()).all()


def test_frozen_models_with_groups_as_the_authors_ran_them():
    paddle.seed(3)
    model = NonLocalModel(
        2, 5, widths=NARROW, norm=Norm("frozen_affine"), group_frames={3: 4}, blocks_per_stage=(1, 2, 2, 1),
        nonlocal_positions={3: (1,), 4: (1,)}, nonlocal_options={"norm": "none", "zero_init": "conv"},
    )  # fmt: skip
    clips = paddle.randn([2, 3, 16, 32, 32])
    model(clips).sum().backward()
    trained = {name for name, p in model.named_parameters() if not p.stop_gradient}
    assert not [name for name in trained if ".bn." in name] and "stage3.nl1.out.weight" in trained
    assert all(p.grad is not None for name, p in model.named_parameters() if name in trained)
    block = model.stage3.nl1
    block.out.weight.set_value(paddle.randn(block.out.weight.shape))
    frames = paddle.randn([2 * 8, 16, 4, 4])
    together = block(frames, 8).numpy()
    apart = np.concatenate([block(frames[i : i + 4], 4).numpy() for i in range(0, 16, 4)])
    assert np.abs(together - apart).max() < 1e-5
