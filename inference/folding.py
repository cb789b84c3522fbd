"""Norms folded into the convolutions in front of them: y = (W x) * s + b is (s W) x + b, for fixed s and b."""

from __future__ import annotations

import copy

import numpy as np
import paddle
from paddle import nn

from models.nonlocal_model.layers import FramesConv, FrozenAffine, to_volumes
from models.nonlocal_model.nonlocal_block import NonLocalBlock, Projection
from models.nonlocal_model.nonlocal_model import head_pool_side
from models.nonlocal_model.resnet_video import ConvNorm, res5_side

VECTOR_WIDTH = 8  # CPU kernels want a multiple of so many input channels; the I3D stem's 3 x 5 become 16


def fold_norms(model, volumes: bool = False):
    """A copy of a NonLocalModel in evaluation mode that computes the same (but for rounding) without norms.

    Every convolution of the copy holds its weight and a bias as they are used, so a graph recorded from it has no
    arithmetic on weights. volumes: for `forward_volumes`, with 3-D convolutions; else for `forward_frames`, with 2-D
    ones. The model itself stays as it is.
    """
    folded = copy.deepcopy(model)
    folded.eval()
    for layer in list(folded.sublayers()):
        if isinstance(layer, ConvNorm):
            scale, shift = scale_and_shift(layer.bn)
            layer.conv, layer.bn = (VolumeConv if volumes else FoldedConv)(layer.conv, scale, shift), nn.Identity()
        elif isinstance(layer, NonLocalBlock):
            _fold_block(layer)
    return folded


def scale_and_shift(norm) -> tuple[np.ndarray, np.ndarray]:
    """s and b, float64 [C], of a norm in evaluation mode: y = x * s + b."""
    weight, bias = (np.asarray(t.numpy(), np.float64) for t in (norm.weight, norm.bias))
    if isinstance(norm, FrozenAffine):
        return weight, bias
    mean, variance = (np.asarray(t.numpy(), np.float64) for t in (norm._mean, norm._variance))
    scale = weight / np.sqrt(variance + norm._epsilon)
    return scale, bias - mean * scale


class FoldedConv(FramesConv):
    """A FramesConv whose weight [out, in, kH, kW] is stored as the 2-D convolution takes it, with a bias."""

    def __init__(self, conv: FramesConv, scale: np.ndarray, shift: np.ndarray):
        nn.Layer.__init__(self)  # not FramesConv's, which would make a weight
        self.kernel, self.stride, self.groups, self.adds_taps = conv.kernel, conv.stride, conv.groups, conv.adds_taps
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        flat = conv.flat_weight().numpy().astype(np.float64)
        stacks = conv.kernel[0] > 1 and not conv.adds_taps
        self.num_zero_channels = -flat.shape[1] % VECTOR_WIDTH if stacks else 0
        flat = np.pad(flat, ((0, 0), (0, self.num_zero_channels), (0, 0), (0, 0)))
        taps = len(flat) // len(scale)
        self.weight = _parameter(self, flat * np.tile(scale, taps)[:, None, None, None])
        self.bias = _parameter(self, np.concatenate([shift if tap == taps // 2 else 0 * shift for tap in range(taps)]))

    def flat_weight(self):
        return self.weight


class VolumeConv(nn.Layer):
    """A FramesConv as the 3-D convolution that it is, with a bias: forward(x [N, in, T, H, W], T) -> [N, out, ...]."""

    def __init__(self, conv: FramesConv, scale: np.ndarray, shift: np.ndarray):
        super().__init__()
        self.stride, self.groups, self.padding = list(conv.stride), conv.groups, [side // 2 for side in conv.kernel]
        weight = conv.weight.numpy().astype(np.float64)
        self.weight = _parameter(self, weight * scale[:, None, None, None, None])
        self.bias = _parameter(self, shift)

    def forward(self, x, num_frames: int):
        return nn.functional.conv3d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


class FoldedProjection(nn.Layer):
    """A Projection with its factor, scale and shift multiplied in: weight [out, in, 1, 1]. Takes volumes, too."""

    def __init__(self, projection: Projection, scale: np.ndarray | float = 1.0, shift: np.ndarray | float = 0.0):
        super().__init__()
        weight = projection.weight.squeeze(2).numpy().astype(np.float64)
        bias = np.zeros(len(weight)) if projection.bias is None else projection.bias.numpy().astype(np.float64)
        self.weight = _parameter(self, weight * np.broadcast_to(scale, len(weight))[:, None, None, None])
        self.bias = _parameter(self, bias * scale + shift)

    def forward(self, x, factor: float = 1.0):
        if x.ndim == 5:
            return nn.functional.conv3d(x, self.weight.unsqueeze(2), self.bias)
        return nn.functional.conv2d(x, self.weight, self.bias)


def _fold_block(block: NonLocalBlock) -> None:
    if hasattr(block, "theta"):
        block.theta, block.phi = FoldedProjection(block.theta, block.scale), FoldedProjection(block.phi)
        block.scale = 1.0
    block.g = FoldedProjection(block.g)
    scale, shift = (1.0, 0.0) if block.bn is None else scale_and_shift(block.bn)
    block.out, block.bn = FoldedProjection(block.out, scale, shift), None


def _parameter(layer: nn.Layer, array: np.ndarray):
    """A float32 parameter that holds `array`, rounded once."""
    initializer = nn.initializer.Assign(np.ascontiguousarray(array, np.float32))
    return layer.create_parameter(list(array.shape), default_initializer=initializer)


# ------------------------------------------------------------------------------------------- the exported layer

MAX_FREE_VALUES = 1_500_000  # T * H * W up to which attention maps are kept whole, as free sizes need it


class FramesToScores(nn.Layer):
    """The exported graph: frames [N*T, 3, H, W] -> scores [N, K], logits [N, P, K]."""

    def __init__(self, model, num_frames: int, volumes: bool):
        super().__init__()
        self.model, self.num_frames, self.volumes = fold_norms(model, volumes), num_frames, volumes

    def forward(self, frames):
        return self._traced(frames)

    @paddle.jit.not_to_static  # what follows branches on sizes only, which tracing keeps
    def _traced(self, frames):
        if self.volumes:
            logits = self.model.forward_volumes(to_volumes(frames, self.num_frames))
        else:
            logits = self.model.forward_frames(frames, self.num_frames)
        return self.model.class_scores(logits), logits


def prepare_for_export(model, num_frames: int, volumes: bool = False) -> nn.Layer:
    """A layer frames [N*T, 3, H, W] -> (scores [N, K], logits [N, P, K]) with folded norms."""
    return FramesToScores(model, num_frames, volumes)


def needs_fixed_sizes(config, num_frames: int, height: int, width: int) -> bool:
    """Whether an export must know the sizes of these clips.

    That is so where attention maps are too large to be kept whole, and where the features are smaller than the pools
    of the head (which then shrink) and of the blocks (which a side of 1 passes by).
    """
    smallest = max(2, head_pool_side(config))
    sides = [res5_side(side, config.MODEL.stem_pool_padding) for side in (height, width)]
    return num_frames * height * width > MAX_FREE_VALUES or min(sides) < smallest
