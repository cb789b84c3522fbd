import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from metrics.intervals import resamples
from metrics.multilabel import (
    MultiLabelMeter,
    average_precision,
    mean_average_precision,
    mean_average_precision_draws,
    multi_hot,
)
from utils.errors import UserError


@pytest.mark.parametrize("levels", [3, 10, 10**6])
def test_equals_scikit_learn_with_and_without_ties(levels):
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, (80, 12)) / levels
    targets = rng.random((80, 12)) < 0.2
    targets[:, :2] |= scores[:, :2] > 0.5
    expected = [average_precision_score(targets[:, k], scores[:, k]) for k in range(12)]
    result = mean_average_precision(scores, targets)
    np.testing.assert_allclose(np.array(result["average_precision"]) / 100, expected, rtol=1e-12)
    assert result["mAP"] == pytest.approx(100 * average_precision_score(targets, scores, average="macro"))


def test_classes_without_positives_are_reported_and_left_out():
    scores, targets = np.array([[0.9, 0.5], [0.1, 0.5]]), np.array([[True, False], [False, False]])
    result = mean_average_precision(scores, targets)
    assert result == {"mAP": 100.0, "average_precision": [100.0, None], "classes_without_positives": [1]}
    assert average_precision(scores[:, 1], targets[:, 1]) is None
    assert mean_average_precision(scores, targets & False)["mAP"] == 0.0


def test_resampled_mean_average_precisions_are_those_of_the_videos_drawn():
    rng = np.random.default_rng(3)
    scores, targets = rng.integers(0, 6, (30, 4)) / 6, rng.random((30, 4)) < 0.15  # ties, and classes that vanish
    for groups in (None, np.arange(30) // 3):
        draws = mean_average_precision_draws(scores, targets, np.random.default_rng(1), groups, 40)
        samples = resamples(30, 40, np.random.default_rng(1), groups)
        expected = [mean_average_precision(scores[chosen], targets[chosen])["mAP"] / 100 for chosen in samples]
        np.testing.assert_allclose(draws, expected, rtol=1e-12)


def test_the_interval_of_the_meter_holds_its_metric():
    meter = MultiLabelMeter(2, labels=[[0], [1], [0, 1], []])
    for video in range(3):
        meter.add_video(video, np.random.default_rng(video).random((2, 2)))
    low, high = meter.intervals()["intervals"]["mAP"]
    assert 0 < low <= meter.result()["mAP"] <= high <= 100
    assert MultiLabelMeter(2, labels=[[], []]).intervals() == {"intervals": {}, "groups": None}


def test_nan_ranks_last():
    targets = np.array([[True], [False], [False]])
    assert mean_average_precision(np.array([[np.nan], [0.1], [0.2]]), targets)["mAP"] == pytest.approx(100 / 3)
    scores = np.array([[0.9, np.nan], [0.1, 0.5], [0.2, 0.5]])  # a NaN in one class spoils the video's other scores
    assert mean_average_precision(scores, np.repeat(targets, 2, axis=1))["mAP"] == pytest.approx(100 / 3)


def test_meter_averages_views_and_keeps_broken_videos():
    rng = np.random.default_rng(5)
    labels = [sorted(set(rng.integers(0, 4, 2).tolist())) for _ in range(20)]
    views = rng.random((20, 6, 4))
    whole, part, rest = (MultiLabelMeter(4, labels=labels, class_names=list("wxyz")) for _ in range(3))
    for video in range(20):
        whole.add_video(video, views[video])
        (part if video % 2 else rest).add_video(video, views[video])
    targets = multi_hot(labels, 4)
    expected = 100 * average_precision_score(targets, views.mean(axis=1), average="macro")
    assert whole.result()["mAP"] == pytest.approx(expected)
    part.merge(rest)
    assert part.result() == whole.result() and part.num_done() == 20

    broken = MultiLabelMeter(4, labels=labels, paths=[f"{video}.mp4" for video in range(20)])
    scores = np.full((20, 4), -1.0)
    for video in range(1, 20):
        broken.add_video(video, views[video])
        scores[video] = views[video].mean(axis=0)
    broken.add_failure(0, "no video stream")
    result = broken.result()
    assert result["mAP"] == pytest.approx(100 * average_precision_score(targets, scores, average="macro"))
    assert result["videos_broken"] == [{"video_id": 0, "path": "0.mp4", "cause": "no video stream"}]
    assert [row["num_videos"] for row in result["per_class"]] == targets.sum(axis=0).tolist()
    assert broken.video_scores()[2].shape == (19, 4)
    json.dumps(result, allow_nan=False)


def test_nothing_scored():
    result = MultiLabelMeter(2, labels=[[0], []]).result()
    assert result["videos_seen"] == 0 and result["classes_without_positives"] == [1]


def test_bad_input_is_named():
    with pytest.raises(UserError, match="label 4 is outside 0..3"):
        MultiLabelMeter(4, labels=[[4]])
    with pytest.raises(UserError, match="must both be"):
        mean_average_precision(np.zeros((2, 3)), np.zeros((2, 4), bool))
    with pytest.raises(ValueError):
        MultiLabelMeter(4, labels=[[1]]).add_video(0, np.zeros((1, 5)))
    with pytest.raises(ValueError):
        MultiLabelMeter(4, labels=[[1, 2]]).add_video(0, np.zeros((1, 4)), labels=[1])
