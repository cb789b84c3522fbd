"""--precision=auto: bfloat16 where real clips show the same answers, checked once, told and stored."""

from __future__ import annotations

import json

import numpy as np
import pytest

from configs import load_config
from datareader import VideoItem
from inference import auto_precision
from inference.auto_precision import TOLERANCE, choose_precision, judge, read_clips
from inference.export import NetworkSource
from tests.script_runs import run_script, tiny_network
from utils.errors import RunError
from weights import save_weights

EXACT = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A configuration file, a file of weights, videos."""
    config, weights, videos = tiny_network(tmp_path_factory.mktemp("auto_precision"), 3)
    return config, weights, [VideoItem(str(path), label, 1) for path, label in videos]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_NONLOCAL_HOME", str(tmp_path / "home"))


@pytest.fixture
def has_bfloat16(monkeypatch, empty_cache):
    monkeypatch.setattr(auto_precision, "processor_has_bfloat16", lambda: True)


@pytest.mark.parametrize(
    ("change", "precision", "num_changed"),
    [
        ([0.9 * TOLERANCE, -0.9 * TOLERANCE, 0], "bfloat16", 0),
        ([-0.9 * TOLERANCE, 0.9 * TOLERANCE, 0], "bfloat16", 0),
        ([1.1 * TOLERANCE, -1.1 * TOLERANCE, 0], "float32", 0),
        ([-0.2, 0.2, 0], "float32", 1),
    ],
)
def test_bfloat16_is_taken_where_best_classes_and_scores_stay(change, precision, num_changed):
    choice = judge(EXACT, EXACT + np.array([change, [0, 0, 0]], np.float32))
    assert (choice.precision, choice.num_clips, choice.top1_changed) == (precision, 2, num_changed)
    assert choice.largest_difference == pytest.approx(max(change), abs=1e-6) and f"{max(change):.4f}" in choice.reason


def test_a_best_class_that_changes_by_little_is_a_change():
    near = np.array([[0.501, 0.499]], np.float32)
    assert judge(near, near[:, ::-1]).precision == "float32"


def test_clips_are_spread_over_the_videos_and_those_that_cannot_be_read_are_left_out(tiny, monkeypatch):
    config, videos = load_config(tiny[0]), tiny[2]
    clips = list(read_clips(config, [videos[0], VideoItem("missing.mp4", 0, 2), videos[1]], "INFER"))
    assert [one.shape for one in clips] == [(1, 3, 4, 32, 32)] * 6  # 3 of each
    assert len({one.tobytes() for one in clips}) == 6
    monkeypatch.setattr(auto_precision, "NUM_CLIPS", 2)
    assert len(list(read_clips(config, videos, "INFER"))) == 2
    assert list(read_clips(config, [], "INFER")) == []


class FakeBackend:
    """Scores that follow from nothing; bfloat16's are off by `off`. built: precisions that were built."""

    off = 0.001
    built: list[str] = []  # noqa: RUF012

    def __init__(self, name, precision, network, num_frames, crop_px):
        self.built.append(precision)
        if precision == "bfloat16" and self.off is None:
            raise RunError("computes other scores")
        self.scores = lambda clips: EXACT[:1] + (self.off if precision == "bfloat16" else 0)


@pytest.fixture
def choose(tiny, monkeypatch):
    monkeypatch.setattr(auto_precision, "ExportedBackend", FakeBackend)
    monkeypatch.setattr(FakeBackend, "built", [])
    network = NetworkSource(load_config(tiny[0]), str(tiny[1]))
    return lambda items=tiny[2], name="paddle_inference", device="cpu": choose_precision(
        name, device, network, items, "INFER"
    )


@pytest.mark.parametrize(
    ("off", "expected"), [(0.001, "bfloat16"), (0.5, "float32"), (float("nan"), "float32"), (None, "float32")]
)
def test_the_check_is_made_once_a_network(choose, has_bfloat16, monkeypatch, off, expected):
    monkeypatch.setattr(FakeBackend, "off", off)
    first, again = choose(), choose([])
    assert first.reason == again.reason and first.precision == expected and FakeBackend.built == ["float32", "bfloat16"]


def test_weights_trained_anew_are_checked_anew(choose, has_bfloat16, tiny, monkeypatch):
    assert choose().precision == "bfloat16"
    monkeypatch.setattr(FakeBackend, "off", 0.5)
    before = tiny[1].read_bytes()
    save_weights(tiny[1], {"head.bias": np.ones(3, np.float32)})
    assert choose().precision == "float32"
    tiny[1].write_bytes(before)


def test_what_cannot_be_checked_is_float32_and_is_not_kept(choose, has_bfloat16):
    assert choose([VideoItem("missing.mp4", 0, 1)]).precision == choose([]).precision == "float32"
    assert choose().precision == "bfloat16"


def test_where_there_is_no_bfloat16_nothing_is_read(choose, empty_cache):
    for choice, word in (
        (choose(), "instructions"),
        (choose(name="onnxruntime"), "onnxruntime"),
        (choose(device="gpu"), "CPU"),
    ):
        assert choice.precision == "float32" and word in choice.reason
    assert FakeBackend.built == []


def test_predictions_and_results_say_what_was_taken_and_why(tiny, has_bfloat16, monkeypatch, tmp_path, capsys):
    config, weights, videos = tiny
    flags = [f"--config={config}", f"--weights={weights}", "--backend=paddle_inference", f"--save_dir={tmp_path}"]

    for more in ([], ["--segments"]):
        assert run_script(monkeypatch, "predict", *flags, f"--video_path={videos[0].path}", *more) == 0
        (record,), printed = json.loads((tmp_path / "predictions.json").read_text()), capsys.readouterr().out
        choice = record["precision_choice"]
        assert record["precision"] == choice["precision"] and choice["num_clips"] == 8
        assert f"backend: paddle_inference, {record['precision']}; {choice['reason']}" in printed
    for more, expected in (([], None), (["--precision=auto"], choice)):
        assert run_script(monkeypatch, "eval", *flags, *more) == 0
        result = json.loads((tmp_path / "results.json").read_text())
        assert result.get("precision_choice") == expected and (expected or result["precision"] == "float32")
