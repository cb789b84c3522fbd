"""Several classes per video (Charades). Sigmoid and binary cross-entropy; judged by mean average precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metrics import MultiLabelMeter
from metrics.multilabel import multi_hot
from metrics.results import VideoMeter
from tasks.classification import best_classes, report_tables


class MultiLabel:
    """Any number of `num_classes` classes per video."""

    name = "multi_label"
    best_metric = "mAP"
    metrics = ("mAP",)
    multi_label = True

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def targets(self, batch) -> np.ndarray:
        """Ones for the classes of each clip, float32 [N, K]."""
        return multi_hot(batch.labels, self.num_classes).astype(np.float32)

    def loss(self, logits, targets):
        """Mean over clips and classes of -t log p - (1 - t) log(1 - p), p = sigmoid(logits); both float32 [N, K]."""
        import paddle.nn.functional as F

        return F.binary_cross_entropy_with_logits(logits, targets)

    def running_sums(self, logits: np.ndarray, batch, loss: float) -> np.ndarray:
        """float64 [2]: clips, and their losses added up."""
        return np.array([len(batch), len(batch) * loss])

    def running(self, sums: np.ndarray) -> dict:
        """loss and num_clips."""
        return {"loss": sums[1] / sums[0], "num_clips": int(sums[0])}

    def meter(self, items: Sequence, class_names: Sequence[str] | None = None) -> MultiLabelMeter:
        """A meter of mean average precision over videos."""
        return MultiLabelMeter(
            self.num_classes,
            labels=[item.labels for item in items],
            paths=[item.path for item in items],
            class_names=class_names,
        )

    def report(self, result: dict) -> str:
        """Average precision of each class, their mean, and how many videos there are."""
        return report_tables(result, "average_precision", {"mAP": "mean average precision"})

    def draw(self, meter: VideoMeter, folder: Path) -> list[Path]:
        """No picture."""
        return []

    def postprocess(self, scores: np.ndarray, class_names: Sequence[str], topk: int) -> list[dict]:
        """The `topk` most probable classes of scores [K]; each probability stands for itself."""
        return best_classes(scores, class_names, topk)
