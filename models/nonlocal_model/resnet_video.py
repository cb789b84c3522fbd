"""The residual trunk: C2D and I3D ResNets over frames, with non-local blocks between residual blocks.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, as the authors' program has it. Shapes in comments
are those of 8 x 224 x 224 clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import paddle.nn.functional as F
from paddle import nn

from models.nonlocal_model.layers import FramesConv, build_norm, max_over_frames, max_over_space
from utils.errors import UserError

BLOCKS_OF_DEPTH = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Which residual blocks of res2..res5 have conv_a over three frames in the inflated (I3D) arcs.
IS_TEMPORAL = (lambda i: True, lambda i: i % 2 == 0, lambda i: i % 2 == 0, lambda i: i % 2 == 1)


@dataclass(frozen=True)
class Stem:
    """The geometry of conv1, pool1 and pool2; the defaults are those of the 8x8 models."""

    temporal_stride: int = 1
    pool_temporal_kernel: int = 1
    pool_temporal_stride: int = 1
    pool_padding: int = 0
    temporal_pool: bool = True


@dataclass(frozen=True)
class Norm:
    """The trunk's norm: "batch_norm" or "frozen_affine", share of old statistics kept, epsilon, last gamma's start."""

    kind: str = "batch_norm"
    momentum: float = 0.9
    epsilon: float = 1e-5
    last_init_scale: float = 0.0


class ConvNorm(nn.Layer):
    """conv -> norm over frames."""

    def __init__(self, conv: FramesConv, norm: Norm, init_scale: float = 1.0):
        super().__init__()
        self.conv = conv
        self.bn = build_norm(norm.kind, conv.out_channels, norm.momentum, norm.epsilon, init_scale)

    def forward(self, x, num_frames: int):
        return self.bn(self.conv(x, num_frames))


class Bottleneck(nn.Layer):
    """relu(c(relu(b(relu(a(x))))) + shortcut(x)); a spans three frames where `temporal`, b has the spatial stride."""

    def __init__(self, in_channels, out_channels, inner_channels, *, temporal, stride, groups, norm: Norm):
        super().__init__()
        kernel_frames = 3 if temporal else 1
        self.a = ConvNorm(FramesConv(in_channels, inner_channels, (kernel_frames, 1, 1)), norm)
        b = FramesConv(inner_channels, inner_channels, (1, 3, 3), (1, stride, stride), groups)
        self.b = ConvNorm(b, norm)
        self.c = ConvNorm(FramesConv(inner_channels, out_channels, (1, 1, 1)), norm, norm.last_init_scale)
        self.shortcut = None
        if in_channels != out_channels or stride != 1:
            shortcut = FramesConv(in_channels, out_channels, (1, 1, 1), (1, stride, stride))
            self.shortcut = ConvNorm(shortcut, norm)

    def forward(self, x, num_frames: int):
        y = F.relu(self.a(x, num_frames))
        y = F.relu(self.b(y, num_frames))
        y = self.c(y, num_frames)
        shortcut = x if self.shortcut is None else self.shortcut(x, num_frames)
        return F.relu(y + shortcut)


class ResNetVideo(nn.Layer):
    """Clips as frames in, features of res5 out.

    blocks_per_stage: residual blocks of res2..res5. inflated: I3D (conv1 over 5 frames, conv_a over 3 where IS_TEMPORAL
    says) or C2D. nonlocal_positions: stage 2..5 -> indices of the residual blocks that a non-local block follows.
    make_nonlocal(num_channels, stage) builds one. stem_channels, res2_channels, inner_channels: widths of conv1, of
    res2's output and inside res2's bottlenecks; the last two double with each stage.
    """

    def __init__(
        self,
        blocks_per_stage: Sequence[int],
        inflated: bool,
        *,
        nonlocal_positions: Mapping[int, Sequence[int]],
        make_nonlocal: Callable[[int, int], nn.Layer],
        stem: Stem,
        norm: Norm,
        stem_channels: int = 64,
        res2_channels: int = 256,
        inner_channels: int = 64,
        groups: int = 1,
    ):
        super().__init__()
        if stem.pool_temporal_kernel > stem.pool_temporal_stride:
            raise UserError("pool1's temporal kernel must not be larger than its temporal stride")
        self.stem_geometry = stem
        conv1 = FramesConv(3, stem_channels, (5 if inflated else 1, 7, 7), (stem.temporal_stride, 2, 2))
        self.stem = ConvNorm(conv1, norm)
        in_channels = stem_channels
        for k, num_blocks in enumerate(blocks_per_stage):
            out_channels, inner = res2_channels << k, inner_channels << k
            stage = nn.Layer()
            for i in range(num_blocks):
                block = Bottleneck(
                    in_channels,
                    out_channels,
                    inner,
                    temporal=inflated and IS_TEMPORAL[k](i),
                    stride=2 if i == 0 and k > 0 else 1,
                    groups=groups,
                    norm=norm,
                )
                stage.add_sublayer(f"block{i}", block)
                if i in nonlocal_positions.get(k + 2, ()):
                    stage.add_sublayer(f"nl{i}", make_nonlocal(out_channels, k + 2))
                in_channels = out_channels
            self.add_sublayer(f"stage{k + 2}", stage)
        self.out_channels = in_channels

    def forward(self, x, num_frames: int):
        """x: float [N*T, 3, H, W], the frames of a clip in a row. Returns (features [N*T', C, H', W'], T').

        With convolutions that take volumes (inference.folding) x may be [N, 3, T, H, W], and so are the features.
        """
        geometry = self.stem_geometry
        x = F.relu(self.stem(x, num_frames))  # [N*8, 64, 112, 112]
        num_frames //= geometry.temporal_stride
        x = max_over_frames(x, num_frames, geometry.pool_temporal_kernel, geometry.pool_temporal_stride)
        num_frames //= geometry.pool_temporal_stride
        x = max_over_space(x, [3, 3], [2, 2], geometry.pool_padding)  # [N*8, 64, 55, 55]
        for k in range(2, 6):
            for name, block in getattr(self, f"stage{k}").named_children():
                if name.startswith("block"):
                    x = block(x, num_frames)
                else:
                    x = block.forward_volumes(x) if x.ndim == 5 else block.forward_frames(x, num_frames)
            if k == 2 and geometry.temporal_pool:
                x = max_over_frames(x, num_frames, 2, 2)  # [N*4, 256, 55, 55]
                num_frames //= 2
        return x, num_frames  # [N*4, 2048, 7, 7]


def res5_side(crop_px: int, pool_padding: int) -> int:
    """Height of res5 for a square crop: conv1 halves rounding up, pool1 as max 3 stride 2, three more halvings up."""
    side = (-(-crop_px // 2) + 2 * pool_padding - 3) // 2 + 1
    for _ in range(3):
        side = -(-side // 2)
    return side
