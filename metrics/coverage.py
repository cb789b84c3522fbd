"""Risk against coverage: how many videos may a network answer, when it stays silent where it is not confident?

Videos enter in falling order of confidence, those of equal confidence together. At coverage j / N the risk is the
fraction of wrong ones among those j (El-Yaniv & Wiener 2010; Geifman & El-Yaniv 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ACCURACIES = (0.99, 0.95)  # for which a threshold on the confidence is given


@dataclass(frozen=True)
class RiskCoverage:
    """The curve at its J distinct confidences, falling: thresholds float [J], answered int64 [J] (videos with at least
    that confidence), wrong int64 [J] (among them)."""

    thresholds: np.ndarray
    answered: np.ndarray
    wrong: np.ndarray

    @property
    def coverage(self) -> np.ndarray:
        """answered / N."""
        return self.answered / self.answered[-1]

    @property
    def risk(self) -> np.ndarray:
        """wrong / answered."""
        return self.wrong / self.answered

    def area(self) -> float:
        """AURC = mean over videos j of risk(j)."""
        return float(np.diff(self.answered, prepend=0) @ self.risk / self.answered[-1])

    def excess_area(self) -> float:
        """E-AURC: the area above that of the best order, all right videos first."""
        num_videos, num_wrong = self.answered[-1], self.wrong[-1]
        places = np.arange(1, num_videos + 1)
        return self.area() - float(np.mean(np.maximum(0, places - (num_videos - num_wrong)) / places))

    def auroc(self) -> float | None:
        """P(confidence of a right video > that of a wrong one), ties half; None without right or without wrong ones."""
        wrong = np.diff(self.wrong, prepend=0)
        right = np.diff(self.answered, prepend=0) - wrong
        if not wrong.any() or not right.any():
            return None
        right_above = np.cumsum(right) - right / 2
        return float(wrong @ right_above / (wrong.sum() * right.sum()))

    def threshold(self, accuracy: float) -> float | None:
        """The lowest confidence from which on answers are right with at least that accuracy; None: there is none."""
        good = np.flatnonzero(self.wrong <= (1 - accuracy) * self.answered + 1e-9)
        return float(self.thresholds[good[-1]]) if len(good) else None


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> RiskCoverage:
    """The curve of N >= 1 videos: confidence float [N], right bool [N]."""
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    last_of_equal = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return RiskCoverage(ranked[last_of_equal], last_of_equal + 1, np.cumsum(~right[order])[last_of_equal])


def threshold_table(confidence: np.ndarray, right: np.ndarray, folds: np.ndarray) -> list[dict]:
    """For each of ACCURACIES: the threshold on the confidence and how it does on videos that did not choose it.

    folds: int [N]; the videos of a fold are judged by the threshold of all other folds.
    Returns dicts of wanted_accuracy, threshold (of all videos; None: no threshold reaches it), coverage (of all videos
    at it), held_out_coverage and held_out_accuracy (None where no video is answered), all from 0 to 1.
    """
    rows = []
    for accuracy in ACCURACIES:
        answered = np.zeros(len(right), bool)
        for fold in np.unique(folds):
            held_out = folds == fold
            if held_out.all():
                continue
            chosen = risk_coverage(confidence[~held_out], right[~held_out]).threshold(accuracy)
            answered[held_out] = chosen is not None and confidence[held_out] >= chosen
        threshold = risk_coverage(confidence, right).threshold(accuracy)
        rows.append(
            {
                "wanted_accuracy": accuracy,
                "threshold": threshold,
                "coverage": 0.0 if threshold is None else float((confidence >= threshold).mean()),
                "held_out_coverage": float(answered.mean()),
                "held_out_accuracy": float(right[answered].mean()) if answered.any() else None,
            }
        )
    return rows
