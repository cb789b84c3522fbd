"""Paired comparison of runs against scipy and against plain loops over the formulas."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.comparison import Comparison, compare, compare_classes, compare_pairs, holm, mcnemar_p, paired_bootstrap


def rights(both: int, first_only: int, second_only: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two runs with those numbers of videos, in a shuffled order."""
    pairs = np.repeat([(1, 1), (1, 0), (0, 1), (0, 0)], [both, first_only, second_only, neither], axis=0).astype(bool)
    pairs = np.random.default_rng(0).permutation(pairs)
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.parametrize("counts", [(1, 0), (0, 1), (10, 2), (7, 7), (82, 0), (5000, 4800), (3, 2000)])
def test_mcnemars_p_value_is_the_binomial_test_of_scipy(counts):
    stats = pytest.importorskip("scipy.stats")
    assert mcnemar_p(*counts) == pytest.approx(
        stats.binomtest(counts[0], sum(counts), 0.5).pvalue, rel=1e-9, abs=1e-300
    )


def test_without_discordant_videos_p_is_1():
    assert mcnemar_p(0, 0) == 1.0


def test_the_interval_of_the_difference_is_that_of_resampled_videos():
    """scipy draws the videos themselves; both intervals lie on steps of 1 / n and within one step."""
    stats = pytest.importorskip("scipy.stats")
    first, second = rights(30, 40, 15, 35)
    expected = stats.bootstrap(
        (first.astype(float), second.astype(float)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        paired=True, method="percentile", n_resamples=10_000, vectorized=True, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert paired_bootstrap(first, second) == pytest.approx((expected.low, expected.high), abs=1.01 / 120)


def test_groups_are_drawn_whole():
    """Groups of equal videos are as few videos: the interval is that of one video each, and wider than that of all."""
    first, second = rights(12, 10, 3, 15)
    groups = np.repeat(np.arange(40), 10)
    whole = paired_bootstrap(np.repeat(first, 10), np.repeat(second, 10), groups=groups)
    assert whole == pytest.approx(paired_bootstrap(first, second), abs=1.01 / 40)
    low, high = paired_bootstrap(np.repeat(first, 10), np.repeat(second, 10))
    assert whole[0] < low and high < whole[1]


def test_the_measured_demo_forwards_against_reversed():
    """82 of 120 videos are right forwards only, none reversed only."""
    found = compare(*rights(32, 82, 0, 6))
    assert (found.both, found.first_only, found.second_only, found.neither) == (32, 82, 0, 6)
    assert found.p_value == pytest.approx(2 * 0.5**82)
    assert found.difference == pytest.approx(82 / 120) and found.oracle == pytest.approx(114 / 120)
    assert np.round(100 * np.array(found.interval), 1).tolist() == [60.0, 76.7]
    assert found.better() == 1


def test_the_order_of_videos_changes_nothing():
    first, second = rights(50, 20, 9, 11)
    order = np.random.default_rng(3).permutation(90)
    assert compare(first[order], second[order]) == compare(first, second)


def test_a_run_is_better_only_where_interval_and_p_agree():
    def better(p_value: float, low: float, high: float) -> int:
        return Comparison(10, 5, 1, 4, p_value, (low, high)).better()

    assert better(0.04, 0.01, 0.4) == 1 and better(0.04, -0.4, -0.01) == 2
    assert better(0.05, 0.01, 0.4) == 0  # P is not below 0.05
    assert better(0.04, 0.0, 0.4) == 0 and better(0.04, -0.4, 0.0) == 0  # the interval holds 0
    assert Comparison(10, 5, 1, 4, 0.01, (0.01, 0.4)).better(p_value=0.06) == 0  # after correction


def test_the_detectable_difference_is_found_four_times_in_five():
    """Runs whose accuracies differ by it, with the same number of discordant videos on average."""
    found = compare(*rights(500, 110, 90, 300))
    assert found.detectable_difference == pytest.approx(2.8 * np.sqrt(200) / 1000)
    rng, shift = np.random.default_rng(0), found.detectable_difference
    discordant = rng.binomial(1000, 0.2, 400)
    first_only = rng.binomial(discordant, 0.5 + shift / 0.4)
    detected = [mcnemar_p(b, c) < 0.05 for b, c in zip(first_only.tolist(), (discordant - first_only).tolist())]
    assert 0.72 < np.mean(detected) < 0.86


def test_holms_correction_is_a_loop_over_its_definition():
    p_values = [0.01, 0.04, 0.03, 0.005, 0.5, 0.03]
    expected, largest = {}, 0.0
    for rank, index in enumerate(sorted(range(6), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (6 - rank) * p_values[index]))
        expected[index] = largest
    assert holm(p_values) == pytest.approx([expected[i] for i in range(6)])
    assert holm([]) == [] and holm([0.2]) == [0.2] and holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False])])
def test_runs_of_other_lengths_or_without_videos_cannot_be_compared(first, second):
    with pytest.raises(ValueError, match="cannot compare"):
        compare(np.array(first, bool), np.array(second, bool))


@pytest.mark.parametrize("counts", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 5)])
def test_one_video_or_agreement_throughout_shows_no_difference(counts):
    found = compare(*rights(*counts))
    assert found.better() == 0 and found.p_value == 1.0


def test_pairs_of_runs_are_corrected_for_their_number():
    first, second = rights(50, 20, 5, 25)
    pairs = compare_pairs([first, second, first])
    assert list(pairs) == [(0, 1), (0, 2), (1, 2)]
    comparison, corrected = pairs[0, 1]
    assert comparison == compare(first, second) and corrected == pytest.approx(3 * mcnemar_p(20, 5))
    assert pairs[0, 2][1] == 1.0
    assert compare_pairs([first]) == {}


def test_classes_that_changed_are_counted_and_corrected_for_their_number():
    labels = np.repeat([0, 2, 5], [10, 12, 3])
    first, second = np.zeros((2, 25), bool)
    first[:9] = second[0] = True  # class 0: 8 in the first only; class 2: 1 in the second only; class 5: none
    second[10] = True
    changes = compare_classes(first, second, labels)
    counted = [(change.index, change.num_videos, change.first_only, change.second_only) for change in changes]
    assert counted == [(0, 10, 8, 0), (2, 12, 0, 1), (5, 3, 0, 0)]
    assert [change.p_value for change in changes] == pytest.approx([3 * 2 / 2**8, 1.0, 1.0])
