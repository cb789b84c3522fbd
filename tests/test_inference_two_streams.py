"""eval.py and predict.py --two_stream: what both networks and tools/fuse_scores.py give one after the other."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from configs import load_config, save_config
from datareader import decoding
from metrics import load_scores
from tests.script_runs import make_videos, run_script, two_stream_networks, write_list
from tests.video_factory import draw_video
from tools import fuse_scores
from utils.cli import run

MODALITIES = ("rgb", "flow")


@pytest.fixture(scope="module")
def filelist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    one = draw_video(folder / "one frame.mp4", num_frames=1, height=48, width=64)
    return write_list(folder / "list.txt", [*make_videos(folder, 4, 3), (one, 1)])


@pytest.fixture(scope="module")
def streams(tmp_path_factory, filelist):
    """The weights of both networks, each with its config.yaml beside it."""
    return two_stream_networks(tmp_path_factory.mktemp("streams"), filelist)


@pytest.fixture(scope="module")
def alone(streams, tmp_path_factory):
    """The folders of eval.py for each network by itself."""
    out = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        for name, weights in zip(MODALITIES, streams):
            flags = [f"--config={weights.parent / 'config.yaml'}", f"--weights={weights}", f"--save_dir={out / name}"]
            assert run_script(patch, "eval", *flags, "--backend=paddle") == 0
    return out


def results(folder):
    return json.loads((folder / "results.json").read_text()), load_scores(folder / "scores.npz")


def test_both_streams_and_their_fusion_from_one_decoding(monkeypatch, tmp_path, filelist, streams, alone):
    decoded, read = [], decoding.read
    monkeypatch.setattr(decoding, "read", lambda path, *more: (decoded.append(path), read(path, *more))[1])
    flags = ["--two_stream", *streams, f"--save_dir={tmp_path}", "--backend=paddle"]
    assert run_script(monkeypatch, "eval", *flags) == 0
    assert len(set(decoded[:4])) == 4 and "one frame" not in "".join(decoded[:4])
    for name in MODALITIES:
        (result, found), (expected_result, expected) = results(tmp_path / name), results(alone / name)
        np.testing.assert_array_equal(found.logits, expected.logits, name)
        assert found.paths == expected.paths and result == expected_result

    files = [str(alone / name / "scores.npz") for name in MODALITIES]
    by_hand = tmp_path / "by_hand"
    monkeypatch.setattr(sys, "argv", ["fuse_scores.py", "--scores", *files, f"--save_dir={by_hand}"])
    run(fuse_scores.main)
    (result, found), (expected_result, expected) = results(tmp_path), results(by_hand)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert result["top1"] == expected_result["top1"] and result["fusion"]["of"] == "logits"
    assert [row["name"] for row in result["fusion"]["metrics"]] == ["rgb", "flow", "fused logits"]
    assert result["videos_broken"][0]["cause"] == "flow: one frame has no motion" and result["reverse_frames"] is False


def test_a_video_is_predicted_by_the_sum_of_the_logits(monkeypatch, tmp_path, filelist, streams, capsys):
    flags = ["--two_stream", *streams, f"--filelist={filelist}", f"--save_dir={tmp_path}", "--backend=paddle"]
    assert run_script(monkeypatch, "predict", *flags, "-o", "INFER.sample_rate=2") == 2  # one frame has no motion
    records = json.loads((tmp_path / "predictions.json").read_text())
    assert records[4]["error"] == "one frame has no motion" and "1 of 5 videos" in capsys.readouterr().err
    flags[-2] = f"--save_dir={tmp_path / 'eval'}"
    assert run_script(monkeypatch, "eval", *flags, "-o", "TEST.sample_rate=2") == 0
    for record, scores in zip(records, load_scores(tmp_path / "eval/scores.npz").scores):
        found = [row["probability"] for row in sorted(record["top"], key=lambda row: row["index"])]
        np.testing.assert_allclose(found, scores, rtol=1e-5)


@pytest.mark.parametrize(
    ("script", "change", "words"),
    [
        ("eval", ["--two_stream", 1, 0], "is of modality flow, not rgb"),
        ("eval", ["--two_stream", 0, "none.pdparams"], "--two_stream none.pdparams: no such file"),
        ("eval", ["--two_stream", 0, __file__], "no config.yaml of its training beside it"),
        ("eval", ["--two_stream", 0, 1, "--weights=w"], "leave --weights and --config out"),
        ("eval", ["--two_stream", 0, 1, "--filelist=none.txt"], "none.txt"),
        ("eval", ["--two_stream", 0], "expected 2 arguments"),
        ("predict", ["--two_stream", 0, 1, "--segments"], "leave the flags of others out"),
        ("predict", ["--two_stream", 1, 0], "is of modality flow, not rgb"),
    ],
)
def test_bad_input_is_one_line_and_status_2(monkeypatch, tmp_path, streams, capsys, script, change, words):
    flags = [streams[flag] if isinstance(flag, int) else flag for flag in change]
    assert run_script(monkeypatch, script, *flags, f"--save_dir={tmp_path / 'out'}") == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("class_names", "of/others.txt", "the two networks are of other classes"),
        ("filelist", "other.txt", "TEST.filelist is"),
    ],
)
def test_streams_that_do_not_fit_together_are_refused(monkeypatch, tmp_path, streams, capsys, key, value, words):
    (tmp_path / "w.pdparams").write_bytes(streams[1].read_bytes())
    (tmp_path / "of").mkdir()
    (tmp_path / "of/others.txt").write_text("a\nb\nc\n")
    config = load_config(streams[1].parent / "config.yaml")
    setattr(config.MODEL if key == "class_names" else config.TEST, key, str(tmp_path / value))
    (tmp_path / "config.yaml").write_text(save_config(config), encoding="utf-8")
    assert run_script(monkeypatch, "eval", "--two_stream", streams[0], tmp_path / "w.pdparams") == 2
    assert words in capsys.readouterr().err
