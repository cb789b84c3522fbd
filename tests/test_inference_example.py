"""The example network in examples/: its answer, and when predict.py takes it."""

from __future__ import annotations

import argparse
import json

import pytest

from inference.example import EXAMPLES, choose_network
from tests.script_runs import run_script

ANSWER = {"rise": 0.9706, "swing": 0.0203, "fall": 0.0070}  # README.md, docs/getting-started.md


@pytest.mark.parametrize("flags", [[], [f"--video_path={EXAMPLES / 'clip.mp4'}"]])
def test_predict_alone_gives_the_known_answer(monkeypatch, tmp_path, capsys, flags):
    monkeypatch.chdir(tmp_path)  # no weights of the user's own, and no path that needs the repository's folder
    assert run_script(monkeypatch, "predict", *flags, "--infer_topk=3", f"--save_dir={tmp_path}") == 0
    (result,) = json.loads((tmp_path / "predictions.json").read_text())
    found = {row["class"]: row["probability"] for row in result["top"]}
    assert list(found) == list(ANSWER) and found == pytest.approx(ANSWER, abs=2e-3)
    assert "taking the example network" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "config"),
    [
        ({"weights": "mine.pdparams"}, None),
        ({"override": ["MODEL.num_classes=5"]}, None),
        ({"model_name": "S3D"}, None),
        ({"config": "mine.yaml"}, "mine.yaml"),
        ({}, str(EXAMPLES / "demo_network/config.yaml")),
    ],
)
def test_what_is_given_wins(monkeypatch, tmp_path, given, config):
    monkeypatch.chdir(tmp_path)
    flags = {"config": None, "weights": None, "override": [], "video_path": None, "filelist": "videos.txt", **given}
    flags.setdefault("model_name", None)
    args = argparse.Namespace(**flags)
    choose_network(args)
    assert args.config == config
    assert args.weights == given.get("weights", None if given else str(EXAMPLES / "demo_network/NONLOCAL.pdparams"))
    assert args.video_path is None


def test_weights_of_the_users_own_win(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/checkpoints").mkdir(parents=True)
    (tmp_path / "data/checkpoints/NONLOCAL.pdparams").touch()
    args = argparse.Namespace(config=None, model_name=None, weights=None, override=[], filelist=None)
    choose_network(args)
    assert (args.config, args.weights) == (None, None)


def test_the_example_is_small():
    assert sum(path.stat().st_size for path in EXAMPLES.rglob("*") if path.is_file()) < 3e6


def test_the_picture_of_the_readme_can_be_drawn_again(monkeypatch, tmp_path, capsys):
    """python tools/visualize.py answer: played backwards, `rise` is `fall`."""
    from tools.visualize_answer import main

    monkeypatch.chdir(tmp_path)
    main([f"--save_dir={tmp_path}"])
    out = capsys.readouterr().out
    assert "frames forwards: rise" in out and "frames reversed: fall" in out
    assert (tmp_path / "clip_answer.png").stat().st_size > 10_000
