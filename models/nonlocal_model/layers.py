"""Convolutions, pools and norms over frames: activations are [N*T, C, H, W], parameters keep their 5-D shape.

Every convolution of these networks is a 2-D convolution over frames: 1 x k x k with the frames as batch, and a kernel
that spans kT frames as a 2-D convolution with the neighbouring frames (or their projections) side by side in the
channels. It is the same mathematics as `Conv3D`, several times faster on CPUs, and the layout of cuDNN's fast kernels.
"""

from __future__ import annotations

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

    kind: "batch_norm" or "frozen_affine". momentum: share of the old running statistics kept (Paddle's meaning).
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
    none; engines that fold a norm into the convolution set one, [out], and may add zero channels to stacked frames.
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


def max_over_frames(x, num_frames: int, kernel: int, stride: int):
    """Temporal max pool without padding: the first `kernel` of every `stride` frames; kernel <= stride."""
    if stride == 1:
        return x
    check_divides(num_frames, stride)
    if x.ndim == 5:
        return F.max_pool3d(x, [kernel, 1, 1], [stride, 1, 1])
    pooled, *others = split_clips(x, stride).unbind(1)[:kernel]
    for other in others:
        pooled = paddle.maximum(pooled, other)
    return pooled


def max_over_space(x, kernel: list[int], stride: list[int] | None = None, padding: int = 0):
    """Spatial max pool of frames [N*T, C, H, W] or volumes [N, C, T, H, W]; stride None: the kernel."""
    stride = stride or kernel
    if x.ndim == 5:
        return F.max_pool3d(x, [1, *kernel], [1, *stride], [0, padding, padding])
    return F.max_pool2d(x, kernel, stride, padding)


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
