from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import paddle
import pytest
import yaml

from configs import load_config
from inference.backends import PACKAGES, missing_packages, open_session
from models import build_model
from models.recognizer import Recognizer
from tests.plain_network import randomized
from tests.script_runs import ROOT, make_videos, run_script, tiny_config
from weights import save_weights

SIDE = 64  # features of 32 px would be smaller than the head's pool


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    config = tiny_config(folder, folder / "list.txt")
    model = randomized(build_model(load_config(config)))
    model.eval()
    save_weights(folder / "w.pdparams", {name: t.numpy() for name, t in model.state_dict().items()})
    return config, folder / "w.pdparams", model


def export(monkeypatch, network, target, *flags) -> int:
    sizes = ["-o", f"INFER.crop_size={SIDE}", "-o", f"INFER.jitter_scales=[{SIDE}, {SIDE}]"]
    return run_script(
        monkeypatch,
        "export",
        f"--config={network[0]}",
        f"--weights={network[1]}",
        f"--save_dir={target}",
        *sizes,
        *flags,
    )


def compare(session, model, num_clips, height, width) -> float:
    clips = np.random.default_rng(3).standard_normal((num_clips, 3, 4, height, width), np.float32)
    with paddle.no_grad():
        expected = model.class_scores(model(paddle.to_tensor(clips))).numpy()
    frames = np.concatenate([clip.swapaxes(0, 1) for clip in clips])
    return float(np.abs(session(np.ascontiguousarray(frames))[0] - expected).max())


def test_an_export_computes_the_network_at_any_size_and_tells_its_input(monkeypatch, tmp_path, network, capsys):
    video = make_videos(tmp_path / "videos", 1, 1)[0][0]
    assert export(monkeypatch, network, tmp_path / "out", f"--video_path={video}") == 0
    out = capsys.readouterr().out
    assert video.name in out and "random" in out and "largest difference" in out
    session = open_session("paddle_inference", tmp_path / "out", "float32", "cpu")
    for shape in ((1, SIDE, SIDE), (3, SIDE, SIDE), (2, 96, 80)):
        assert compare(session, network[2], *shape) < 1e-5
    facts = yaml.safe_load((tmp_path / "out/net.yaml").read_text(encoding="utf-8"))
    assert facts["class_names"] == [f"class {i} 类" for i in range(3)]
    assert facts["weights"]["sha256"] == hashlib.sha256(network[1].read_bytes()).hexdigest()
    wanted = {
        "num_frames": 4,
        "frame_stride": 2,
        "image_mean": [114.75] * 3,
        "image_std": [57.375] * 3,
        "crop_px": SIDE,
        "clips": "free",
    }
    assert facts["input"].items() >= wanted.items()
    assert set(facts["largest_difference_from_network"]) == {"random", video.name}
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_sizes_are_fixed_by_flags(monkeypatch, tmp_path, network):
    assert export(monkeypatch, network, tmp_path, "--batch_size=2", f"--crop_size={SIDE}", "--video_length=8") == 0
    facts = yaml.safe_load((tmp_path / "net.yaml").read_text(encoding="utf-8"))["input"]
    assert (facts["clips"], facts["height"], facts["width"], facts["num_frames"]) == (2, SIDE, SIDE, 8)
    if paddle.__version__.startswith("3"):
        assert f"{8 * 2},3,{SIDE},{SIDE}" in (tmp_path / "net.json").read_text().replace(" ", "")


def test_onnx(monkeypatch, tmp_path, network):
    if missing_packages("onnxruntime"):
        pytest.skip("onnxruntime or paddle2onnx is not installed")
    assert export(monkeypatch, network, tmp_path, "--format=onnx") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.yaml"]
    session = open_session("onnxruntime", tmp_path, "float32", "cpu")
    assert compare(session, network[2], 2, 96, 80) < 1e-5


def test_an_export_that_computes_something_else_is_not_kept(monkeypatch, tmp_path, network, capsys):
    right = Recognizer.prepare_for_export

    def wrong(model, num_frames, volumes):
        folded = right(model, num_frames, volumes)
        bias = folded.model.head.bias
        bias.set_value(bias + paddle.to_tensor([0.0, 0.0, 1.0]))
        return folded

    monkeypatch.setattr(Recognizer, "prepare_for_export", wrong)
    assert export(monkeypatch, network, tmp_path / "out") == 1
    assert "something else" in capsys.readouterr().err and list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--weights=none.pdparams"], ["none.pdparams"]),
        (["--video_path=none.mp4"], ["none.mp4"]),
        (
            ["--video_length=128", "-o", "INFER.crop_size=256", "-o", "INFER.jitter_scales=[256, 256]"],
            ["--crop_size=256"],
        ),
        (["--format=onnx"], ["pip install"]),
    ],
)
def test_bad_input_is_one_line_and_status_2(monkeypatch, tmp_path, network, capsys, flags, words):
    monkeypatch.setitem(PACKAGES, "onnxruntime", ("onnxruntime_that_nobody_has",))
    assert export(monkeypatch, network, tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and all(word in error for word in words), error


def test_flags_without_use_are_accepted_noted_and_not_offered(monkeypatch, tmp_path, network, capsys):
    assert run_script(monkeypatch, "export", "--help") == 0
    offered = capsys.readouterr().out
    assert "--use_gpu" not in offered and "--log_interval" not in offered and "--batch_size" in offered
    assert export(monkeypatch, network, tmp_path, f"--crop_size={SIDE}", "--use_gpu=True", "--log_interval", 5) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2 and all("no effect" in note for note in notes), notes
    assert "--use_gpu" in notes[0] and "--log_interval" in notes[1]


@pytest.mark.parametrize("flag", ["batch_size", "crop_size", "video_length"])
def test_a_size_of_zero_is_refused_in_one_line(monkeypatch, tmp_path, network, capsys, flag):
    assert export(monkeypatch, network, tmp_path, f"--{flag}=0") == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith(f"error: --{flag}: INFER.{flag}: 0 must be at least ")


def test_the_zoos_word_for_it_works():
    command = ["bash", "run.sh", "inference", "NONLOCAL", "configs/demo.yaml", "--help"]
    path = f"{sys.prefix}/bin"
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}, capture_output=True, text=True
    )
    assert done.returncode == 0 and "--format" in done.stdout
