"""The region proposal network: boxes of actors on a key frame, from a 2-D ResNet.

Ren, He, Girshick, Sun, "Faster R-CNN", NeurIPS 2015. At each position of a map of 1/16 of the frame there are
anchors, boxes of fixed sizes and shapes. For each of them the network says whether an actor is there, and how the
anchor is to be moved to become the actor's box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.vision.models.resnet import BottleneckBlock
from paddle.vision.ops import nms

from models.options import ProposalOptions
from utils.boxes import iou

STRIDE = 16  # pixels between two positions of the map
POSITIVE_IOU, NEGATIVE_IOU = 0.7, 0.3
NMS_IOU = 0.7
NUM_CANDIDATES = 6000  # anchors of a frame, the highest scores, among which doubles are suppressed
NUM_PROPOSALS = 300
SMOOTH_L1_BETA = 1 / 9  # below it the loss is quadratic; the value of the authors' program
MAX_LOG_SCALE = math.log(1000 / 16)  # by which an anchor's side can grow


class ResNetTrunk(nn.Layer):
    """ResNet-50 up to layer3, or a narrower one of fewer blocks; the layers have the names of `paddle.vision`'s.

    forward(frames [N, 3, H, W]) -> [N, 16 * width, ceil(H / 16), ceil(W / 16)].
    """

    def __init__(self, width: int, blocks: tuple[int, ...]):
        super().__init__()
        self.conv1 = nn.Conv2D(3, width, 7, 2, 3, bias_attr=False)
        self.bn1 = nn.BatchNorm2D(width)
        channels = width
        for k, num_blocks in enumerate(blocks):
            inner, outer, stride = width << k, 4 * width << k, min(2, k + 1)
            shortcut = nn.Sequential(nn.Conv2D(channels, outer, 1, stride, bias_attr=False), nn.BatchNorm2D(outer))
            first = BottleneckBlock(channels, inner, stride, shortcut)
            others = [BottleneckBlock(outer, inner) for _ in range(num_blocks - 1)]
            self.add_sublayer(f"layer{k + 1}", nn.Sequential(first, *others))
            channels = outer
        self.out_channels = channels

    def forward(self, frames):
        x = F.relu(self.bn1(self.conv1(frames)))
        x = F.max_pool2d(x, 3, 2, 1)
        return self.layer3(self.layer2(self.layer1(x)))


@dataclass(frozen=True)
class Prediction:
    """What the network says of N frames: logits [N, A] and offsets [N, A, 4], of the anchors, float32 array [A, 4]; the
    frames' height and width."""

    logits: paddle.Tensor
    offsets: paddle.Tensor
    anchors: np.ndarray
    height: int
    width: int


class ProposalNetwork(nn.Layer):
    """forward(frames float32 [N, 3, H, W], normalised) -> (proposals float32 [M, 5], scores float32 [M] in 0..1).

    A proposal is (frame's index, x1, y1, x2, y2), in pixels, inside the frame; those of a frame in order of scores, at
    most 300. No gradient flows through them; `loss` trains the network.
    """

    def __init__(self, options: ProposalOptions):
        super().__init__()
        self.options = options
        self.trunk = ResNetTrunk(options.width, options.blocks)
        normal = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, 0.01))
        num_anchors = len(options.anchor_sizes) * len(options.anchor_ratios)
        self.conv = nn.Conv2D(self.trunk.out_channels, 8 * options.width, 3, padding=1, weight_attr=normal)
        self.objectness = nn.Conv2D(8 * options.width, num_anchors, 1, weight_attr=normal)
        self.offsets = nn.Conv2D(8 * options.width, 4 * num_anchors, 1, weight_attr=normal)

    def forward(self, frames):
        return self.proposals(self.predict(frames))

    def predict(self, frames) -> Prediction:
        """All anchors of frames float32 [N, 3, H, W]."""
        x = F.relu(self.conv(self.trunk(frames)))
        logits = self.objectness(x).transpose([0, 2, 3, 1]).flatten(1)
        offsets = self.offsets(x).transpose([0, 2, 3, 1]).reshape([len(frames), -1, 4])
        anchors = anchor_boxes(x.shape[2], x.shape[3], self.options.anchor_sizes, self.options.anchor_ratios)
        return Prediction(logits.astype("float32"), offsets.astype("float32"), anchors, *frames.shape[2:])

    def proposals(self, prediction: Prediction):
        """The proposals and their scores; see above."""
        found, scores = [], []
        size = [prediction.width, prediction.height] * 2
        for number, (logit, offset) in enumerate(zip(prediction.logits.numpy(), prediction.offsets.numpy())):
            best = np.argsort(-logit, kind="stable")[:NUM_CANDIDATES]
            boxes = np.clip(moved_boxes(prediction.anchors[best], offset[best]), 0, size).astype(np.float32)
            is_visible = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
            boxes, own_scores = boxes[is_visible], logit[best][is_visible]
            kept = nms(paddle.to_tensor(boxes), NMS_IOU).numpy() if len(boxes) else np.zeros(0, int)  # Paddle 2.6
            kept = kept[:NUM_PROPOSALS]
            found.append(np.insert(boxes[kept], 0, number, axis=1))
            scores.append(own_scores[kept])
        return paddle.to_tensor(np.concatenate(found)), F.sigmoid(paddle.to_tensor(np.concatenate(scores)))

    def loss(self, prediction: Prediction, boxes: np.ndarray, box_clip: np.ndarray):
        """Binary cross-entropy and smooth L1 over `num_samples` anchors of each frame, a scalar; see `sampled_targets`.

        boxes: true ones, float [M, 4], pixels. box_clip: int [M], the index of each box's frame. The anchors are drawn
        with Paddle's generator (`paddle.seed`).
        """
        anchors, num_frames = prediction.anchors, len(prediction.logits)
        rng = np.random.default_rng(paddle.randint(0, 2**31 - 1, [1]).item())
        count = self.options.num_samples
        targets = [sampled_targets(anchors, boxes[box_clip == number], count, rng) for number in range(num_frames)]
        chosen = np.concatenate([t.chosen + n * len(anchors) for n, t in enumerate(targets)])
        is_positive = np.concatenate([t.is_positive for t in targets])
        is_object = paddle.to_tensor(is_positive.astype(np.float32))
        logits = prediction.logits.flatten()[paddle.to_tensor(chosen)]
        loss = F.binary_cross_entropy_with_logits(logits, is_object)
        if is_positive.any():
            predicted = prediction.offsets.flatten(0, 1)[paddle.to_tensor(chosen[is_positive])]
            error = (predicted - paddle.to_tensor(np.concatenate([t.offsets for t in targets]))).abs()
            smooth = paddle.where(error < SMOOTH_L1_BETA, 0.5 * error**2 / SMOOTH_L1_BETA, error - 0.5 * SMOOTH_L1_BETA)
            loss = loss + smooth.sum() / len(chosen)
        return loss


