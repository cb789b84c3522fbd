"""The non-local block: z = x + norm(W_out y), y_i = sum_j f(x_i, x_j) g(x_j) / C(x)."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from models.layers import (
    HalveSpace,
    build_norm,
    conv2d,
    fixed_parameter,
    fold,
    merge_clips,
    scale_and_shift,
    split_clips,
    to_volumes,
)
from models.nonlocal_model import attention
from utils.errors import UserError

INSTANTIATIONS = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
EXTENTS = ("spacetime", "space", "time")
NORMS = ("batch_norm", "frozen_affine", "none")


class Projection(nn.Layer):
    """A 1x1x1 convolution over frames: weight [out, in, 1, 1, 1], bias [out] or None."""

    def __init__(self, in_channels: int, out_channels: int, init_std: float, has_bias: bool):
        super().__init__()
        initializer = nn.initializer.Normal(0.0, init_std) if init_std else nn.initializer.Constant(0.0)
        self.weight = self.create_parameter([out_channels, in_channels, 1, 1, 1], default_initializer=initializer)
        self.bias = self.create_parameter([out_channels], is_bias=True) if has_bias else None

    def forward(self, x, factor: float = 1.0):
        """x [N*T, in, H, W] -> factor * (W x + b) [N*T, out, H, W]."""
        weight, bias = self.weight.squeeze(2), self.bias
        if factor != 1.0:  # on the weights, which are fewer than the activations
            weight, bias = weight * factor, None if bias is None else bias * factor
        return conv2d(x, weight, bias)

    def folded_with(self, scale: np.ndarray | float, shift: np.ndarray | float, volumes: bool) -> FoldedProjection:
        """scale * (W x + b) + shift as one projection; scale, shift: numbers or [out]."""
        return (VolumeProjection if volumes else FoldedProjection)(self, scale, shift)


class FoldedProjection(nn.Layer):
    """A Projection with factor, scale and shift multiplied in: weight [out, in, 1, 1], bias [out]."""

    def __init__(self, projection: Projection, scale: np.ndarray | float, shift: np.ndarray | float):
        super().__init__()
        weight = projection.weight.squeeze(2).numpy().astype(np.float64)
        bias = np.zeros(len(weight)) if projection.bias is None else projection.bias.numpy().astype(np.float64)
        self.weight = fixed_parameter(self, weight * np.broadcast_to(scale, len(weight))[:, None, None, None])
        self.bias = fixed_parameter(self, bias * scale + shift)

    def forward(self, x, factor: float = 1.0):
        return conv2d(x, self.weight, self.bias)


class VolumeProjection(FoldedProjection):
    """The same of volumes [N, C, T, H, W]."""

    def forward(self, x, factor: float = 1.0):
        return F.conv3d(x, self.weight.unsqueeze(2), self.bias)


class NonLocalBlock(nn.Layer):
    """A non-local block with its residual sum (Wang et al., CVPR 2018, equations 1 to 6), exact in every form.

    num_channels: C of x. inner_channels: width of theta, phi and g; None: C / 2.
    instantiation: "gaussian" exp(x_i^T x_j), "embedded_gaussian" exp(theta_i^T phi_j), both divided by their sum over
        j; "dot_product" theta_i^T phi_j, "concatenation" relu(w^T [theta_i, phi_j]), both divided by the number of j.
    extent: where j runs: "spacetime"; "space", the frame of i; "time", the spatial position of i.
    subsample: x_j is halved in height and width by a max pool before phi and g; a side of 1 stays, an odd side loses
        its last row. Without effect for extent "time", whose positions lie at one place.
    use_scale: multiplies theta^T phi by inner_channels^-0.5; of "embedded_gaussian" only.
    zero_init: what starts at 0, so that a new block changes nothing: "norm", the scale of the batch norm, or "conv",
        the output convolution (always so where there is no batch norm).
    group_frames: positions see only their own group of so many frames; a last group may be smaller. None: all frames.
    query_chunk: queries of a softmax computed at once; None: chosen from the sizes.
    norm: "batch_norm", "frozen_affine" or "none", after the output convolution; norm_momentum is the fraction of
        the old running statistics kept, norm_init_scale gamma's start for zero_init "norm".
    conv_init_std: standard deviation of the first weights. has_bias: of theta, phi, g, out; out_has_bias: None: the
        same for out. pool_after_projection: pool phi and g in place of x (mmaction2's order).

    forward(x float [N, C, T, H, W], images [N, C, H, W] or sequences [N, C, L]) -> z of x's shape; with `num_frames`
    T, x is the frames of clips in a row, [N*T, C, H, W].
    Raises UserError for an unknown form or a shape that the form does not fit.
    """

    def __init__(
        self,
        num_channels: int,
        inner_channels: int | None = None,
        instantiation: str = "embedded_gaussian",
        extent: str = "spacetime",
        subsample: bool = True,
        use_scale: bool = True,
        zero_init: str = "norm",
        group_frames: int | None = None,
        query_chunk: int | None = None,
        *,
        norm: str = "batch_norm",
        norm_momentum: float = 0.9,
        norm_epsilon: float = 1e-5,
        norm_init_scale: float = 0.0,
        conv_init_std: float = 0.01,
        has_bias: bool = True,
        out_has_bias: bool | None = None,
        pool_after_projection: bool = False,
    ):
        super().__init__()
        _check_choice("instantiation", instantiation, INSTANTIATIONS)
        _check_choice("extent", extent, EXTENTS)
        _check_choice("zero_init", zero_init, ("norm", "conv"))
        _check_choice("norm", norm, NORMS)
        inner = max(num_channels // 2, 1) if inner_channels is None else inner_channels
        sizes = {"num_channels": num_channels, "inner_channels": inner}
        sizes.update(group_frames=group_frames, query_chunk=query_chunk)
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise UserError(f"{name} {size} of a non-local block must be at least 1")
        self.num_channels, self.inner_channels = num_channels, inner
        self.instantiation, self.extent = instantiation, extent
        self.subsample = subsample and extent != "time"
        self.pool = HalveSpace()
        self.pool_after_projection = pool_after_projection
        self.group_frames, self.query_chunk = group_frames, query_chunk
        self.scale = inner**-0.5 if use_scale and instantiation == "embedded_gaussian" else 1.0

        if instantiation != "gaussian":
            self.theta = Projection(num_channels, inner, conv_init_std, has_bias)
            self.phi = Projection(num_channels, inner, conv_init_std, has_bias)
        if instantiation == "concatenation":
            self.pair = Projection(2 * inner, 1, conv_init_std, False)
        self.g = Projection(num_channels, inner, conv_init_std, has_bias)
        out_starts_at_zero = zero_init == "conv" or norm != "batch_norm"
        out_has_bias = has_bias if out_has_bias is None else out_has_bias
        self.out = Projection(inner, num_channels, 0.0 if out_starts_at_zero else conv_init_std, out_has_bias)
        self.bn = None
        if norm != "none":
            # Scale and convolution both at 0 would leave each other without a gradient.
            init_scale = 1.0 if zero_init == "conv" else norm_init_scale
            self.bn = build_norm(norm, num_channels, norm_momentum, norm_epsilon, init_scale)

    def forward(self, x, num_frames: int | None = None):
        if num_frames is not None:
            return self._forward_frames(x, num_frames)
        sides = len(x.shape) - 2
        if sides not in (1, 2, 3) or x.shape[1] != self.num_channels:
            raise UserError(
                f"a non-local block of {self.num_channels} channels takes [N, C, T, H, W], [N, C, H, W] or [N, C, L] "
                f"with C = {self.num_channels}, not {list(x.shape)}"
            )
        if sides < 3 and self.extent == "time":
            raise UserError(f"extent 'time' of a non-local block needs [N, C, T, H, W], not {list(x.shape)}")
        if sides == 1:
            return self._forward_frames(x.unsqueeze(2), 1).squeeze(2)
        if sides == 2:
            return self._forward_frames(x, 1)
        num_frames = x.shape[2]
        if num_frames < 1:
            raise UserError("the number of frames of a non-local block must be known when it is exported")
        return to_volumes(self._forward_frames(merge_clips(x), num_frames), num_frames)

    @paddle.jit.not_to_static  # what follows depends on shapes only, so tracing it is exact
    def _forward_frames(self, x, num_frames: int):
        """The same from frames: x [N*T, C, H, W], the T frames of a clip in a row -> z [N*T, C, H, W]."""
        queries, keys, values = self.project(x)
        y = self._attend_groups(queries, keys, values, num_frames)
        y = self.out(_unflatten_like(y, x))
        return x + (y if self.bn is None else self.bn(y))

    def folded(self, volumes: bool) -> nn.Layer:
        """The block of exported networks; uses this one up. volumes: forward(x [N, C, T, H, W], T)."""
        # Forms that must take frames apart do so in a block over volumes, too.
        is_direct = self.extent == "spacetime" and not self.group_frames and self.instantiation != "concatenation"
        for_volumes = volumes and is_direct
        if self.instantiation != "gaussian":
            self.theta = self.theta.folded_with(self.scale, 0.0, for_volumes)
            self.phi = self.phi.folded_with(1.0, 0.0, for_volumes)
            self.scale = 1.0
        self.g = self.g.folded_with(1.0, 0.0, for_volumes)
        scale, shift = (1.0, 0.0) if self.bn is None else scale_and_shift(self.bn)
        self.out, self.bn = self.out.folded_with(scale, shift, for_volumes), None
        fold(self, for_volumes)  # the pool
        return VolumeNonLocalBlock(self, is_direct) if volumes else self

    def multiply_adds(self, inputs, output) -> int:
        """Of one call (see `models.counts`), with every map of pairs in one piece and no cheaper order of products."""
        x, num_frames = inputs[0], inputs[1] if len(inputs) > 1 else None
        if num_frames is None:  # [N, C, T, H, W], images or sequences
            sides = (1, 1, *x.shape[2:])[-3:]
            num_clips, (num_frames, height, width) = x.shape[0], sides
        else:
            num_clips, (height, width) = x.shape[0] // num_frames, x.shape[2:]
        return num_clips * self.multiply_adds_of_clip(num_frames, height, width)

    def multiply_adds_of_clip(self, num_frames: int, height: int, width: int) -> int:
        """Multiply-adds of one clip of T x H x W positions."""
        channels, inner = self.num_channels, self.inner_channels
        positions = num_frames * height * width
        halve = [max(side // 2, 1) if self.subsample else side for side in (height, width)]
        keys_of_frame = halve[0] * halve[1]
        num_keys = num_frames * keys_of_frame
        group = min(self.group_frames or num_frames, num_frames)
        sizes = [group] * (num_frames // group) + ([num_frames % group] if num_frames % group else [])
        if self.extent == "space":
            pairs = num_frames * height * width * keys_of_frame
        elif self.extent == "time":
            pairs = sum(size**2 for size in sizes) * height * width
        else:
            pairs = sum(size**2 for size in sizes) * height * width * keys_of_frame
        projected = positions if self.pool_after_projection else num_keys
        total = (positions + projected) * channels * inner + pairs * inner  # out, g, and the sum over j
        if self.instantiation == "gaussian":
            return total + pairs * channels
        total += (positions + projected) * channels * inner  # theta, phi
        if self.instantiation == "concatenation":
            return total + (positions + num_keys) * inner
        return total + pairs * inner

    def project(self, x):
        """x [N*T, C, H, W] -> theta [N*T, d, HW], phi [N*T, d, H'W'], g [N*T, e, H'W'].

        theta and phi are x itself for "gaussian", and for "concatenation" a and b (d = 1), the two halves of
        w^T [theta, phi] with w multiplied into the projections.
        """
        pooled = self.pool(x) if self.subsample else x
        late = self.pool_after_projection and self.subsample
        source = x if late else pooled
        values = self.g(source)
        if self.instantiation == "gaussian":
            queries, keys = x, pooled
        elif self.instantiation == "concatenation":
            of_theta, of_phi = self.pair.weight.reshape([2, 1, self.inner_channels])
            queries = _projected(self.theta, of_theta, x)
            keys = self.pool(self.phi(source)) if late else _projected(self.phi, of_phi, source)
            if late:
                keys = F.conv2d(keys, of_phi.reshape([1, -1, 1, 1]))
        else:
            queries, keys = self.theta(x, self.scale), self.phi(source)
            keys = self.pool(keys) if late else keys
        values = self.pool(values) if late else values
        return queries.flatten(2), keys.flatten(2), values.flatten(2)

    def _attend_groups(self, queries, keys, values, num_frames: int):
        """[N*T, d, HW], [N*T, d, H'W'], [N*T, e, H'W'] -> y [N*T, e, HW], each group of frames for itself."""
        group = 1 if self.extent == "space" else min(self.group_frames or num_frames, num_frames)
        rest = num_frames % group
        if rest == 0:
            return self._attend_clips(queries, keys, values, group)
        clips = [split_clips(t, num_frames) for t in (queries, keys, values)]
        whole = num_frames - rest
        first = self._attend_clips(*(t[:, :whole].flatten(0, 1) for t in clips), group)
        last = self._attend_clips(*(t[:, whole:].flatten(0, 1) for t in clips), rest)
        return paddle.concat([split_clips(first, whole), split_clips(last, rest)], 1).flatten(0, 1)

    def _attend_clips(self, queries, keys, values, num_frames: int):
        """The same for clips of `num_frames` frames whose positions see each other."""
        if self.extent == "time":
            clips = [split_clips(t, num_frames).transpose([0, 3, 2, 1]) for t in (queries, keys, values)]
            y = self._attend(*(t.flatten(0, 1) for t in clips))  # [N*HW, e, T]
            y = y.reshape([-1, _size(queries, 2), self.inner_channels, num_frames])
            return y.transpose([0, 3, 2, 1]).flatten(0, 1)
        if num_frames == 1:
            return self._attend(queries, keys, values)
        clips = [split_clips(t, num_frames).transpose([0, 2, 1, 3]).flatten(2) for t in (queries, keys, values)]
        y = self._attend(*clips)  # [N, e, T*HW]
        y = y.reshape([-1, self.inner_channels, num_frames, _size(queries, 2)])
        return y.transpose([0, 2, 1, 3]).flatten(0, 1)

    def _attend(self, queries, keys, values):
        if self.instantiation == "dot_product":
            return attention.dot_product_attention(queries, keys, values)
        if self.instantiation == "concatenation":
            return attention.concatenation_attention(queries.squeeze(1), keys.squeeze(1), values)
        return attention.softmax_attention(queries, keys, values, self.query_chunk)


class VolumeNonLocalBlock(nn.Layer):
    """A folded block over volumes: forward(x [N, C, T, H, W], T) -> the same shape.

    is_direct: the block's layers take volumes; else its frames are taken apart and put together again.
    """

    def __init__(self, block: NonLocalBlock, is_direct: bool):
        super().__init__()
        self.block, self.is_direct = block, is_direct

    def forward(self, x, num_frames: int):
        if not self.is_direct:
            return self.block(x)
        y = self.block._attend(*self.block.project(x))
        return x + self.block.out(_unflatten_like(y, x))


def _projected(projection: Projection, row, x):
    """row (W x + b) for row [1, d], with row W multiplied first: [N*T, C, H, W] -> [N*T, 1, H, W]."""
    weight = paddle.matmul(row, projection.weight.flatten(1)).reshape([1, -1, 1, 1])
    bias = None if projection.bias is None else paddle.matmul(row, projection.bias.unsqueeze(1)).flatten()
    return conv2d(x, weight, bias)


def _size(x, axis: int):
    """A side of x: a number where it is known, else a tensor that an exported network reads at run time."""
    return x.shape[axis] if x.shape[axis] > 0 else paddle.shape(x)[axis]


def _unflatten_like(y, x):
    """[N*T, e, HW] -> [N*T, e, H, W], or [N, e, THW] -> [N, e, T, H, W], with x's sides."""
    return y.reshape([-1, y.shape[1], *(_size(x, axis) for axis in range(2, x.ndim))])


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} {value!r} of a non-local block: there are {', '.join(choices)}")
