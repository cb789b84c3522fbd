"""Actions of boxes on key frames. Sigmoids, or a softmax with a background; judged by frame-mAP at an IoU of 0.5."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from configs.schema import Config
from tasks.box_evaluation import judge_boxes, report
from utils.boxes import class_nms
from utils.parallel import Ranks


class Detection:
    """Any number of `num_classes` actions a box, or one of them or none."""

    name = "detection"
    best_metric = "mAP"
    metrics = ("mAP", "box_recall")
    multi_label = False

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def targets(self, batch) -> np.ndarray:
        """The labels of the boxes of a batch, float32 [M, K]."""
        return batch.box_labels

    def loss(self, logits, targets):
        """Of logits [M, K] the mean over boxes and classes of the binary cross-entropy of their sigmoids; of logits
        [M, K + 1], whose last column is the background, the mean over boxes of the cross-entropy of their softmax,
        where a box without a label is background. targets: float32 [M, K], M at least 1."""
        import paddle
        import paddle.nn.functional as F

        if logits.shape[1] == self.num_classes:
            return F.binary_cross_entropy_with_logits(logits, targets)
        background = (targets.sum(1, keepdim=True) == 0).astype("float32")
        targets = paddle.concat([targets, background], 1)
        return F.cross_entropy(logits, targets / targets.sum(1, keepdim=True), soft_label=True)

    def running_sums(self, logits: np.ndarray, batch, loss: float) -> np.ndarray:
        """float64 [2]: clips, and their losses added up."""
        return np.array([len(batch), len(batch) * loss])

    def running(self, sums: np.ndarray) -> dict:
        """loss and num_clips."""
        return {"loss": sums[1] / sums[0], "num_clips": int(sums[0])}

    def report(self, result: dict) -> str:
        """Average precision of each class, frame-mAP, recall of the boxes."""
        return report(result)


class DetectionMeter:
    """Collects the scores of boxes, and judges them.

    truth, index: of `datareader.key_frames.KeyFrames`; classes: {id: name}, id k is column k - 1 of the scores.
    max_iou: boxes of a frame that overlap a better one of the class by more are dropped; None: none is. protocol: of
    `judge_boxes`. excluded: frames that are not judged.
    """

    def __init__(
        self, truth: Any, index: Any, classes: Mapping[int, str], max_iou: float | None, protocol: str = "ava",
        excluded: Collection[int] = (),
    ):  # fmt: skip
        self.truth, self.index, self.classes, self.max_iou = truth, index, classes, max_iou
        self.protocol, self.excluded = protocol, excluded
        self.parts: list[np.ndarray] = []

    @classmethod
    def of(cls, config: Config, frames: Any) -> DetectionMeter:
        """The meter of `KeyFrames`; annotated boxes are all kept, proposals suppress each other."""
        section = config.DETECTION
        max_iou = None if section.proposals == "truth" else section.nms
        return cls(frames.truth, frames.index, frames.classes, max_iou, section.protocol, frames.excluded)

    def gathered(self, ranks: Ranks) -> DetectionMeter:
        """The meter of all ranks."""
        meter = DetectionMeter(self.truth, self.index, self.classes, self.max_iou, self.protocol, self.excluded)
        meter.parts = ranks.all_gather(self.rows())
        return meter

    def add(self, frame: int, boxes: np.ndarray, scores: np.ndarray) -> None:
        """Boxes float [M, 4] of a frame of the index, in truth's unit, and their scores [M, K], K up to the classes."""
        labels = np.array([*self.classes], np.int64)
        scores = scores[:, labels - 1]
        stays = np.ones(scores.shape, bool) if self.max_iou is None else class_nms(boxes, scores, self.max_iou)
        column, box = np.nonzero(stays.T)  # class by class
        rows = np.zeros(len(box), self.truth.rows.dtype)
        rows["frame"], rows["box"], rows["label"], rows["score"] = (
            frame,
            boxes[box],
            labels[column],
            scores[box, column],
        )
        rows["person"] = -1
        self.parts.append(rows)

    def rows(self) -> np.ndarray:
        """What was recorded: rows as those of a `BoxList`, in order of frames."""
        rows = np.concatenate([self.truth.rows[:0], *self.parts])
        return rows[np.argsort(rows["frame"], kind="stable")]

    def result(self, notes: tuple[str, ...] = (), num_draws: int = 0) -> dict:
        """The metrics by the rules of the protocol; see `judge_boxes`. notes: what is to stand in the result, too."""
        detections = type(self.truth)("the detections", self.rows(), self.truth.frames, self.truth.unit, notes)
        return judge_boxes(
            self.truth, detections, self.index, self.classes, self.protocol, self.excluded, num_draws=num_draws
        )