def anchor_boxes(rows: int, columns: int, sizes: tuple[float, ...], ratios: tuple[float, ...]) -> np.ndarray:
    """The anchors of a map, float32 [rows * columns * S * R, 4], (x1, y1, x2, y2) in pixels, row by row.

    Position (i, j) has its anchors' centres at (16 j + 8, 16 i + 8); one of size s and ratio r is s / sqrt(r) wide and
    s sqrt(r) high.
    """
    roots = np.sqrt(np.asarray(ratios, np.float64))
    sides = np.stack([np.divide.outer(sizes, roots), np.multiply.outer(sizes, roots)], axis=-1).reshape(-1, 2)
    y, x = np.mgrid[0:rows, 0:columns] * STRIDE + STRIDE / 2
    centres = np.stack([x, y], axis=-1)[:, :, None]  # [rows, columns, 1, 2]
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1).reshape(-1, 4).astype(np.float32)


def moved_boxes(anchors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Anchors float [A, 4] moved by offsets (tx, ty, tw, th) float [A, 4], float32 [A, 4]: the centre by tx times the
    width and ty times the height, the width and height times exp(tw) and exp(th)."""
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2 + offsets[:, :2] * sides
    half = sides * np.exp(np.minimum(offsets[:, 2:], MAX_LOG_SCALE)) / 2
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def offsets_between(anchors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The offsets float32 [A, 4] by which `moved_boxes` makes the anchors float [A, 4] the boxes float [A, 4]."""
    sides, wanted = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    return np.concatenate([shift / sides, np.log(wanted / sides)], axis=1).astype(np.float32)


@dataclass(frozen=True)
class SampledTargets:
    """What the loss of a frame is computed of. chosen: int64 [S], anchors. is_positive: bool [S]. offsets: float32
    [P, 4], to the true box of each positive one, in their order."""

    chosen: np.ndarray
    is_positive: np.ndarray
    offsets: np.ndarray


def matched_truth(anchors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The true box of each anchor, int64 [A]: its index in `boxes` float [M, 4], -1: none, -2: left out of the loss.

    An anchor has the box that it overlaps most if their IoU is at least 0.7, and none if that is below 0.3. The anchor
    that overlaps a box most (the first of equal ones) has this box, however small the IoU is.
    """
    if not len(boxes):
        return np.full(len(anchors), -1)
    overlap = iou(anchors[:, None], boxes[None])  # [A, M]
    best = overlap.max(axis=1)
    match = np.where(best >= POSITIVE_IOU, overlap.argmax(axis=1), np.where(best < NEGATIVE_IOU, -1, -2))
    met = np.flatnonzero(overlap.max(axis=0) > 0)
    match[overlap.argmax(axis=0)[met]] = met
    return match


def sampled_targets(anchors: np.ndarray, boxes: np.ndarray, count: int, rng: np.random.Generator) -> SampledTargets:
    """At most count / 2 positive anchors of a frame and negative ones up to `count` together, by chance; see
    `matched_truth`."""
    match = matched_truth(anchors, boxes)
    positive, negative = np.flatnonzero(match >= 0), np.flatnonzero(match == -1)
    positive = rng.permutation(positive)[: count // 2]
    negative = rng.permutation(negative)[: count - len(positive)]
    chosen = np.concatenate([positive, negative])
    wanted = offsets_between(anchors[positive], boxes.reshape(-1, 4)[match[positive]])
    return SampledTargets(chosen, np.arange(len(chosen)) < len(positive), wanted)
