"""All that describes a network of the NONLOCAL family, as plain values. This module needs no Paddle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from configs.schema import ARCHS
from models.nonlocal_model.placement import BLOCKS_OF_DEPTH, block_positions, group_frames_by_stage
from models.options import DetectionOptions, HeadOptions, Norm, detection_options, head_options
from utils.errors import UserError

if TYPE_CHECKING:
    from configs.schema import Config, Nonlocal

MAX_FREE_VALUES = 1_500_000  # T * H * W up to which attention maps are kept whole, as free sizes need it
# stage -> which residual blocks have conv_a over three frames in the inflated (I3D) architectures
TEMPORAL_BLOCKS: dict[str, Callable[[int], bool]] = {
    "res2": lambda i: True,
    "res3": lambda i: i % 2 == 0,
    "res4": lambda i: i % 2 == 0,
    "res5": lambda i: i % 2 == 1,
}


@dataclass(frozen=True)
class Stem:
    """Kernels, strides and padding of conv1, pool1 and pool2; the defaults are those of the 8x8 models."""

    temporal_stride: int = 1
    pool_temporal_kernel: int = 1
    pool_temporal_stride: int = 1
    pool_padding: int = 0
    temporal_pool: bool = True


@dataclass(frozen=True)
class BlockOptions:
    """Arguments of every `NonLocalBlock`, which says what they mean."""

    inner_channels: int | None = None
    instantiation: str = "embedded_gaussian"
    extent: str = "spacetime"
    subsample: bool = True
    use_scale: bool = True
    zero_init: str = "norm"
    query_chunk: int | None = None
    norm: str = "batch_norm"
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    norm_init_scale: float = 0.0
    conv_init_std: float = 0.01
    has_bias: bool = True
    out_has_bias: bool | None = None
    pool_after_projection: bool = False


@dataclass(frozen=True)
class Stage:
    """A row of the trunk's table.

    temporal: for each residual block, whether its conv_a spans three frames. inner_channels: of the bottlenecks.
    stride: of the first block, in height and width. dilation: of the 3 x 3 convolutions. nonlocal_after: residual
    blocks that a non-local block follows. group_frames: frames of the groups in which those see each other; None: all.
    """

    name: str
    temporal: tuple[bool, ...]
    inner_channels: int
    out_channels: int
    stride: int
    nonlocal_after: tuple[int, ...] = ()
    group_frames: int | None = None
    dilation: int = 1


@dataclass(frozen=True)
class NetworkOptions:
    """All that `models.nonlocal_model.build` reads.

    inflated: conv1 spans five frames. groups: of the bottlenecks' 3 x 3 convolutions. detection: None: whole clips are
    classified.
    """

    in_channels: int
    inflated: bool
    stem_channels: int
    stem: Stem
    norm: Norm
    stages: tuple[Stage, ...]
    groups: int
    block: BlockOptions
    head: HeadOptions
    detection: DetectionOptions | None = None

    def needs_fixed_sizes(self, num_frames: int, height: int, width: int) -> bool:
        """Whether an export must know the sizes of these clips.

        That is so where attention maps are too large to be kept whole, and where the features are smaller than the
        pools of the head (which then shrink; a detector has none) and of the blocks (which a side of 1 passes by).
        """
        halvings = 2 if self.detection else 3
        sides = [res5_side(side, self.stem.pool_padding, halvings) for side in (height, width)]
        smallest = 2 if self.detection else max(2, self.head.pool_size)
        return num_frames * height * width > MAX_FREE_VALUES or min(sides) < smallest


def network_options(
    arch: str | int = "c2d_r50",
    num_classes: int = 400,
    *,
    nonlocal_positions: Mapping[int, Sequence[int]] | None = None,
    nonlocal_options: Mapping[str, Any] | None = None,
    group_frames: Mapping[int, int] | None = None,
    stem: Stem | None = None,
    norm: Norm | None = None,
    blocks_per_stage: Sequence[int] | None = None,
    widths: Mapping[str, int] | None = None,
    in_channels: int = 3,
    dropout_rate: float = 0.5,
    fc_init_std: float = 0.01,
    head_pool_size: int = 7,
    head_average: str = "probabilities",
    multi_label: bool = False,
    detection: DetectionOptions | None = None,
) -> NetworkOptions:
    """The options of a C2D or I3D ResNet with non-local blocks.

    arch: c2d_r50, i3d_r50, c2d_r101, i3d_r101, or the zoo's number 1 to 4. nonlocal_positions: stage 2..5 -> indices
    of the residual blocks that a block follows; None: the published five blocks; {}: none. nonlocal_options: fields of
    `BlockOptions`. group_frames: stage -> frames of its blocks' groups. blocks_per_stage: residual blocks of res2 to
    res5; None: those of the architecture. widths: stem_channels (64), of conv1; res2_channels (256), of res2's output,
    and inner_channels (64), inside res2's bottlenecks, which double with each stage; groups (1). detection: classify
    boxes; res5 then keeps the size of res4, 1/16. The others: `HeadOptions`.

    Raises UserError for an unknown architecture.
    """
    names = [*ARCHS]
    if arch in range(1, len(names) + 1):
        arch = names[int(arch) - 1]
    if arch not in ARCHS:
        raise UserError(f"architecture {arch!r}: there are {', '.join(names)} (video_arc_choice 1 to {len(names)})")
    inflated, depth = ARCHS[arch].inflated, ARCHS[arch].depth
    stem = stem or Stem()
    if stem.pool_temporal_kernel > stem.pool_temporal_stride:
        raise UserError("pool1's temporal kernel must not be larger than its temporal stride")
    positions = block_positions(depth) if nonlocal_positions is None else nonlocal_positions
    sizes = {"stem_channels": 64, "res2_channels": 256, "inner_channels": 64, "groups": 1, **(widths or {})}
    stages = tuple(
        Stage(
            name=name,
            temporal=tuple(inflated and is_temporal(i) for i in range(num_blocks)),
            inner_channels=sizes["inner_channels"] << k,
            out_channels=sizes["res2_channels"] << k,
            stride=1 if k == 0 or (k == 3 and detection) else 2,
            dilation=2 if k == 3 and detection and detection.res5_dilated else 1,
            nonlocal_after=tuple(positions.get(k + 2, ())),
            group_frames=(group_frames or {}).get(k + 2),
        )
        for k, (num_blocks, (name, is_temporal)) in enumerate(
            zip(blocks_per_stage or BLOCKS_OF_DEPTH[depth], TEMPORAL_BLOCKS.items())
        )
    )
    return NetworkOptions(
        in_channels=in_channels,
        inflated=inflated,
        stem_channels=sizes["stem_channels"],
        stem=stem,
        norm=norm or Norm(),
        stages=stages,
        groups=sizes["groups"],
        block=BlockOptions(**(nonlocal_options or {})),
        head=HeadOptions(num_classes, dropout_rate, fc_init_std, head_pool_size, head_average, multi_label),
        detection=detection,
    )


def options_from_config(config: Config) -> NetworkOptions:
    """The options that a configuration says; the only place where this family reads its keys."""
    model, resnets, nonlocal_ = config.MODEL, config.RESNETS, config.NONLOCAL
    head = head_options(config, res5_side(config.INPUT.crop_size, model.stem_pool_padding))
    return network_options(
        model.arch,
        nonlocal_positions=block_positions(
            ARCHS[model.arch].depth,
            layer_mod=nonlocal_.layer_mod,
            conv3_nonlocal=nonlocal_.conv3_nonlocal,
            conv4_nonlocal=nonlocal_.conv4_nonlocal,
            positions=nonlocal_.positions,
            preset=nonlocal_.num_blocks,
            blocks_per_stage=resnets.blocks_per_stage,
        ),
        nonlocal_options=dataclasses.asdict(block_options(nonlocal_)),
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
        in_channels=config.INPUT.channels,
        num_classes=head.num_classes,
        dropout_rate=head.dropout_rate,
        fc_init_std=head.init_std,
        head_pool_size=head.pool_size,
        head_average=head.average,
        multi_label=head.multi_label,
        detection=detection_options(config) if model.task == "detection" else None,
    )


def block_options(section: Nonlocal) -> BlockOptions:
    """The options of the blocks that NONLOCAL describes."""
    return BlockOptions(
        instantiation=_instantiation(section),
        extent=section.extent,
        query_chunk=section.query_chunk,
        pool_after_projection=section.pool_after_projection,
        subsample=section.use_maxpool,
        use_scale=section.use_scale,
        zero_init="conv" if section.use_zero_init_conv else "norm",
        norm=("frozen_affine" if section.use_affine else "batch_norm") if section.use_bn else "none",
        norm_momentum=section.bn_momentum,
        norm_epsilon=section.bn_epsilon,
        norm_init_scale=section.bn_init_gamma,
        conv_init_std=section.conv_init_std,
        has_bias=not section.no_bias,
    )


def res5_side(crop_px: int, pool_padding: int, halvings: int = 3) -> int:
    """Height of res5 for a square crop: conv1 halves rounding up, pool1 as max 3 stride 2, `halvings` more up."""
    side = (-(-crop_px // 2) + 2 * pool_padding - 3) // 2 + 1
    for _ in range(halvings):
        side = -(-side // 2)
    return side


def _instantiation(nonlocal_: Nonlocal) -> str:
    """NONLOCAL.instantiation, or what the zoo's use_softmax says."""
    chosen = nonlocal_.instantiation
    if not nonlocal_.use_softmax and chosen in ("gaussian", "embedded_gaussian"):
        raise UserError(f"NONLOCAL.use_softmax: False contradicts NONLOCAL.instantiation: {chosen}; leave one out")
    return chosen or ("embedded_gaussian" if nonlocal_.use_softmax else "dot_product")
