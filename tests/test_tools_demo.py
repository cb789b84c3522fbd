from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from tests.script_runs import ROOT
from utils.files import write_text


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder for the drawn videos; what the first test draws serves the second, too."""
    return tmp_path_factory.mktemp("videos")


def test_the_demo_runs_from_videos_to_results(tmp_path, videos):
    """The whole chain with a hundredth of the data: every step, every file, no accuracy."""
    command = [
        sys.executable, "tools/demo.py", f"--output_dir={tmp_path / 'out'}", f"--data_dir={videos}",
        "--num_train=1", "--num_test=1", "-o", "TRAIN.max_iter=2", "-o", "TEST.num_test_clips=3",
        "-o", "INFER.num_test_clips=3",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    results = json.loads((tmp_path / "out/results.json").read_text())
    wanted = {"top1", "top5", "num_videos", "num_classes", "reversed_top1", "train_seconds", "predict"}
    assert wanted <= results.keys()
    assert (results["num_videos"], results["num_classes"]) == (8, 8)
    assert len(results["predict"]["top"]) == 5
    for picture in ("train/curves.png", "eval/confusion_matrix.png", "reversed.png"):
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")
    assert "frames reversed" in done.stdout


def test_the_demo_of_two_streams_runs_from_flow_to_a_report(monkeypatch, tmp_path, videos):
    """Every step, in this process, but training: an untrained network stands there; RGB is the one of examples/."""
    from configs import load_config, save_config
    from models import build_model
    from tools import demo
    from weights import save_weights

    called = []

    def call(title, script, *flags):
        called.append(script)
        monkeypatch.setattr(sys, "argv", [script, *flags])
        if script != "train.py":
            importlib.import_module(script.removesuffix(".py").replace("/", ".")).main()
            return
        (folder,) = (flag.partition("=")[2] for flag in flags if flag.startswith("--save_dir="))
        overrides = [flag.partition("=")[2] for flag in flags if flag.startswith("--override=")]
        config = load_config("configs/demo_flow.yaml", overrides)
        state = {name: tensor.numpy() for name, tensor in build_model(config).state_dict().items()}
        save_weights(f"{folder}/NONLOCAL.pdparams", state)
        write_text(f"{folder}/config.yaml", save_config(config))

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(demo, "call", call)
    monkeypatch.setattr("inference.backends.FASTEST_FIRST", ("paddle",))  # no time for exports
    flags = [f"--output_dir={tmp_path / 'out'}", f"--data_dir={videos}", "--num_train=1", "--num_test=1"]
    monkeypatch.setattr(sys, "argv", ["demo.py", "--two_stream", *flags, "-o", "TEST.num_test_clips=3"])
    demo.main()
    results = json.loads((tmp_path / "out/two_stream/results.json").read_text())
    assert {"all", "motion", "brightness"} == results["flow"].keys() and results["rgb"]["all"] >= 75
    assert results["reversed"]["rgb"]["all"] < results["rgb"]["all"]
    assert called[0].endswith("make_videos.py") and called[-1] == "tools/report.py"
    assert (tmp_path / "out/two_stream/report.html").stat().st_size > 10_000
