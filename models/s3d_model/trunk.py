"""The trunk of the S3D family: Inception-v1 over frames, each layer full, separated or flat in time.

Xie, Sun, Huang, Tu, Murphy, "Rethinking Spatiotemporal Feature Learning", ECCV 2018; Carreira and Zisserman, "Quo
Vadis, Action Recognition?", CVPR 2017. Shapes in comments are those of 64 x 224 x 224 clips.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from models.detection_head import DetectionHead
from models.detector import Detector
from models.heads import ClassificationHead
from models.layers import (
    FoldedConv,
    FramesConv,
    MaxPool,
    VolumeConv,
    build_norm,
    fixed_parameter,
    fold,
    merge_clips,
    scale_and_shift,
    split_clips,
    to_volumes,
)
from models.nonlocal_model.nonlocal_block import NonLocalBlock
from models.options import padding_of
from models.recognizer import Recognizer
from models.s3d_model.options import BLOCKS, LAYERS, POOLS, STAGES, STEM_CHANNELS, TrunkOptions, network_options

# Frames of an output that are computed at once, which bounds memory: of conv_1a and conv_2c, where 8 frames are 26 MB
# in each of two halves at 224 pixels, and of the blocks' branches, whose maps are a quarter of that or less.
GROUP_FRAMES = 8
BRANCH_GROUP_FRAMES = 32


class Gate(nn.Layer):
    """y = sigmoid(W m + b) * x, m the mean of x over frames and positions; W [C, C].

    forward(x [N*T, C, H, W], num_frames T) -> the same shape.
    """

    def __init__(self, num_channels: int, has_bias: bool, init_std: float | None):
        super().__init__()
        initializer = truncated_normal(init_std) if init_std else nn.initializer.XavierNormal()
        self.num_channels = num_channels
        self.weight = self.create_parameter([num_channels, num_channels], default_initializer=initializer)
        self.bias = self.create_parameter([num_channels], is_bias=True) if has_bias else None

    def forward(self, x, num_frames: int):
        return times(x, self.factors(means(x, num_frames)), num_frames)

    def factors(self, mean):
        """Means [N, C] -> factors [N, C] in 0..1."""
        return F.sigmoid(F.linear(mean, self.weight, self.bias))

    def output_like(self, x, num_frames: int):
        """Something of the shape of `forward`'s output."""
        return x

    def multiply_adds(self, inputs, output) -> int:
        """Of the means' product (see `models.counts`)."""
        num_clips = inputs[0].shape[0] // inputs[1] if inputs[0].ndim == 4 else inputs[0].shape[0]
        return num_clips * self.num_channels**2


def truncated_normal(std: float) -> nn.initializer.Initializer:
    """A normal distribution of deviation `std`, values beyond 2 std drawn again."""
    try:
        return nn.initializer.TruncatedNormal(0.0, std, a=-2 * std, b=2 * std)
    except TypeError:  # Paddle 2.6 cuts there by itself
        return nn.initializer.TruncatedNormal(0.0, std)


def means(x, num_frames: int):
    """The mean [N, C] of each channel of x [N*T, C, H, W] or, of volumes, [N, C, T, H, W]."""
    return x.mean([2, 3, 4]) if x.ndim == 5 else split_clips(x.mean([2, 3]), num_frames).mean(1)


def times(x, factors, num_frames: int):
    """x [N*T, C, H, W], or volumes [N, C, T, H, W], times factors [N, C]."""
    if x.ndim == 5:
        return x * factors.reshape([-1, factors.shape[1], 1, 1, 1])
    return (split_clips(x, num_frames) * factors.reshape([-1, 1, factors.shape[1], 1, 1])).flatten(0, 1)


class ConvNormRelu:
    """relu(norm(conv(x))), as a step of a `Unit`; norm: None where it is folded or there is none."""

    def __init__(self, conv: nn.Layer, norm: nn.Layer | None):
        self.conv, self.norm = conv, norm

    def __call__(self, x, num_frames: int, frame_padding: tuple[int, int] | None = None):
        x = self.conv(x, num_frames, frame_padding)
        return F.relu(x if self.norm is None else self.norm(x))


