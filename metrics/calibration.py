"""Calibration: is a network right as often as its confidence says?

Of N scored videos: confidence_i = max_k s_ik; right_i says whether the class of that maximum is the true one. Bins have
equal mass: the videos sorted by confidence, in B parts of the same size (Nguyen & O'Connor 2015; less biased than bins
of equal width: Roelofs et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metrics.intervals import DRAWN_AT_ONCE, wilson_interval
from metrics.probabilities import log_probabilities, own_probability

MAX_BINS, MIN_BINS, VIDEOS_PER_BIN = 15, 3, 30
NULL_DRAWS = 1000
MAX_CLASSES_OF_CLASSWISE = 50  # with more, a class has too few videos for bins
OF_BINS = (
    "bins", "ece", "null_ece_mean", "null_ece_95", "calibrated", "debiased_error", "largest_error", "classwise_ece"
)  # fmt: skip


def bins_for(num_videos: int) -> int:
    """B = min(15, floor(n / 30)); 0 for fewer than 90 videos, whose ECE would be noise."""
    count = num_videos // VIDEOS_PER_BIN
    return min(MAX_BINS, count) if count >= MIN_BINS else 0


@dataclass(frozen=True)
class Bins:
    """B bins of equal mass, by rising confidence. sizes: int64 [B]; confidence, accuracy: their means, float64 [B]."""

    sizes: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """|confidence - accuracy| of each bin."""
        return np.abs(self.confidence - self.accuracy)

    def expected_error(self) -> float:
        """ECE = sum_b |B_b| / n |conf_b - acc_b| (Naeini et al. 2015, Guo et al. 2017). Biased upwards: see `null`."""
        return float(self.sizes @ self.gaps / self.sizes.sum())

    def largest_error(self) -> float:
        """MCE, the largest gap of a bin (Naeini et al. 2015)."""
        return float(self.gaps.max())

    def debiased_error(self) -> float:
        """Root-mean-square error without the part that chance adds (Kumar et al. 2019), each bin of 2 videos or more.

        CE_2^2 = sum_b |B_b| / n [(conf_b - acc_b)^2 - acc_b (1 - acc_b) / (|B_b| - 1)]; the root of max(0, .).
        """
        chance = self.accuracy * (1 - self.accuracy) / (self.sizes - 1)
        return float(np.sqrt(max(0.0, self.sizes @ (self.gaps**2 - chance) / self.sizes.sum())))

    def table(self) -> list[dict]:
        """A dict for each bin: num_videos, confidence, accuracy and its Wilson interval; the reliability diagram."""
        return [
            {
                "num_videos": int(size),
                "confidence": float(confidence),
                "accuracy": float(accuracy),
                "interval": list(wilson_interval(accuracy * size, int(size))),
            }
            for size, confidence, accuracy in zip(self.sizes, self.confidence, self.accuracy)
        ]


def equal_mass_bins(confidence: np.ndarray, right: np.ndarray, num_bins: int) -> Bins:
    """num_bins (1 .. N) bins of confidence float [N] and right bool [N], of the sizes that `np.array_split` makes."""
    order = np.argsort(confidence, kind="stable")
    starts, sizes = _parts(len(order), num_bins)
    means = [np.add.reduceat(values[order].astype(np.float64), starts) / sizes for values in (confidence, right)]
    return Bins(sizes, *means)


def null_errors(
    confidence: np.ndarray, num_bins: int, rng: np.random.Generator, num_draws: int = NULL_DRAWS
) -> np.ndarray:
    """The ECE that a perfectly calibrated network would show: right_i* ~ Bernoulli(confidence_i), float64 [num_draws].

    Consistency resampling (Broecker & Smith 2007; Vaicenavicius et al. 2019).
    """
    ordered = np.sort(confidence).astype(np.float64)
    starts, sizes = _parts(len(ordered), num_bins)
    expected = np.add.reduceat(ordered, starts)
    step, errors = max(1, DRAWN_AT_ONCE // len(ordered)), []
    for first in range(0, num_draws, step):
        right = rng.random((min(step, num_draws - first), len(ordered))) < ordered
        counts = np.add.reduceat(right, starts, axis=1, dtype=np.int64)
        errors.append(np.abs(counts - expected).sum(axis=1) / len(ordered))
    return np.concatenate(errors)


def log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    """NLL = -mean_i log max(s_i,y_i, 1e-12), in nats."""
    return float(-log_probabilities(own_probability(scores, labels)).mean())


def brier_scores(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """sum_k (s_ik - [k = y_i])^2 of each video, float64 [N], 0 to 2 (Brier 1950)."""
    return np.einsum("ik,ik->i", scores, scores, dtype=np.float64) - 2 * own_probability(scores, labels) + 1


def classwise_error(scores: np.ndarray, labels: np.ndarray, num_bins: int) -> float:
    """Mean over classes of the ECE of s_ik against [y_i = k] (Kull et al. 2019)."""
    errors = [equal_mass_bins(scores[:, k], labels == k, num_bins).expected_error() for k in range(scores.shape[1])]
    return float(np.mean(errors))


def calibration(scores: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> dict:
    """Everything about the calibration of probabilities float [N, K] of N >= 1 videos of classes int [N].

    Returns num_videos, mean_confidence, accuracy, overconfidence (their difference), log_loss, brier; and, None for
    fewer than 90 videos, bins (`Bins.table`), ece, null_ece_mean and null_ece_95 (of `null_errors`), calibrated (ece
    within null_ece_95: nothing else can be shown with so many videos), debiased_error, largest_error, and for at most
    50 classes classwise_ece. From 0 to 1, but overconfidence from -1, brier to 2, log_loss in nats.
    """
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    mean_confidence, accuracy = float(confidence.mean(dtype=np.float64)), float(right.mean())
    result = {
        "num_videos": len(labels),
        "mean_confidence": mean_confidence,
        "accuracy": accuracy,
        "overconfidence": mean_confidence - accuracy,
        "log_loss": log_loss(scores, labels),
        "brier": float(brier_scores(scores, labels).mean()),
    }
    num_bins = bins_for(len(labels))
    if not num_bins:
        return {**result, **dict.fromkeys(OF_BINS)}
    bins, null = equal_mass_bins(confidence, right, num_bins), null_errors(confidence, num_bins, rng)
    ece, null_ece_95 = bins.expected_error(), float(np.percentile(null, 95))
    classwise = scores.shape[1] <= MAX_CLASSES_OF_CLASSWISE
    return {
        **result,
        "bins": bins.table(),
        "ece": ece,
        "null_ece_mean": float(null.mean()),
        "null_ece_95": null_ece_95,
        "calibrated": ece <= null_ece_95,
        "debiased_error": bins.debiased_error(),
        "largest_error": bins.largest_error(),
        "classwise_ece": classwise_error(scores, labels, num_bins) if classwise else None,
    }


def _parts(num_videos: int, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """First places and sizes of the parts that `np.array_split` makes, int64 [B] each."""
    sizes = np.full(num_bins, num_videos // num_bins)
    sizes[: num_videos % num_bins] += 1
    return np.cumsum(sizes) - sizes, sizes
