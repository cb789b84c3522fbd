"""Adaptive views: the order, the stopping rule, its calibration, and that scoring some views changes none of them."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from configs import load_config
from datareader import Failure, ViewProtocol, build_view_loader, read_list
from inference.adaptive import (
    AdaptiveScorer,
    AdaptiveViews,
    StoppingRule,
    calibrate,
    lead,
    looks,
    uncalibrated_threshold,
)
from models import build_model
from tests.plain_network import randomized
from tests.script_runs import make_videos, run_script, tiny_config, write_list
from utils.errors import UserError
from weights import save_weights


@pytest.mark.parametrize(
    "views, mirrored", [("10x3", False), ("1x1", False), ("7x5", False), ("2x3", True), ("3xwhole", False)]
)
def test_every_beginning_of_the_order_is_spread_over_time_and_space(views, mirrored):
    protocol = ViewProtocol.parse(views, mirrored)
    order, per_clip = protocol.spread_order(), protocol.views_per_clip
    assert sorted(order) == list(range(len(protocol)))
    clips, crops = order // per_clip, order % per_clip
    assert clips[0] == protocol.num_clips // 2 and crops[0] == max(1, protocol.num_crops) // 2
    for turn in range(per_clip):  # all places in time before one comes again
        assert sorted(clips[turn * protocol.num_clips : (turn + 1) * protocol.num_clips]) == list(
            range(protocol.num_clips)
        )
    for n in (2, 4):  # no gap between looked-at places is larger than a fair share, rounded up
        if n < protocol.num_clips:
            places = np.sort(clips[:n])
            gaps = np.diff([*places, places[0] + protocol.num_clips])
            assert gaps.max() <= math.ceil(protocol.num_clips / n)
    if per_clip > 1 and protocol.num_clips > 1:
        assert crops[0] != crops[1]


def test_looks_are_ever_farther_apart_and_end_with_all_views():
    assert looks(1) == [1] and looks(2) == [1, 2]
    assert looks(30) == [1, 2, 3, 4, 5, 7, 9, 12, 15, 19, 24, 30]


def plain_lead(scores, num_views, multi_label):
    """The formula of inference/adaptive.py, class by class."""
    n, num_classes = scores.shape
    best = max(range(num_classes), key=lambda k: sum(scores[v][k] for v in range(n)))
    smallest = math.inf
    for k in range(num_classes):
        if multi_label:
            margins = [scores[v][k] - 0.5 for v in range(n)]
            if sum(margins) < 0:
                margins = [-m for m in margins]
        elif k == best:
            continue
        else:
            margins = [scores[v][best] - scores[v][k] for v in range(n)]
        mean = sum(margins) / n
        variance = (4 * 0.3**2 + sum((m - mean) ** 2 for m in margins)) / (4 + n - 1)
        smallest = min(smallest, mean / math.sqrt(variance * (1 / n - 1 / num_views)))
    return smallest


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_lead_is_the_formula(multi_label):
    rng = np.random.default_rng(0)
    for _ in range(50):
        n, num_classes = rng.integers(1, 12), rng.integers(2, 6)
        scores = rng.dirichlet(np.ones(num_classes), n).astype(np.float32)
        expected = plain_lead(scores.astype(float), 12, multi_label)
        assert lead(scores, 12, multi_label) == pytest.approx(expected, rel=1e-9)
    assert lead(scores[:1].repeat(12, 0), 12) == math.inf  # nothing is left to be seen
    assert lead(np.ones((1, 1)), 12) == math.inf  # one class


def test_more_confidence_needs_a_larger_lead_and_errors_are_shared_by_the_looks():
    assert uncalibrated_threshold(0.9, 30) < uncalibrated_threshold(0.99, 30) < uncalibrated_threshold(0.999, 30)
    assert uncalibrated_threshold(0.975, 2) == pytest.approx(1.959964, abs=1e-5)  # one look before the last


def test_calibration_counts_the_videos_that_change():
    rng = np.random.default_rng(1)
    order = ViewProtocol.parse("4x2").spread_order()
    truth = rng.integers(0, 3, 60)
    logits = rng.normal(size=(60, 8, 3)) * 1.5
    logits[np.arange(60), :, truth] += rng.uniform(0, 3, 60)[:, None]
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    rows = calibrate([scores], order, labels=truth)
    thresholds = [row["threshold"] for row in rows]
    assert thresholds == sorted(thresholds) and len(rows) == 60
    most_changed = 0
    for row in reversed(rows):
        used, changed, right = [], 0, 0
        for video, label in zip(scores, truth):
            final = video.mean(0).argmax()
            for n in looks(8):
                if lead(video[order[:n]], 8) >= row["threshold"]:
                    break
            used.append(n)
            answer = video[order[:n]].mean(0).argmax()
            changed, right = changed + (answer != final), right + (answer == label)
        most_changed = max(most_changed, changed)
        assert row["mean_views"] == pytest.approx(np.mean(used)) and row["kept"] == pytest.approx(1 - changed / 60)
        assert row["accuracy"] == pytest.approx(right / 60)
        assert row["confidence"] == pytest.approx(1 - (most_changed + 1) / 61)
    assert rows[0]["mean_views"] < 4 < rows[-1]["mean_views"] and rows[0]["kept"] < 1


def test_a_threshold_is_no_surer_than_the_stricter_ones():
    margins = np.array([0.5, *[-1.0] * 4, *[1.0] * 7])  # settled early and right, then wrong, in the end right again
    scores = np.stack([0.5 + margins / 2, 0.5 - margins / 2], axis=1)[None]
    rows = {row["threshold"]: row for row in calibrate([scores], np.arange(12))}
    assert rows[1.5]["kept"] == 1 and rows[1.5]["mean_views"] == 1
    assert rows[3.0]["kept"] == 0 and rows[6.0]["kept"] == 1
    assert rows[1.5]["confidence"] == rows[3.0]["confidence"] == 0 and rows[6.0]["confidence"] == 0.5


def test_the_flag_is_read_strictly():
    assert AdaptiveViews.parse("adaptive") == AdaptiveViews(0.99, None)
    assert AdaptiveViews.parse("adaptive:0.9") == AdaptiveViews(0.9, None)
    assert AdaptiveViews.parse("adaptive:5xwhole") == AdaptiveViews(0.99, "5xwhole")
    assert AdaptiveViews.parse("adaptive:0.9:2x3") == AdaptiveViews(0.9, "2x3")
    assert AdaptiveViews.parse("10x3") is None and AdaptiveViews.parse(None) is None
    for text in (
        "adaptive:",
        "adaptive:0",
        "adaptive:1",
        "adaptive:-1",
        "adaptive:nan",
        "adaptive:inf",
        "adaptive:2x3:0.9",
    ):
        with pytest.raises(UserError, match=r"adaptive:0\.99"):
            AdaptiveViews.parse(text)


# ------------------------------------------------------------------------------------------- scoring


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """A configuration of 2 x 3 views, its videos, one of them broken and one of one frame."""
    folder = tmp_path_factory.mktemp("adaptive")
    videos = make_videos(folder / "videos", 4, 3)
    broken = folder / "videos/broken.mp4"
    broken.write_bytes(b"no video")
    config = tiny_config(folder, write_list(folder / "list.txt", [*videos[:2], (broken, 0), *videos[2:]]))
    return config, load_config(config)


class Brightness:
    """A backend whose scores depend on each clip's pixels, and that counts the clips it is given."""

    name, precision = "stub", "float32"

    def __init__(self):
        self.num_clips = 0

    def outputs(self, clips):
        self.num_clips += len(clips)
        logits = np.stack([clips.mean((1, 2, 3, 4)), clips.std((1, 2, 3, 4)), clips[:, 0].mean((1, 2, 3))], 1)
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), logits


