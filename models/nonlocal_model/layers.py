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
    """A bias-free 3-D convolution, padding kernel // 2, computed as one 2-D convolution over frames.

    kernel, stride: (frames, height, width). groups: of the channels. weight: [out, in / groups, kT, kH, kW].
    forward(x [N*T, in, H, W], num_frames T) -> [N*T', out, H', W'] with T' = T / stride[0].
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple, stride: tuple = (1, 1, 1), groups: int = 1):
        super().__init__()
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = self.create_parameter(
            [out_channels, in_channels // groups, *kernel], default_initializer=nn.initializer.KaimingNormal()
        )

    def forward(self, x, num_frames: int):
        kernel_frames = self.kernel[0]
        if kernel_frames == 1:
            return self._convolve(take_frames(x, num_frames, self.stride[0]), self.weight.squeeze(2))
        if self.groups == 1 and self.stride[0] == 1 and self.out_channels <= self.in_channels:
            return self._project_then_add(x, num_frames)
        return self._stack_then_convolve(x, num_frames)

    def _convolve(self, x, weight):
        padding = [side // 2 for side in self.kernel[1:]]
        return F.conv2d(x, weight, stride=list(self.stride[1:]), padding=padding, groups=self.groups)

    def _project_then_add(self, x, num_frames: int):
        """Few output channels: convolve each frame with all kT kernels at once, then add neighbours' results."""
        kernel_frames, half = self.kernel[0], self.kernel[0] // 2
        weight = self.weight.transpose([2, 0, 1, 3, 4]).flatten(0, 1)  # [kT * out, in, kH, kW]
        taps = split_clips(self._convolve(x, weight), num_frames).split(kernel_frames, 2)
        total = taps[half]
        for offset in range(1, min(half, num_frames - 1) + 1):
            zeros = paddle.zeros_like(total[:, :offset])
            before, after = taps[half - offset][:, :-offset], taps[half + offset][:, offset:]
            total = total + paddle.concat([zeros, before], 1) + paddle.concat([after, zeros], 1)
        return total.flatten(0, 1)

    def _stack_then_convolve(self, x, num_frames: int):
        """Few input channels: put each frame's kT neighbours side by side in the channels, then convolve once."""
        if self.groups != 1:
            raise UserError("a convolution over several frames cannot have groups")
        kernel_frames, half = self.kernel[0], self.kernel[0] // 2
        check_divides(num_frames, self.stride[0])
        x = split_clips(x, num_frames)
        zeros = paddle.zeros_like(x[:, :1])
        padded = paddle.concat([zeros] * half + [x] + [zeros] * half, 1)
        step = self.stride[0]
        stacked = paddle.concat([padded[:, k : k + num_frames : step] for k in range(kernel_frames)], 2)
        weight = self.weight.transpose([0, 2, 1, 3, 4]).flatten(1, 2)  # [out, kT * in, kH, kW]
        return self._convolve(stacked.flatten(0, 1), weight)


def take_frames(x, num_frames: int, step: int):
    """Every `step`-th frame of each clip: [N*T, C, H, W] -> [N*(T/step), C, H, W]."""
    if step == 1:
        return x
    check_divides(num_frames, step)
    return x[::step]  # T is a multiple of the step, so the slices of all clips line up


def max_over_frames(x, num_frames: int, kernel: int, stride: int):
    """Temporal max pool without padding: the first `kernel` of every `stride` frames; kernel <= stride."""
    if stride == 1:
        return x
    check_divides(num_frames, stride)
    pooled = x[::stride]
    for k in range(1, kernel):
        pooled = paddle.maximum(pooled, x[k::stride])
    return pooled


def split_clips(x, num_frames: int):
    """[N*T, C, ...] -> [N, T, C, ...]; sizes that an exported network leaves open are read at run time."""
    sizes = [paddle.shape(x)[i] if size < 0 else size for i, size in enumerate(x.shape) if i > 0]
    return x.reshape([-1, num_frames, *sizes])


def check_divides(num_frames: int, stride: int) -> None:
    """Raises UserError when a clip of `num_frames` does not halve evenly."""
    if num_frames % stride:
        raise UserError(f"{num_frames} frames reach a pool over {stride}: choose video_length as a multiple of it")
