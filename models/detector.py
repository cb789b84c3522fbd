"""A detector: a backbone, a head that classifies boxes, and where wanted a network that proposes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn

from models.detection_head import DetectionHead
from models.proposals import ProposalNetwork
from models.recognizer import ExportedNetwork, Recognizer
from utils.boxes import checked_boxes, iou
from utils.errors import UserError
from utils.runtime import tensor_of

BOXES_AT_ONCE = 256  # whose cells are computed together: bounds the memory
BEST_PROPOSALS = 32  # of a clip, among which those that are learned from are drawn
BACKGROUND_IOU = 0.3  # a proposal is background where its IoU with each true box is smaller


class Detector(Recognizer):
    """forward(clips float32 [N, C, T, H, W], boxes float32 [M, 5]) -> logits [M, K]; see `DetectionHead`.

    `proposals` is a `ProposalNetwork` on the frame in the middle of a clip, or None.
    """

    takes_boxes = True

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

    def prepare_for_export(self, num_frames: int, volumes: bool = False) -> ExportedDetector:
        """As `Recognizer.prepare_for_export`: a network of frames and boxes, without the one that proposes them."""
        return ExportedDetector(self, num_frames, volumes)

    def box_scores(self, clips: np.ndarray, boxes: np.ndarray, box_clip: np.ndarray) -> np.ndarray:
        """The scores of any number of boxes, float32 [M, K].

        clips: float32 [N, C, T, H, W]. boxes: float [M, 4], pixels of the clips, any finite numbers (see
        `utils.boxes.clip_boxes`). box_clip: int [M], the index of each box's clip, ascending.
        """
        indexed = checked_boxes(boxes, box_clip, len(clips), *clips.shape[3:])
        if not len(indexed):
            return np.zeros((0, self.head.options.num_classes), np.float32)
        last = self.stage_names[-1]
        with paddle.no_grad():
            features = self.backbone.forward_features(tensor_of(clips), (last,))[last]
            parts = np.split(indexed, range(BOXES_AT_ONCE, len(indexed), BOXES_AT_ONCE))
            logits = [self.head(features, paddle.to_tensor(part)).astype("float32") for part in parts]
            return np.concatenate([self.class_scores(each).numpy() for each in logits])

    def proposed_boxes(self, clips: np.ndarray, min_score: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes that may hold an actor, float32 [M, 4], their clips' indices int64 [M], ascending, and their scores,
        float32 [M].

        Of each clip those with a score of at least `min_score`; the best one if there is none. clips: float32
        [N, C, T, H, W].
        """
        with paddle.no_grad():
            boxes, scores = (tensor.numpy() for tensor in self.proposals(tensor_of(key_frame(clips))))
        clip = boxes[:, 0].astype(np.int64)
        is_best = np.diff(clip, prepend=-1) > 0  # those of a clip are in order of scores
        kept = is_best | (scores >= min_score)
        return boxes[kept, 1:], clip[kept], scores[kept]

    def training_loss(
        self, clips, boxes: np.ndarray, box_clip: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple:
        """What the head learns from, and the loss of the proposals.

        Learned from are the true boxes of a clip and, with a proposal network, some of its proposals, `max_boxes`
        together; see `mixed_boxes`.

        Args:
            clips: float32 [N, C, T, H, W].
            boxes: true ones, float32 [M, 4], pixels. box_clip: int64 [M], ascending. labels: float32 [M, K].
            rng: chooses among true boxes beyond `max_boxes`, and among proposals.

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


class ExportedDetector(ExportedNetwork):
    """As `ExportedNetwork`, of a detector: frames [N*T, C, H, W] and boxes [M, 5], as `DetectionHead` takes them, M at
    least 1 -> (scores [M, K], logits [M, K] or [M, K + 1])."""

    def __init__(self, model: Detector, num_frames: int, volumes: bool):
        super().__init__(model, num_frames, volumes)
        self.model.proposals = None

    def forward(self, frames, boxes):
        return self._traced(frames, boxes)


def mixed_boxes(
    boxes: np.ndarray, labels: np.ndarray, proposals: np.ndarray, max_boxes: int, min_iou: float, rng
) -> tuple[np.ndarray, np.ndarray]:
    """True boxes [M, 4] of a clip with labels [M, K], and proposals [P, 4] up to `max_boxes` boxes with theirs.

    Proposals that show part of an actor, with a largest IoU from 0.3 to `min_iou`, are left out: they are neither
    background nor the actor. Of the places left, up to half go to proposals of actors and the rest to background, both
    by chance among the 32 proposals of the highest scores, which come first.
    """
    wanted, proposals = max_boxes - len(boxes), proposals[:BEST_PROPOSALS]
    found, best = np.zeros((len(proposals), labels.shape[1]), np.float32), np.zeros(len(proposals))
    if len(boxes):
        overlap = iou(proposals[:, None], boxes[None])
        best = overlap.max(axis=1)
        is_true = best >= min_iou
        found[is_true] = labels[overlap.argmax(axis=1)[is_true]]
    actors = rng.permutation(np.flatnonzero(best >= min_iou))[: wanted // 2]
    background = rng.permutation(np.flatnonzero(best < BACKGROUND_IOU))[: wanted - len(actors)]
    drawn = np.concatenate([actors, background])
    return np.concatenate([boxes, proposals[drawn]]), np.concatenate([labels, found[drawn]])


def key_frame(clips):
    """The frame of a clip for which boxes are: [N, C, T, H, W] -> [N, C, H, W]. Clips are sampled around it."""
    return clips[:, :, clips.shape[2] // 2]


def indexed_boxes(boxes: np.ndarray, box_clip: np.ndarray):
    """Boxes float [M, 4] and their clips' indices [M] as a tensor float32 [M, 5]."""
    return paddle.to_tensor(np.concatenate([box_clip[:, None], boxes], axis=1).astype(np.float32))