class PoolStep:
    """A max pool as a step in front of a `Unit`'s."""

    def __init__(self, pool: MaxPool):
        self.conv = pool

    def __call__(self, x, num_frames: int, frame_padding: tuple[int, int] | None = None):
        return self.conv(x, num_frames, frame_padding)


class Unit(nn.Layer):
    """A convolution of the trunk with its norm and ReLU, and a gate where it has one.

    kind: "full" and "flat" are conv, norm, ReLU; "separated" is spatial, norm, ReLU, temporal, norm, ReLU. kernel,
    stride: (frames, height, width). gated: a gate behind all.
    forward(x [N*T, in, H, W], num_frames T) -> [N*T', out, H', W'].
    """

    def __init__(
        self, options: TrunkOptions, in_channels, out_channels, kernel, stride, padding, *, kind, gated, dilation=1
    ):
        super().__init__()
        (kt, *space), (st, *space_stride) = kernel, stride

        def norm():
            norm = options.norm
            return build_norm(norm.kind, out_channels, norm.momentum, norm.epsilon, 1.0)

        def conv(inputs, kernel, stride, has_bias=False):
            own = dilation if kernel[1] > 1 else 1
            return FramesConv(inputs, out_channels, kernel, stride, padding=padding, has_bias=has_bias, dilation=own)

        self.separated = kind == "separated"
        if self.separated:
            self.spatial, self.spatial_bn = conv(in_channels, (1, *space), (1, *space_stride)), norm()
            self.temporal = conv(out_channels, (kt, 1, 1), (st, 1, 1), not options.temporal_norm)
            self.temporal_bn = norm() if options.temporal_norm else None
            centre = np.zeros(self.temporal.weight.shape, np.float32)
            centre[range(out_channels), range(out_channels), kt // 2] = 1.0
            self.temporal.weight.set_value(centre)  # the identity: each frame as it is
        else:
            self.conv, self.bn = conv(in_channels, (kt if kind == "full" else 1, *space), stride), norm()
        if options.init_std:
            first = self.spatial if self.separated else self.conv
            truncated_normal(options.init_std)(first.weight)
        self.gate = Gate(out_channels, options.gate_bias, options.init_std) if gated else None

    def steps(self) -> list[ConvNormRelu]:
        if self.separated:
            return [ConvNormRelu(self.spatial, self.spatial_bn), ConvNormRelu(self.temporal, self.temporal_bn)]
        return [ConvNormRelu(self.conv, self.bn)]

    def out_frames(self, num_frames: int) -> int:
        """Frames of the output."""
        for step in self.steps():
            num_frames = step.conv.out_frames(num_frames)
        return num_frames

    def convolve(self, x, num_frames: int, pool: MaxPool | None = None):
        """All but the gate. pool: in front of it."""
        steps = self.steps() if pool is None else [PoolStep(pool), *self.steps()]
        if not self.training and any(step.conv.kernel[0] > 1 for step in steps):
            return in_groups(steps, x, num_frames, BRANCH_GROUP_FRAMES)
        for step in steps:
            x, num_frames = step(x, num_frames), step.conv.out_frames(num_frames)
        return x

    def forward(self, x, num_frames: int, pool: MaxPool | None = None):
        x = self.convolve(x, num_frames, pool)
        return x if self.gate is None else self.gate(x, self.out_frames(num_frames))

    def folded(self, volumes: bool) -> Unit:
        """This unit itself, its norms folded into its convolutions."""
        fold(self, volumes)  # a non-local block
        kind = VolumeConv if volumes else FoldedConv
        if self.separated:
            self.spatial, self.spatial_bn = kind(self.spatial, *scale_and_shift(self.spatial_bn)), None
            if self.temporal_bn is None:
                bias = np.asarray(self.temporal.bias.numpy(), np.float64)
                self.temporal = kind(self.temporal, np.ones_like(bias), bias)
            else:
                self.temporal, self.temporal_bn = kind(self.temporal, *scale_and_shift(self.temporal_bn)), None
        else:
            self.conv, self.bn = kind(self.conv, *scale_and_shift(self.bn)), None
        return self


class InceptionBlock(nn.Layer):
    """Four branches of the same input, joined on channels: b0; b1a, b1b; b2a, b2b; a 3x3x3 max pool, b3b.

    channels: outputs of b0, b1a, b1b, b2a, b2b, b3b. kind: of b1b and b2b. gated: names of the units with gates.
    dilation: of the 3x3 convolutions, in space.
    forward(x [N*T, in, H, W], num_frames T) -> [N*T, out, H, W].
    """

    def __init__(
        self, options: TrunkOptions, in_channels: int, channels: Sequence[int], kind: str, gated: Sequence[str],
        dilation: int = 1,
    ):  # fmt: skip
        super().__init__()
        c0, c1a, c1b, c2a, c2b, c3 = channels

        def unit(name, inputs, outputs, size, kind):
            window = (3, size, size), (1, 1, 1), options.padding
            return Unit(options, inputs, outputs, *window, kind=kind, gated=name in gated, dilation=dilation)

        outer = "separated" if kind == "separated" and options.temporal_branches == 4 else "flat"
        self.b0 = unit("b0", in_channels, c0, 1, outer)
        self.b1a, self.b1b = unit("b1a", in_channels, c1a, 1, "flat"), unit("b1b", c1a, c1b, 3, kind)
        self.b2a, self.b2b = unit("b2a", in_channels, c2a, 1, "flat"), unit("b2b", c2a, c2b, 3, kind)
        self.pool = MaxPool((3, 3, 3), (1, 1, 1), options.padding)
        self.b3b = unit("b3b", in_channels, c3, 1, outer)
        self.shared: nn.Layer | None = None  # b0, b1a and b2a's first convolutions in one
        self.out_channels = c0 + c1b + c2b + c3

    def forward(self, x, num_frames: int):
        if self.shared is None:
            return paddle.concat(
                [
                    self.b0(x, num_frames),
                    self.b1b(self.b1a(x, num_frames), num_frames),
                    self.b2b(self.b2a(x, num_frames), num_frames),
                    self.b3b(x, num_frames, self.pool),
                ],
                1,
            )
        firsts = F.relu(self.shared(x, num_frames)).split(self.shared_channels, 1)
        outputs = [
            ConvNormRelu(self.b0.temporal, None)(firsts[0], num_frames) if self.b0.separated else firsts[0],
            self.b1b.convolve(firsts[1], num_frames),
            self.b2b.convolve(firsts[2], num_frames),
            self.b3b.convolve(x, num_frames, self.pool),
        ]
        y = paddle.concat(outputs, 1)
        units = (self.b0, self.b1b, self.b2b, self.b3b)
        if all(unit.gate is None for unit in units):
            return y
        # one product for all gates: the factors side by side, ones where a branch has no gate
        parts = means(y, num_frames).split([output.shape[1] for output in outputs], 1)
        factors = [
            paddle.ones_like(part) if unit.gate is None else unit.gate.factors(part) for unit, part in zip(units, parts)
        ]
        return times(y, paddle.concat(factors, 1), num_frames)

    def out_frames(self, num_frames: int) -> int:
        return num_frames

    def folded(self, volumes: bool) -> InceptionBlock:
        """This block itself, norms folded, and the convolutions that share its input in one."""
        fold(self, volumes)
        firsts = [unit.spatial if unit.separated else unit.conv for unit in (self.b0, self.b1a, self.b2a)]
        self.shared_channels = [conv.weight.shape[0] for conv in firsts]
        self.shared = firsts[0]
        for name in ("weight", "bias"):
            joined = np.concatenate([getattr(conv, name).numpy() for conv in firsts])
            setattr(self.shared, name, fixed_parameter(self.shared, joined))
        del self.b1a, self.b2a
        return self


class InceptionTrunk(nn.Layer):
    """The backbone of `models.recognizer`: its stages are STAGES, its sublayers LAYERS, in them nl0 behind the rest."""

    def __init__(self, options: TrunkOptions):
        super().__init__()
        self.options, self.in_channels = options, options.in_channels
        self.channels: dict[str, int] = {}
        self.strides: dict[str, tuple[int, int, int]] = {}
        self.stage_layers = {name: name for name in STAGES}
        self.run_block: Callable | None = None  # function (block, x, num_frames) -> x in place of the block's call
        channels, strides = options.in_channels, (1, 1, 1)
        for name in LAYERS:
            layer, channels = self._layer(name, channels)
            if name in options.nonlocal_after:
                keys = dataclasses.asdict(options.block)
                layer.nl0 = NonLocalBlock(channels, group_frames=options.group_frames.get(name), **keys)
            self.add_sublayer(name, layer)
            if name in POOLS or name == "conv_1a":
                strides = tuple(a * b for a, b in zip(strides, options.window(name)[1]))
            if name in STAGES:
                self.channels[name], self.strides[name] = channels, strides

    def _layer(self, name: str, in_channels: int) -> tuple[nn.Layer, int]:
        """A layer with fresh weights, and the channels of its output."""
        options = self.options
        if name in POOLS:
            return MaxPool(*options.window(name)), in_channels
        kind, gated = options.kinds.get(name, "flat"), options.gated_units(name)
        if name in BLOCKS:
            outputs = [options.scaled(channels) for channels in BLOCKS[name]]
            block = InceptionBlock(options, in_channels, outputs, kind, gated, options.dilation(name))
            return block, block.out_channels
        out_channels, side = options.scaled(STEM_CHANNELS[name]), 3 if name == "conv_2c" else 1
        window = options.window(name) if name == "conv_1a" else ((3, side, side), (1, 1, 1), options.padding)
        return Unit(options, in_channels, out_channels, *window, kind=kind, gated=name in gated), out_channels

    def forward_features(self, clips, stages: Sequence[str]):
        """clips float [N, C, T, H, W] -> {stage: [N, c, t, h, w]}."""
        found = self.forward_frames(merge_clips(clips), clips.shape[2], stages)
        return {name: to_volumes(x, num_frames) for name, (x, num_frames) in found.items()}

    def forward_frames(self, x, num_frames: int, stages: Sequence[str]):
        """x float [N*T, C, H, W], the frames of a clip in a row -> {stage: (x [N*t, c, h, w], t)}.

        In a copy folded for volumes, x and the features are [N, c, t, h, w].
        """
        if "mixed_5c" in stages:
            self.options.check_num_frames(num_frames)
        found: dict = {}
        names = LAYERS[: max(LAYERS.index(stage) for stage in stages) + 1]
        in_pairs = {} if self.training else {"conv_1a": "pool_2a", "conv_2c": "pool_3a"}
        pooled = ""
        for name in names:
            layer = getattr(self, name)
            if name == pooled:
                pass
            elif in_pairs.get(name) in names and name not in (*stages, *self.options.nonlocal_after):
                pooled = in_pairs[name]
                x, num_frames = convolve_and_pool(layer, getattr(self, pooled), x, num_frames)
            else:
                x, num_frames = self._call(layer, x, num_frames), layer.out_frames(num_frames)
            if name in self.options.nonlocal_after:
                x = self._call(layer.nl0, x, num_frames)
            if name in stages:
                found[name] = (x, num_frames)
        return found  # mixed_5c: [N*8, 1024, 7, 7]

    def _call(self, layer: nn.Layer, x, num_frames: int):
        if self.run_block is None or not isinstance(layer, (InceptionBlock, NonLocalBlock)):
            return layer(x, num_frames)
        return self.run_block(layer, x, num_frames)

    def recomputable_blocks(self) -> list[nn.Layer]:
        """Inception blocks and non-local blocks."""
        return [layer for layer in self.sublayers() if isinstance(layer, (InceptionBlock, NonLocalBlock))]

    def offset_px(self, stage: str, side_px: int) -> float:
        """The pixel on which a stage's first position is centred, for clips of that side."""
        offset, stride_px, side = 0.0, 1, side_px
        for name in LAYERS[: LAYERS.index(stage) + 1]:
            if name in POOLS or name == "conv_1a":
                (_, kernel, _), (_, stride, _), padding = self.options.window(name)
                before, after = padding_of(padding, 1, kernel, stride, side)
                offset += ((kernel - 1) / 2 - before) * stride_px
                side, stride_px = (side + before + after - kernel) // stride + 1, stride_px * stride
        return offset


def convolve_and_pool(unit: Unit, pool: MaxPool, x, num_frames: int):
    """pool(unit(x)) and its frames, GROUP_FRAMES of the output at once; in evaluation mode.

    pool: over space only. The gate's mean is over the whole clip; its factors are positive, so that they are the same
    before and behind a max pool.
    """
    out_frames, sums = unit.out_frames(num_frames), []

    def finish(y, count: int):
        if unit.gate is not None:
            sums.append(means(y, count) * count)
        return pool(y, count)

    y = in_groups(unit.steps(), x, num_frames, GROUP_FRAMES, finish)
    if unit.gate is not None:
        y = times(y, unit.gate.factors(sum(sums[1:], sums[0]) / out_frames), out_frames)
    return y, out_frames


def in_groups(steps: Sequence, x, num_frames: int, group_frames: int, finish: Callable | None = None):
    """The steps one after the other, `group_frames` frames of the output at once; neighbours share input frames.

    steps: `ConvNormRelu`s and `PoolStep`s. x: [N*T, C, H, W] or [N, C, T, H, W]. finish: function (y, frames) -> y of
    as many frames, of each group's output.
    """
    lengths = [num_frames]
    for step in steps:
        lengths.append(step.conv.out_frames(lengths[-1]))
    out_frames, parts = lengths[-1], []
    for start in range(0, out_frames, group_frames):
        stop = min(start + group_frames, out_frames)
        ranges, padding = (start, stop), []
        for step, length in zip(reversed(steps), reversed(lengths[:-1])):
            (kernel, _, _), (stride, _, _) = step.conv.kernel, step.conv.stride
            first = ranges[0] * stride - step.conv.frame_padding(length)[0]
            last = first + (ranges[1] - ranges[0] - 1) * stride + kernel
            ranges = max(first, 0), min(last, length)
            padding.insert(0, (ranges[0] - first, last - ranges[1]))
        y, length = clip_between(x, num_frames, *ranges), ranges[1] - ranges[0]
        for step, frame_padding in zip(steps, padding):
            y, length = step(y, length, frame_padding), step.conv.out_frames(length, frame_padding)
        y = y if finish is None else finish(y, stop - start)
        parts.append(y if y.ndim == 5 else split_clips(y, stop - start))
    if len(parts) == 1:
        return parts[0] if x.ndim == 5 else parts[0].flatten(0, 1)
    return paddle.concat(parts, 2) if x.ndim == 5 else paddle.concat(parts, 1).flatten(0, 1)


def clip_between(x, num_frames: int, start: int, stop: int):
    """Frames start .. stop - 1 of each clip of x [N*T, C, H, W] or, of volumes, [N, C, T, H, W]."""
    if (start, stop) == (0, num_frames):
        return x
    return x[:, :, start:stop] if x.ndim == 5 else split_clips(x, num_frames)[:, start:stop].flatten(0, 1)


def build(options: TrunkOptions) -> Recognizer:
    """The network with fresh weights."""
    backbone = InceptionTrunk(options)
    channels, (_, stride, _) = backbone.channels[STAGES[-1]], backbone.strides[STAGES[-1]]
    if options.detection:
        return Detector(backbone, DetectionHead(channels, stride, options.head, options.detection), options)
    return Recognizer(backbone, ClassificationHead(channels, options.head), options)


def S3DModel(arch: str = "s3d", num_classes: int = 400, **options) -> Recognizer:
    """The network that the arguments of `network_options` describe, with fresh weights; what hub entries build."""
    return build(network_options(arch, num_classes, **options))
