from __future__ import annotations

import numpy as np
import paddle
import pytest

from models import NonLocalModel, S3DModel
from models.counts import multiply_adds, multiply_adds_by_layer, num_parameters
from models.nonlocal_model.nonlocal_block import NonLocalBlock
from tests.test_models_s3d import TABLES, heavy_forms
from tests.toy_network import ToyOptions, build
from utils.errors import UserError

NETWORKS = {  # of the tables: architecture and options
    "i3d": ("i3d_inception", {}),
    "i2d": ("i2d", {}),
    "s3d": ("s3d", {}),
    "s3d_torchvision": ("s3d", {"padding": "symmetric"}),
    "s3dg": ("s3d_g", {}),
    "s3dg_slim": ("s3d_g_slim", {}),
    "s3dg_howto100m": ("s3d_g_howto100m", {}),
    "fast_s3d": ("fast_s3d", {}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_of_inception_trunks_are_those_of_the_tables_at_every_size(name):
    arch, options = NETWORKS[name]
    expected = TABLES["networks"][name]
    with paddle.LazyGuard():
        model = S3DModel(arch, **options)
    assert num_parameters(model) == expected["trainable"]
    assert num_parameters(model, statistics=True) == expected["with_statistics"]
    for size, count in expected["by_size"].items():
        if (name, size) == ("s3d_torchvision", "250x224x224"):
            # 250 -> 125 -> 63 frames; pool_5a without padding drops the last, where the table's count has 32 frames
            rows = [row for row in expected["layers"] if row["name"].startswith(("mixed_5", "head"))]
            count -= sum(row["macs"] // (7 if row["name"] == "head" else 8) for row in rows)
        assert multiply_adds(model, *map(int, size.split("x"))) == count, size


def test_counts_of_all_heavy_forms_are_those_of_the_tables():
    forms = list(heavy_forms())
    assert len(forms) == 48 and set(TABLES["networks"]) == set(NETWORKS)
    for name, arch, borders in forms:
        with paddle.LazyGuard():
            model = S3DModel(arch, **borders)
        expected = TABLES["heavy"][name]
        assert (num_parameters(model), multiply_adds(model, 64, 224, 224)) == (
            expected["trainable"], expected["macs"]
        ), name  # fmt: skip


def test_counts_by_layer_are_those_of_the_tables():
    counts = multiply_adds_by_layer(S3DModel("s3d_g"), 64, 224, 224)
    expected = {row["name"]: row["macs"] for row in TABLES["networks"]["s3dg"]["layers"] if row["macs"]}
    assert sorted(counts.values()) == sorted(expected.values()) and len(counts) == len(expected)
    assert counts["conv_1a.spatial"] == 7_552_892_928 and counts["head"] == 7 * 1024 * 400


@pytest.mark.parametrize(("arc", "expected"), [(1, 27.4), (2, 36.2)])
def test_multiply_adds_of_the_published_networks(arc, expected):
    assert round(multiply_adds(NonLocalModel(arc, nonlocal_positions=FIVE_BLOCKS), 8, 224, 224) / 1e9, 1) == expected


FIVE_BLOCKS = {3: (1, 3), 4: (1, 3, 5)}


def test_multiply_adds_of_a_block_counted_by_hand():
    # 4 frames of 6 x 6 positions, keys 3 x 3: N = 144, N' = 36; C = 8, d = 4
    convolutions = 144 * 8 * 4 * 2 + 36 * 8 * 4 * 2
    for expected, options in (
        (convolutions + 2 * 144 * 36 * 4, {}),
        (convolutions + 2 * 144 * 9 * 4, {"extent": "space"}),
        (convolutions + 2 * (27 * 108 + 9 * 36) * 4, {"group_frames": 3}),
        (144 * 8 * 4 * 4 + 2 * 144 * 4 * 4, {"extent": "time"}),
        ((144 + 36) * 8 * 4 + 144 * 36 * (8 + 4), {"instantiation": "gaussian"}),
        (convolutions + 144 * 36 * 4 + (144 + 36) * 4, {"instantiation": "concatenation"}),
    ):
        block = NonLocalBlock(8, **options)
        assert block.multiply_adds_of_clip(4, 6, 6) == expected
        two_clips = paddle.zeros([8, 8, 6, 6])
        assert block.multiply_adds((two_clips, 4), None) == 2 * expected


def test_a_plain_network_of_another_family_is_counted_by_hand():
    from models.options import HeadOptions

    model = build(ToyOptions(3, 4, HeadOptions(num_classes=5, pool_size=0)))
    # 3 -> 4 channels at 4 x 8 x 8 positions of a 4 x 32 x 32 clip, 4 -> 8 at 2 x 4 x 4, head 8 -> 5 at one position
    expected = {"first.0": 4 * 64 * 4 * 3 * 27, "second.0": 2 * 16 * 8 * 4 * 27, "head": 8 * 5}
    assert multiply_adds_by_layer(model, 4, 32, 32) == expected


def test_counting_leaves_the_network_as_it_was():
    model = S3DModel("s3d_g", 4, width=0.125, head_pool_size=1)
    clips = paddle.to_tensor(np.random.default_rng(0).standard_normal((1, 3, 9, 32, 32)).astype(np.float32))
    model.train()
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    counts = multiply_adds_by_layer(model, 9, 32, 32)
    assert model.training and model.mixed_5c.training
    assert counts["conv_2c.gate"] == 24**2 and "mixed_3b.b1b.gate" in counts and list(counts)[-1] == "head"
    assert all(np.array_equal(state[name], value.numpy()) for name, value in model.state_dict().items())
    model.eval()
    assert model(clips).shape == [1, 1, 4]
    assert len(counts) == len(multiply_adds_by_layer(model, 9, 32, 32)) and not model.training


def test_a_clip_that_the_network_does_not_take_is_an_error_with_the_smallest_that_works():
    with pytest.raises(UserError, match="at least 9 frames"):
        multiply_adds(S3DModel("s3d", 4, width=0.125), 8, 224, 224)
