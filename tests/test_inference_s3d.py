"""Every backend computes what the eager networks of the S3D family compute, at odd sizes and with both paddings."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from configs import load_config
from inference import backends, build_backend
from inference import export as exporting
from inference.backends import PACKAGES, computes_volumes, missing_packages, processor_has_bfloat16
from models import build_model
from tests.plain_s3d import randomized_trunk
from weights import save_weights

CASES = {  # overrides, frames and pixels; two of them are converted to ONNX, which takes seconds
    "gates and a block": (["MODEL.arch=s3d_g", "NONLOCAL.positions={mixed_4f: [0]}"], 13, 47),
    "symmetric": (["MODEL.arch=s3d", "S3D.padding=symmetric"], 18, 39),
    "folded stem": (["MODEL.arch=s3d_g_howto100m", "MODEL.bn_epsilon=1e-5"], 15, 40),
}
BACKENDS = [(name, case) for case in CASES for name in PACKAGES if name != "paddle"][:-2]
if paddle.__version__.startswith("2."):
    BACKENDS = [(name, case) for name, case in BACKENDS if name == "paddle_inference"]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Case -> a configuration, a file of weights, clips of its size and the eager network's scores; made once each."""
    made = {}

    def network(case: str):
        if case not in made:
            overrides, num_frames, side = CASES[case]
            sizes = ["S3D.width=0.125", "S3D.init_std=0", "MODEL.num_classes=6", f"INPUT.num_frames={num_frames}"]
            config = load_config("configs/s3d.yaml", [*overrides, *sizes, f"INFER.crop_size={side}"])
            model = randomized_trunk(build_model(config))
            file = tmp_path_factory.mktemp("network") / "w.pdparams"
            save_weights(file, {name: tensor.numpy() for name, tensor in model.state_dict().items()})
            clips = np.random.default_rng(1).standard_normal((2, 3, num_frames, side, side), np.float32)
            expected = build_backend(config, str(file), "", backend="paddle").scores(clips)
            assert np.ptp(expected) > 0.1 and np.abs(expected[0] - expected[1]).max() > 1e-3
            made[case] = config, str(file), clips, expected
        return made[case]

    return network


@pytest.mark.parametrize(("name", "case"), BACKENDS)
def test_an_export_is_the_network(networks, name, case):
    if missing_packages(name):
        pytest.skip(f"{missing_packages(name)} are not installed")
    config, file, clips, expected = networks(case)
    backend = build_backend(config, file, "", backend=name)
    np.testing.assert_allclose(backend.scores(clips), expected, atol=2e-5)


@pytest.mark.parametrize("name", ["paddle_inference", "openvino"])
def test_bfloat16_keeps_to_its_tolerance(networks, name):
    if missing_packages(name) or not processor_has_bfloat16():
        pytest.skip("not installed, or no bfloat16 here")
    config, file, clips, expected = networks("gates and a block")
    backend = build_backend(config, file, "", backend=name, precision="bfloat16")
    np.testing.assert_allclose(backend.scores(clips), expected, atol=0.05)


@pytest.mark.parametrize(("limit", "batch"), [(400_000, None), (1000, 1)])
def test_an_export_that_gets_one_clip_at_a_time_is_made_for_one(networks, tmp_path, monkeypatch, limit, batch):
    made, export = [], exporting.export_paddle
    monkeypatch.setattr(exporting, "export_paddle", lambda *args: made.append(args[5]) or export(*args))
    monkeypatch.setattr(backends, "CPU_VALUES_PER_CALL", limit)
    monkeypatch.setenv("PADDLE_NONLOCAL_HOME", str(tmp_path))
    config, file, clips, expected = networks("symmetric")
    np.testing.assert_allclose(
        build_backend(config, file, "", backend="paddle_inference").scores(clips), expected, atol=2e-5
    )
    assert made == [batch]


def test_each_family_has_the_form_that_is_faster_in_a_backend():
    s3d, resnet = load_config("configs/s3d.yaml"), load_config("configs/nonlocal.yaml")
    assert computes_volumes(s3d, "openvino", "cpu") and computes_volumes(s3d, "onnxruntime", "cpu")
    assert computes_volumes(s3d, "paddle_inference", "cpu") != paddle.__version__.startswith("2.")
    assert computes_volumes(resnet, "openvino", "cpu") and not computes_volumes(resnet, "onnxruntime", "cpu")
    assert not computes_volumes(s3d, "paddle_inference", "gpu")
