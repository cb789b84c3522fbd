from __future__ import annotations

import pytest

from metrics.intervals import wilson_interval


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
