"""The benchmarks of engines and predictions, with a peer that answers at once and a network of a few channels."""

from __future__ import annotations

import json
import sys

import pytest

from configs import load_config
from models import build_model
from tests.plain_network import randomized
from tests.script_runs import ROOT, make_videos, tiny_config
from utils.checkpoint import save_arrays
from utils.errors import RunError

PEER = """import json, sys
assert sys.argv[1] == "infer" and "--size" in sys.argv
print(json.dumps({"seconds_per_clip": 0.25}))
"""
READER = """import json, sys
assert sys.argv[2:] == ["--views", "30"]
print(json.dumps({"seconds": 2.0}))
"""


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """The two tools on a tiny network."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import benchmark_infer
    import benchmark_predict

    config = load_config(tiny_config(tmp_path, tmp_path / "list.txt"))
    model = randomized(build_model(config))
    model.eval()

    def network(arc, folder):
        save_arrays(f"{folder}/w.pdparams", {name: t.numpy() for name, t in model.state_dict().items()})
        return config, model, f"{folder}/w.pdparams"

    monkeypatch.setattr(benchmark_infer, "random_network", network)
    monkeypatch.setattr(benchmark_infer, "MATRIX_SIDE", 64)
    for name, text in (("peer.py", PEER), ("reader.py", READER)):
        (tmp_path / name).write_text(text)
    return benchmark_infer, benchmark_predict


def test_every_engine_is_timed_or_named_with_a_reason(tools, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("engines.choice.processor_has_bfloat16", lambda: False)
    tools[0].main(
        ["--arcs", "c2d", "--sizes", "64", "--engines", "paddle", "inference", "--precisions", "float32", "bfloat16",
         "--repeats=1", f"--peer={tmp_path / 'peer.py'}", f"--json={tmp_path / 'r.json'}",
         f"--png={tmp_path / 'r.png'}"]
    )  # fmt: skip
    result = json.loads((tmp_path / "r.json").read_text())
    sides = result["cases"]["c2d 64 px"]
    assert set(sides) == {
        "peer, float32", "peer, bfloat16", "paddle, float32", "inference, float32", "matrix product"
    }  # fmt: skip
    assert sides["peer, float32"]["seconds"] == [0.25] and set(result["rates"]["c2d 64 px"]) == set(sides)
    assert set(result["not_measured"]) == {"paddle, bfloat16", "inference, bfloat16"}
    assert "not measured: inference, bfloat16" in capsys.readouterr().out
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_a_video_is_timed_against_reading_plus_thirty_views(tools, tmp_path):
    video = make_videos(tmp_path / "videos", 1, 1)[0][0]
    tools[1].main(
        ["--views", "2x1", "2xwhole", "--repeats=1", "--engine=paddle", f"--video={video}",
         f"--json={tmp_path / 'r.json'}",
         f"--peer={tmp_path / 'peer.py'}", f"--peer_reader={tmp_path / 'reader.py'}", f"--peer_python={sys.executable}"]
    )  # fmt: skip
    sides = json.loads((tmp_path / "r.json").read_text())["cases"]["c2d, 30 views"]
    assert list(sides) == ["peer", "ours, paddle, 2x1", "ours, paddle, 2xwhole"]
    assert sides["peer"]["seconds"] == [2.0 + 30 * 0.25]


def test_a_peer_that_fails_is_named(tools, tmp_path):
    (tmp_path / "peer.py").write_text("raise SystemExit('no such network')")
    with pytest.raises(RunError, match="no such network"):
        tools[0].main(["--arcs=c2d", "--sizes=64", "--engines=paddle", f"--peer={tmp_path / 'peer.py'}"])
