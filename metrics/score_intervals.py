"""Bootstrap intervals of what scores say beyond right or wrong: losses, calibration, risk against coverage."""

from __future__ import annotations

import numpy as np

from metrics.calibration import bins_for, brier_scores, equal_mass_bins
from metrics.coverage import risk_coverage
from metrics.intervals import percentile_interval, resamples
from metrics.probabilities import log_probabilities, own_probability

NUM_DRAWS = 1000


def score_intervals(
    scores: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    num_draws: int = NUM_DRAWS,
) -> dict[str, list[float] | None]:
    """95 % percentile intervals [low, high] over resampled videos, or groups of them.

    Args:
        scores: probabilities [N, K] of N >= 1 videos.
        labels: int [N].
        groups: int64 [N], 0 .. G-1; None: videos are independent.

    Returns:
        overconfidence, log_loss, brier and ece as in `calibration`, area, excess_area and auroc as in `RiskCoverage`.
        None where there is no such number: ece of fewer than 90 videos, auroc of videos that are all right or all
        wrong. A resample's ece is biased upwards as that of the videos is; compare it with the null, not with 0.
    """
    order = np.argsort(scores.max(axis=1), kind="stable")  # resamples are ascending, so they are sorted, too
    scores, labels, groups = scores[order], labels[order], None if groups is None else groups[order]
    confidence, right = scores.max(axis=1).astype(np.float64), scores.argmax(axis=1) == labels
    means = {
        "overconfidence": confidence - right,
        "log_loss": -log_probabilities(own_probability(scores, labels)),
        "brier": brier_scores(scores, labels),
    }
    draws: dict[str, list[float]] = {}
    for chosen in resamples(len(labels), num_draws, rng, groups):
        curve, num_bins = risk_coverage(confidence[chosen], right[chosen]), bins_for(len(chosen))
        metrics = {
            **{name: values[chosen].mean() for name, values in means.items()},
            "ece": equal_mass_bins(confidence[chosen], right[chosen], num_bins).expected_error() if num_bins else None,
            "area": curve.area(),
            "excess_area": curve.excess_area(),
            "auroc": curve.auroc(),
        }
        for name, value in metrics.items():
            draws.setdefault(name, []).extend([] if value is None else [value])
    return {name: list(percentile_interval(np.array(values))) if values else None for name, values in draws.items()}
