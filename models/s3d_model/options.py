"""All that describes a network of the S3D family, as plain values. This module needs no Paddle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from configs.schema import key
from models.nonlocal_model.options import BlockOptions, block_options
from models.options import DetectionOptions, HeadOptions, Norm, detection_options, head_options, padding_of
from utils.errors import UserError

if TYPE_CHECKING:
    from configs.schema import Config

# The places where time can be convolved, in the order of the computation.
TEMPORAL_LAYERS = (
    "conv_1a", "conv_2c", "mixed_3b", "mixed_3c", "mixed_4b", "mixed_4c", "mixed_4d", "mixed_4e", "mixed_4f",
    "mixed_5b", "mixed_5c",
)  # fmt: skip
# Outputs of an Inception block's convolutions b0, b1a, b1b, b2a, b2b, b3b.
BLOCKS = {
    "mixed_3b": (64, 96, 128, 16, 32, 32),
    "mixed_3c": (128, 128, 192, 32, 96, 64),
    "mixed_4b": (192, 96, 208, 16, 48, 64),
    "mixed_4c": (160, 112, 224, 24, 64, 64),
    "mixed_4d": (128, 128, 256, 24, 64, 64),
    "mixed_4e": (112, 144, 288, 32, 64, 64),
    "mixed_4f": (256, 160, 320, 32, 128, 128),
    "mixed_5b": (256, 160, 320, 32, 128, 128),
    "mixed_5c": (384, 192, 384, 48, 128, 128),
}
STEM_CHANNELS = {"conv_1a": 64, "conv_2b": 64, "conv_2c": 192}
# Max pools: layer behind them -> (kernel, stride) over frames, height and width.
POOLS = {
    "pool_2a": ((1, 3, 3), (1, 2, 2)),
    "pool_3a": ((1, 3, 3), (1, 2, 2)),
    "pool_4a": ((3, 3, 3), (2, 2, 2)),
    "pool_5a": ((2, 2, 2), (2, 2, 2)),
}
# All layers of the trunk. Those of STAGES give features.
LAYERS = (
    "conv_1a", "pool_2a", "conv_2b", "conv_2c", "pool_3a", "mixed_3b", "mixed_3c", "pool_4a", "mixed_4b", "mixed_4c",
    "mixed_4d", "mixed_4e", "mixed_4f", "pool_5a", "mixed_5b", "mixed_5c",
)  # fmt: skip
STAGES = tuple(name for name in LAYERS if name not in ("pool_2a", "conv_2b", "pool_4a", "pool_5a"))
NONLOCAL_LAYERS = tuple(name for name in STAGES if name not in POOLS)  # that a non-local block can follow
NO_BORDER = "none"  # of temporal_from and temporal_to: no layer convolves time
PADDINGS = ("same", "symmetric")
GATES = ("none", "branches", "temporal")


@dataclass(frozen=True)
class Arch:
    """A row of the table of architectures.

    temporal: the layers that convolve time, or the border key that says it. separable: those layers convolve space,
    then time; else both at once. stem_kernel, stem_padding, stem_separable: conv_1a where it convolves time. gates:
    one of GATES. temporal_norm: a norm after a separated temporal convolution; else a bias. epsilon: of the norms.
    head_pool_frames: as the key of that name.
    """

    temporal: tuple[str, ...] | str
    separable: bool
    gates: str = "none"
    gate_bias: bool = False
    stem_kernel: tuple[int, int, int] = (7, 7, 7)
    stem_padding: tuple[tuple[int, int], ...] | None = None
    stem_separable: bool = True
    temporal_norm: bool = True
    head_pool_frames: int = 2


ARCHS = {
    "i2d": Arch((), False),
    "i3d_inception": Arch(TEMPORAL_LAYERS, False),
    "s3d": Arch(TEMPORAL_LAYERS, True),
    "s3d_g": Arch(TEMPORAL_LAYERS, True, gates="branches"),
    # the authors' program (slim): conv_1a is never separated, temporal convolutions have a bias and no norm
    "s3d_g_slim": Arch(
        TEMPORAL_LAYERS, True, gates="branches", stem_kernel=(3, 7, 7), stem_separable=False, temporal_norm=False
    ),
    # conv_1a over a clip folded by two in each direction, written as the convolution that it is
    "s3d_g_howto100m": Arch(
        TEMPORAL_LAYERS, True, gates="branches", gate_bias=True, stem_kernel=(4, 8, 8),
        stem_padding=((0, 2), (2, 4), (2, 4)), stem_separable=False, head_pool_frames=0,
    ),
    "fast_s3d": Arch(("mixed_5b", "mixed_5c"), True),
    "top_heavy_i3d": Arch("temporal_from", False),
    "bottom_heavy_i3d": Arch("temporal_to", False),
    "top_heavy_s3d": Arch("temporal_from", True),
    "bottom_heavy_s3d": Arch("temporal_to", True),
}  # fmt: skip


@dataclass
class S3D:
    """The Inception trunks (family S3D)."""

    padding: str = key(
        "same",
        "same: of TensorFlow, as DeepMind's and the authors' programs; symmetric: as torchvision, kylemin, gluon-cv. "
        "Tensor names and shapes cannot tell them apart",
        choices=PADDINGS,
    )
    temporal_from: Optional[str] = key(
        None,
        "top_heavy_*: the lowest layer that convolves time: conv_1a, conv_2c, mixed_3b ... mixed_5c; the text `none`: "
        "no layer",
    )
    temporal_to: Optional[str] = key(None, "bottom_heavy_*: the highest layer that convolves time, as temporal_from")
    gates: Optional[str] = key(
        None,
        "feature gating. branches: after conv_2c and each branch of the blocks, as the authors' program; temporal: "
        "after each temporal convolution, as the paper says; none: no gates; omitted: the architecture's",
        choices=GATES,
    )
    gate_bias: Optional[bool] = key(None, "a bias in the gates; omitted: the architecture's")
    temporal_branches: int = key(
        2, "branches of a block with temporal convolutions; 4: 1x1x1 ones have one, too (S3D)", choices=(2, 4)
    )
    width: float = key(1.0, "factor of all channel counts, rounded to multiples of 4", low=0.05, high=4.0)
    init_std: Optional[float] = key(
        0.01, "standard deviation of the first weights (truncated normal); none: He's, by fan-in", low=0.0
    )
    head_pool_frames: Optional[int] = key(
        None, "frames of the last average pool, stride 1; 0: all; omitted: the architecture's (2)", low=0
    )


@dataclass(frozen=True)
class TrunkOptions:
    """All that `models.s3d_model.trunk.build` reads.

    kinds: layer of TEMPORAL_LAYERS -> "full" kT x k x k, "separated" 1 x k x k then kT x 1 x 1, or "flat" 1 x k x k.
    nonlocal_after: layers that a non-local block follows. detection: boxes are classified, of maps of 1/16; None: whole
    clips. The rest: see `Arch` and the section S3D.
    """

    in_channels: int
    arch: str
    kinds: Mapping[str, str]
    padding: str
    stem_kernel: tuple[int, int, int]
    stem_padding: tuple[tuple[int, int], ...] | None
    temporal_norm: bool
    gates: str
    gate_bias: bool
    temporal_branches: int
    width: float
    init_std: float | None
    norm: Norm
    nonlocal_after: tuple[str, ...]
    group_frames: Mapping[str, int]
    block: BlockOptions
    head: HeadOptions
    detection: DetectionOptions | None = None

    def window(self, layer: str) -> tuple[tuple, tuple, str | tuple]:
        """Kernel, stride and padding over (frames, height, width) of conv_1a or a max pool."""
        if layer == "conv_1a":
            kernel = self.stem_kernel if self.kinds[layer] != "flat" else (1, *self.stem_kernel[1:])
            return kernel, (2, 2, 2), self.stem_padding or self.padding
        kernel, stride = POOLS[layer]
        valid = layer == "pool_5a" and self.padding == "symmetric"
        if layer == "pool_5a" and self.detection:  # the same maxima at every position: maps keep their size
            return kernel, (stride[0], 1, 1), ((0, 0), (0, 1), (0, 1)) if valid else self.padding
        return kernel, stride, ((0, 0),) * 3 if valid else self.padding

    def dilation(self, layer: str) -> int:
        """Of the 3x3 convolutions of a block."""
        is_dilated = self.detection is not None and self.detection.res5_dilated
        return 2 if is_dilated and layer in ("mixed_5b", "mixed_5c") else 1

    def scaled(self, channels: int) -> int:
        """A channel count at this width."""
        return channels if self.width == 1 else max(4, round(channels * self.width / 4) * 4)

    def gated_units(self, layer: str) -> tuple[str, ...]:
        """The units of a layer that have a gate: its own name, or b0, b1b, b2b, b3b of a block."""
        if self.gates == "none" or self.kinds.get(layer, "flat") == "flat":
            return ()
        if layer not in BLOCKS:
            return (layer,) if layer != "conv_1a" or self.gates == "temporal" else ()
        every_branch = self.gates == "branches" or self.temporal_branches == 4
        return ("b0", "b1b", "b2b", "b3b") if every_branch else ("b1b", "b2b")

    def sizes(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """(frames, height, width) of mixed_5c for clips of that size; 0 where nothing is left."""
        found = [num_frames, height, width]
        for layer in ("conv_1a", *POOLS):
            kernel, stride, padding = self.window(layer)
            for axis in range(3):
                found[axis] = out_size(found[axis], kernel[axis], stride[axis], padding, axis)
        return found[0], found[1], found[2]

    def smallest_num_frames(self) -> int:
        """The fewest frames of a clip that fill the head's pool."""
        wanted = 1 if self.detection else max(self.head.pool_frames, 1)
        return next(n for n in range(1, 1000) if self.sizes(n, 224, 224)[0] >= wanted)

    def check_num_frames(self, num_frames: int) -> None:
        """Raises UserError for clips of too few frames."""
        smallest = self.smallest_num_frames()
        if num_frames < smallest:
            raise UserError(f"{self.arch} needs clips of at least {smallest} frames; these have {num_frames}")


