"""Risk against coverage, against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.coverage import risk_coverage, threshold_table
from metrics.probabilities import stratified_folds


def answers(num_videos: int = 200, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    confidence = rng.random(num_videos)
    return np.round(confidence, 1) if ties else confidence, rng.random(num_videos) < confidence


def test_equal_confidences_enter_together():
    confidence, right = np.array([0.5, 0.9, 0.5, 0.9, 0.2]), np.array([True, True, False, True, False])
    curve = risk_coverage(confidence, right)
    assert curve.thresholds.tolist() == [0.9, 0.5, 0.2]
    assert curve.coverage.tolist() == [0.4, 0.8, 1.0] and curve.risk.tolist() == [0, 0.25, 0.4]
    assert curve.area() == pytest.approx((0 + 0 + 0.25 + 0.25 + 0.4) / 5)


def test_areas_are_the_means_of_the_risk_at_each_video():
    confidence, right = answers(ties=False)
    wrong = ~right[np.argsort(-confidence)]
    area = np.mean([wrong[:j].mean() for j in range(1, 201)])
    best = np.mean([np.sort(wrong)[:j].mean() for j in range(1, 201)])
    curve = risk_coverage(confidence, right)
    assert curve.area() == pytest.approx(area, abs=1e-12)
    assert curve.excess_area() == pytest.approx(area - best, abs=1e-12)
    assert risk_coverage(right.astype(float), right).excess_area() > 0  # equal confidences are no order
    perfect = np.where(right, 2, 1) - np.arange(200) / 1000
    assert risk_coverage(perfect, right).excess_area() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_the_auroc_is_that_of_scikit_learn(ties):
    metrics = pytest.importorskip("sklearn.metrics")
    confidence, right = answers(ties=ties)
    assert risk_coverage(confidence, right).auroc() == pytest.approx(
        metrics.roc_auc_score(right, confidence), abs=1e-12
    )


@pytest.mark.parametrize("is_right", [False, True])
def test_all_right_and_all_wrong(is_right):
    curve = risk_coverage(np.array([0.3, 0.4, 0.4]), np.full(3, is_right))
    assert curve.auroc() is None and curve.area() == pytest.approx(0.0 if is_right else 1.0)
    assert curve.excess_area() == pytest.approx(0) and curve.threshold(0.95) == (0.3 if is_right else None)
    assert risk_coverage(np.array([0.3]), np.array([is_right])).coverage.tolist() == [1.0]


def test_the_threshold_answers_the_most_videos_at_that_accuracy():
    confidence, right = answers()
    for accuracy in (0.7, 0.9, 0.95):
        good = [t for t in np.unique(confidence) if right[confidence >= t].mean() >= accuracy]
        assert risk_coverage(confidence, right).threshold(accuracy) == (min(good) if good else None)
    exact = np.arange(100) < 95  # 5 of 100 wrong is 95 %, in spite of rounding
    assert risk_coverage(np.ones(100), exact).threshold(0.95) == 1.0


def test_a_threshold_is_judged_on_videos_that_did_not_choose_it():
    confidence, right = answers(400, ties=False)
    folds = stratified_folds(np.zeros(400, np.int64), 5, seed=0)
    for row in threshold_table(confidence, right, folds):
        answered = np.zeros(400, bool)
        for fold in range(5):
            others = folds != fold
            chosen = risk_coverage(confidence[others], right[others]).threshold(row["wanted_accuracy"])
            answered |= ~others & (confidence >= (np.inf if chosen is None else chosen))
        assert row["held_out_coverage"] == answered.mean()
        assert row["held_out_accuracy"] == (right[answered].mean() if answered.any() else None)
        if row["threshold"] is not None:
            assert right[confidence >= row["threshold"]].mean() >= row["wanted_accuracy"]
            assert row["coverage"] == (confidence >= row["threshold"]).mean()
    one = threshold_table(np.array([0.5]), np.array([False]), np.array([0]))
    assert one[0]["threshold"] is one[0]["held_out_accuracy"] is None and one[0]["coverage"] == 0
