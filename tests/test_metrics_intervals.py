from __future__ import annotations

import numpy as np
import pytest

from metrics import intervals
from metrics.intervals import class_bootstrap, group_bootstrap, percentile_interval, resamples, wilson_interval


@pytest.mark.parametrize(("num_right", "num_videos"), [(0, 1), (0, 10), (3, 10), (60, 120), (240, 240), (1, 4000)])
def test_wilson_intervals_are_those_of_scipy(num_right, num_videos):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(num_right, num_videos).proportion_ci(0.95, method="wilson")
    assert wilson_interval(num_right, num_videos) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_intervals_hold_the_fraction_that_would_be_rejected_at_their_ends():
    """At each end p0, (p - p0)^2 = z^2 p0 (1 - p0) / n, the score test's equation."""
    for end in wilson_interval(30, 120):
        assert (0.25 - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 120, rel=1e-5)


def test_no_videos_have_no_interval():
    with pytest.raises(ValueError, match="at least one video"):
        wilson_interval(0, 0)


def test_wilson_intervals_hold_the_truth_95_times_of_100():
    rng = np.random.default_rng(0)
    for n, p in [(120, 0.95), (400, 0.5)]:
        intervals = [wilson_interval(int(k), n) for k in rng.binomial(n, p, 2000)]
        assert 0.93 < np.mean([low <= p <= high for low, high in intervals]) < 0.97


@pytest.mark.parametrize("num_right", [0, 10])
def test_wilson_intervals_of_none_and_of_all_are_not_empty(num_right):
    low, high = wilson_interval(num_right, 10)
    assert 0 <= low < high <= 1 and low <= num_right / 10 <= high


def test_resampled_videos_give_the_bootstrap_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(1).exponential(size=60)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(2)
    ).confidence_interval
    draws = np.array([values[chosen].mean() for chosen in resamples(60, 4000, np.random.default_rng(3))])
    assert percentile_interval(draws) == pytest.approx((expected.low, expected.high), abs=0.02)


def grouped() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """right, labels and groups of 60 videos, 12 groups of 5 that are nearly all right or all wrong."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(12), 5)
    right = (rng.random(12) < 0.6)[groups] ^ (rng.random(60) < 0.05)
    order = rng.permutation(60)
    return right[order], rng.integers(0, 3, 60), groups[order]


def test_groups_are_drawn_whole():
    right, _, groups = grouped()
    chosen = next(resamples(60, 1, np.random.default_rng(0), groups))
    times = np.bincount(chosen, minlength=60)
    assert len(chosen) == 60 and all(len({*times[groups == g]}) == 1 for g in range(12)) and times.max() > 1
    vectorised = group_bootstrap(right, groups, np.random.default_rng(1), 4000)
    loop = [right[chosen].mean() for chosen in resamples(60, 4000, np.random.default_rng(2), groups)]
    assert percentile_interval(vectorised) == pytest.approx(percentile_interval(np.array(loop)), abs=0.04)
    alone = group_bootstrap(right, np.arange(60), np.random.default_rng(1), 4000)
    assert np.std(vectorised) > 1.5 * np.std(alone)  # five videos that say the same are one
    assert np.std(alone) == pytest.approx(np.sqrt(right.mean() * (1 - right.mean()) / 60), rel=0.05)


def test_mean_class_accuracy_is_resampled_class_by_class():
    right, labels, _ = grouped()
    labels[labels == 2] = 3  # class 2 has no videos, and does not count
    draws = class_bootstrap(right, labels, 5, np.random.default_rng(0))
    rng, loop = np.random.default_rng(1), []
    for _ in range(3000):
        loop.append(np.mean([rng.choice(right[labels == c], (labels == c).sum()).mean() for c in (0, 1, 3)]))
    assert percentile_interval(draws) == pytest.approx(percentile_interval(np.array(loop)), abs=0.02)
    balanced = pytest.importorskip("sklearn.metrics").balanced_accuracy_score
    predicted = np.where(right, labels, (labels == 0).astype(int))  # 1 in place of 0, else 0
    assert draws.mean() == pytest.approx(balanced(labels, predicted), abs=0.005)


def test_mean_class_accuracy_of_groups_counts_the_classes_that_were_drawn():
    right, labels, groups = grouped()
    labels[groups < 10] = 0
    labels[groups == 10], labels[groups == 11] = 1, 2
    draws = class_bootstrap(right, labels, 3, np.random.default_rng(0), groups, 3000)
    loop = []
    for chosen in resamples(60, 3000, np.random.default_rng(1), groups):
        loop.append(np.mean([right[chosen][labels[chosen] == c].mean() for c in np.unique(labels[chosen])]))
    assert percentile_interval(draws) == pytest.approx(percentile_interval(np.array(loop)), abs=0.04)


def test_many_groups_are_drawn_in_parts(monkeypatch):
    right, labels, groups = grouped()
    whole = group_bootstrap(right, groups, np.random.default_rng(0), 50)
    monkeypatch.setattr(intervals, "DRAWN_AT_ONCE", 100)
    np.testing.assert_array_equal(group_bootstrap(right, groups, np.random.default_rng(0), 50), whole)
    assert class_bootstrap(right, labels, 3, np.random.default_rng(0), groups, 50).shape == (50,)