def out_size(size: int, kernel: int, stride: int, padding: str | tuple, axis: int) -> int:
    """Positions of an output axis."""
    if size < 1:
        return 0
    return max((size + sum(padding_of(padding, axis, kernel, stride, size)) - kernel) // stride + 1, 0)


def network_options(
    arch: str = "s3d",
    num_classes: int = 400,
    *,
    padding: str = "same",
    temporal_from: str | None = None,
    temporal_to: str | None = None,
    gates: str | None = None,
    gate_bias: bool | None = None,
    temporal_branches: int = 2,
    width: float = 1.0,
    init_std: float | None = 0.01,
    norm: Norm | None = None,
    in_channels: int = 3,
    nonlocal_after: tuple[str, ...] = (),
    group_frames: Mapping[str, int] | None = None,
    block: BlockOptions | None = None,
    dropout_rate: float = 0.2,
    fc_init_std: float = 0.01,
    head_pool_frames: int | None = None,
    head_pool_size: int | None = None,
    head_average: str = "logits",
    multi_label: bool = False,
    detection: DetectionOptions | None = None,
) -> TrunkOptions:
    """The options of a network of the family. Arguments: the keys of the section S3D; `models.options.HeadOptions`.

    head_pool_size: None: 7, or the whole map for HowTo100M's. nonlocal_after: those of NONLOCAL_LAYERS that a block
    follows. detection: classify boxes; mixed_5b and mixed_5c then keep the size of mixed_4f, 1/16.

    Raises UserError for an unknown architecture, border or stage, and for gates without temporal convolutions.
    """
    if arch not in ARCHS:
        raise UserError(f"architecture {arch!r}: there are {', '.join(ARCHS)}")
    row = ARCHS[arch]
    for name, value, choices in (("padding", padding, PADDINGS), ("gates", gates, (None, *GATES))):
        if value not in choices:
            raise UserError(f"S3D.{name}: {value!r} is none of {', '.join(str(c) for c in choices if c)}")
    temporal = _temporal_layers(row, arch, {"temporal_from": temporal_from, "temporal_to": temporal_to})
    kinds = {
        layer: "flat" if layer not in temporal
        else "separated" if row.separable and (layer != "conv_1a" or row.stem_separable)
        else "full"
        for layer in TEMPORAL_LAYERS
    }  # fmt: skip
    chosen = row.gates if gates is None else gates
    if chosen != "none" and not temporal:
        raise UserError(f"S3D.gates: {chosen}: {arch} has no temporal convolutions to gate; leave it out")
    if temporal_branches == 4 and "separated" not in kinds.values():
        raise UserError(f"S3D.temporal_branches: 4: {arch} has no separated convolutions; leave it out")
    for layer in (*nonlocal_after, *(group_frames or {})):
        if layer not in NONLOCAL_LAYERS:
            raise UserError(f"NONLOCAL.positions: unknown layer {layer!r}; there are {', '.join(NONLOCAL_LAYERS)}")
    pool_frames = row.head_pool_frames if head_pool_frames is None else head_pool_frames
    if head_pool_size is None:
        head_pool_size = 7 if row.head_pool_frames else 0
    return TrunkOptions(
        in_channels=in_channels,
        arch=arch,
        kinds=kinds,
        padding=padding,
        stem_kernel=row.stem_kernel,
        stem_padding=row.stem_padding,
        temporal_norm=row.temporal_norm,
        gates=chosen,
        gate_bias=row.gate_bias if gate_bias is None else gate_bias,
        temporal_branches=temporal_branches,
        width=width,
        init_std=init_std,
        norm=norm or Norm(momentum=0.999, epsilon=1e-3),
        nonlocal_after=tuple(layer for layer in NONLOCAL_LAYERS if layer in nonlocal_after),
        group_frames=dict(group_frames or {}),
        block=block or BlockOptions(),
        head=HeadOptions(
            num_classes, dropout_rate, fc_init_std, head_pool_size, head_average, multi_label, pool_frames
        ),
        detection=detection,
    )


def options_from_config(config: Config) -> TrunkOptions:
    """The options that a configuration says; the only place where this family reads its keys."""
    model, section = config.MODEL, config.S3D
    positions = nonlocal_layers(config.NONLOCAL.positions)
    if config.NONLOCAL.num_blocks:
        raise UserError("NONLOCAL.num_blocks counts blocks of ResNets; write NONLOCAL.positions: {mixed_4f: [0]}")
    options = network_options(
        model.arch,
        padding=section.padding,
        temporal_from=section.temporal_from,
        temporal_to=section.temporal_to,
        gates=section.gates,
        gate_bias=section.gate_bias,
        temporal_branches=section.temporal_branches,
        width=section.width,
        init_std=section.init_std,
        norm=Norm("frozen_affine" if model.use_affine else "batch_norm", model.bn_momentum, model.bn_epsilon),
        in_channels=config.INPUT.channels,
        nonlocal_after=positions,
        group_frames=config.NONLOCAL.group_frames,
        block=block_options(config.NONLOCAL),
        head_pool_frames=section.head_pool_frames,
        detection=detection_options(config) if model.task == "detection" else None,
    )
    pool_frames, crop_px = options.head.pool_frames, config.INPUT.crop_size
    side = min(options.sizes(64, crop_px, crop_px)[1:]) if ARCHS[model.arch].head_pool_frames else 0
    head = head_options(config, side, pool_frames)
    options = dataclasses.replace(options, head=head)
    for phase in ("TRAIN", "VALID", "TEST", "INFER"):
        try:
            options.check_num_frames(getattr(config, phase).video_length)
        except UserError as error:
            raise UserError(f"{phase}.video_length (INPUT.num_frames): {error}") from None
    return options


def nonlocal_layers(positions: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The layers that NONLOCAL.positions names: {mixed_4f: [0]}; each layer of these trunks is one block."""
    for layer, indices in (positions or {}).items():
        if layer not in NONLOCAL_LAYERS:
            raise UserError(f"NONLOCAL.positions: unknown layer {layer!r}; there are {', '.join(NONLOCAL_LAYERS)}")
        if list(indices) not in ([], [0]):
            raise UserError(f"NONLOCAL.positions: {layer}: write [0]; a layer of these trunks is one block")
    return tuple(layer for layer, indices in (positions or {}).items() if indices)


def _temporal_layers(row: Arch, arch: str, borders: Mapping[str, str | None]) -> tuple[str, ...]:
    """The layers of TEMPORAL_LAYERS that convolve time."""
    own = row.temporal if isinstance(row.temporal, str) else None
    for name, border in borders.items():
        if name != own and border is not None:
            raise UserError(f"S3D.{name}: {arch} has a fixed choice of layers; leave it out, or take a heavy form")
    if own is None:
        return tuple(row.temporal)
    border, choices = borders[own], f"{', '.join(TEMPORAL_LAYERS)} or {NO_BORDER}"
    if border is None:
        raise UserError(f"{arch} needs S3D.{own}: {choices}")
    if border == NO_BORDER:
        return ()
    if border not in TEMPORAL_LAYERS:
        raise UserError(f"S3D.{own}: {border!r} is no layer that can convolve time; there are {choices}")
    index = TEMPORAL_LAYERS.index(border)
    return TEMPORAL_LAYERS[index:] if own == "temporal_from" else TEMPORAL_LAYERS[: index + 1]
