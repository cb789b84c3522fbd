"""Bootstrap intervals of losses, calibration and coverage against plain resampling of the same videos."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.calibration import calibration
from metrics.coverage import risk_coverage
from metrics.intervals import resamples
from metrics.score_intervals import score_intervals


def videos(num_videos: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Scores with a confidence of their own each, and labels."""
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.full(4, 0.5), num_videos)
    return scores, np.where(rng.random(num_videos) < 0.7, scores.argmax(axis=1), rng.integers(0, 4, num_videos))


@pytest.mark.parametrize("grouped", [False, True])
def test_each_interval_is_that_of_the_metric_of_resampled_videos(grouped):
    scores, labels = videos()
    order = np.argsort(scores.max(axis=1), kind="stable")
    scores, labels = scores[order], labels[order]
    groups = np.random.default_rng(1).integers(0, 30, 120) if grouped else None
    found = score_intervals(scores, labels, np.random.default_rng(2), groups, 60)
    loop = []
    for chosen in resamples(120, 60, np.random.default_rng(2), groups):
        s, y = scores[chosen], labels[chosen]
        whole = calibration(s, y, np.random.default_rng(0))
        curve = risk_coverage(s.max(axis=1), s.argmax(axis=1) == y)
        plain = {name: whole[name] for name in ("overconfidence", "log_loss", "brier", "ece")}
        loop.append({**plain, "area": curve.area(), "excess_area": curve.excess_area(), "auroc": curve.auroc()})
    assert list(found) == list(loop[0])
    for name, interval in found.items():
        values = [row[name] for row in loop if row[name] is not None]
        assert interval == pytest.approx(np.percentile(values, [2.5, 97.5]).tolist(), abs=1e-9), name


def test_the_interval_of_the_log_loss_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    scores, labels = videos()
    losses = -np.log(scores[np.arange(120), labels])
    expected = stats.bootstrap(
        (losses,), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    found = score_intervals(scores, labels, np.random.default_rng(0))["log_loss"]
    assert found == pytest.approx([expected.low, expected.high], rel=0.04)


def test_few_videos_have_no_interval_of_the_ece_and_one_kind_of_answer_no_auroc():
    for scores, labels in [([[0.9, 0.1]], [0]), ([[0.9, 0.1], [0.3, 0.7]], [1, 0])]:
        found = score_intervals(np.array(scores), np.array(labels), np.random.default_rng(0), num_draws=20)
        assert found["ece"] is found["auroc"] is None and found["log_loss"] is not None
