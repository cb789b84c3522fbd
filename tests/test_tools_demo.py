from __future__ import annotations

import json
import runpy
import sys

import pytest

from tests.script_runs import ROOT
from tools import demo
from utils.errors import RunError
from utils.files import write_text


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder for the drawn videos; what the first test draws serves the second, too."""
    return tmp_path_factory.mktemp("videos")


def run_here(monkeypatch, script: str, *flags: str) -> None:
    """Run one of the project's scripts in this process."""
    monkeypatch.setattr(sys, "argv", [script, *flags])
    runpy.run_path(str(ROOT / script), run_name="__main__")


@pytest.fixture
def run_demo(monkeypatch, tmp_path, videos):
    """Function (call, flags) -> runs the demo with a hundredth of the data, `call` in place of its own."""

    def run_demo(call, *flags: str) -> None:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(demo, "call", call)
        monkeypatch.setattr("inference.backends.FASTEST_FIRST", ("paddle",))  # no time for exports
        sizes = ("--num_train=1", "--num_test=1", "-o", "TEST.num_test_clips=3")
        command = ["demo.py", f"--output_dir={tmp_path / 'out'}", f"--data_dir={videos}", *sizes, *flags]
        monkeypatch.setattr(sys, "argv", command)
        demo.main()

    return run_demo


def test_the_demo_runs_from_videos_to_results(monkeypatch, tmp_path, run_demo, capsys):
    """The whole chain: every step, every file, no accuracy."""
    run_demo(
        lambda title, script, *flags: run_here(monkeypatch, script, *flags), "-o", "TRAIN.max_iter=2",
        "-o", "INFER.num_test_clips=3",
    )  # fmt: skip
    results = json.loads((tmp_path / "out/results.json").read_text())
    wanted = {"top1", "top5", "num_videos", "num_classes", "reversed_top1", "train_seconds", "predict"}
    assert wanted <= results.keys()
    assert (results["num_videos"], results["num_classes"]) == (8, 8)
    assert len(results["predict"]["top"]) == 5
    for picture in ("train/curves.png", "eval/confusion_matrix.png", "reversed.png"):
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")
    assert "frames reversed" in capsys.readouterr().out


def test_a_step_runs_in_a_process_of_its_own_and_its_failure_ends_the_demo(capfd):
    demo.call("no title", "eval.py", "--help")
    assert "usage: eval.py" in capfd.readouterr().out
    with pytest.raises(RunError, match="eval.py ended with status 2; its message stands above"):
        demo.call("no title", "eval.py", "--no_such_flag")


def test_the_demo_of_two_streams_runs_from_flow_to_a_report(monkeypatch, tmp_path, run_demo):
    """Every step, in this process, but training: an untrained network stands there; RGB is the one of examples/."""
    from configs import load_config, save_config
    from models import build_model
    from weights import save_weights

    called = []

    def call(title, script, *flags):
        called.append(script)
        if script != "train.py":
            run_here(monkeypatch, script, *flags)
            return
        (folder,) = (flag.partition("=")[2] for flag in flags if flag.startswith("--save_dir="))
        overrides = [flag.partition("=")[2] for flag in flags if flag.startswith("--override=")]
        config = load_config("configs/demo_flow.yaml", overrides)
        state = {name: tensor.numpy() for name, tensor in build_model(config).state_dict().items()}
        save_weights(f"{folder}/NONLOCAL.pdparams", state)
        write_text(f"{folder}/config.yaml", save_config(config))

    run_demo(call, "--two_stream")
    results = json.loads((tmp_path / "out/two_stream/results.json").read_text())
    assert {"all", "motion", "brightness"} == results["flow"].keys() and results["rgb"]["all"] >= 75
    assert results["reversed"]["rgb"]["all"] < results["rgb"]["all"]
    assert called[0].endswith("make_videos.py") and called[-1] == "tools/report.py"
    assert (tmp_path / "out/two_stream/report.html").stat().st_size > 10_000
