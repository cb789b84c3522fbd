"""Layers that families share: convolutions, pools and norms over frames, and how they are folded for export.

Activations are [N*T, C, H, W], the T frames of a clip in a row; parameters keep their 5-D shape. Every convolution of
these networks is a 2-D convolution over frames: 1 x k x k with the frames as batch, and a kernel that spans kT frames
as a 2-D convolution with the neighbouring frames (or their projections) side by side in the channels. It is the same
mathematics as `Conv3D`, several times faster on CPUs, and the layout of cuDNN's fast kernels.

Padding is "symmetric" (kernel // 2 on both sides), "same" (TensorFlow's: the output has ceil(size / stride) positions,
an odd rest goes behind), or a pair (before, after) for each of frames, height and width.

A layer with a method `folded(volumes)` has another form in exported networks: with norms folded into convolutions,
y = (W x) * s + b is (s W) x + b for fixed s and b, and, where `volumes`, for activations [N, C, T, H, W]. `fold` puts
these forms in place.
"""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from models.options import padding_of
from models.unfolded_frames import Geometry, UnfoldedFrames
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
        return x * self.weight.reshape([-1, 1, 1]) + self.bias.reshape([-1, 1, 1])  # see conv2d


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


class Window(nn.Layer):
    """Where a convolution or a pool over frames looks: kernel, stride: (frames, height, width); padding: see above."""

    dilation = 1  # rows and columns from one position of the kernel to the next

    def __init__(self, kernel: tuple, stride: tuple, padding: str | tuple):
        super().__init__()
        self._set_window(kernel, stride, padding)

    def _set_window(self, kernel: tuple, stride: tuple, padding: str | tuple) -> None:
        self.kernel, self.stride, self.padding = tuple(kernel), tuple(stride), padding

    def _extent(self) -> list[int]:
        """Rows and columns from the kernel's first position to its last."""
        return [self.dilation * (side - 1) + 1 for side in self.kernel[1:]]

    def frame_padding(self, num_frames: int) -> tuple[int, int]:
        """(before, after): frames of padding of a clip of `num_frames`."""
        return padding_of(self.padding, 0, self.kernel[0], self.stride[0], num_frames)

    def out_frames(self, num_frames: int, frame_padding: tuple[int, int] | None = None) -> int:
        """Frames of the output."""
        padding = self.frame_padding(num_frames) if frame_padding is None else frame_padding
        return (num_frames + sum(padding) - self.kernel[0]) // self.stride[0] + 1

    def _space_padding(self, x) -> list[tuple[int, int]]:
        """(before, after) of height and width of x [..., H, W]."""
        sizes = zip(self._extent(), self.stride[1:], x.shape[-2:])
        return [padding_of(self.padding, axis, *values) for axis, values in enumerate(sizes, 1)]

    def _out_shape(self, x, num_frames: int, frame_padding: tuple[int, int] | None) -> list[int]:
        """[N*T', H', W'] of the output for x [N*T, C, H, W]."""
        axes = zip(self._extent(), self.stride[1:], x.shape[2:], self._space_padding(x))
        sides = [(size + sum(padding) - kernel) // stride + 1 for kernel, stride, size, padding in axes]
        return [x.shape[0] // num_frames * self.out_frames(num_frames, frame_padding), *sides]

    def _volume_padding(self, x, frame_padding: tuple[int, int] | None) -> list[tuple[int, int]]:
        """(before, after) of frames, height and width of x [N, C, T, H, W]."""
        return [self.frame_padding(x.shape[2]) if frame_padding is None else frame_padding, *self._space_padding(x)]


def conv2d(x, weight, bias=None, *window):
    """`F.conv2d`, whose values and gradients it has bit for bit.

    Paddle gives the bias the shape [1, C, 1, 1], which its CPU kernels add 10 to 20 times more slowly than [C, 1, 1].
    """
    if bias is None or not paddle.in_dynamic_mode():  # recorded graphs are optimised with the bias in the operation
        return F.conv2d(x, weight, bias, *window)
    return paddle.add(F.conv2d(x, weight, None, *window), bias.reshape([-1, 1, 1]))


def paddle_padding(pairs: list[tuple[int, int]]) -> list:
    """Pairs (before, after) as Paddle's functions take them."""
    if all(before == after for before, after in pairs):
        return [before for before, _ in pairs]
    return [[0, 0], [0, 0], *[list(pair) for pair in pairs]]


class FramesConv(Window):
    """A 3-D convolution, computed as one 2-D convolution over frames.

    kernel, stride: (frames, height, width). groups: of the channels. padding: see the head of this module. dilation: of
    height and width. weight:
    [out, in / groups, kT, kH, kW]. bias: [out] where `has_bias`; `FoldedConv` has one, and may add zero channels to
    stacked frames.
    forward(x [N*T, in, H, W], num_frames T, frame_padding) -> [N*T', out, H', W'] with T' = `out_frames(T)`;
    frame_padding: (before, after) in place of the frames of zeros that `padding` says.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple,
        stride: tuple = (1, 1, 1),
        groups: int = 1,
        padding: str | tuple = "symmetric",
        has_bias: bool = False,
        dilation: int = 1,
    ):
        super().__init__(kernel, stride, padding)
        self.groups, self.dilation = groups, dilation
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = self.create_parameter(
            [out_channels, in_channels // groups, *kernel], default_initializer=nn.initializer.KaimingNormal()
        )
        self.bias = self.create_parameter([out_channels], is_bias=True) if has_bias else None
        self.num_zero_channels = 0
        # Few output channels: project each frame, then add. Few input channels: stack the frames, then convolve; a
        # large window costs a copy of each input, so that the limit is higher there.
        few = out_channels <= in_channels * max(1, kernel[1] * kernel[2] // 4)
        self.adds_taps = kernel[0] > 1 and groups == 1 and few

    def forward(self, x, num_frames: int, frame_padding: tuple[int, int] | None = None):
        padding = self.frame_padding(num_frames) if frame_padding is None else frame_padding
        if self.kernel[0] == 1 and padding == (0, 0):
            return self._convolve(take_frames(x, num_frames, self.stride[0]), *self.kernel_2d())
        if self.groups != 1:
            raise UserError("a convolution over several frames cannot have groups")
        if self._unfolds(x):
            return self._unfold_then_multiply(x, num_frames, padding)
        return (self._project_then_add if self.adds_taps else self._stack_then_convolve)(x, num_frames, padding)

    def output_like(self, x, num_frames: int, frame_padding: tuple[int, int] | None = None):
        """Zeros of the shape of `forward`'s output."""
        frames, *sides = self._out_shape(x, num_frames, frame_padding)
        return paddle.zeros([frames, self.out_channels, *sides])

    def kernel_2d(self, residue: int = 0):
        """(weight, bias) of the 2-D convolution.

        Where taps are added, of the taps k with k % stride[0] = residue: [taps * out, in, kH, kW], and one tap has the
        bias; else [out, kT * in, kH, kW].
        """
        if self.kernel[0] == 1:
            return self.weight.squeeze(2), self.bias
        if not self.adds_taps:
            return self.weight.transpose([0, 2, 1, 3, 4]).flatten(1, 2), self.bias
        taps = range(self.kernel[0])[residue :: self.stride[0]]
        weight = self.weight if self.stride[0] == 1 else self.weight[:, :, residue :: self.stride[0]]
        bias = self.bias
        if bias is not None:
            bias = paddle.concat([bias if k == self.kernel[0] // 2 else paddle.zeros_like(bias) for k in taps])
        return weight.transpose([2, 0, 1, 3, 4]).flatten(0, 1), bias

    def _unfolds(self, x) -> bool:
        """Whether it is faster to unfold each frame once: in training on CPUs, of frames that need no gradient."""
        is_large = not self.adds_taps and self.kernel[1:] != (1, 1)
        return is_large and self.training and paddle.in_dynamic_mode() and x.stop_gradient and x.place.is_cpu_place()

    def _unfold_then_multiply(self, x, num_frames: int, padding: tuple[int, int]):
        (top, bottom), (left, right) = self._space_padding(x)
        window = list(self.kernel[1:]), list(self.stride[1:]), [top, left, bottom, right], self.dilation
        weight, bias = self.kernel_2d()
        geometry = Geometry(num_frames, self.kernel[0], padding, self.stride[0], window)
        frames, *sides = self._out_shape(x, num_frames, padding)
        y = UnfoldedFrames.apply(x, weight.flatten(1), geometry).reshape([frames, self.out_channels, *sides])
        return y if bias is None else y + bias.reshape([-1, 1, 1])

    def _convolve(self, x, weight, bias):
        padding = paddle_padding(self._space_padding(x))
        return conv2d(x, weight, bias, list(self.stride[1:]), padding, self.dilation, self.groups)

    def _project_then_add(self, x, num_frames: int, padding: tuple[int, int]):
        """Convolve each frame with the kernels that meet it, then add neighbours' results.

        All kernels at once; but one after another in eager evaluation with many output channels, where the copies of
        their results cost more than reading the frames again: faster, and without the memory of all results.
        """
        at_once = self.out_channels < self.in_channels or not paddle.in_dynamic_mode() or self.training
        out_frames, stride = self.out_frames(num_frames, padding), self.stride[0]
        length, total = -(-num_frames // stride), None
        for phase, frames in enumerate(phases(x, num_frames, stride)):
            residue = (phase + padding[0]) % stride  # of the taps that meet these frames
            shifts = [(k - padding[0]) // stride for k in range(self.kernel[0])[residue::stride]]
            weight, bias = self.kernel_2d(residue)
            if at_once:
                results = iter(split_clips(self._convolve(frames, weight, bias), length).split(len(shifts), 2))
            else:
                biases = [None] * len(shifts) if bias is None else bias.split(len(shifts))
                kernels = zip(weight.split(len(shifts)), biases)
                results = (split_clips(self._convolve(frames, *kernel), length) for kernel in kernels)
            for shift, projection in zip(shifts, results):
                if abs(shift) < length:
                    shifted = first_frames(shift_frames(projection, shift, length), length, out_frames)
                    total = shifted if total is None else total + shifted
        return total.flatten(0, 1)

    def _stack_then_convolve(self, x, num_frames: int, padding: tuple[int, int]):
        """Put the kT frames of each output frame side by side in the channels, then convolve once."""
        out_frames, length = self.out_frames(num_frames, padding), -(-num_frames // self.stride[0])
        clips = [split_clips(phase, length) for phase in phases(x, num_frames, self.stride[0])]
        parts = []
        for k in range(self.kernel[0]):
            shift, phase = divmod(k - padding[0], self.stride[0])
            parts.append(first_frames(shift_frames(clips[phase], shift, length), length, out_frames))
        zero_channels = [paddle.zeros_like(parts[0][:, :, :1])] * self.num_zero_channels
        stacked = paddle.concat(parts + zero_channels, 2).flatten(0, 1)
        return self._convolve(stacked, *self.kernel_2d())


class ConvNorm(nn.Layer):
    """conv -> norm over frames: forward(x [N*T, in, H, W], num_frames T) -> [N*T', out, H', W']."""

    def __init__(self, conv: FramesConv, norm: nn.Layer):
        super().__init__()
        self.conv, self.bn = conv, norm

    def forward(self, x, num_frames: int):
        return self.bn(self.conv(x, num_frames))

    def folded(self, volumes: bool) -> nn.Layer:
        return (VolumeConv if volumes else FoldedConv)(self.conv, *scale_and_shift(self.bn))


class MaxPool(Window):
    """A 3-D max pool of frames whose padding never is the maximum.

    forward(x [N*T, C, H, W], num_frames T, frame_padding) -> [N*T', C, H', W'], as `FramesConv`.
    """

    def forward(self, x, num_frames: int, frame_padding: tuple[int, int] | None = None):
        before, after = self.frame_padding(num_frames) if frame_padding is None else frame_padding
        if self.kernel[1:] != (1, 1) or self.stride[1:] != (1, 1):
            x = F.max_pool2d(x, *pool_window(self.kernel[1:], self.stride[1:], self._space_padding(x), x.shape[2:]))
        if self.kernel[0] == 1:
            return take_frames(x, num_frames, self.stride[0])
        if before or after:  # the first and last frame once more change no maximum, whatever their sign
            clips = split_clips(x, num_frames)
            first, last = ends(clips, num_frames)
            x = paddle.concat([*[first] * before, clips, *[last] * after], 1).flatten(0, 1)
        length, stride = num_frames + before + after, self.stride[0]
        out_frames, dealt_frames = (length - self.kernel[0]) // stride + 1, -(-length // stride)
        dealt, pooled = phases(x, length, stride), None
        for k in range(self.kernel[0]):
            tap = dealt[k % stride]
            if (k // stride, out_frames) != (0, dealt_frames):
                clips = split_clips(tap, dealt_frames)
                tap = frames_between(clips, k // stride, k // stride + out_frames, dealt_frames).flatten(0, 1)
            pooled = tap if pooled is None else paddle.maximum(pooled, tap)
        return pooled

    def output_like(self, x, num_frames: int, frame_padding: tuple[int, int] | None = None):
        """Zeros of the shape of `forward`'s output."""
        frames, *sides = self._out_shape(x, num_frames, frame_padding)
        return paddle.zeros([frames, x.shape[1], *sides])

    def folded(self, volumes: bool) -> nn.Layer:
        return VolumeMaxPool(self.kernel, self.stride, self.padding) if volumes else self


class VolumeMaxPool(Window):
    """A MaxPool of volumes [N, C, T, H, W]."""

    def forward(self, x, num_frames: int, frame_padding: tuple[int, int] | None = None):
        padding = self._volume_padding(x, frame_padding)
        return F.max_pool3d(x, *pool_window(self.kernel, self.stride, padding, x.shape[2:]))


def pool_window(kernel: tuple, stride: tuple, padding: list[tuple[int, int]], sizes: list[int]) -> tuple:
    """Kernel, stride and padding as Paddle's functions take them, of a max pool over axes of these sizes.

    On an axis of one position every window is that position: paddle2onnx 2.1 writes a wider one wrongly.
    """
    single = [
        size == 1 and before + after < side + step - 1  # one output
        for side, step, (before, after), size in zip(kernel, stride, padding, sizes)
    ]
    padding = [(0, 0) if one else pair for one, pair in zip(single, padding)]
    kernel, stride = ([1 if one else size for one, size in zip(single, sizes)] for sizes in (kernel, stride))
    return kernel, stride, paddle_padding(padding)


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
    """Every `step`-th frame of each clip, the first one first: [N*T, C, H, W] -> [N*ceil(T/step), C, H, W]."""
    return phases(x, num_frames, step)[0]


def phases(x, num_frames: int, step: int) -> list:
    """The frames of each clip dealt out to `step` clips: frame step * t + p becomes frame t of the p-th of them.

    x [N*T, C, H, W] -> `step` tensors [N*ceil(T/step), C, H, W]; missing last frames are zeros.
    """
    if step == 1:
        return [x]
    missing = -num_frames % step
    if missing:
        clips = split_clips(x, num_frames)
        zeros = [paddle.zeros_like(ends(clips, num_frames)[0])] * missing
        x = paddle.concat([clips, *zeros], 1).flatten(0, 1)
    return split_clips(x, step).unbind(1)


def frames_between(x, start: int, stop: int, num_frames: int):
    """Frames start .. stop - 1 of x [N, T, ...], T being num_frames."""
    # split, not slice: see shift_frames
    sizes = [start, stop - start, num_frames - stop]
    if sizes[1] == num_frames:
        return x
    parts = x.split([size for size in sizes if size], 1)
    return parts[1 if start else 0]


def first_frames(x, num_frames: int, count: int):
    """The first `count` frames of x [N, T, ...]."""
    return frames_between(x, 0, count, num_frames)


def ends(x, num_frames: int) -> tuple:
    """The first and the last frame of x [N, T, ...], as [N, 1, ...]."""
    return frames_between(x, 0, 1, num_frames), frames_between(x, num_frames - 1, num_frames, num_frames)


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
    """A FramesConv whose weights [out, in, kH, kW] are stored as the 2-D convolutions take them, with biases.

    weight, bias: those of residue 0 (see `kernel_2d`); weight1, bias1 and so on: the others'. Stacked frames get zero
    channels up to a multiple of VECTOR_WIDTH. Nothing is computed from weights when the network runs: oneDNN keeps
    what it has made of a weight, and Paddle Inference then takes it for another one that lies in the same memory.
    """

    def __init__(self, conv: FramesConv, scale: np.ndarray, shift: np.ndarray):
        nn.Layer.__init__(self)  # not FramesConv's, which would make a weight
        self._set_window(conv.kernel, conv.stride, conv.padding)
        self.groups, self.adds_taps, self.dilation = conv.groups, conv.adds_taps, conv.dilation
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.num_zero_channels = 0
        for residue in range(conv.stride[0] if conv.adds_taps else 1):
            flat = conv.kernel_2d(residue)[0].numpy().astype(np.float64)
            taps = range(conv.kernel[0])[residue :: conv.stride[0]] if conv.adds_taps else [conv.kernel[0] // 2]
            if conv.kernel[0] > 1 and not conv.adds_taps:
                self.num_zero_channels = -flat.shape[1] % VECTOR_WIDTH
                flat = np.pad(flat, ((0, 0), (0, self.num_zero_channels), (0, 0), (0, 0)))
            shifts = [shift if k == conv.kernel[0] // 2 else 0 * shift for k in taps]
            number = residue or ""
            setattr(
                self, f"weight{number}", fixed_parameter(self, flat * np.tile(scale, len(taps))[:, None, None, None])
            )
            setattr(self, f"bias{number}", fixed_parameter(self, np.concatenate(shifts)))

    def _unfolds(self, x) -> bool:
        return False

    def kernel_2d(self, residue: int = 0):
        number = residue or ""
        return getattr(self, f"weight{number}"), getattr(self, f"bias{number}")


class VolumeConv(Window):
    """A FramesConv as the 3-D convolution that it is, with a bias: forward(x [N, in, T, H, W], T) -> [N, out, ...]."""

    def __init__(self, conv: FramesConv, scale: np.ndarray, shift: np.ndarray):
        super().__init__(conv.kernel, conv.stride, conv.padding)
        self.groups, self.dilation = conv.groups, conv.dilation
        weight = conv.weight.numpy().astype(np.float64)
        self.weight = fixed_parameter(self, weight * scale[:, None, None, None, None])
        self.bias = fixed_parameter(self, shift)

    def forward(self, x, num_frames: int, frame_padding: tuple[int, int] | None = None):
        padding = paddle_padding(self._volume_padding(x, frame_padding))
        dilation = [1, self.dilation, self.dilation]
        return F.conv3d(x, self.weight, self.bias, list(self.stride), padding, dilation, self.groups)


def fixed_parameter(layer: nn.Layer, array: np.ndarray):
    """A float32 parameter of `layer` that holds `array`, rounded once."""
    initializer = nn.initializer.Assign(np.ascontiguousarray(array, np.float32))
    return layer.create_parameter(list(array.shape), default_initializer=initializer)
