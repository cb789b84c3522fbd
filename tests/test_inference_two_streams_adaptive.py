"""--two_stream --views=adaptive: as many views of both streams as the fused scores need, against plain loops."""

from __future__ import annotations

import json

import numpy as np
import pytest

from configs import load_config, save_config
from datareader import Failure, build_view_loader, read_list
from datareader.two_streams import TwoStreamLoader
from inference.adaptive import AdaptiveScorer, StoppingRule, calibrate, looks
from metrics import load_scores
from tests.script_runs import make_videos, run_script, two_stream_networks, write_list
from tests.test_inference_adaptive import plain_lead
from tests.video_factory import draw_video


@pytest.fixture(scope="module")
def filelist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    one = draw_video(folder / "one frame.mp4", num_frames=1, height=48, width=64)
    videos = make_videos(folder, 4, 3)
    return write_list(folder / "list.txt", [*videos[:2], (one, 1), *videos[2:]])


@pytest.fixture
def streams(tmp_path, filelist):
    return two_stream_networks(tmp_path, filelist)


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


class Statistics:
    """A backend whose logits are statistics of each clip's pixels. factor: of the logits."""

    name, precision = "stub", "float32"

    def __init__(self, factor):
        self.factor = factor

    def outputs(self, clips):
        logits = self.factor * np.stack([clips.mean((1, 2, 3, 4)), clips.std((1, 2, 3, 4)), clips[:, 0].max((1, 2, 3))])
        return softmax(logits.T), logits.T


class EachItsOwn(StoppingRule):
    """Stops a video after 1 to 4 views, as the first scores of the RGB stream say."""

    def is_settled(self, outputs, num_views):
        (rgb, _), (flow, _) = outputs
        assert len(rgb) == len(flow)
        return len(rgb) >= 1 + int(rgb[0, 0] * 1e5) % 4


@pytest.mark.parametrize("num_workers", [0, 1])
def test_both_streams_are_scored_and_read_for_the_same_first_views(filelist, streams, num_workers):
    configs = [load_config(weights.parent / "config.yaml") for weights in streams]
    items = read_list(filelist)
    loaders = [build_view_loader(config, items, num_workers=num_workers) for config in configs]
    asked = {}
    for loader in loaders:
        request = loader.request
        loader.request = lambda video, clips=None, request=request: (
            asked.setdefault(video, []).append(clips),
            request(video, clips),
        )[1]
    networks = [(Statistics(1.0), 2), (Statistics(0.5), 1)]
    found = list(AdaptiveScorer(TwoStreamLoader(*loaders), networks, EachItsOwn(0, False, "")))
    everything = [list(build_view_loader(config, items, num_workers=0)) for config in configs]
    for loader in loaders:
        loader.close()
    assert all(isinstance(video, Failure) and "no motion" in video.reason for video in found[2])
    order, counts = loaders[0].protocol.spread_order(), []
    for number in (0, 1, 3, 4):
        for video, whole, (backend, _) in zip(found[number], (everything[0][number], everything[1][number]), networks):
            views = np.sort(order[: len(video.views)])
            np.testing.assert_array_equal(video.views, views)
            scores, logits = backend.outputs(whole.clips(views))
            np.testing.assert_array_equal(video.logits, logits)
            np.testing.assert_array_equal(video.scores, scores)
        clips = {clip for part in asked[number] for clip in part}
        assert clips == set((views // 3).tolist())
        counts.append(len(views))
    assert len(set(counts)) > 1


def plain_fused(outputs, number):
    """The fused scores of each of the first views, and of all of them."""
    summed = [outputs[0][1][v].astype(float) + outputs[1][1][v] for v in range(number)]
    return np.array([softmax(z) for z in summed]), softmax(sum(summed) / number)


def test_the_lead_is_that_of_the_fused_answer():
    rng, disagreed = np.random.default_rng(0), 0
    for _ in range(200):
        n, logits = rng.integers(2, 12), rng.normal(size=(2, 12, 3)) * 3
        outputs = [(softmax(z[:n]), z[:n]) for z in logits]
        views, answer = plain_fused(outputs, n)
        agrees = answer.argmax() == views.mean(0).argmax()
        expected = plain_lead(views, 12, False) if agrees else 0.0  # another class is ahead of the one answered
        disagreed += not agrees
        for threshold in (0.5, 1.0, 2.0):
            assert StoppingRule(threshold, False, "").is_settled(outputs, 12) == (expected >= threshold)
        several = plain_lead((outputs[0][0] + outputs[1][0]) / 2, 12, True)
        assert StoppingRule(1.0, True, "").is_settled(outputs, 12) == (several >= 1.0)
    assert disagreed > 3


def test_calibration_is_of_the_fused_answers():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 40, 6, 3)) * 2
    order = rng.permutation(6)
    rows = calibrate([softmax(run) for run in logits], order)
    for row in rows[::7]:
        used, kept = [], 0
        for video in range(40):
            outputs = [(None, run[video][order]) for run in logits]
            for n in looks(6):
                views, answer = plain_fused(outputs, n)
                agrees = answer.argmax() == views.mean(0).argmax()
                if n == 6 or agrees and plain_lead(views, 6, False) >= row["threshold"]:
                    break
            used.append(n)
            kept += answer.argmax() == plain_fused(outputs, 6)[1].argmax()
        assert row["mean_views"] == pytest.approx(np.mean(used)) and row["kept"] == pytest.approx(kept / 40)
    assert rows[0]["kept"] < 1


