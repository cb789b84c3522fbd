"""Paired comparison of two runs on the same videos: does one recognise more, or may it be chance?

Of n videos, b are right in the first run only and c in the second only; all others say nothing about which is better.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metrics.intervals import NUM_DRAWS, group_bootstrap, percentile_interval

SIGNIFICANCE = 0.05
# (z of 97.5 % + z of 80 %): a difference of that many standard errors is found four times in five
DETECTABLE_STANDARD_ERRORS = 2.8


@dataclass(frozen=True)
class Comparison:
    """How many of the same videos two runs have right, and what follows.

    both, first_only, second_only, neither: numbers of videos; they add up to all. p_value: of `mcnemar_p`. interval:
    95 % bootstrap interval of `difference`, both from -1 to 1.
    """

    both: int
    first_only: int
    second_only: int
    neither: int
    p_value: float
    interval: tuple[float, float]

    @property
    def num_videos(self) -> int:
        """n, the scored and the broken ones."""
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def difference(self) -> float:
        """Accuracy of the first run minus that of the second: (b - c) / n."""
        return (self.first_only - self.second_only) / self.num_videos

    @property
    def oracle(self) -> float:
        """The fraction that is right in at least one run: the ceiling of any fusion that chooses between the two."""
        return 1 - self.neither / self.num_videos

    @property
    def detectable_difference(self) -> float:
        """The difference found with 80 % probability, given as many discordant videos: 2.8 sqrt(b + c) / n."""
        return DETECTABLE_STANDARD_ERRORS * math.sqrt(self.first_only + self.second_only) / self.num_videos

    def better(self, p_value: float | None = None) -> int:
        """1 or 2, the run that is better, or 0: no difference is shown.

        A run is better only where the interval excludes 0 and P < 0.05. p_value: in place of `p_value`, where it was
        corrected for several comparisons.
        """
        low, high = self.interval
        if (self.p_value if p_value is None else p_value) >= SIGNIFICANCE or low <= 0 <= high:
            return 0
        return 1 if low > 0 else 2


def compare(
    first_right: np.ndarray, second_right: np.ndarray, seed: int = 0, groups: np.ndarray | None = None
) -> Comparison:
    """Compare two runs by which videos they have right.

    Args:
        first_right, second_right: bool [N], of the same videos in the same order; a broken video is wrong.
        seed: of the bootstrap.
        groups: int64 [N], 0 .. G-1, of `video_groups`: videos that the bootstrap draws together. P does not know them.

    Raises:
        ValueError: no videos, or arrays of different lengths.
    """
    a, b = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"cannot compare videos of shapes {list(a.shape)} and {list(b.shape)}")
    both, first_only, second_only = (int(count.sum()) for count in (a & b, a & ~b, b & ~a))
    return Comparison(
        both=both,
        first_only=first_only,
        second_only=second_only,
        neither=len(a) - both - first_only - second_only,
        p_value=mcnemar_p(first_only, second_only),
        interval=paired_bootstrap(a, b, seed, groups),
    )


def mcnemar_p(first_only: int, second_only: int) -> float:
    """McNemar's exact test (1947; recommended for one test set by Dietterich 1998), two-sided.

    P = min(1, 2 sum_{i <= min(b, c)} C(b + c, i) 2^-(b + c)); 1 where b + c = 0. The sum is taken in logarithms.
    """
    total, fewer = first_only + second_only, min(first_only, second_only)
    terms = [
        math.lgamma(total + 1) - math.lgamma(i + 1) - math.lgamma(total - i + 1) - total * math.log(2)
        for i in range(fewer + 1)
    ]
    largest = max(terms)
    return min(1.0, 2 * math.exp(largest) * math.fsum(math.exp(term - largest) for term in terms))


def paired_bootstrap(
    first_right: np.ndarray, second_right: np.ndarray, seed: int = 0, groups: np.ndarray | None = None
) -> tuple[float, float]:
    """95 % percentile interval of the difference of two accuracies over 10,000 resamples of the videos, or of groups.

    Resampled videos fall into b, c and the rest as Multinomial(n; b / n, c / n, 1 - (b + c) / n), so the counts are
    drawn in place of the videos. Arguments as of `compare`.
    """
    difference = np.asarray(first_right, np.int64) - np.asarray(second_right, np.int64)
    rng = np.random.default_rng(seed)
    if groups is not None:
        return percentile_interval(group_bootstrap(difference, groups, rng))
    fractions = [np.mean(difference == value) for value in (1, -1, 0)]
    counts = rng.multinomial(len(difference), fractions, NUM_DRAWS)
    return percentile_interval((counts[:, 0] - counts[:, 1]) / len(difference))


def compare_pairs(
    rights: Sequence[np.ndarray], seed: int = 0, groups: np.ndarray | None = None
) -> dict[tuple[int, int], tuple[Comparison, float]]:
    """Compare each pair of R runs: their places i < j among the runs -> the comparison, and its P corrected for all
    pairs. rights: bool [N] of each run; the rest as of `compare`."""
    pairs = list(itertools.combinations(range(len(rights)), 2))
    compared = [compare(rights[i], rights[j], seed, groups) for i, j in pairs]
    corrected = holm([comparison.p_value for comparison in compared])
    return dict(zip(pairs, zip(compared, corrected)))


@dataclass(frozen=True)
class ClassChange:
    """The videos of one class that two runs have right. p_value: of `mcnemar_p`, corrected for all classes."""

    index: int
    num_videos: int
    first_only: int
    second_only: int
    p_value: float


def compare_classes(first_right: np.ndarray, second_right: np.ndarray, labels: np.ndarray) -> list[ClassChange]:
    """Which classes changed from one run to another, the largest change of the number of right videos first.

    first_right, second_right: bool [N]; labels: int [N]. Classes without videos are not listed.
    """
    num_videos = np.bincount(labels)
    first_only, second_only = (
        np.bincount(labels[turned], minlength=len(num_videos))
        for turned in (first_right & ~second_right, second_right & ~first_right)
    )
    present = np.flatnonzero(num_videos)
    counts = np.stack([present, num_videos[present], first_only[present], second_only[present]], axis=1).tolist()
    corrected = holm([mcnemar_p(b, c) for _, _, b, c in counts])
    changes = [ClassChange(index, n, b, c, p) for (index, n, b, c), p in zip(counts, corrected)]
    return sorted(changes, key=lambda change: (-abs(change.first_only - change.second_only), change.index))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values of K tests, corrected (Holm 1979): the j-th smallest becomes max_{i <= j} min(1, (K - i + 1) p_i)."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return corrected.tolist()
