"""Top-k accuracy of single clips or videos, with ties and missing values decided once and for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utils.errors import UserError


def topk_correct(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Say for each row whether its label is among the min(k, K) highest scores.

    Equal scores are ranked by class index, the lower first, so that the answer never depends on a sorting algorithm.
    A row with a NaN anywhere is wrong: a network that produces NaN has not recognised anything.

    Args:
        scores: float [N, K], any monotone score (logits, probabilities, sums of them).
        labels: int [N], 0 .. K-1.
        k: how many guesses count, at least 1.

    Returns:
        bool [N].

    Raises:
        UserError: shapes do not fit together, or a label lies outside 0 .. K-1.
    """
    scores, labels = checked_scores(scores, labels)
    if k < 1:
        raise UserError(f"top-k accuracy needs k of at least 1, not {k}")
    if not len(labels):
        return np.zeros(0, bool)
    own = scores[np.arange(len(labels)), labels][:, None]
    before = np.arange(scores.shape[1])[None, :] < labels[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return (rank < min(k, scores.shape[1])) & ~np.isnan(scores).any(axis=1)


def checked_scores(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores [N, K] and labels int64 [N] as arrays; UserError where they do not fit together."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or scores.shape[1] < 1 or labels.shape != scores.shape[:1]:
        raise UserError(f"scores must be [N, K] and labels [N], not {list(scores.shape)} and {list(labels.shape)}")
    return scores, checked_labels(labels, scores.shape[1])


def checked_labels(labels: Sequence[int] | np.ndarray, num_classes: int) -> np.ndarray:
    """Return labels as int64 [N]; UserError for one outside 0 .. num_classes-1."""
    labels = np.asarray(labels, np.int64)
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise UserError(
            f"label {outside[0]} is outside 0..{num_classes - 1}: the list has more classes than MODEL.num_classes"
        )
    return labels


class TopkMeter:
    """Mean top-1, top-5 and loss over clips, each clip with the same weight whatever the batch it came in."""

    def __init__(self) -> None:
        self._sums = np.zeros(5, np.float64)  # clips, right at 1, right at 5, clips with a loss, loss x clips

    def update(self, scores: np.ndarray, labels: np.ndarray, loss: float | None = None) -> None:
        """Add a batch: scores float [N, K], labels int [N], and the mean loss of the batch if there is one."""
        size = len(labels)
        right = [topk_correct(scores, labels, k).sum() for k in (1, 5)]
        losses = (0, 0.0) if loss is None else (size, float(loss) * size)
        self._sums += np.array([size, *right, *losses], np.float64)

    def state(self) -> np.ndarray:
        """Return the sums, float64 [5]: add those of all ranks (an all-reduce) and give the total to `load_state`."""
        return self._sums.copy()

    def load_state(self, sums: np.ndarray) -> None:
        """Replace the sums by float64 [5] from `state`."""
        self._sums = np.array(sums, np.float64).reshape(5)

    def result(self) -> dict[str, float | int | None]:
        """Return top1 and top5 in percent (0 without clips), the mean loss (None if none was given) and num_clips."""
        clips, right1, right5, clips_with_loss, loss = self._sums.tolist()
        return {
            "top1": 100.0 * right1 / max(clips, 1.0),
            "top5": 100.0 * right5 / max(clips, 1.0),
            "loss": loss / clips_with_loss if clips_with_loss else None,
            "num_clips": int(clips),
        }
