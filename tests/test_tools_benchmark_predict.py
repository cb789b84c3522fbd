"""The benchmarks of backends and predictions, with a peer that answers at once and a network of a few channels."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import paddle
import pytest

from configs import load_config
from models import build_model
from tests.plain_network import randomized
from tests.script_runs import ROOT, make_videos, tiny_config
from tools.benchmark import JOBS
from utils.errors import RunError
from weights import save_weights

# Stands for a Python that has PyTorch and runs torch_networks.py.
TORCH_PYTHON = """#!/bin/sh
case "$*" in
  *"torch_networks.py infer"*--agree*) echo '{"difference": 1e-6}' ;;
  *"torch_networks.py infer"*--size*) echo '{"seconds_per_clip": 0.25}' ;;
  *) exit 9 ;;
esac
"""


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """The two tools on a tiny network."""
    from tools.benchmarks import infer, predict

    config = load_config(tiny_config(tmp_path, tmp_path / "list.txt"))
    model = randomized(build_model(config))
    model.eval()

    def network(arc, folder):
        save_weights(f"{folder}/w.pdparams", {name: t.numpy() for name, t in model.state_dict().items()})
        return config, model, f"{folder}/w.pdparams"

    monkeypatch.setattr(infer, "random_network", network)
    monkeypatch.setattr(infer, "MATRIX_SIDE", 64)
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
    sides = result["cases"]["c2d 64 px"]
    assert set(sides) == {
        "PyTorch, float32", "PyTorch, bfloat16", "paddle, float32", "paddle_inference, float32", "matrix product"
    }  # fmt: skip
    assert sides["PyTorch, float32"]["seconds"] == [0.25] and set(result["rates"]["c2d 64 px"]) == set(sides)
    assert set(result["not_measured"]) == {"paddle, bfloat16", "paddle_inference, bfloat16"}
    assert "not measured: paddle_inference, bfloat16" in capsys.readouterr().out
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_a_video_is_timed_against_reading_plus_thirty_views(tools, tmp_path):
    video = make_videos(tmp_path / "videos", 1, 1)[0][0]
    tools[1].main(
        ["--views", "2x1", "2xwhole", "--repeats=1", "--engine=paddle", f"--video={video}",
         f"--json={tmp_path / 'r.json'}", f"--torch_python={tmp_path / 'python'}"]
    )  # fmt: skip
    result = json.loads((tmp_path / "r.json").read_text())
    sides = result["cases"]["c2d, 30 views"]
    assert list(sides) == ["the zoo's way", "ours, paddle, 2x1", "ours, paddle, 2xwhole"]
    assert result["parts"]["c2d"]["zoo, network"] == 30 * 0.25
    assert sides["the zoo's way"]["seconds"][0] > 30 * 0.25  # the reading is run and counted
    assert result["machine"]["cores"] and result["command"]


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


def test_every_benchmark_and_tool_tells_its_flags_as_a_file_and_as_a_module():
    for form in (["tools/benchmark.py"], ["-m", "tools.benchmark"]):
        done = subprocess.run([sys.executable, *form], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and "names: infer, backends, predict" in done.stdout, done.stderr
    for job in JOBS:
        done = subprocess.run(
            [sys.executable, "tools/benchmark.py", job, "--help"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0 and "--json" in done.stdout, (job, done.stderr)
