"""The NONLOCAL family: C2D and I3D ResNets over frames, with non-local blocks between residual blocks.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, as the authors' program has it. Shapes in comments
are those of 8 x 224 x 224 clips.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Callable, Sequence

import paddle.nn.functional as F
from paddle import nn

from models.detection_head import DetectionHead
from models.detector import Detector
from models.heads import ClassificationHead
from models.layers import (
    ConvNorm,
    FramesConv,
    MaxPool,
    build_norm,
    check_divides,
    merge_clips,
    to_volumes,
)
from models.nonlocal_model.nonlocal_block import NonLocalBlock
from models.nonlocal_model.options import NetworkOptions, Norm, network_options
from models.recognizer import Recognizer


def conv_norm(conv: FramesConv, norm: Norm, init_scale: float = 1.0) -> ConvNorm:
    """conv -> the trunk's norm, whose gamma starts at `init_scale`."""
    return ConvNorm(conv, build_norm(norm.kind, conv.out_channels, norm.momentum, norm.epsilon, init_scale))


class Bottleneck(nn.Layer):
    """relu(c(relu(b(relu(a(x))))) + shortcut(x)); a spans three frames where `temporal`, b has the spatial stride
    and the dilation."""

    def __init__(self, in_channels, out_channels, inner_channels, *, temporal, stride, dilation, groups, norm: Norm):
        super().__init__()
        kernel_frames = 3 if temporal else 1
        self.a = conv_norm(FramesConv(in_channels, inner_channels, (kernel_frames, 1, 1)), norm)
        b = FramesConv(inner_channels, inner_channels, (1, 3, 3), (1, stride, stride), groups, dilation=dilation)
        self.b = conv_norm(b, norm)
        self.c = conv_norm(FramesConv(inner_channels, out_channels, (1, 1, 1)), norm, norm.last_init_scale)
        self.shortcut = None
        if in_channels != out_channels or stride != 1:
            shortcut = FramesConv(in_channels, out_channels, (1, 1, 1), (1, stride, stride))
            self.shortcut = conv_norm(shortcut, norm)

    def forward(self, x, num_frames: int):
        y = F.relu(self.a(x, num_frames))
        y = F.relu(self.b(y, num_frames))
        y = self.c(y, num_frames)
        shortcut = x if self.shortcut is None else self.shortcut(x, num_frames)
        return F.relu(y + shortcut)


