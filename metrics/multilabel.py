"""Mean average precision, the metric for data with several actions a video (Charades)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metrics.intervals import percentile_interval, resample_counts
from metrics.results import SEED, VideoMeter
from metrics.topk import checked_labels
from utils.errors import UserError

NUM_DRAWS = 1000  # of the bootstrap


def average_precision(scores: np.ndarray, targets: np.ndarray) -> float | None:
    """AP = sum over distinct scores, high to low, of (R_n - R_{n-1}) P_n, without interpolation (scikit-learn's form).

    Videos of equal score enter together, so their order does not matter.

    Args:
        scores: float [N], one class's score of each video; -inf ranks last.
        targets: bool [N], whether the video has the class.

    Returns:
        0 .. 1, or None when no video has the class.
    """
    scores, targets = np.asarray(scores), np.asarray(targets, bool)
    if not targets.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(targets[order])
    last_of_group = np.append(ranked[1:] != ranked[:-1], True)
    hits, seen = hits[last_of_group], np.arange(1, len(scores) + 1)[last_of_group]
    return float(np.sum(np.diff(hits, prepend=0) * hits / seen) / hits[-1])


def mean_average_precision(scores: np.ndarray, targets: np.ndarray) -> dict:
    """Average the AP of the classes that have a positive.

    Args:
        scores: float [N, K]; a row with a NaN ranks last for every class.
        targets: bool [N, K].

    Returns:
        mAP in percent (0 when no class has a positive), average_precision (a list of K percentages, None for a class
        without positives) and classes_without_positives (the indices left out of the mean).

    Raises:
        UserError: the shapes differ.
    """
    scores, targets = np.array(scores, np.float64), np.asarray(targets, bool)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise UserError(f"scores and targets must both be [N, K], not {list(scores.shape)} and {list(targets.shape)}")
    scores[np.isnan(scores).any(axis=1)] = -np.inf
    values = [average_precision(scores[:, k], targets[:, k]) for k in range(scores.shape[1])]
    counted = [value for value in values if value is not None]
    return {
        "mAP": 100.0 * float(np.mean(counted)) if counted else 0.0,
        "average_precision": [None if value is None else 100.0 * value for value in values],
        "classes_without_positives": [k for k, value in enumerate(values) if value is None],
    }


def mean_average_precision_draws(
    scores: np.ndarray,
    targets: np.ndarray,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    num_draws: int = NUM_DRAWS,
) -> np.ndarray:
    """The mAP of bootstrap samples of the videos, 0 .. 1, float64 [num_draws]; NaN for one without a positive.

    scores, targets: [N, K] as in `mean_average_precision`. groups: as in `resample_counts`.
    """
    counts = np.stack([*resample_counts(len(scores), num_draws, rng, groups)])
    precisions = np.stack([_average_precisions(counts, scores[:, k], targets[:, k]) for k in range(scores.shape[1])])
    held = ~np.isnan(precisions)
    with np.errstate(invalid="ignore"):
        return np.where(held, precisions, 0).sum(axis=0) / held.sum(axis=0)


def _average_precisions(counts: np.ndarray, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """`average_precision` of samples that hold each video `counts` times: float64 [D] of int [D, N]; NaN for None."""
    order = np.argsort(-scores, kind="stable")
    last_of_group = np.append(scores[order][1:] != scores[order][:-1], True)
    drawn = counts[:, order]
    hits = np.cumsum(drawn * targets[order], axis=1)[:, last_of_group]
    seen = np.cumsum(drawn, axis=1)[:, last_of_group]
    with np.errstate(invalid="ignore"):
        return (np.diff(hits, prepend=0) * hits / np.maximum(seen, 1)).sum(axis=1) / hits[:, -1]


def multi_hot(labels: Sequence[Sequence[int]], num_classes: int) -> np.ndarray:
    """Turn the classes of each video into bool [N, K]; UserError for a class outside 0 .. K-1."""
    targets = np.zeros((len(labels), num_classes), bool)
    for row, classes in zip(targets, labels):
        row[checked_labels(classes, num_classes)] = True
    return targets


class MultiLabelMeter(VideoMeter):
    """Collects the view scores of each video once and gives the mean average precision over videos.

    A video's score is the mean of its views' class scores (sigmoid). A broken video ranks last for every class, so
    its actions cost recall; it is named.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        labels: Sequence[Sequence[int]],
        paths: Sequence[str] | None = None,
        video_ids: Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """Expect exactly these videos, each with its classes (possibly none); the rest as in MultiViewMeter."""
        super().__init__(num_classes, len(labels), paths, video_ids, class_names, multi_hot(labels, num_classes))

    def result(self) -> dict:
        """Return mAP in percent, per_class (index, name, average_precision, num_videos), and the counts of videos."""
        precisions = mean_average_precision(self._all_scores(), self._labels)
        positives = self._labels.sum(axis=0)
        per_class = [
            {"index": k, "name": self.class_names[k], "average_precision": value, "num_videos": int(positives[k])}
            for k, value in enumerate(precisions["average_precision"])
        ]
        return {
            "mAP": precisions["mAP"],
            "per_class": per_class,
            "classes_without_positives": precisions["classes_without_positives"],
            **self._results.counts(),
        }

    def _intervals(self, groups: np.ndarray | None) -> dict[str, tuple[float, float]]:
        """Of mAP: the bootstrap of videos, or of groups."""
        if not self._labels.any():
            return {}
        rng = np.random.default_rng(SEED)
        return {"mAP": percentile_interval(mean_average_precision_draws(self._all_scores(), self._labels, rng, groups))}

    def _all_scores(self) -> np.ndarray:
        """The scores of all expected videos, float64 [N, K]; a broken one's are -inf."""
        positions, rows = self._scored()
        scores = np.full((len(self._results), self.num_classes), -np.inf)
        scores[positions] = rows[:, : self.num_classes]
        return scores
