"""The whole network: clips in, one row of logits per output position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.nonlocal_model.layers import merge_clips
from models.nonlocal_model.nonlocal_block import NonLocalBlock
from models.nonlocal_model.placement import block_positions, group_frames_by_stage
from models.nonlocal_model.resnet_video import BLOCKS_OF_DEPTH, Norm, ResNetVideo, Stem, res5_side
from utils.errors import UserError

# video_arc_choice -> (inflated, depth)
ARCS = {1: (False, 50), 2: (True, 50), 3: (False, 101), 4: (True, 101)}


class NonLocalModel(ResNetVideo):
    """C2D or I3D ResNet with non-local blocks, dropout and a linear classifier at each output position.

    video_arc_choice: 1 C2D-R50, 2 I3D-R50, 3 C2D-R101, 4 I3D-R101. nonlocal_positions: stage 2..5 -> indices of the
    residual blocks that a block follows; None: the published five blocks; {}: none. nonlocal_options: arguments of
    every NonLocalBlock. group_frames: stage -> frames of its blocks' groups. widths: stem_channels, res2_channels,
    inner_channels and groups of the trunk. head_pool_size: side of the last average pool, stride 1; 0: the whole map.
    head_average: what `class_scores` averages over positions, "probabilities" or "logits". multi_label: scores are
    sigmoids, each class for itself.

    forward(clips float32 [N, 3, T, H, W], normalised) -> logits float32 [N, P, K] of P output positions, row by row.
    Raises UserError when the pools do not divide T.
    """

    def __init__(
        self,
        video_arc_choice: int = 1,
        num_classes: int = 400,
        *,
        nonlocal_positions: Mapping[int, Sequence[int]] | None = None,
        nonlocal_options: Mapping[str, Any] | None = None,
        group_frames: Mapping[int, int] | None = None,
        stem: Stem | None = None,
        norm: Norm | None = None,
        blocks_per_stage: Sequence[int] | None = None,
        widths: Mapping[str, int] | None = None,
        dropout_rate: float = 0.5,
        fc_init_std: float = 0.01,
        head_pool_size: int = 7,
        head_average: str = "probabilities",
        multi_label: bool = False,
    ):
        if video_arc_choice not in ARCS:
            raise UserError(f"video_arc_choice {video_arc_choice}: there are {', '.join(map(str, ARCS))}")
        inflated, depth = ARCS[video_arc_choice]
        if nonlocal_positions is None:
            nonlocal_positions = block_positions(depth)

        def make_nonlocal(num_channels: int, stage: int) -> NonLocalBlock:
            return NonLocalBlock(num_channels, group_frames=(group_frames or {}).get(stage), **(nonlocal_options or {}))

        super().__init__(
            blocks_per_stage or BLOCKS_OF_DEPTH[depth],
            inflated,
            nonlocal_positions=nonlocal_positions,
            make_nonlocal=make_nonlocal,
            stem=stem or Stem(),
            norm=norm or Norm(),
            **(widths or {}),
        )
        self.head_pool_size, self.head_average, self.multi_label = head_pool_size, head_average, multi_label
        self.dropout = nn.Dropout(dropout_rate)
        normal = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, fc_init_std))
        self.head = nn.Linear(self.out_channels, num_classes, weight_attr=normal)

    def forward(self, clips):
        return self.forward_frames(merge_clips(clips), clips.shape[2])

    def forward_frames(self, frames, num_frames: int):
        """The same from frames float32 [N*T, 3, H, W]: the input of exported networks, which some engines need 4-D."""
        return self._classify(*ResNetVideo.forward(self, frames, num_frames))  # Paddle 2.6 cannot compile super()

    def forward_volumes(self, clips):
        """The same for convolutions that take volumes: clips float32 [N, 3, T, H, W] (see inference.folding)."""
        x, num_frames = ResNetVideo.forward(self, clips, clips.shape[2])
        return self._classify(merge_clips(x), num_frames)

    def _classify(self, x, num_frames: int):
        side = self.head_pool_size
        if side == 0:
            x = F.adaptive_avg_pool2d(x, 1)
        else:
            # an open size (-1) of an exported network is at least the pool's side
            x = F.avg_pool2d(x, [min(side, n) if n > 0 else side for n in x.shape[2:]], 1)  # [N*4, 2048, 1, 1]
        x = x.flatten(2).transpose([0, 2, 1])  # [N*4, P, 2048]
        num_positions = x.shape[1] if x.shape[1] > 0 else paddle.shape(x)[1]
        x = x.reshape([-1, num_frames, num_positions, self.out_channels]).mean(1)
        return self.head(self.dropout(x))

    def class_scores(self, logits):
        """Scores of clips: softmax over K, then the mean over P (or the other way round): [N, P, K] -> [N, K].

        For several labels a video the sigmoid takes the softmax's place.
        """
        probabilities = F.sigmoid if self.multi_label else F.softmax
        if self.head_average == "logits":
            return probabilities(logits.mean(1))
        return probabilities(logits).mean(1)


def model_from_config(config) -> NonLocalModel:
    """The network of a `Config`; the only place where configuration keys become arguments."""
    model, resnets, nonlocal_ = config.MODEL, config.RESNETS, config.NONLOCAL
    blocks = {
        "instantiation": _instantiation(nonlocal_),
        "extent": nonlocal_.extent,
        "query_chunk": nonlocal_.query_chunk,
        "pool_after_projection": nonlocal_.pool_after_projection,
        "subsample": nonlocal_.use_maxpool,
        "use_scale": nonlocal_.use_scale,
        "zero_init": "conv" if nonlocal_.use_zero_init_conv else "norm",
        "norm": ("frozen_affine" if nonlocal_.use_affine else "batch_norm") if nonlocal_.use_bn else "none",
        "norm_momentum": nonlocal_.bn_momentum,
        "norm_epsilon": nonlocal_.bn_epsilon,
        "norm_init_scale": nonlocal_.bn_init_gamma,
        "conv_init_std": nonlocal_.conv_init_std,
        "has_bias": not nonlocal_.no_bias,
    }
    positions = block_positions(
        model.depth,
        layer_mod=nonlocal_.layer_mod,
        conv3_nonlocal=nonlocal_.conv3_nonlocal,
        conv4_nonlocal=nonlocal_.conv4_nonlocal,
        positions=nonlocal_.positions,
        preset=nonlocal_.num_blocks,
        blocks_per_stage=resnets.blocks_per_stage,
    )
    return NonLocalModel(
        model.video_arc_choice,
        model.num_classes,
        nonlocal_positions=positions,
        nonlocal_options=blocks,
        group_frames=group_frames_by_stage(nonlocal_.group_frames, model.use_affine),
        stem=Stem(
            model.stem_temporal_stride,
            model.stem_pool_temporal_kernel,
            model.stem_pool_temporal_stride,
            model.stem_pool_padding,
            model.temporal_pool,
        ),
        norm=Norm(
            "frozen_affine" if model.use_affine else "batch_norm",
            model.bn_momentum,
            model.bn_epsilon,
            model.bn_init_gamma,
        ),
        blocks_per_stage=resnets.blocks_per_stage,
        widths={
            "stem_channels": resnets.stem_channels,
            "res2_channels": resnets.res2_channels,
            "inner_channels": resnets.num_groups * resnets.width_per_group,
            "groups": resnets.num_groups,
        },
        dropout_rate=config.MODEL.dropout_rate,
        fc_init_std=model.fc_init_std,
        head_pool_size=head_pool_side(config),
        head_average=model.head_average,
        multi_label=model.multi_label,
    )


def head_pool_side(config) -> int:
    """MODEL.head_pool_size, or the side of res5 for INPUT.crop_size; 0: the whole map."""
    if config.MODEL.head_pool_size is not None:
        return config.MODEL.head_pool_size
    return res5_side(config.INPUT.crop_size, config.MODEL.stem_pool_padding)


def _instantiation(nonlocal_) -> str:
    """NONLOCAL.instantiation, or what the zoo's use_softmax says."""
    chosen = nonlocal_.instantiation
    if not nonlocal_.use_softmax and chosen in ("gaussian", "embedded_gaussian"):
        raise UserError(f"NONLOCAL.use_softmax: False contradicts NONLOCAL.instantiation: {chosen}; leave one out")
    return chosen or ("embedded_gaussian" if nonlocal_.use_softmax else "dot_product")