class ResNetVideo(nn.Layer):
    """The backbone of `models.recognizer`: clips in, features of res2..res5 out.

    options.stages: the rows from which res2..res5 are built. Its sublayers are stem, stage2..stage5 and in them
    block<i> and, behind the residual blocks of nonlocal_after, nl<i>.
    """

    def __init__(self, options: NetworkOptions):
        super().__init__()
        stem, norm = options.stem, options.norm
        self.in_channels, self.stem_options = options.in_channels, stem
        self.channels = {row.name: row.out_channels for row in options.stages}
        sides = itertools.accumulate((row.stride for row in options.stages), operator.mul, initial=4)
        self.strides = {
            row.name: (grid_frames(options, row.name), side, side) for row, side in zip(options.stages, [*sides][1:])
        }
        self.stage_layers = {row.name: row.name.replace("res", "stage") for row in options.stages}
        self.run_block: Callable | None = None  # function (block, x, num_frames) -> x in place of the block's call
        kernel = (5 if options.inflated else 1, 7, 7)
        conv1 = FramesConv(options.in_channels, options.stem_channels, kernel, (stem.temporal_stride, 2, 2))
        self.stem = conv_norm(conv1, norm)
        padding = ((0, 0), *[(stem.pool_padding, stem.pool_padding)] * 2)
        self.pool1 = MaxPool((stem.pool_temporal_kernel, 3, 3), (stem.pool_temporal_stride, 2, 2), padding)
        self.pool2 = MaxPool((2, 1, 1), (2, 1, 1), ((0, 0),) * 3)
        in_channels = options.stem_channels
        for row in options.stages:
            stage = nn.Layer()
            for i, temporal in enumerate(row.temporal):
                block = Bottleneck(
                    in_channels,
                    row.out_channels,
                    row.inner_channels,
                    temporal=temporal,
                    stride=row.stride if i == 0 else 1,
                    dilation=row.dilation,
                    groups=options.groups,
                    norm=norm,
                )
                stage.add_sublayer(f"block{i}", block)
                in_channels = row.out_channels
                if i in row.nonlocal_after:
                    keys = dataclasses.asdict(options.block)
                    nonlocal_block = NonLocalBlock(in_channels, group_frames=row.group_frames, **keys)
                    stage.add_sublayer(f"nl{i}", nonlocal_block)
            self.add_sublayer(self.stage_layers[row.name], stage)

    def forward_features(self, clips, stages: Sequence[str]):
        """clips float [N, C, T, H, W] -> {stage: [N, c, t, h, w]}; res2 is before pool2."""
        found = self.forward_frames(merge_clips(clips), clips.shape[2], stages)
        return {name: to_volumes(x, num_frames) for name, (x, num_frames) in found.items()}

    def forward_frames(self, x, num_frames: int, stages: Sequence[str]):
        """x float [N*T, C, H, W], the frames of a clip in a row -> {stage: (x [N*t, c, h, w], t)}.

        In a copy folded for volumes, x and the features are [N, c, t, h, w].
        """
        found = {}
        stem = self.stem_options
        check_divides(num_frames, stem.temporal_stride)
        x = F.relu(self.stem(x, num_frames))  # [N*8, 64, 112, 112]
        num_frames //= stem.temporal_stride
        check_divides(num_frames, stem.pool_temporal_stride)
        x = self.pool1(x, num_frames)  # [N*8, 64, 55, 55]
        num_frames //= stem.pool_temporal_stride
        names = list(self.stage_layers)
        for name in names[: max(names.index(stage) for stage in stages) + 1]:
            for block in getattr(self, self.stage_layers[name]).children():
                x = block(x, num_frames) if self.run_block is None else self.run_block(block, x, num_frames)
            if name in stages:
                found[name] = (x, num_frames)
            if name == "res2" and stem.temporal_pool:
                check_divides(num_frames, 2)
                x = self.pool2(x, num_frames)  # [N*4, 256, 55, 55]
                num_frames //= 2
        return found  # res5: [N*4, 2048, 7, 7]

    def offset_px(self, stage: str, side_px: int) -> float:
        """The pixel on which a stage's first position is centred, of clips of any side: conv1 and the strided
        convolutions are centred on every second position, pool1 without padding on the middle of its three."""
        return 2.0 * (1 - self.stem_options.pool_padding)

    def recomputable_blocks(self) -> list[nn.Layer]:
        """Bottlenecks and non-local blocks."""
        return [block for name in self.stage_layers.values() for block in getattr(self, name).children()]


def grid_frames(options: NetworkOptions, stage: str) -> int:
    """Frames of the clip that one of a stage's frames stands for."""
    stem = options.stem
    return stem.temporal_stride * stem.pool_temporal_stride * (2 if stage != "res2" and stem.temporal_pool else 1)


def build(options: NetworkOptions) -> Recognizer:
    """The network with fresh weights."""
    backbone = ResNetVideo(options)
    if options.detection:
        last = options.stages[-1]
        head = DetectionHead(last.out_channels, backbone.strides[last.name][1], options.head, options.detection)
        return Detector(backbone, head, options)
    return Recognizer(backbone, ClassificationHead(options.stages[-1].out_channels, options.head), options)


def NonLocalModel(video_arc_choice: int | str = 1, num_classes: int = 400, **options) -> Recognizer:
    """The network that the arguments of `network_options` describe, with fresh weights; what hub entries build."""
    return build(network_options(video_arc_choice, num_classes, **options))
