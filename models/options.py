"""Options that families share. Plain values: this module needs no Paddle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from configs.schema import Config

MAX_ADAPTIVE_SAMPLES = 16  # points of a cell on an axis that an export has room for where their number is the box's


@dataclass(frozen=True)
class HeadOptions:
    """A classification head.

    pool_size: side of the average pool, stride 1; 0: the whole map. pool_frames: its frames; 0: all. average: what
    `class_scores` averages over output positions, "probabilities" or "logits". multi_label: scores are sigmoids, each
    class for itself.
    """

    num_classes: int = 400
    dropout_rate: float = 0.5
    init_std: float = 0.01
    pool_size: int = 7
    average: str = "probabilities"
    multi_label: bool = False
    pool_frames: int = 0


@dataclass(frozen=True)
class ProposalOptions:
    """A region proposal network. width: channels inside the first bottlenecks; 64 is ResNet-50. blocks: bottlenecks of
    layer1 to layer3. anchor_sizes: square roots of the anchors' areas, pixels. anchor_ratios: height / width.
    num_samples: anchors of a frame that the loss is computed of; at most half of them are positive."""

    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6)
    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    anchor_ratios: tuple[float, ...] = (0.5, 1, 2)
    num_samples: int = 256


@dataclass(frozen=True)
class DetectionOptions:
    """What a detector has beside `HeadOptions`.

    roi_size: cells on a side of a box. roi_pool: what is taken over the cells, "max" or "mean". sampling_ratio: points
    of a cell on an axis; 0: by the box's size. aligned: RoIAlign counts from the edges of pixels. res5_dilated: by 2.
    proposals: a network that proposes boxes, None: boxes are given. max_boxes: of a clip, in training. min_iou: of a
    proposal with a true box, whose labels it then has.
    """

    roi_size: int = 7
    roi_pool: str = "max"
    sampling_ratio: int = 2
    aligned: bool = True
    res5_dilated: bool = True
    proposals: ProposalOptions | None = None
    max_boxes: int = 32
    min_iou: float = 0.5


@dataclass(frozen=True)
class Norm:
    """A trunk's norm: "batch_norm" or "frozen_affine", fraction of old statistics kept, epsilon, and the first gamma
    of a residual branch's last one."""

    kind: str = "batch_norm"
    momentum: float = 0.9
    epsilon: float = 1e-5
    last_init_scale: float = 0.0


def head_options(config: Config, pool_size: int, pool_frames: int = 0) -> HeadOptions:
    """The head that MODEL describes. pool_size: where MODEL.head_pool_size is none."""
    model = config.MODEL
    return HeadOptions(
        num_classes=model.num_classes,
        dropout_rate=model.dropout_rate,
        init_std=model.fc_init_std,
        pool_size=pool_size if model.head_pool_size is None else model.head_pool_size,
        average=model.head_average,
        multi_label=model.multi_label,
        pool_frames=pool_frames,
    )


def detection_options(config: Config) -> DetectionOptions:
    """The detector that DETECTION describes."""
    section = config.DETECTION
    proposals = ProposalOptions(
        section.proposal_width,
        tuple(section.proposal_blocks),
        tuple(section.anchor_sizes),
        tuple(section.anchor_ratios),
        section.anchor_samples,
    )
    return DetectionOptions(
        roi_size=section.roi_size,
        roi_pool=section.roi_pool,
        sampling_ratio=section.roi_sampling_ratio,
        aligned=section.roi_aligned,
        res5_dilated=section.res5_dilated,
        proposals=proposals if section.proposal_network else None,
        max_boxes=section.max_boxes,
        min_iou=section.box_iou_train,
    )


def padding_of(padding: str | tuple, axis: int, kernel: int, stride: int, size: int) -> tuple[int, int]:
    """(before, after): positions of padding on an axis (0 frames, 1 height, 2 width) of `size` positions.

    size may be -1, open in an exported network, where the padding does not depend on it.
    """
    if isinstance(padding, tuple):
        return padding[axis]
    if padding == "symmetric":
        return kernel // 2, kernel // 2
    total = kernel - 1 if stride == 1 else max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
