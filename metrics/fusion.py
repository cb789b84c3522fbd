"""Late fusion: the class scores of several runs on the same videos become one set of scores.

R runs, N videos, K classes. What is fused (`of`), with weights w_r >= 0:

| of | fused scores | |
|---|---|---|
| logits | softmax(sum_r w_r z_r) | two-stream I3D (Carreau & Zisserman 2017), with w = 1, 1 |
| probabilities | sum_r w_r s_r / sum_r w_r | the arithmetic mean |
| log_probabilities | softmax(sum_r w_r log s_r / sum_r w_r) | the geometric mean |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metrics.probabilities import SMALLEST_PROBABILITY, log_probabilities, own_probability, softmax, stratified_folds
from utils.errors import UserError

FUSED = ("logits", "probabilities", "log_probabilities")
EM_ROUNDS, EM_TOLERANCE = 200, 1e-6


def fuse(values: Sequence[np.ndarray], weights: Sequence[float] | np.ndarray, of: str) -> np.ndarray:
    """The fused probabilities, float64 [N, K], of R arrays [N, K]: logits, or probabilities where `of` (see above) is
    probabilities or log_probabilities. Raises UserError for weights that do not fit."""
    shares = checked_weights(weights, len(values))
    if of == "logits":
        return softmax(_weighted_sum(values, shares))
    shares = shares / shares.sum()
    if of == "probabilities":
        return _weighted_sum(values, shares)
    return softmax(_weighted_sum([log_probabilities(s) for s in values], shares))


def checked_weights(weights: Sequence[float] | np.ndarray, num_runs: int) -> np.ndarray:
    """float64 [R]. Raises UserError unless there is one finite weight >= 0 a run, and one above 0."""
    found = np.asarray(weights, np.float64)
    if found.shape != (num_runs,) or not np.isfinite(found).all() or (found < 0).any() or not found.any():
        numbers = " ".join(f"{weight:g}" for weight in weights)
        raise UserError(f"weights {numbers}: pass {num_runs} numbers of 0 or more, one for each run, not all 0")
    return found


def mixture_weights(own: np.ndarray) -> np.ndarray:
    """The weights of the arithmetic mean that minimise -sum_i log sum_r w_r s_r[i, y_i] over w_r >= 0, sum_r w_r = 1.

    Expectation maximisation (Dempster, Laird & Rubin 1977) from equal weights: w_r <- mean_i w_r s_r[i, y_i] / sum_q
    w_q s_q[i, y_i], up to 200 rounds or until no weight changes by 1e-6. The loss is convex, so there is no other
    minimum.

    own: float [N, R], the probability s_r[i, y_i] that run r gives to the true class of video i.
    Returns float64 [R]; equal weights without videos.
    """
    own = np.maximum(np.asarray(own, np.float64), SMALLEST_PROBABILITY)
    weights = np.full(own.shape[1], 1 / own.shape[1])
    for _ in range(EM_ROUNDS if len(own) else 0):
        parts = own * weights
        changed = (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)
        change, weights = np.abs(changed - weights).max(), changed
        if change < EM_TOLERANCE:
            break
    return weights


def cross_validated_fusion(
    scores: Sequence[np.ndarray], labels: np.ndarray, num_folds: int = 5, seed: int = 0
) -> np.ndarray:
    """The arithmetic mean of R arrays of probabilities [N, K], each video's by `mixture_weights` of the other folds,
    float64 [N, K]: what weights found on other videos give. labels: int [N]."""
    folds = stratified_folds(labels, num_folds, seed)
    own = own_probabilities(scores, labels)
    fused = np.empty(np.shape(scores[0]))
    for fold in range(num_folds):
        held_out = folds == fold
        fused[held_out] = fuse([s[held_out] for s in scores], mixture_weights(own[~held_out]), "probabilities")
    return fused


def own_probabilities(scores: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """What each run gives to the true class of each video, float [N, R], as `mixture_weights` takes it."""
    return np.stack([own_probability(run, labels) for run in scores], axis=1)


def _weighted_sum(values: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    return np.sum([weight * np.asarray(value, np.float64) for value, weight in zip(values, weights)], axis=0)
