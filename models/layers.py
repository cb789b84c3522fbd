"""Layers that families share: convolutions, pools and norms over frames, and how they are folded for export.

Activations are [N*T, C, H, W], the T frames of a clip in a row; parameters keep their 5-D shape. Every convolution of
these networks is a 2-D convolution over frames: 1 x k x k with the frames as batch, and a kernel that spans kT frames
as a 2-D convolution with the neighbouring frames (or their projections) side by side in the channels. It is the same
mathematics as `Conv3D`, several times faster on CPUs, and the layout of cuDNN's fast kernels.

A layer with a method `folded(volumes)` has another form in exported networks: with norms folded into convolutions,
y = (W x) * s + b is (s W) x + b for fixed s and b, and, where `volumes`, for activations [N, C, T, H, W]. `fold` puts
these forms in place.
"""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from utils.errors import UserError


class FrozenAffine(nn.Layer):
    """y = x * weight + bias per channel, neither of them trained: batch norm with its statistics folded in.

    num_channels: C of x [N, C, H, W]. Returns the shape of x.
    """

    def __init__(self, num_channels: int):
        super().__init__()
        one, zero = nn.initializer.Constant(1.0), nn.initializer.Constant(0.0)
        self.weight = self.create_parameter([num_channels], default_initializer=one)
        self.bias = self.create_parameter([num_channels], default_initializer=zero)
        self.weight.stop_gradient = self.bias.stop_gradient = True

    def forward(self, x):
        return x * self.weight.reshape([1, -1, 1, 1]) + self.bias.reshape([1, -1, 1, 1])


def build_norm(kind: str, num_channels: int, momentum: float, epsilon: float, init_scale: float) -> nn.Layer:
    """The norm after a convolution over frames.

    kind: "batch_norm" or "frozen_affine". momentum: fraction of the old running statistics kept (Paddle's meaning).
    epsilon: added to the variance. init_scale: first value of gamma; a frozen affine always starts as the identity,
    because it cannot leave 0 again.
    """
    if kind == "frozen_affine":
        return FrozenAffine(num_channels)
    if kind != "batch_norm":
        raise UserError(f"unknown norm {kind!r}; there are batch_norm and frozen_affine")
    scale = paddle.ParamAttr(initializer=nn.initializer.Constant(init_scale))
    return nn.BatchNorm2D(num_channels, momentum=momentum, epsilon=epsilon, weight_attr=scale)


class FramesConv(nn.Layer):
    """A 3-D convolution, padding kernel // 2, computed as one 2-D convolution over frames.

    kernel, stride: (frames, height, width). groups: of the channels. weight: [out, in / groups, kT, kH, kW]. bias:
    none; `FoldedConv` has one, [out], and may add zero channels to stacked frames.
    forward(x [N*T, in, H, W], num_frames T) -> [N*T', out, H', W'] with T' = T / stride[0].
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple, stride: tuple = (1, 1, 1), groups: int = 1):
        super().__init__()
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = self.create_parameter(
            [out_channels, in_channels // groups, *kernel], default_initializer=nn.initializer.KaimingNormal()
        )
        self.bias, self.num_zero_channels = None, 0
        # Few output channels: project each frame, then add. Few input channels: stack the frames, then convolve; a
        # large window costs a copy of each input, so that the limit is higher there.
        few = out_channels <= in_channels * max(1, kernel[1] * kernel[2] // 4)
        self.adds_taps = kernel[0] > 1 and groups == 1 and stride[0] == 1 and few

    def forward(self, x, num_frames: int):
        if self.kernel[0] == 1:
            return self._convolve(take_frames(x, num_frames, self.stride[0]))
        return self._project_then_add(x, num_frames) if self.adds_taps else self._stack_then_convolve(x, num_frames)

    def flat_weight(self):
        """The 2-D convolution's weight: [kT * out, in, kH, kW] where taps are added, else [out, kT * in, kH, kW]."""
        if self.kernel[0] == 1:
            return self.weight.squeeze(2)
        if self.adds_taps:
            return self.weight.transpose([2, 0, 1, 3, 4]).flatten(0, 1)
        return self.weight.transpose([0, 2, 1, 3, 4]).flatten(1, 2)

    def _convolve(self, x):
        padding = [side // 2 for side in self.kernel[1:]]
        return F.conv2d(x, self.flat_weight(), self.bias, list(self.stride[1:]), padding, groups=self.groups)

    def _project_then_add(self, x, num_frames: int):
        """Convolve each frame with all kT kernels at once, then add neighbours' results."""
        half = self.kernel[0] // 2
        taps = split_clips(self._convolve(x), num_frames).split(self.kernel[0], 2)
        shifted = [shift_frames(tap, k - half, num_frames) for k, tap in enumerate(taps) if abs(k - half) < num_frames]
        return sum(shifted[1:], shifted[0]).flatten(0, 1)

    def _stack_then_convolve(self, x, num_frames: int):
        """Put each frame's kT neighbours side by side in the channels, then convolve once."""
        if self.groups != 1:
            raise UserError("a convolution over several frames cannot have groups")
        half = self.kernel[0] // 2
        x = split_clips(x, num_frames)
        parts = [shift_frames(x, k - half, num_frames) for k in range(self.kernel[0])]
        stacked = paddle.concat(parts + [paddle.zeros_like(x[:, :, :1])] * self.num_zero_channels, 2)
        return self._convolve(take_frames(stacked.flatten(0, 1), num_frames, self.stride[0]))


class ConvNorm(nn.Layer):
    """conv -> norm over frames: forward(x [N*T, in, H, W], num_frames T) -> [N*T', out, H', W']."""

    def __init__(self, conv: FramesConv, norm: nn.Layer):
        super().__init__()
        self.conv, self.bn = conv, norm

    def forward(self, x, num_frames: int):
        return self.bn(self.conv(x, num_frames))

    def folded(self, volumes: bool) -> nn.Layer:
        return (VolumeConv if volumes else FoldedConv)(self.conv, *scale_and_shift(self.bn))


class MaxOverFrames(nn.Layer):
    """Temporal max pool without padding: the first `kernel` of every `stride` frames; kernel <= stride."""

    def __init__(self, kernel: int, stride: int):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x, num_frames: int):
        if self.stride == 1:
            return x
        check_divides(num_frames, self.stride)
        pooled, *others = split_clips(x, self.stride).unbind(1)[: self.kernel]
        for other in others:
            pooled = paddle.maximum(pooled, other)
        return pooled

    def folded(self, volumes: bool) -> nn.Layer:
        return VolumePool([self.kernel, 1, 1], [self.stride, 1, 1]) if volumes else self


