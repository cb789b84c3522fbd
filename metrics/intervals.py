"""Confidence intervals (95 %) over videos: Wilson's of a fraction, the bootstrap of everything else.

They say how far a figure may lie from that of all videos of this kind. Another training seed is not in them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point
NUM_DRAWS = 10_000
DRAWN_AT_ONCE = 2_000_000  # numbers; bounds memory


def wilson_interval(num_right: float, num_videos: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of p = right / n: (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n).

    num_right: 0 .. num_videos; a mean over seeds may be no whole number. Returns (low, high), from 0 to 1.
    Raises ValueError without videos.
    """
    if num_videos < 1:
        raise ValueError("an interval needs at least one video")
    share, n = num_right / num_videos, num_videos
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))  # p inside, whatever was rounded


def percentile_interval(draws: np.ndarray) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of a statistic's bootstrap draws, float [D] (Efron 1979); NaN draws do not count."""
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def resample_counts(
    num_videos: int, num_draws: int, rng: np.random.Generator, groups: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Bootstrap samples: how often each video is in it, int64 [num_videos].

    num_videos: n, at least 1. groups: int64 [n], 0 .. G-1, as `video_groups` makes them: G groups are drawn in place of
    n videos, each with all its videos.
    """
    num_units = num_videos if groups is None else int(groups.max()) + 1
    for _ in range(num_draws):
        counts = np.bincount(rng.integers(num_units, size=num_units), minlength=num_units)
        yield counts if groups is None else counts[groups]


def resamples(
    num_videos: int, num_draws: int, rng: np.random.Generator, groups: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """`resample_counts` as the places of the videos that were drawn, int64, ascending."""
    for counts in resample_counts(num_videos, num_draws, rng, groups):
        yield np.repeat(np.arange(num_videos), counts)


def group_bootstrap(
    values: np.ndarray, groups: np.ndarray, rng: np.random.Generator, num_draws: int = NUM_DRAWS
) -> np.ndarray:
    """Means of `values` (float [N]) over bootstrap samples of whole groups, float64 [num_draws].

    groups: int64 [N], 0 .. G-1. A draw is sum_g c_g sum(values of g) / sum_g c_g N_g, c ~ Multinomial(G; 1/G, ...).
    """
    totals = np.stack([np.bincount(groups, weights=values), np.bincount(groups)], axis=1)
    draws = np.concatenate([counts @ totals for counts in _group_counts(len(totals), num_draws, rng)])
    return draws[:, 0] / draws[:, 1]


def accuracy_interval(right: np.ndarray, groups: np.ndarray | None, rng: np.random.Generator) -> tuple[float, float]:
    """The interval of the fraction of right videos, bool [N]: Wilson's, with groups that of `group_bootstrap`."""
    if groups is None:
        return wilson_interval(int(right.sum()), len(right))
    return percentile_interval(group_bootstrap(right, groups, rng))


def class_bootstrap(
    right: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    num_draws: int = NUM_DRAWS,
) -> np.ndarray:
    """Mean class accuracies of bootstrap samples, float64 [num_draws].

    Stratified: the videos of each class are resampled, so its right ones are k_c* ~ Binomial(n_c, k_c / n_c). With
    groups (int64 [N], 0 .. G-1) whole groups are resampled; a draw averages the classes that it has.
    right: bool [N]. labels: int [N], 0 .. num_classes-1.
    """
    if groups is None:
        videos, hits = (np.bincount(chosen, minlength=num_classes) for chosen in (labels, labels[right]))
        held = videos > 0
        return (rng.binomial(videos[held], hits[held] / videos[held], (num_draws, held.sum())) / videos[held]).mean(1)
    cells = groups * num_classes + labels
    size = (int(groups.max()) + 1) * num_classes
    of_group = [np.bincount(cells, weights, size).reshape(-1, num_classes) for weights in (right, np.ones(len(right)))]
    means = []
    for counts in _group_counts(len(of_group[0]), num_draws, rng):
        hits, videos = (counts @ numbers for numbers in of_group)
        means.append(np.divide(hits, videos, where=videos > 0, out=np.zeros_like(hits)).sum(1) / (videos > 0).sum(1))
    return np.concatenate(means)


def _group_counts(num_groups: int, num_draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each group is drawn, float64 [d, G] of a part of the draws."""
    step = max(1, DRAWN_AT_ONCE // num_groups)
    for first in range(0, num_draws, step):
        size = min(step, num_draws - first)
        yield rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size).astype(np.float64)
