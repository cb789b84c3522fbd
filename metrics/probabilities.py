"""Class probabilities: softmax, logarithms that stay finite, and folds of videos to fit on and to judge on."""

from __future__ import annotations

import numpy as np

SMALLEST_PROBABILITY = 1e-12


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(z_k) / sum_j exp(z_j) of logits [..., K]."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def log_probabilities(scores: np.ndarray) -> np.ndarray:
    """log max(s, 1e-12), float64."""
    return np.log(np.maximum(scores, SMALLEST_PROBABILITY, dtype=np.float64))


def own_probability(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """s_i of the true class y_i: float64 [N] of scores [N, K] and labels int [N]."""
    return scores[np.arange(len(labels)), labels].astype(np.float64)


def stratified_folds(labels: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """The fold 0 .. num_folds - 1 of each video, int64 [N]: at random, each class (labels: int [N]) spread evenly."""
    order = np.random.default_rng(seed).permutation(len(labels))
    folds = np.empty(len(labels), np.int64)
    folds[order[np.argsort(labels[order], kind="stable")]] = np.arange(len(labels)) % num_folds
    return folds
