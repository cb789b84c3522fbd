"""tools/fuse_scores.py on hand-made files of 3 videos and 4 classes."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from metrics import load_scores
from metrics.fusion import mixture_weights
from metrics.probabilities import softmax
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


def test_weights_are_found_on_other_videos_only(monkeypatch, tmp_path, files, capsys):
    paths = [f"/valid/{i}.mp4" for i in range(30)]
    rng, labels = np.random.default_rng(0), [i % 4 for i in range(30)]
    logits = [rng.normal(size=(30, 4)) + strength * np.eye(4)[labels] for strength in (1, 1.5)]
    held_out = [write_run(tmp_path, f"valid{i}", values, paths, labels) for i, values in enumerate(logits)]
    assert fuse(monkeypatch, tmp_path, files, "--tune_on", *held_out) == 0
    result, found = fused(tmp_path)
    own = np.stack([softmax(values)[np.arange(30), labels] for values in logits], axis=1)
    weights = mixture_weights(own)
    np.testing.assert_allclose(result["fusion"]["weights"], weights, atol=1e-5)
    assert 0.05 < weights[0] < 0.95 and result["fusion"]["of"] == "probabilities"
    expected = weights[0] * softmax(LOGITS["rgb"]) + weights[1] * softmax(LOGITS["flow"])
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    for wrong in (files, [held_out[0], files[1]]):
        assert fuse(monkeypatch, tmp_path, files, "--tune_on", *wrong) == 2
    assert fuse(monkeypatch, tmp_path, files, "--tune_on", *held_out[:1]) == 2
    assert fuse(monkeypatch, tmp_path, files, "--tune_on", *held_out, "--weights", 1, 1) == 2
    write_run(tmp_path, "valid0", np.zeros((3, 4)))
    write_run(tmp_path, "valid1", np.zeros((3, 4)))
    capsys.readouterr()
    assert fuse(monkeypatch, tmp_path, files, "--tune_on", *held_out) == 2
    assert "is one of the videos of --scores" in capsys.readouterr().err


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
