"""The benchmarks of backends and predictions, with a peer that answers at once and a network of a few channels."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import paddle
import pytest

from configs import load_config
from models import build_model
from tests.plain_network import randomized
from tests.script_runs import ROOT, make_videos, tiny_config
from utils.errors import RunError
from weights import save_weights

# Stands for a Python that has PyTorch and runs torch_networks.py and zoo_prediction.py.
TORCH_PYTHON = """#!/bin/sh
case "$*" in
  *"torch_networks.py infer"*--agree*) echo '{"difference": 1e-6}' ;;
  *"torch_networks.py infer"*--size*) echo '{"seconds_per_clip": 0.25}' ;;
  *"zoo_prediction.py"*--arc*) echo '{"seconds": 9.0, "reading_seconds": 4.0, "network_seconds": 5.0}' ;;
  *) exit 9 ;;
esac
"""


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """The two tools on a tiny network."""
    from tools.benchmarks import infer, matrix, predict

    config = load_config(tiny_config(tmp_path, tmp_path / "list.txt"))
    model = randomized(build_model(config))
    model.eval()

    def network(arc, folder):
        save_weights(f"{folder}/w.pdparams", {name: t.numpy() for name, t in model.state_dict().items()})
        return config, model, f"{folder}/w.pdparams"

    monkeypatch.setattr(infer, "random_network", network)
    monkeypatch.setattr(matrix, "MATRIX_SIDE", 64)
    (tmp_path / "python").write_text(TORCH_PYTHON)
    (tmp_path / "python").chmod(0o755)
    return infer, predict


def test_every_backend_is_timed_or_named_with_a_reason(tools, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("inference.backends.processor_has_bfloat16", lambda: False)
    tools[0].main(
        ["--arcs", "c2d", "--sizes", "64", "--engines", "paddle", "inference", "--precisions", "float32", "bfloat16",
         "--repeats=1", f"--torch_python={tmp_path / 'python'}", f"--json={tmp_path / 'r.json'}",
         f"--png={tmp_path / 'r.png'}"]
    )  # fmt: skip
    result = json.loads((tmp_path / "r.json").read_text())
    sides, product = result["cases"]["c2d 64 px"], {"matrix product, bfloat16"}
    has_product = find_spec("openvino") is not None
    assert set(sides) == {
        "PyTorch, float32", "PyTorch, bfloat16", "paddle, float32", "paddle_inference, float32",
        "matrix product, float32", *(product if has_product else ()),
    }  # fmt: skip
    assert sides["PyTorch, float32"]["seconds"] == [0.25] and set(result["rates"]["c2d 64 px"]) == set(sides)
    missing = {"paddle, bfloat16", "paddle_inference, bfloat16", *(() if has_product else product)}
    assert set(result["not_measured"]) == missing
    assert "not measured: paddle_inference, bfloat16" in capsys.readouterr().out
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_a_video_is_timed_against_the_zoo_s_way_as_a_whole(tools, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("inference.backends.processor_has_bfloat16", lambda: False)
    video = make_videos(tmp_path / "videos", 1, 1)[0][0]
    tools[1].main(
        ["--views", "2x1", "2xwhole", "adaptive:5x1", "--adaptive_views=3.31", "--precisions", "float32", "bfloat16",
         "--repeats=1", "--engine=paddle", f"--video={video}", f"--json={tmp_path / 'r.json'}",
         f"--png={tmp_path / 'r.png'}", f"--torch_python={tmp_path / 'python'}"]
    )  # fmt: skip
    result = json.loads((tmp_path / "r.json").read_text())
    sides = result["cases"]["c2d"]
    assert [side for side in sides if "matrix" not in side] == [
        "the zoo's way, float32", "2x1, float32", "2xwhole, float32", "adaptive:5x1, float32"
    ]  # fmt: skip
    assert sides["the zoo's way, float32"]["seconds"] == [9.0]  # as the process says, not put together from parts
    assert result["zoo_parts"]["c2d"] == {"reading_seconds": 4.0, "network_seconds": 5.0}
    assert "c2d, bfloat16" in result["not_measured"] and result["adaptive_views"] == 3.31
    assert all(rate["percent"] > 0 for rate in result["rates"]["c2d"].values())
    assert result["machine"]["cores"] and result["command"]
    assert "times as fast as the zoo's way" in capsys.readouterr().out
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("mean", "numbers"), [(3.0, [3]), (3.25, [3, 4]), (6.0, [5, 7]), (99.0, [30])])
def test_adaptive_views_are_the_nearest_looks_by_their_distance(tools, monkeypatch, mean, numbers):
    side = tools[1].AdaptivePrediction([], None, 1, mean)
    side.loader = type("Loader", (), {"protocol": range(30)})()
    asked = []
    monkeypatch.setattr(tools[1].AdaptivePrediction, "seconds", lambda self, number: asked.append(number) or number)
    assert side() == pytest.approx(min(mean, 30)) and asked == numbers


def test_a_share_is_that_of_the_product_in_the_same_precision():
    from tools.benchmarks.matrix import MATRIX_SIDE, rates_of

    product = 2 * MATRIX_SIDE**3
    sides = {
        "x, float32": [2.0, 9.0, 1.0], "x, bfloat16": [1.0], "x, int8": [1.0],
        "matrix product, float32": [1.0], "matrix product, bfloat16": [0.25],
    }  # fmt: skip
    rates = rates_of(sides, {"x, float32": product, "x, bfloat16": product, "x, int8": product})
    assert rates["x, float32"] == {"rate": product / 2e9, "percent": 50.0}
    assert rates["x, bfloat16"] == {"rate": product / 1e9, "percent": 25.0}
    assert rates["x, int8"] == {"rate": product / 1e9}  # nothing to compare with
    assert rates["matrix product, bfloat16"] == {"rate": product / 0.25e9, "percent": 100.0}


def test_key_frames_are_timed_and_their_memory_is_that_of_a_process_of_its_own(tmp_path, capsys):
    from tools.benchmarks import detect

    tiny = ("stem_channels=4", "width_per_group=4", "blocks_per_stage=[1, 1, 1, 1]")
    keys = [*(f"RESNETS.{text}" for text in tiny), "NONLOCAL.positions={res4: [0]}", "INPUT.num_frames=4"]
    flags = ["--backends=paddle", "--boxes=3", "--repeats=1", f"--json={tmp_path / 'r.json'}"]
    detect.main([*flags, *(f"-o{key}" for key in keys)])
    result = json.loads((tmp_path / "r.json").read_text())
    assert len(result["cases"]["key frame"]["paddle, 3 boxes"]["seconds"]) == 1
    assert 100 < result["peak_mb"]["paddle, 3 boxes"] < 4000 and "key frames a second" in capsys.readouterr().out


def test_a_peer_that_fails_is_named(tools, tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\necho no such network >&2; exit 1\n")
    with pytest.raises(RunError, match="no such network"):
        tools[0].main(["--arcs=c2d", "--sizes=64", "--engines=paddle", f"--torch_python={tmp_path / 'python'}"])


def test_a_python_without_pytorch_is_told_how_to_get_it():
    command = [sys.executable, "-c", "import sys; sys.modules['torch'] = None; import runpy; "
               f"runpy.run_path({str(ROOT / 'tools/benchmarks/torch_networks.py')!r})"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "pip install torch" in done.stderr


def test_the_yardstick_in_pytorch_computes_our_network():
    """The same weights and clips give the same logits; so the two sides of a benchmark do the same work."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from models import NonLocalModel
    from tools.benchmarks.torch_networks import Network
    from weights.convert import export_arrays

    clips = np.random.default_rng(0).standard_normal((1, 3, 8, 96, 128), np.float32)
    for number, arc in ((1, "c2d"), (2, "i3d")):
        ours, theirs = randomized(NonLocalModel(number, 400, head_pool_size=7)), Network(arc)
        ours.eval(), theirs.eval()
        arrays = export_arrays({name: tensor.numpy() for name, tensor in ours.state_dict().items()}, "torch")
        missing = theirs.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in arrays.items()}, strict=False)
        assert not missing.unexpected_keys
        assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
        with torch.no_grad(), paddle.no_grad():
            found = theirs(torch.from_numpy(clips)).numpy()
            expected = ours(paddle.to_tensor(clips)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