class MaxOverSpace(nn.Layer):
    """Spatial max pool of frames [N*T, C, H, W]; padding on each side."""

    def __init__(self, kernel: int, stride: int, padding: int = 0):
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x, num_frames: int):
        return F.max_pool2d(x, self.kernel, self.stride, self.padding)

    def folded(self, volumes: bool) -> nn.Layer:
        if not volumes:
            return self
        kernel, stride = [1, self.kernel, self.kernel], [1, self.stride, self.stride]
        return VolumePool(kernel, stride, [0, self.padding, self.padding])


class HalveSpace(nn.Layer):
    """Halves height and width by a max pool; a side of 1 stays, an odd side loses its last row."""

    def forward(self, x):
        kernel = self._kernel(x)
        return x if kernel == [1, 1] else F.max_pool2d(x, kernel, kernel)

    def _kernel(self, x) -> list[int]:
        return [1 if side == 1 else 2 for side in x.shape[-2:]]

    def folded(self, volumes: bool) -> nn.Layer:
        return VolumeHalveSpace() if volumes else self


class VolumeHalveSpace(HalveSpace):
    """The same for volumes [N, C, T, H, W]."""

    def forward(self, x):
        kernel = [1, *self._kernel(x)]
        return x if kernel == [1, 1, 1] else F.max_pool3d(x, kernel, kernel)


def shift_frames(x, offset: int, num_frames: int):
    """x [N, T, ...] with frame t + offset in the place of frame t, zeros where there is none."""
    if offset == 0:
        return x
    if abs(offset) >= num_frames:
        return paddle.zeros_like(x)
    # split, not slice: its backward pass is a concatenation, many times faster than padding with zeros
    if offset > 0:
        first, rest = x.split([offset, num_frames - offset], 1)
        return paddle.concat([rest, paddle.zeros_like(first)], 1)
    rest, last = x.split([num_frames + offset, -offset], 1)
    return paddle.concat([paddle.zeros_like(last), rest], 1)


def take_frames(x, num_frames: int, step: int):
    """Every `step`-th frame of each clip: [N*T, C, H, W] -> [N*(T/step), C, H, W]."""
    if step == 1:
        return x
    check_divides(num_frames, step)
    return split_clips(x, step).unbind(1)[0]  # T is a multiple of the step, so all clips line up


def merge_clips(x):
    """[N, C, T, H, W] -> [N*T, C, H, W]: volumes as the frames of a clip in a row."""
    return x.transpose([0, 2, 1, 3, 4]).flatten(0, 1)