class Requested(StoppingRule):
    """A rule that stops each video after a number of views of its own, by the scores of the first."""

    def is_settled(self, outputs, num_views):
        ((view_scores, _),) = outputs
        return len(view_scores) >= min(num_views, 1 + int(view_scores[0, 0] * 1e5) % 4)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_scored_views_are_the_ones_of_the_whole_protocol_bit_for_bit(setup, num_workers, batch_size):
    _, config = setup
    items = read_list(config.TEST.filelist, config.MODEL.num_classes)
    everything = list(build_view_loader(config, items, num_workers=0))
    loader, backend = build_view_loader(config, items, num_workers=num_workers), Brightness()
    found = [video for (video,) in AdaptiveScorer(loader, [(backend, batch_size)], Requested(0, False, ""))]
    loader.close()
    assert [video.video_id for video in found] == [0, 1, 2, 3, 4]
    assert isinstance(found[2], Failure) and "broken.mp4" in found[2].path
    total = 0
    for video, whole in zip(found, everything):
        if isinstance(video, Failure):
            continue
        np.testing.assert_array_equal(video.views, np.sort(loader.protocol.spread_order()[: len(video.views)]))
        scores, logits = Brightness().outputs(whole.clips(video.views))
        np.testing.assert_array_equal(video.scores, scores)
        np.testing.assert_array_equal(video.logits, logits)
        assert (video.num_frames, video.labels, video.path) == (whole.num_frames, whole.labels, whole.path)
        total += len(video.views)
    counts = {len(video.views) for video in found if not isinstance(video, Failure)}
    assert len(counts) > 1 and backend.num_clips == total < 4 * 6


