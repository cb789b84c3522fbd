"""tools/fuse_scores.py on hand-made files of 3 videos and 4 classes."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from metrics import load_scores
from metrics.fusion import mixture_weights
from metrics.probabilities import softmax
from metrics.temperature import apply_temperature, fit_temperature
from tests.test_metrics_fusion import LOGITS, PATHS
from tools import fuse_scores
from utils.cli import run as run_main

LABELS = [1, 1, 3]


def write_run(folder, name, z, paths=PATHS, truth=LABELS, **change) -> str:
    """A scores.npz as eval.py writes it; a value of None leaves an array out."""
    arrays = {
        "video_id": np.arange(len(paths)), "path": np.array(paths), "scores": softmax(z).astype(np.float32),
        "logits": np.array(z, np.float32), "label": np.array(truth), "class_names": np.array(list("abcd")),
        "broken_video_id": np.zeros(0, np.int64), "broken_path": np.zeros(0, "U1"), "broken_reason": np.zeros(0, "U1"),
        "broken_label": np.zeros(0, np.int64), "list_path": np.array("list.txt"), "list_sha256": np.array("ab"),
        **change,
    }  # fmt: skip
    np.savez(folder / f"{name}.npz", **{key: value for key, value in arrays.items() if value is not None})
    return str(folder / f"{name}.npz")


@pytest.fixture
def files(tmp_path):
    return [write_run(tmp_path, name, logits) for name, logits in LOGITS.items()]


def fuse(monkeypatch, tmp_path, files, *flags) -> int:
    command = ["fuse_scores.py", "--scores", *files, f"--save_dir={tmp_path / 'out'}", *map(str, flags)]
    monkeypatch.setattr(sys, "argv", command)
    try:
        run_main(fuse_scores.main)
    except SystemExit as ending:
        return ending.code
    return 0


def fused(tmp_path):
    return json.loads((tmp_path / "out/results.json").read_text()), load_scores(tmp_path / "out/scores.npz")


def test_logits_are_added_with_equal_weights_and_the_runs_stand_beside(monkeypatch, tmp_path, files, capsys):
    assert fuse(monkeypatch, tmp_path, files) == 0
    result, found = fused(tmp_path)
    total = LOGITS["rgb"].astype(float) + LOGITS["flow"]
    np.testing.assert_allclose(found.scores, np.exp(total) / np.exp(total).sum(1, keepdims=True), rtol=1e-6)
    assert total.argmax(1).tolist() == LABELS and result["top1"] == 100 and result["fusion"]["of"] == "logits"
    rows = {row["name"]: row["top1"] for row in result["fusion"]["metrics"]}
    assert rows == {files[0]: pytest.approx(100 / 3), files[1]: pytest.approx(200 / 3), "fused logits": 100}
    assert found.labels.tolist() == LABELS and found.paths == PATHS and found.list_sha256 == "ab"
    against = result["fusion"]["against_best_run"]
    assert (against["run"], against["p_value"]) == (files[1], 1) and against["difference"] == pytest.approx(100 / 3)
    assert "clip_top1" not in result and "fused logits" in (tmp_path / "out/results.txt").read_text()
    assert (tmp_path / "out/confusion_matrix.png").is_file() and "mean_class_accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("of", ["logits", "probabilities", "log_probabilities"])
@pytest.mark.parametrize(("weights", "alone"), [((1, 0), 0), ((0, 1), 1)])
def test_a_weight_of_0_leaves_the_other_run_as_it_is(monkeypatch, tmp_path, files, of, weights, alone):
    assert fuse(monkeypatch, tmp_path, files, "--of", of, "--weights", *weights) == 0
    result, found = fused(tmp_path)
    np.testing.assert_allclose(found.scores, load_scores(files[alone]).scores, rtol=1e-6)
    rows = result["fusion"]["metrics"]
    assert {key: rows[-1][key] for key in ("top1", "top5")} == {key: rows[alone][key] for key in ("top1", "top5")}


def test_permuted_rows_change_nothing(monkeypatch, tmp_path, files):
    assert fuse(monkeypatch, tmp_path, files) == 0
    expected = fused(tmp_path)
    order = [2, 0, 1]
    write_run(tmp_path, "flow", LOGITS["flow"][order], [PATHS[i] for i in order], [LABELS[i] for i in order])
    assert fuse(monkeypatch, tmp_path, files) == 0
    result, found = fused(tmp_path)
    np.testing.assert_array_equal(found.scores, expected[1].scores)
    assert result == expected[0]


def test_a_missing_video_counts_as_wrong_and_is_named(monkeypatch, tmp_path, files, capsys):
    write_run(tmp_path, "flow", LOGITS["flow"][:2], PATHS[:2], LABELS[:2])
    assert fuse(monkeypatch, tmp_path, files) == 0
    result, found = fused(tmp_path)
    assert result["top1"] == pytest.approx(200 / 3) and found.broken_paths == [PATHS[2]]
    assert f"{PATHS[2]}: not in {files[1]}" in capsys.readouterr().out


@pytest.fixture
def held_out(tmp_path):
    """Files of 30 other videos, of a run that knows something and of one that knows more."""
    truth, rng = [i % 4 for i in range(30)], np.random.default_rng(0)
    paths = [f"/valid/{i}.mp4" for i in range(30)]
    logits = [rng.normal(size=(30, 4)) + strength * np.eye(4)[truth] for strength in (1, 1.5)]
    return [write_run(tmp_path, f"valid{i}", z, paths, truth) for i, z in enumerate(logits)]


@pytest.mark.parametrize("calibrated", [False, True])
def test_weights_are_found_on_other_videos(monkeypatch, tmp_path, files, held_out, calibrated):
    flags = ["--fuse_calibrated"] if calibrated else []
    assert fuse(monkeypatch, tmp_path, files, "--tune_on", *held_out, *flags) == 0
    result, found = fused(tmp_path)
    runs, judged = [load_scores(file) for file in held_out], [load_scores(file).scores for file in files]
    scores, labels = [run.scores for run in runs], runs[0].labels
    if calibrated:
        temperatures = [fit_temperature(s, labels) for s in scores]
        assert result["fusion"]["temperatures"] == temperatures and abs(temperatures[0] - 1) > 0.05
        scores, judged = ([apply_temperature(s, t) for s, t in zip(x, temperatures)] for x in (scores, judged))
    weights = mixture_weights(np.stack([s[np.arange(30), labels] for s in scores], axis=1))
    np.testing.assert_allclose(result["fusion"]["weights"], weights, rtol=1e-9)
    assert 0.05 < weights[0] < 0.95 and result["fusion"]["of"] == "probabilities"
    np.testing.assert_allclose(found.scores, weights[0] * judged[0] + weights[1] * judged[1], atol=1e-6)


def test_weights_are_never_found_on_the_videos_that_are_judged(monkeypatch, tmp_path, files, held_out, capsys):
    for wrong in (files, [held_out[0], files[1]], held_out[:1]):
        assert fuse(monkeypatch, tmp_path, files, "--tune_on", *wrong) == 2
    assert fuse(monkeypatch, tmp_path, files, "--tune_on", *held_out, "--weights", 1, 1) == 2
    assert fuse(monkeypatch, tmp_path, files, "--fuse_calibrated") == 2
    names = np.array(list("abcx"))
    others = [write_run(tmp_path, f"other{i}", np.eye(4)[:3], list("xyz"), class_names=names) for i in range(2)]
    assert fuse(monkeypatch, tmp_path, files, "--tune_on", *others) == 2
    assert "other classes" in capsys.readouterr().err
    copies = [write_run(tmp_path, f"copy{i}", np.zeros((3, 4))) for i in range(2)]
    capsys.readouterr()
    assert fuse(monkeypatch, tmp_path, files, "--tune_on", *copies) == 2
    assert f"{PATHS[0]} is one of the videos of --scores" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_of_version_1_are_fused_by_their_probabilities_and_the_list(monkeypatch, tmp_path, files, capsys):
    (tmp_path / "list.txt").write_text("".join(f"{path} {label}\n" for path, label in zip(PATHS, LABELS)))
    arrays = ("logits", "label", "class_names", "list_path", "list_sha256", "broken_video_id")
    old = write_run(tmp_path, "old", LOGITS["rgb"], **dict.fromkeys(arrays))
    assert fuse(monkeypatch, tmp_path, [old, files[1]]) == 2
    assert "pass --filelist" in capsys.readouterr().err
    assert fuse(monkeypatch, tmp_path, [old, files[1]], f"--filelist={tmp_path / 'list.txt'}") == 0
    result, found = fused(tmp_path)
    assert result["fusion"]["of"] == "probabilities" and found.labels.tolist() == LABELS
    mean = (softmax(LOGITS["rgb"]) + softmax(LOGITS["flow"])) / 2
    np.testing.assert_allclose(found.scores, mean, atol=1e-6)


def test_several_labels_a_video_are_fused_by_their_probabilities(monkeypatch, tmp_path):
    labels = {"label": None, "labels": np.eye(4, dtype=bool)[:3], "broken_label": None}
    labels["broken_labels"] = np.zeros((0, 4), bool)
    files = [write_run(tmp_path, name, logits, **labels) for name, logits in LOGITS.items()]
    assert fuse(monkeypatch, tmp_path, files) == 0
    result, found = fused(tmp_path)
    assert result["fusion"]["of"] == "probabilities" and "mAP" in result["fusion"]["metrics"][-1]
    assert found.multi_label and fuse(monkeypatch, tmp_path, files, "--of=logits") == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--weights", 1], "pass 2 numbers"),
        (["--weights", "nan", 1], "pass 2 numbers"),
        (["--scores", "one.npz"], "two files or more"),
        (["--scores", "one.npz", "one.npz"], "two files or more"),
        (["--scores", "none.npz", "gone.npz"], "none.npz: no such file"),
        (["--filelist", "none.txt"], "none.txt"),
    ],
)
def test_bad_input_is_one_line_and_status_2(monkeypatch, tmp_path, files, capsys, flags, words):
    assert fuse(monkeypatch, tmp_path, files, *flags) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in error and not (tmp_path / "out").exists()