def to_volumes(x, num_frames: int):
    """[N*T, C, H, W] -> [N, C, T, H, W]."""
    return split_clips(x, num_frames).transpose([0, 2, 1, 3, 4])


def split_clips(x, num_frames: int):
    """[N*T, C, ...] -> [N, T, C, ...]; sizes that an exported network leaves open are read at run time."""
    sizes = [paddle.shape(x)[i] if size < 0 else size for i, size in enumerate(x.shape) if i > 0]
    return x.reshape([-1, num_frames, *sizes])


def check_divides(num_frames: int, stride: int) -> None:
    """Raises UserError when a clip of `num_frames` does not halve evenly."""
    if num_frames % stride:
        raise UserError(f"{num_frames} frames reach a pool over {stride}: choose video_length as a multiple of it")


VECTOR_WIDTH = 8  # CPU kernels want a multiple of so many input channels; the I3D stem's 3 x 5 become 16


def fold(layer: nn.Layer, volumes: bool) -> None:
    """Put the exported form of every layer below `layer` in its place; `layer` must be in evaluation mode."""
    for name, child in list(layer.named_children()):
        if hasattr(child, "folded"):
            layer.add_sublayer(name, child.folded(volumes))
        else:
            fold(child, volumes)


def scale_and_shift(norm: nn.Layer) -> tuple[np.ndarray, np.ndarray]:
    """s and b, float64 [C], of a norm in evaluation mode: y = x * s + b."""
    weight, bias = (np.asarray(t.numpy(), np.float64) for t in (norm.weight, norm.bias))
    if isinstance(norm, FrozenAffine):
        return weight, bias
    mean, variance = (np.asarray(t.numpy(), np.float64) for t in (norm._mean, norm._variance))
    scale = weight / np.sqrt(variance + norm._epsilon)
    return scale, bias - mean * scale


class FoldedConv(FramesConv):
    """A FramesConv whose weight [out, in, kH, kW] is stored as the 2-D convolution takes it, with a bias.

    Stacked frames get zero channels up to a multiple of VECTOR_WIDTH.
    """

    def __init__(self, conv: FramesConv, scale: np.ndarray, shift: np.ndarray):
        nn.Layer.__init__(self)  # not FramesConv's, which would make a weight
        self.kernel, self.stride, self.groups, self.adds_taps = conv.kernel, conv.stride, conv.groups, conv.adds_taps
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        flat = conv.flat_weight().numpy().astype(np.float64)
        stacks = conv.kernel[0] > 1 and not conv.adds_taps
        self.num_zero_channels = -flat.shape[1] % VECTOR_WIDTH if stacks else 0
        flat = np.pad(flat, ((0, 0), (0, self.num_zero_channels), (0, 0), (0, 0)))
        taps = len(flat) // len(scale)
        self.weight = fixed_parameter(self, flat * np.tile(scale, taps)[:, None, None, None])
        shifts = [shift if tap == taps // 2 else 0 * shift for tap in range(taps)]
        self.bias = fixed_parameter(self, np.concatenate(shifts))

    def flat_weight(self):
        return self.weight


class VolumeConv(nn.Layer):
    """A FramesConv as the 3-D convolution that it is, with a bias: forward(x [N, in, T, H, W], T) -> [N, out, ...]."""

    def __init__(self, conv: FramesConv, scale: np.ndarray, shift: np.ndarray):
        super().__init__()
        self.stride, self.groups, self.padding = list(conv.stride), conv.groups, [side // 2 for side in conv.kernel]
        weight = conv.weight.numpy().astype(np.float64)
        self.weight = fixed_parameter(self, weight * scale[:, None, None, None, None])
        self.bias = fixed_parameter(self, shift)

    def forward(self, x, num_frames: int):
        return F.conv3d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


class VolumePool(nn.Layer):
    """A max pool of volumes [N, C, T, H, W]; kernel, stride, padding: (frames, height, width)."""

    def __init__(self, kernel: list[int], stride: list[int], padding: list[int] | int = 0):
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x, num_frames: int):
        check_divides(num_frames, self.stride[0])
        return x if self.kernel == self.stride == [1, 1, 1] else F.max_pool3d(x, self.kernel, self.stride, self.padding)


def fixed_parameter(layer: nn.Layer, array: np.ndarray):
    """A float32 parameter of `layer` that holds `array`, rounded once."""
    initializer = nn.initializer.Assign(np.ascontiguousarray(array, np.float32))
    return layer.create_parameter(list(array.shape), default_initializer=initializer)