def test_only_clips_whose_views_are_scored_are_read_and_each_once(setup, monkeypatch):
    _, config = setup
    items = read_list(config.TEST.filelist, config.MODEL.num_classes)[:1]
    for num_views, expected in ((1, [(1,)]), (2, [(1,), (0,)]), (6, [(1,), (0,)])):
        loader, asked = build_view_loader(config, items, num_workers=0), []

        def request(video, clips, request=loader.request, asked=asked):
            asked.append(clips)
            return request(video, clips)

        monkeypatch.setattr(loader, "request", request)
        rule = StoppingRule(0, False, "")
        monkeypatch.setattr(StoppingRule, "is_settled", lambda self, seen, total, n=num_views: len(seen[0][0]) >= n)
        ((found,),) = AdaptiveScorer(loader, [(Brightness(), 1)], rule)
        assert len(found.views) == num_views and asked == expected


# ------------------------------------------------------------------------------------------- the scripts


@pytest.fixture(scope="module")
def weights(setup, tmp_path_factory):
    state = randomized(build_model(setup[1])).state_dict()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    arrays["head.weight"] = arrays["head.weight"] * 0.02
    path = tmp_path_factory.mktemp("weights") / "weights.pdparams"
    save_weights(path, arrays)
    return path


def evaluate(monkeypatch, setup, weights, folder, *flags):
    return run_script(
        monkeypatch, "eval", f"--config={setup[0]}", f"--weights={weights}", f"--save_dir={folder}", *flags
    )


def test_eval_and_predict_from_calibration_to_mean_views(monkeypatch, tmp_path, setup, weights, capsys):
    weights = shutil.copy(weights, tmp_path)
    assert evaluate(monkeypatch, setup, weights, tmp_path / "all", "--save_views") == 0
    argv = ["--scores", str(tmp_path / "all/scores.npz"), "--weights", str(weights)]
    assert run_script(monkeypatch, "tools.calibrate_views", *argv) == 0
    found = json.loads((tmp_path / "adaptive_views.json").read_text())
    sure = [row["threshold"] for row in found["curve"] if row["confidence"] >= 0.8]
    assert found["num_videos"] == 4 and len(sure) > 1
    capsys.readouterr()
    assert evaluate(monkeypatch, setup, weights, tmp_path / "out", "--views=adaptive") == 2
    assert "reaches 0.8000" in capsys.readouterr().err  # 4 videos
    assert evaluate(monkeypatch, setup, weights, tmp_path / "out", "--views=adaptive:0.8") == 0
    result = json.loads((tmp_path / "out/results.json").read_text())
    saved = np.load(tmp_path / "out/scores.npz")
    assert result["mean_views"] == saved["num_views"].mean() and 1 <= result["mean_views"] <= 6
    assert result["adaptive"]["threshold"] == min(sure)
    assert result["adaptive"]["source"] == "calibrated on 4 videos" and result["views"] == "2x3"
    listed = f"--filelist={load_config(setup[0]).TEST.filelist}"
    flags = [f"--config={setup[0]}", f"--weights={weights}", f"--save_dir={tmp_path / 'predicted'}", listed]
    assert run_script(monkeypatch, "predict", *flags, "--views=adaptive:0.8") == 2  # one video is broken
    records = json.loads((tmp_path / "predicted/predictions.json").read_text())
    assert [record["num_views"] for record in records if "error" not in record] == saved["num_views"].tolist()
    top = [record["top"][0]["probability"] for record in records if "error" not in record]
    np.testing.assert_allclose(top, saved["scores"].max(1), atol=1e-6)


def test_what_does_not_fit_is_refused_in_one_line(monkeypatch, tmp_path, setup, weights, capsys):
    weights = shutil.copy(weights, tmp_path)
    calibration = tmp_path / "adaptive_views.json"
    good = {"views": "2x3", "weights_sha256": "0" * 64, "num_videos": 9, "curve": [{"threshold": 1, "confidence": 0.9}]}
    for content, message in (
        ("{", "is no calibration"),
        (json.dumps({**good, "curve": 3}), "is no calibration"),
        (json.dumps({**good, "views": "10x3"}), "for other views"),
        (json.dumps(good), "for other weights"),
    ):
        calibration.write_text(content)
        assert evaluate(monkeypatch, setup, weights, tmp_path / "out", "--views=adaptive") == 2
        assert message in capsys.readouterr().err
    calibration.unlink()
    for flags, message in (
        (["--views=adaptive:1.5"], "between 0 and 1"),
        (["--views=adaptive:0.9:3y"], "write clips x crops"),
        (["--views=adaptive", "--save_views"], "leave it out"),
    ):
        assert evaluate(monkeypatch, setup, weights, tmp_path / "out", *flags) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    argv = ["--scores", str(tmp_path / "none.npz"), "--weights", str(weights)]
    assert run_script(monkeypatch, "tools.calibrate_views", *argv) == 2
