from __future__ import annotations

import warnings

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from configs.loading import check_consistency
from configs.schema import ARCHS, Config
from models import NonLocalModel, build_model
from models.nonlocal_model.options import Norm
from training.optimiser import build_optimizer
from training.precision import Precision, build_network
from utils.errors import UserError


def losses(arc: int, graph: str, num_iterations: int = 20) -> list[float]:
    """Training losses of a narrow network of an arc, dropout included."""
    config = Config()
    config.MODEL.arch, config.MODEL.num_classes = list(ARCHS)[arc - 1], 5
    config.INPUT.crop_size = config.TRAIN.crop_size = 32
    config.MODEL.bn_init_gamma = config.NONLOCAL.bn_init_gamma = 0.5
    check_consistency(config, "test")
    sizes = config.RESNETS
    sizes.stem_channels, sizes.res2_channels, sizes.width_per_group = 4, 8, 4
    sizes.blocks_per_stage = [1, 2, 2, 1] if arc < 3 else [1, 2, 8, 1]
    config.TRAIN.graph = graph
    paddle.seed(0)
    model = build_model(config)
    assert any("nl" in name for name, _ in model.named_sublayers())
    optimizer, network = build_optimizer(model, config.TRAIN), build_network(model, config.TRAIN)
    network.train()
    rng, values = np.random.default_rng(0), []
    for i in range(num_iterations):
        clips, label = rng.standard_normal((2, 3, 4, 32, 32)).astype(np.float32), rng.integers(5, size=2)
        paddle.seed(i)
        loss = F.cross_entropy(network(paddle.to_tensor(clips))[:, 0], paddle.to_tensor(label))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        values.append(loss.item())
    return values


@pytest.mark.parametrize("arc", [1, 2, 3, 4])
def test_the_static_graph_trains_like_the_dynamic_one(arc):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        static = losses(arc, "static")
    dynamic = losses(arc, "dynamic")
    assert np.ptp(dynamic) > 0.05
    np.testing.assert_allclose(static, dynamic, rtol=1e-5)


def test_a_compiled_network_leaves_the_network_itself_dynamic():
    config = Config()
    config.TRAIN.graph, config.TRAIN.recompute = "static", True
    with pytest.raises(UserError, match="recompute"):
        build_network(None, config.TRAIN)


def test_mixed_precision_needs_a_gpu():
    with pytest.raises(UserError, match="GPU"):
        Precision("bfloat16", "cpu")
    with Precision("float32", "cpu").autocast():
        assert paddle.matmul(paddle.ones([2, 2]), paddle.ones([2, 2])).dtype == paddle.float32


@pytest.mark.skipif(paddle.__version__ < "3", reason="graphs of Paddle 2.6 do not show the types")
def test_mixed_precision_reaches_every_convolution_and_matrix_product():
    """In a graph that is built and not run: Paddle has no narrow kernels for the CPU."""
    precision = Precision("float32", "cpu")
    precision.name = "bfloat16"
    paddle.enable_static()
    try:
        main = paddle.static.Program()
        with paddle.static.program_guard(main, paddle.static.Program()):
            model = NonLocalModel(
                2, 5, blocks_per_stage=[1, 2, 2, 1], nonlocal_positions={3: [1], 4: [1]}, head_pool_size=1,
                widths={"stem_channels": 4, "res2_channels": 8, "inner_channels": 4}, norm=Norm("frozen_affine"),
                nonlocal_options={"norm": "none"},
            )  # fmt: skip
            with precision.autocast():
                model(paddle.static.data("clips", [2, 3, 4, 32, 32]))
    finally:
        paddle.disable_static()
    types: dict[str, list[str]] = {"conv2d": [], "matmul": [], "softmax": []}
    for op in main.global_block().ops:
        name = op.name().rpartition(".")[2]
        if name in types:
            types[name].append(str(op.operand_source(0).dtype))
    assert len(types["conv2d"]) == 31 and len(types["matmul"]) == 5  # two of each block, and the classifier
    assert set(types["conv2d"] + types["matmul"]) == {"paddle.bfloat16"}
    assert set(types["softmax"]) == {"paddle.float32"}
