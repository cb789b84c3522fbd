"""Results class by class: recall, precision, F1, and which classes are taken for each other."""

from __future__ import annotations

import numpy as np

from metrics.intervals import wilson_interval


def confusion(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [K, K]: videos by true class (row) and predicted class (column). labels, predicted: int [M]."""
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def class_table(matrix: np.ndarray, num_videos: np.ndarray) -> list[dict]:
    """A dict for each class: index, num_videos, recall and its Wilson interval, precision, f1, from 0 to 1.

    matrix: `confusion` of the scored videos. num_videos: int [K], the expected videos of each class: a broken one costs
    recall. recall = M_cc / n_c, precision = M_cc / (predicted as c), f1 = 2 M_cc / (n_c + predicted as c); None where
    the denominator is 0.
    """
    right, predicted = np.diag(matrix).tolist(), matrix.sum(axis=0).tolist()
    return [
        {
            "index": index,
            "num_videos": n,
            "recall": hits / n if n else None,
            "interval": list(wilson_interval(hits, n)) if n else None,
            "precision": hits / guesses if guesses else None,
            "f1": 2 * hits / (n + guesses) if n + guesses else None,
        }
        for index, (n, hits, guesses) in enumerate(zip(num_videos.tolist(), right, predicted))
    ]


def confused_pairs(matrix: np.ndarray, num_videos: np.ndarray, most: int = 20) -> list[dict]:
    """The pairs of a true class and a wrong guess with the highest fraction M_ij / n_i, at most `most`, highest first.

    Returns dicts of true and predicted (indices), count, fraction, both from 0 to 1. Arguments as in `class_table`.
    """
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    shares = wrong / np.maximum(num_videos, 1)[:, None]
    return [
        {"true": i, "predicted": j, "count": int(wrong[i, j]), "fraction": float(shares[i, j])}
        for i, j in _largest(shares, most)
    ]


def mixed_pairs(matrix: np.ndarray, num_videos: np.ndarray, most: int = 20) -> list[dict]:
    """The pairs of classes i < j that are taken for each other most, by (M_ij + M_ji) / (n_i + n_j).

    Returns dicts of classes ([i, j]), count and fraction; else as `confused_pairs`.
    """
    both = np.triu(matrix + matrix.T, 1)
    shares = both / np.maximum(num_videos[:, None] + num_videos, 1)
    return [
        {"classes": [i, j], "count": int(both[i, j]), "fraction": float(shares[i, j])}
        for i, j in _largest(shares, most)
    ]


def _largest(shares: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Row and column of the largest entries above 0; equal ones in order of their places."""
    order = np.argsort(-shares, axis=None, kind="stable")[:most]
    return [divmod(int(place), shares.shape[1]) for place in order if shares.flat[place] > 0]