# ------------------------------------------------------------------------------------------- the scripts


def evaluate(monkeypatch, streams, folder, *flags):
    flags = ["--two_stream", *streams, f"--save_dir={folder}", "--backend=paddle", *flags]
    return run_script(monkeypatch, "eval", *flags)


def test_a_rule_that_never_settles_is_the_full_run(monkeypatch, tmp_path, streams):
    assert evaluate(monkeypatch, streams, tmp_path / "all", "-o", "TEST.batch_size=1") == 0
    monkeypatch.setattr(StoppingRule, "choose", lambda *_: StoppingRule(1e9, False, "never"))
    assert evaluate(monkeypatch, streams, tmp_path / "never", "-o", "TEST.batch_size=1", "--views=adaptive") == 0
    for name in ("rgb", "flow", ""):
        full, found = (load_scores(tmp_path / run / name / "scores.npz") for run in ("all", "never"))
        rows = [full.paths.index(path) for path in found.paths]  # the RGB stream reads a video of one frame
        np.testing.assert_array_equal(found.scores, full.scores[rows])
        if name:
            np.testing.assert_array_equal(found.logits, full.logits[rows])
    result = json.loads((tmp_path / "never/results.json").read_text())
    assert result["mean_views"] == 6 and result["videos_seen"] == 4


def test_from_calibration_to_mean_views(monkeypatch, tmp_path, filelist, streams, capsys):
    assert evaluate(monkeypatch, streams, tmp_path / "all", "--save_views") == 0
    files = [str(tmp_path / "all" / name / "scores.npz") for name in ("rgb", "flow")]
    assert run_script(monkeypatch, "tools.calibrate_views", "--scores", *files, "--weights", *map(str, streams)) == 0
    found = json.loads((streams[0].parent / "adaptive_views_two_stream.json").read_text())
    assert found["num_videos"] == 4 and found["views"] == "2x3"
    capsys.readouterr()
    assert evaluate(monkeypatch, streams, tmp_path / "out", "--views=adaptive") == 2
    assert "reaches 0.8000" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert evaluate(monkeypatch, streams, tmp_path / "out", "--views=adaptive:0.8") == 0
    result = json.loads((tmp_path / "out/results.json").read_text())
    counts = [np.load(tmp_path / "out" / name / "scores.npz")["num_views"] for name in ("rgb", "flow")]
    np.testing.assert_array_equal(*counts)
    assert result["mean_views"] == counts[0].mean() and 1 <= result["mean_views"] <= 6
    assert result["adaptive"]["source"] == "calibrated on 4 videos"
    assert result["adaptive"]["threshold"] == min(
        row["threshold"] for row in found["curve"] if row["confidence"] >= 0.8
    )
    assert [video["path"] for video in result["videos_broken"]] == [read_list(filelist)[2].path]
    flags = ["--two_stream", *streams, f"--filelist={filelist}", f"--save_dir={tmp_path}", "--backend=paddle"]
    sampling = ["-o", "INFER.sample_rate=2", "--precision=float32"]
    assert run_script(monkeypatch, "predict", *flags, *sampling, "--views=adaptive:0.8") == 2  # a video is broken
    records = json.loads((tmp_path / "predictions.json").read_text())
    assert records.pop(2)["error"] == "one frame has no motion"
    assert all(1 <= record["num_views"] <= 6 for record in records)


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("eval", ["--views=adaptive:1.5"], "between 0 and 1"),
        ("predict", ["--views=adaptive:1.5"], "between 0 and 1"),
        ("predict", ["--views=adaptive:0.9:3y"], "write clips x crops"),
        ("eval", ["--views=adaptive", "--save_views"], "leave it out with --views=adaptive"),
    ],
)
def test_bad_flags_are_one_line(monkeypatch, tmp_path, filelist, streams, capsys, script, flags, words):
    own = ["--two_stream", *streams, f"--filelist={filelist}", f"--save_dir={tmp_path / 'out'}"]
    assert run_script(monkeypatch, script, *own, *flags) == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1] and not (tmp_path / "out").exists()


def test_what_does_not_fit_is_refused(monkeypatch, tmp_path, filelist, streams, capsys):
    def refused(words, *flags):
        assert evaluate(monkeypatch, streams, tmp_path / "out", *flags) == 2
        assert words in capsys.readouterr().err.strip().splitlines()[-1] and not (tmp_path / "out").exists()

    calibration = streams[0].parent / "adaptive_views_two_stream.json"
    good = {"views": "2x3", "weights_sha256": "0 0", "num_videos": 9, "curve": [{"threshold": 1, "confidence": 1.0}]}
    calibration.write_text(json.dumps(good))
    refused("for other weights", "--views=adaptive")
    calibration.unlink()
    config = load_config(streams[1].parent / "config.yaml")
    config.TEST.num_test_clips = 9
    (streams[1].parent / "config.yaml").write_text(save_config(config), encoding="utf-8")
    refused("the views of the two streams differ: 2x3 and 3x3; name them", "--views=adaptive")
    tool = ["--scores", "a.npz", "b.npz", "--weights", str(streams[0])]
    assert run_script(monkeypatch, "tools.calibrate_views", *tool) == 2
    assert "two of each" in capsys.readouterr().err
