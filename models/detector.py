"""A detector: a backbone, a head that classifies boxes, and where wanted a network that proposes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn

from models.detection_head import DetectionHead
from models.proposals import ProposalNetwork
from models.recognizer import ExportedNetwork, Recognizer
from utils.boxes import iou
from utils.errors import UserError

BOXES_AT_ONCE = 256  # that are scored together: bounds the memory
BACKGROUND_IOU = 0.3  # a proposal is background where its IoU with each true box is smaller


class Detector(Recognizer):
    """forward(clips float32 [N, C, T, H, W], boxes float32 [M, 5]) -> logits [M, K]; see `DetectionHead`.

    `proposals` is a `ProposalNetwork` on the frame in the middle of a clip, or None.
    """

    def __init__(self, backbone: nn.Layer, head: DetectionHead, options: Any = None):
        super().__init__(backbone, head, options)
        proposals = head.detection.proposals
        self.proposals = ProposalNetwork(proposals) if proposals else None

    def forward(self, clips, boxes=None):
        if boxes is None:
            raise UserError(
                "a detector classifies boxes, not whole clips (MODEL.task detection): use train.py and eval.py"
            )
        last = self.stage_names[-1]
        return self.head(self.backbone.forward_features(clips, (last,))[last], boxes)

    def prepare_for_export(self, num_frames: int, volumes: bool = False) -> ExportedNetwork:
        """Raises UserError: there is no export with boxes."""
        raise UserError("a detector (MODEL.task detection) cannot be exported; eval.py runs it in Paddle")

    def proposed_boxes(self, clips, min_score: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Boxes that may hold an actor, float32 [M, 4], and their clips' indices int64 [M], ascending.

        Of each clip those with a score of at least `min_score`; the best one if there is none.
        """
        return self.scored_proposals(clips, min_score)[:2]

    def scored_proposals(self, clips, min_score: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `proposed_boxes`, and the boxes' scores, float32 [M]."""
        boxes, scores = (tensor.numpy() for tensor in self.proposals(key_frame(clips)))
        clip = boxes[:, 0].astype(np.int64)
        is_best = np.diff(clip, prepend=-1) > 0  # those of a clip are in order of scores
        kept = is_best | (scores >= min_score)
        return boxes[kept, 1:], clip[kept], scores[kept]

    @paddle.no_grad()
    def box_scores(self, clips, boxes: np.ndarray, box_clip: np.ndarray) -> np.ndarray:
        """Scores of any number of boxes, float32 [M, K].

        clips: float32 [N, C, T, H, W]. boxes: float32 [M, 4], pixels, as `utils.boxes.clip_boxes` returns them.
        box_clip: int64 [M], ascending.
        """
        last = self.stage_names[-1]
        features = self.backbone.forward_features(clips, (last,))[last]
        parts = []
        for first in range(0, max(1, len(boxes)), BOXES_AT_ONCE):
            part = slice(first, first + BOXES_AT_ONCE)
            parts.append(self.class_scores(self.head(features, indexed_boxes(boxes[part], box_clip[part]))).numpy())
        return np.concatenate(parts)

    def training_loss(
        self, clips, boxes: np.ndarray, box_clip: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple:
        """What the head learns from, and the loss of the proposals.

        Learned from are the true boxes of a clip and, with a proposal network, some of its proposals, `max_boxes`
        together; see `mixed_boxes`.

        Args:
            clips: float32 [N, C, T, H, W].
            boxes: true ones, float32 [M, 4], pixels. box_clip: int64 [M], ascending. labels: float32 [M, K].
            rng: chooses among true boxes beyond `max_boxes`, and among the proposals of the highest scores.

        Returns:
            logits [m, K] or [m, K + 1] of the boxes, their labels float32 [m, K], the loss of the proposal network, a
            scalar, 0.0 without one.
        """
        loss, proposals = 0.0, np.zeros((0, 5), np.float32)
        if self.proposals is not None:
            prediction = self.proposals.predict(key_frame(clips))
            loss = self.proposals.loss(prediction, boxes, box_clip)
            proposals = self.proposals.proposals(prediction)[0].numpy()
        detection, parts = self.head.detection, []
        for clip in range(len(clips)):
            own = rng.permutation(np.flatnonzero(box_clip == clip))[: detection.max_boxes]
            proposed = proposals[proposals[:, 0] == clip, 1:]
            parts.append(mixed_boxes(boxes[own], labels[own], proposed, detection.max_boxes, detection.min_iou, rng))
        chosen, chosen_labels = (np.concatenate(column) for column in zip(*parts))
        chosen_clip = np.repeat(np.arange(len(parts)), [len(part) for part, _ in parts])
        if not len(chosen):  # nobody in the whole batch: the first frame is background
            chosen, chosen_clip = np.array([[0, 0, clips.shape[4], clips.shape[3]]], np.float32), np.zeros(1, np.int64)
            chosen_labels = np.zeros((1, labels.shape[1]), np.float32)
        return self(clips, indexed_boxes(chosen, chosen_clip)), chosen_labels, loss


def mixed_boxes(
    boxes: np.ndarray, labels: np.ndarray, proposals: np.ndarray, max_boxes: int, min_iou: float, rng
) -> tuple[np.ndarray, np.ndarray]:
    """True boxes [M, 4] of a clip with labels [M, K], and proposals [P, 4] up to `max_boxes` boxes with theirs.

    Proposals that show part of an actor, with a largest IoU from 0.3 to `min_iou`, are left out: they are neither
    background nor the actor. The rest are drawn from twice as many as are wanted, those of the highest scores, which
    come first.
    """
    found = np.zeros((len(proposals), labels.shape[1]), np.float32)
    if len(boxes):
        overlap = iou(proposals[:, None], boxes[None])
        best = overlap.max(axis=1)
        is_true = best >= min_iou
        found[is_true] = labels[overlap.argmax(axis=1)[is_true]]
        is_used = is_true | (best < BACKGROUND_IOU)
        proposals, found = proposals[is_used], found[is_used]
    wanted = max_boxes - len(boxes)
    drawn = rng.permutation(min(2 * wanted, len(proposals)))[:wanted]
    return np.concatenate([boxes, proposals[drawn]]), np.concatenate([labels, found[drawn]])


def key_frame(clips):
    """The frame of a clip for which boxes are: [N, C, T, H, W] -> [N, C, H, W]. Clips are sampled around it."""
    return clips[:, :, clips.shape[2] // 2]


def indexed_boxes(boxes: np.ndarray, box_clip: np.ndarray):
    """Boxes float [M, 4] and their clips' indices [M] as a tensor float32 [M, 5]."""
    return paddle.to_tensor(np.concatenate([box_clip[:, None], boxes], axis=1).astype(np.float32))
