"""A convolution of frames with few channels, as a stem is, in training on CPUs: each frame is unfolded once.

The kH kW values that every position of a frame sees, of each channel, are rows [R, L] (R = C kH kW, L positions). The
rows of neighbouring frames lie behind each other in memory, so that the kT frames which an output frame is computed
from are one matrix [kT R, L] without a copy, and their convolution is one product with the weights [out, kT R]. Stacked
frames in place of it are unfolded kT times each, which takes as long as the products.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import paddle
import paddle.nn.functional as F

FRAMES_AT_ONCE = 8  # output frames whose input frames are unfolded together: bounds the memory of the rows


class Geometry(NamedTuple):
    """Where a convolution looks. taps: kT; frame_padding: (before, after); stride: of frames; window: the kernel's
    sides, strides, paddings and dilations in the plane, as `F.unfold` takes them."""

    num_frames: int
    taps: int
    frame_padding: tuple[int, int]
    stride: int
    window: tuple

    def products(self, frames) -> Iterator[tuple]:
        """(rows [k R, L], first tap) of each output frame: the rows of the frames that meet its taps first tap, ...,
        first tap + k - 1; rows is None where all frames are padding. frames: [N*T, C, H, W]."""
        out_frames = (self.num_frames + sum(self.frame_padding) - self.taps) // self.stride + 1
        for clip in range(0, len(frames), self.num_frames):
            for start in range(0, out_frames, FRAMES_AT_ONCE):
                of_output = [self._met(t) for t in range(start, min(start + FRAMES_AT_ONCE, out_frames))]
                met = [(first, last) for first, last, _ in of_output if first < last]
                begin, end = (met[0][0], met[-1][1]) if met else (0, 0)
                rows = F.unfold(frames[clip + begin : clip + end], *self.window) if met else None
                for first, last, tap in of_output:
                    yield rows[first - begin : last - begin].flatten(0, 1) if first < last else None, tap

    def _met(self, t: int) -> tuple[int, int, int]:
        """(first, last, tap): output frame t is computed from frames first .. last - 1, the first one by `tap`."""
        start = t * self.stride - self.frame_padding[0]
        first = max(0, start)
        return first, min(self.num_frames, start + self.taps), first - start


class UnfoldedFrames(paddle.autograd.PyLayer):
    """y [N*T', out, L] of frames [N*T, C, H, W], which get no gradient, and weight [out, kT R], tap by tap.

    The rows are computed again in the backward pass, where other activations have made room for them.
    """

    @staticmethod
    def forward(ctx, frames, weight, geometry: Geometry):
        ctx.save_for_backward(frames, weight)
        ctx.geometry = geometry
        size = weight.shape[1] // geometry.taps  # R
        outputs = [
            None if rows is None else paddle.matmul(weight[:, tap * size : tap * size + len(rows)], rows)
            for rows, tap in geometry.products(frames)
        ]
        zeros = paddle.zeros_like(next(output for output in outputs if output is not None))
        return paddle.stack([zeros if output is None else output for output in outputs])

    @staticmethod
    def backward(ctx, gradient):
        frames, weight = ctx.saved_tensor()
        size = weight.shape[1] // ctx.geometry.taps
        sums: dict[tuple[int, int], paddle.Tensor] = {}  # by the first column and the number of columns
        for t, (rows, tap) in enumerate(ctx.geometry.products(frames)):
            if rows is not None:
                product = paddle.matmul(gradient[t], rows, transpose_y=True)
                total = sums.setdefault((tap * size, len(rows)), product)
                if total is not product:
                    total.add_(product)
        whole = weight.shape[1]
        parts = [F.pad(part, [0, 0, start, whole - start - width]) for (start, width), part in sums.items()]
        return None, functools.reduce(paddle.add, parts)
