"""The NONLOCAL family: its tensors in other programs, architecture variants, shapes and published weights.

Ours: stem.{conv,bn}, stage{2..5}.block{i}.{a,b,c,shortcut}.{conv,bn}, stage{k}.nl{i}.{theta,phi,g,out,bn}, head.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from configs.schema import ARCHS
from models.nonlocal_model.options import network_options
from models.nonlocal_model.placement import BLOCKS_OF_DEPTH, block_positions
from utils.errors import UserError
from weights.convert import EPSILON, STATISTICS, Renamed, scale_and_shift
from weights.download import Published
from weights.naming import FamilyNames, Naming, Origin, rgb_shape
from weights.safe_pickle import Refused

# --- names

MAX_BLOCKS = 36  # of ResNet-152's res4
NORM_TENSORS = ("weight", "bias", "_mean", "_variance")
TORCH_NORM = {"weight": "weight", "bias": "bias", "_mean": "running_mean", "_variance": "running_var"}
CONVS = ("a", "b", "c")
PROJECTIONS = ("theta", "phi", "g", "out")
OUR_NAME = re.compile(
    r"stem\.(?P<stem>conv|bn)\.(?P<stem_tensor>\w+)"
    r"|stage(?P<stage>\d)\.block(?P<block>\d+)\.(?P<conv>a|b|c|shortcut)\.(?P<part>conv|bn)\.(?P<tensor>\w+)"
    r"|stage(?P<nl_stage>\d)\.nl(?P<nl_block>\d+)\.(?P<projection>theta|phi|g|out|pair|bn)\.(?P<nl_tensor>\w+)"
    r"|head\.(?P<head_tensor>weight|bias)"
)


@dataclass(frozen=True, eq=False)
class Templates:
    """The names of one program, a template a kind of tensor; the same templates serve reading and writing.

    {stage}, {block}, {conv}, {tensor} are filled in; stage_labels, conv_labels, projection_labels say with what.
    is_lettered: residual blocks are called a, b, c, ...
    """

    stem: str
    stem_norm: str
    conv: str
    norm: str
    shortcut: str
    shortcut_norm: str
    head: str
    projection: str = ""
    nonlocal_norm: str = ""
    tensors: dict[str, str] = field(default_factory=lambda: {"weight": "weight", "bias": "bias"})
    norm_tensors: dict[str, str] = field(default_factory=lambda: TORCH_NORM)
    stage_labels: dict[int, str] = field(default_factory=lambda: {k: str(k) for k in range(2, 6)})
    conv_labels: dict[str, str] = field(default_factory=lambda: {c: c for c in CONVS})
    projection_labels: dict[str, tuple[str, ...]] = field(default_factory=lambda: {p: (p,) for p in PROJECTIONS})
    is_lettered: bool = False

    def __call__(self, ours: str) -> Iterator[str]:
        """The program's spellings of the tensor that we call `ours`, the usual one first."""
        match = OUR_NAME.fullmatch(ours)
        if match is None:
            return
        if match["stem"]:
            template = self.stem if match["stem"] == "conv" else self.stem_norm
            tensors = self.tensors if match["stem"] == "conv" else self.norm_tensors
            if match["stem_tensor"] in tensors:
                yield template.format(tensor=tensors[match["stem_tensor"]])
        elif match["stage"]:
            yield from self._trunk_names(match)
        elif match["nl_stage"]:
            yield from self._nonlocal_names(match)
        else:
            yield self.head.format(tensor=self.tensors[match["head_tensor"]])

    def _trunk_names(self, match: re.Match) -> Iterator[str]:
        is_norm, is_shortcut = match["part"] == "bn", match["conv"] == "shortcut"
        tensors = self.norm_tensors if is_norm else self.tensors
        if match["tensor"] not in tensors:
            return
        if is_shortcut:
            template = self.shortcut_norm if is_norm else self.shortcut
        else:
            template = self.norm if is_norm else self.conv
        for block in self._block_labels(int(match["stage"]), int(match["block"])):
            yield template.format(
                stage=self.stage_labels[int(match["stage"])],
                block=block,
                conv=self.conv_labels.get(match["conv"], ""),
                tensor=tensors[match["tensor"]],
            )

    def _nonlocal_names(self, match: re.Match) -> Iterator[str]:
        stage, block = self.stage_labels[int(match["nl_stage"])], match["nl_block"]
        is_norm = match["projection"] == "bn"
        tensors, template = (self.norm_tensors, self.nonlocal_norm) if is_norm else (self.tensors, self.projection)
        if not template or match["nl_tensor"] not in tensors:
            return
        for label in ("",) if is_norm else self.projection_labels.get(match["projection"], ()):
            yield template.format(stage=stage, block=block, conv=label, tensor=tensors[match["nl_tensor"]])

    def _block_labels(self, stage: int, block: int) -> Iterator[str]:
        if not self.is_lettered:
            yield str(block)
            return
        if block < len(string.ascii_lowercase):
            yield string.ascii_lowercase[block]
        if stage == 4 and block:  # depth 101 since June 2019: res4a, res4b1, ..., res4b22
            yield f"b{block}"


def _torch_like(**changes) -> Templates:
    return Templates(
        **{
            "stem": "stem.conv.{tensor}",
            "stem_norm": "stem.bn.{tensor}",
            "conv": "stage{stage}.block{block}.{conv}.conv.{tensor}",
            "norm": "stage{stage}.block{block}.{conv}.bn.{tensor}",
            "shortcut": "stage{stage}.block{block}.shortcut.conv.{tensor}",
            "shortcut_norm": "stage{stage}.block{block}.shortcut.bn.{tensor}",
            "projection": "stage{stage}.nl{block}.{conv}.{tensor}",
            "nonlocal_norm": "stage{stage}.nl{block}.bn.{tensor}",
            "head": "head.{tensor}",
            "projection_labels": {p: (p,) for p in (*PROJECTIONS, "pair")},
            **changes,
        }
    )


def _image_network(**changes) -> Templates:
    """torchvision's ResNets; paddle.vision has the same names for all but the statistics."""
    return Templates(
        stem="conv1.{tensor}",
        stem_norm="bn1.{tensor}",
        conv="layer{stage}.{block}.conv{conv}.{tensor}",
        norm="layer{stage}.{block}.bn{conv}.{tensor}",
        shortcut="layer{stage}.{block}.downsample.0.{tensor}",
        shortcut_norm="layer{stage}.{block}.downsample.1.{tensor}",
        head="fc.{tensor}",
        stage_labels={k: str(k - 1) for k in range(2, 6)},
        conv_labels=NUMBERED,
        **changes,
    )


def _pytorchvideo(stages: tuple[int, ...], head: int) -> Templates:
    return Templates(
        stem="blocks.0.conv.{tensor}",
        stem_norm="blocks.0.norm.{tensor}",
        conv="blocks.{stage}.res_blocks.{block}.branch2.conv_{conv}.{tensor}",
        norm="blocks.{stage}.res_blocks.{block}.branch2.norm_{conv}.{tensor}",
        shortcut="blocks.{stage}.res_blocks.{block}.branch1_conv.{tensor}",
        shortcut_norm="blocks.{stage}.res_blocks.{block}.branch1_norm.{tensor}",
        head=f"blocks.{head}.proj.{{tensor}}",
        stage_labels={k: str(index) for k, index in zip(range(2, 6), stages)},
    )


NUMBERED = {"a": "1", "b": "2", "c": "3"}
PADDLE_EXTRAS = "StructuredToParameterName@@"
OUR_NORM = {tensor: tensor for tensor in NORM_TENSORS}


def _scale_zoo_head(renamed: Renamed) -> None:
    """The zoo's test program multiplied the pooled features by 1 - dropout_rate, in front of the classifier."""
    if renamed.head_factor != 1.0 and "head.weight" in renamed.arrays:
        renamed.arrays["head.weight"] = renamed.arrays["head.weight"] * np.float32(renamed.head_factor)
        renamed.actions["head.weight"] = f"times {renamed.head_factor:g}, the zoo's factor at test time"


def _add_zero_biases(renamed: Renamed) -> None:
    """mmaction2's last projection has no bias."""
    for name in [n for n in renamed.arrays if n.endswith(".out.weight")]:
        bias = name[: -len("weight")] + "bias"
        if bias not in renamed.arrays:
            renamed.arrays[bias] = np.zeros(renamed.arrays[name].shape[0], np.float32)
            renamed.origins[bias], renamed.actions[bias] = "(none)", "0, the source has no such bias"


NAMINGS = {
    "own": Naming("this program", _torch_like(norm_tensors=OUR_NORM), dropped=PADDLE_EXTRAS, head_is_transposed=False),
    "torch": Naming("this program's PyTorch form", _torch_like()),
    "caffe2": Naming(
        "video-nonlocal-net (Caffe2)",
        Templates(
            stem="conv1_{tensor}",
            stem_norm="res_conv1_bn_{tensor}",
            conv="res{stage}_{block}_branch2{conv}_{tensor}",
            norm="res{stage}_{block}_branch2{conv}_bn_{tensor}",
            shortcut="res{stage}_{block}_branch1_{tensor}",
            shortcut_norm="res{stage}_{block}_branch1_bn_{tensor}",
            projection="nonlocal_conv{stage}_{block}_{conv}_{tensor}",
            nonlocal_norm="nonlocal_conv{stage}_{block}_bn_{tensor}",
            head="pred_{tensor}",
            tensors={"weight": "w", "bias": "b"},
            norm_tensors={"weight": "s", "bias": "b", "_mean": "rm", "_variance": "riv"},
        ),
        dropped=r".*_momentum|lr|model_iter",
    ),
    "paddle_fluid": Naming(
        "the old Paddle zoo",
        Templates(
            stem="conv1_weights",
            stem_norm="bn_conv1_{tensor}",
            conv="res{stage}{block}_branch2{conv}_weights",
            norm="bn{stage}{block}_branch2{conv}_{tensor}",
            shortcut="res{stage}{block}_branch1_weights",
            shortcut_norm="bn{stage}{block}_branch1_{tensor}",
            projection="nonlocal_conv{stage}_{block}_{conv}_{tensor}",
            nonlocal_norm="nonlocal_conv{stage}_{block}_bn_{tensor}",
            head="pred_{tensor}",
            tensors={"weight": "w", "bias": "b"},
            norm_tensors={"weight": "scale", "bias": "offset", "_mean": "mean", "_variance": "variance"},
            is_lettered=True,
        ),
        dropped=r".*_velocity_0|learning_rate.*|@LR_DECAY_COUNTER@|fc_0\.[wb]_0|StructuredToParameterName@@",
        head_is_transposed=False,
        finish=_scale_zoo_head,
    ),
    "slowfast": Naming(
        "PySlowFast",
        Templates(
            stem="s1.pathway0_stem.conv.{tensor}",
            stem_norm="s1.pathway0_stem.bn.{tensor}",
            conv="s{stage}.pathway0_res{block}.branch2.{conv}.{tensor}",
            norm="s{stage}.pathway0_res{block}.branch2.{conv}_bn.{tensor}",
            shortcut="s{stage}.pathway0_res{block}.branch1.{tensor}",
            shortcut_norm="s{stage}.pathway0_res{block}.branch1_bn.{tensor}",
            projection="s{stage}.pathway0_nonlocal{block}.conv_{conv}.{tensor}",
            nonlocal_norm="s{stage}.pathway0_nonlocal{block}.bn.{tensor}",
            head="head.projection.{tensor}",
        ),
    ),
    "mmaction2": Naming(
        "mmaction2",
        Templates(
            stem="backbone.conv1.conv.{tensor}",
            stem_norm="backbone.conv1.bn.{tensor}",
            conv="backbone.layer{stage}.{block}.conv{conv}.conv.{tensor}",
            norm="backbone.layer{stage}.{block}.conv{conv}.bn.{tensor}",
            shortcut="backbone.layer{stage}.{block}.downsample.conv.{tensor}",
            shortcut_norm="backbone.layer{stage}.{block}.downsample.bn.{tensor}",
            projection="backbone.layer{stage}.{block}.non_local_block.{conv}.conv.{tensor}",
            nonlocal_norm="backbone.layer{stage}.{block}.non_local_block.conv_out.bn.{tensor}",
            head="cls_head.fc_cls.{tensor}",
            stage_labels={k: str(k - 1) for k in range(2, 6)},
            conv_labels=NUMBERED,
            # behind a pool, phi and g are the first of two layers
            projection_labels={"theta": ("theta",), "phi": ("phi.0", "phi"), "g": ("g.0", "g"), "out": ("conv_out",)},
        ),
        finish=_add_zero_biases,
    ),
    "pytorchvideo": Naming("PyTorchVideo", _pytorchvideo((1, 3, 4, 5), 6)),
    "pytorchvideo_nopool": Naming("PyTorchVideo, without pool2", _pytorchvideo((1, 2, 3, 4), 5)),
    "torchvision": Naming("torchvision", _image_network()),
    "paddle": Naming(
        "paddle.vision", _image_network(norm_tensors=OUR_NORM), dropped=PADDLE_EXTRAS, head_is_transposed=False
    ),
}


def all_our_names() -> Iterator[str]:
    """Every name that any of these networks can have."""
    norm = [f"bn.{tensor}" for tensor in NORM_TENSORS]
    yield from ("stem.conv.weight", *(f"stem.{name}" for name in norm), "head.weight", "head.bias")
    for stage in range(2, 6):
        for i in range(MAX_BLOCKS):
            for conv in (*CONVS, "shortcut"):
                for name in ("conv.weight", *norm):
                    yield f"stage{stage}.block{i}.{conv}.{name}"
            for name in norm:
                yield f"stage{stage}.nl{i}.{name}"
            for projection in PROJECTIONS:
                yield f"stage{stage}.nl{i}.{projection}.weight"
                yield f"stage{stage}.nl{i}.{projection}.bias"
            yield f"stage{stage}.nl{i}.pair.weight"


def name_records(records: list[np.ndarray]) -> dict[str, np.ndarray] | None:
    """The names of a combined binary of the old zoo, which holds its tensors in the order of their names; None when
    the shapes in that order are those of none of its networks."""
    names_of = NAMINGS["paddle_fluid"].names
    for arch, facts in ARCHS.items():
        for places in (block_positions(facts.depth), {}):
            shapes = network_shapes(arch, places, 0)
            if len(shapes) != len(records):
                continue
            # depth 101 numbers res4's blocks; combined files are younger than that change
            ours = {list(names_of(name))[-1 if facts.depth == 101 else 0]: name for name in shapes}
            names = sorted(ours)
            if all(_fits(shapes[ours[n]], record.shape) for n, record in zip(names, records)):
                return dict(zip(names, records))
    return None


def _fits(expected: tuple[int, ...], found: tuple[int, ...]) -> bool:
    """Equal shapes; 0 stands for any number of classes."""
    return len(expected) == len(found) and all(a in (0, b) for a, b in zip(expected, found))


def _adapt_blocks(arrays: dict, actions: dict, target: Mapping) -> None:
    """Non-local blocks with and without a norm, with and without a bias of the last projection."""
    for prefix in sorted({name[: -len("out.weight")] for name in arrays if name.endswith(".out.weight")}):
        has_norm, wants_norm = f"{prefix}bn.weight" in arrays, f"{prefix}bn.weight" in target
        bias = f"{prefix}out.bias"
        if wants_norm and not has_norm:
            channels = arrays[f"{prefix}out.weight"].shape[0]
            for tensor, value in (("weight", 1.0), ("bias", 0.0), ("_mean", 0.0), ("_variance", 1.0 - EPSILON)):
                if f"{prefix}bn.{tensor}" in target:
                    arrays[f"{prefix}bn.{tensor}"] = np.full(channels, value, np.float32)
                    actions[f"{prefix}bn.{tensor}"] = "the identity, the source has no norm here"
        elif has_norm and not wants_norm and f"{prefix}out.weight" in target and bias in target:
            scale, shift = scale_and_shift(arrays, f"{prefix}bn.")
            weight = arrays[f"{prefix}out.weight"]
            arrays[f"{prefix}out.weight"] = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            arrays[bias] = arrays.get(bias, np.zeros_like(scale)) * scale + shift
            for tensor in ("weight", "bias", *STATISTICS):
                arrays.pop(f"{prefix}bn.{tensor}", None)
            actions[f"{prefix}out.weight"] = actions[bias] = "the norm behind it folded in"
        if bias in arrays and bias not in target and f"{prefix}bn._mean" in target and f"{prefix}bn._mean" in arrays:
            arrays[f"{prefix}bn._mean"] = arrays[f"{prefix}bn._mean"] - arrays.pop(bias)
            actions[f"{prefix}bn._mean"] = "minus the bias in front of it"


# --- what network a set of tensors is

BLOCK = re.compile(r"stage(\d)\.(block|nl)(\d+)\.")


@dataclass(frozen=True)
class NetworkKind:
    """kernel_frames: of conv1; 0 for image networks. blocks: residual blocks of res2..res5. positions: stage -> the
    residual blocks that non-local blocks follow. has_statistics: batch norms, not frozen scales and shifts.
    has_block_norms: non-local blocks have a norm; files with and without serve the same networks.
    """

    kernel_frames: int
    blocks: tuple[int, ...]
    positions: dict[int, tuple[int, ...]]
    num_classes: int | None
    has_statistics: bool
    has_block_norms: bool = field(default=True, compare=False)

    @property
    def arch(self) -> str | None:
        """A value of MODEL.arch, or None when it is none of these networks (or one of images, which starts any of its
        depth)."""
        for arch, facts in ARCHS.items():
            if self.blocks == BLOCKS_OF_DEPTH[facts.depth] and self.kernel_frames == (5 if facts.inflated else 1):
                return arch
        return None

    def __str__(self) -> str:
        kind = {0: "an image", 1: "a C2D", 5: "an I3D"}.get(self.kernel_frames, "a")
        depth = 2 + 3 * sum(self.blocks)
        places = "; ".join(f"res{k} {', '.join(map(str, i))}" for k, i in self.positions.items())
        norm = "" if self.has_statistics else ", frozen norms"
        classes = "no classifier" if self.num_classes is None else f"{self.num_classes} classes"
        blocks = f"non-local blocks after {places}" if places else "no non-local blocks"
        return f"{kind} ResNet-{depth}, {blocks}, {classes}{norm}"


def network_kind(shapes: Mapping[str, Sequence[int]]) -> NetworkKind:
    """What network these tensors (our names) make."""
    found: dict[tuple[str, int], set[int]] = {}
    for name in shapes:
        match = BLOCK.match(name)
        if match:
            found.setdefault((match[2], int(match[1])), set()).add(int(match[3]))
    stem = shapes.get("stem.conv.weight", ())
    head = shapes.get("head.bias")
    return NetworkKind(
        kernel_frames=stem[2] if len(stem) == 5 else 0,
        blocks=tuple(len(found.get(("block", k), ())) for k in range(2, 6)),
        positions={k: tuple(sorted(found["nl", k])) for k in range(2, 6) if ("nl", k) in found},
        num_classes=head[0] if head else None,
        has_statistics=any(name.endswith("_variance") for name in shapes),
        has_block_norms=any(re.fullmatch(r"stage\d\.nl\d+\.bn\.weight", name) for name in shapes),
    )


def network_shapes(arch: str, positions: Mapping[int, Sequence[int]], num_classes: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a full-width network with batch norms, by our names."""
    options = network_options(arch, num_classes, nonlocal_positions=positions)
    in_channels = options.stem_channels
    shapes: dict[str, tuple[int, ...]] = {
        "stem.conv.weight": (in_channels, options.in_channels, 5 if options.inflated else 1, 7, 7)
    }
    _add_norm(shapes, "stem.bn", in_channels)
    for k, stage in enumerate(options.stages, start=2):
        inner, out = stage.inner_channels, stage.out_channels
        for i, is_temporal in enumerate(stage.temporal):
            prefix = f"stage{k}.block{i}"
            convs = {"a": (inner, in_channels, 3 if is_temporal else 1, 1, 1), "b": (inner, inner, 1, 3, 3)}
            convs["c"] = (out, inner, 1, 1, 1)
            if i == 0:
                convs["shortcut"] = (out, in_channels, 1, 1, 1)
            for conv, shape in convs.items():
                shapes[f"{prefix}.{conv}.conv.weight"] = shape
                _add_norm(shapes, f"{prefix}.{conv}.bn", shape[0])
            if i in stage.nonlocal_after:
                _add_nonlocal(shapes, f"stage{k}.nl{i}", out)
            in_channels = out
    shapes["head.weight"], shapes["head.bias"] = (in_channels, num_classes), (num_classes,)
    return shapes


def _add_nonlocal(shapes: dict, prefix: str, channels: int) -> None:
    for projection in ("theta", "phi", "g", "out"):
        out, inside = (channels, channels // 2) if projection == "out" else (channels // 2, channels)
        shapes[f"{prefix}.{projection}.weight"] = (out, inside, 1, 1, 1)
        shapes[f"{prefix}.{projection}.bias"] = (out,)
    _add_norm(shapes, f"{prefix}.bn", channels)


def _add_norm(shapes: dict, prefix: str, channels: int) -> None:
    for tensor in ("weight", "bias", "_mean", "_variance"):
        shapes[f"{prefix}.{tensor}"] = (channels,)


# --- architecture variants: how the sources' networks differ from ours where their tensors do not tell

Sections = dict[str, dict[str, Any]]
LONG_CLIPS = {"video_length": 32, "sample_rate": 2}
VARIANTS: dict[str, Sections] = {
    # the authors' 8x8 and 32x4 models, and the old zoo's
    "video_nonlocal_net": {},
    # the authors' 32x2 and 128x1 models
    "video_nonlocal_net_32x2": {
        "MODEL": {"stem_temporal_stride": 2, "stem_pool_temporal_kernel": 2, "stem_pool_temporal_stride": 2},
        "clips": LONG_CLIPS,
    },
    "paddle_zoo": {},
    "slowfast": {"MODEL": {"stem_pool_padding": 1}},
    "slowfast_nopool": {"MODEL": {"stem_pool_padding": 1, "temporal_pool": False}},
    "mmaction2": {
        "MODEL": {
            "stem_temporal_stride": 2,
            "stem_pool_temporal_stride": 2,
            "stem_pool_padding": 1,
            "head_pool_size": 0,
        },
        "NONLOCAL": {"use_scale": False, "pool_after_projection": True},
        "clips": LONG_CLIPS,
    },
    "mmaction2_c2d": {"MODEL": {"head_pool_size": 0}, "clips": {"crop_size": 224}},
    "pytorchvideo": {"MODEL": {"stem_pool_padding": 1, "head_pool_size": 7, "head_average": "logits"}},
    "pytorchvideo_nopool": {
        "MODEL": {"stem_pool_padding": 1, "head_pool_size": 7, "head_average": "logits", "temporal_pool": False}
    },
    "torchvision": {"MODEL": {"stem_pool_padding": 1}},
    # detectors of actions on AVA, without a feature bank: "baseline" in its authors' program
    "long_term_feature_bank": {
        "MODEL": {"task": "detection", "multi_label": True, "stem_pool_padding": 1, "dropout_rate": 0.3},
        "DETECTION": {"roi_aligned": False, "roi_sampling_ratio": 0},
        "clips": LONG_CLIPS,
    },
}
TELLING_SOURCES = {"slowfast", "mmaction2", "pytorchvideo", "pytorchvideo_nopool"}
DEFAULT_VARIANT = {
    "own": "video_nonlocal_net",
    "torch": "video_nonlocal_net",
    "caffe2": "video_nonlocal_net",
    "paddle_fluid": "paddle_zoo",
    "paddle": "torchvision",
}
REFUSED = {
    "detectron": "its stride lies in the first 1x1 convolution of a block (conv a), here in the 3x3 one (conv b)",
}
# programs whose clips are normalised otherwise than the family's: mean and deviation of values 0..255
IMAGENET_INPUT = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
INPUTS = {"mmaction2": IMAGENET_INPUT, "torchvision": IMAGENET_INPUT}
NOTES = {
    "slowfast": "network was tested at 30 frames a second with frames 9 apart (linspace over 64), here 8 apart",
}


def variant_name(source: str, kind: NetworkKind, chosen: str = "") -> str:
    """The architecture variant of a source's network: the chosen one, or the source's usual one.

    Raises Refused for one that cannot be carried over, with the reason, and for an unknown one.
    """
    name = chosen or DEFAULT_VARIANT.get(source, source)
    if name == "mmaction2" and not chosen and kind.kernel_frames != 5:
        name = "mmaction2_c2d"
    if name in REFUSED:
        raise Refused(f"--variant {name} cannot be carried over: {REFUSED[name]}")
    if name not in VARIANTS:
        raise Refused(f"--variant {name}: there are {', '.join(VARIANTS)}")
    return name


def configuration(
    source: str, kind: NetworkKind, variant: str = "", arch: str = "", num_classes: int = 0
) -> tuple[str, str, Sections]:
    """Variant, a note on its clips, and the configuration under which our network computes what the source's does.

    kind: the tensors of the file; one with frozen norms becomes a network with frozen norms. variant, arch,
    num_classes: "" and 0 take the source's usual ones. The sections have only keys that say something. Raises Refused
    when no such network exists.
    """
    if not arch and kind.kernel_frames == 0:  # images initialise any network of their depth
        arch = "c2d_r101" if kind.blocks == BLOCKS_OF_DEPTH[101] else "c2d_r50"
    arch = arch or kind.arch or ""
    if not arch:
        raise Refused(f"it is {kind}, which is none of these networks; pass --arch")
    variant = variant_name(source, kind, variant)
    num_classes = num_classes or kind.num_classes or 400
    template = VARIANTS[variant]
    model: dict[str, Any] = {"arch": arch, "num_classes": num_classes}
    model.update(template.get("MODEL", {}))
    blocks: dict[str, Any] = dict(template.get("NONLOCAL", {})) if kind.positions else {}
    if not kind.has_statistics:
        model["use_affine"] = True
        if kind.positions and kind.has_block_norms:
            blocks["use_affine"] = True
        elif kind.positions:
            blocks.update(use_bn=False, use_zero_init_conv=True)
    if not kind.positions:
        blocks["num_blocks"] = 0
    elif kind.positions != block_positions(ARCHS[arch].depth):
        blocks["positions"] = {f"res{stage}": list(indices) for stage, indices in kind.positions.items()}
    sections = {"MODEL": model, "NONLOCAL": blocks, "DETECTION": dict(template.get("DETECTION", {}))}
    for name in ("TRAIN", "VALID", "TEST", "INFER") if "clips" in template else ():
        sections[name] = dict(template["clips"])
    program = variant.split("_")[0]
    if program in INPUTS:
        mean, std = INPUTS[program]
        sections["INPUT"] = {"mean": list(mean), "std": list(std)}
    note = NOTES.get(program, "")
    return variant, note, {name: keys for name, keys in sections.items() if keys}


def origin(source: str, kind: NetworkKind) -> Origin | None:
    """The clips of a program, or of an architecture variant, where they are not the family's."""
    program = DEFAULT_VARIANT.get(source, source).split("_")[0]
    if program not in INPUTS:
        return None
    return Origin(NAMINGS[source if source in NAMINGS else program].title, "", *INPUTS[program])


def warnings(model, source: str, kind: NetworkKind) -> list[str]:
    """Keys in which the model computes something else than the file's network does, where its names tell.

    The classifier's pool counts only where the source fixes it, for 224 and 256 pixel crops give the same otherwise.
    """
    if source not in TELLING_SOURCES:
        return []
    template = VARIANTS[variant_name(source, kind)]
    wanted, blocks = template.get("MODEL", {}), template.get("NONLOCAL", {})
    stem, head, block = model.options.stem, model.options.head, model.options.block
    have = {
        "stem_temporal_stride": (stem.temporal_stride, 1),
        "stem_pool_temporal_kernel": (stem.pool_temporal_kernel, 1),
        "stem_pool_temporal_stride": (stem.pool_temporal_stride, 1),
        "stem_pool_padding": (stem.pool_padding, 0),
        "temporal_pool": (stem.temporal_pool, True),
        "head_average": (head.average, "probabilities"),
    }
    found = [
        f"MODEL.{key}: {wanted.get(key, usual)}"
        for key, (value, usual) in have.items()
        if value != wanted.get(key, usual)
    ]
    if "head_pool_size" in wanted and wanted["head_pool_size"] != head.pool_size:
        found.append(f"MODEL.head_pool_size: {wanted['head_pool_size']}")
    if any(stage.nonlocal_after for stage in model.options.stages):
        if blocks.get("pool_after_projection", False) != block.pool_after_projection:
            found.append(f"NONLOCAL.pool_after_projection: {blocks.get('pool_after_projection', False)}")
        if blocks.get("use_scale", True) != block.use_scale and block.instantiation == "embedded_gaussian":
            found.append(f"NONLOCAL.use_scale: {blocks.get('use_scale', True)}")
    return found


# --- published weights

# Weights that others published. Accuracies are Kinetics-400 validation, top-1 in percent, as their source states them;
# none was measured here.
AUTHORS = "https://s3.amazonaws.com/video-nonlocal/"
ZOO = "https://paddlemodels.bj.bcebos.com/video_classification/"
PYSLOWFAST = "https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/kinetics400/"
TORCHVISION = "https://download.pytorch.org/models/"
VIDEO_INPUT = "RGB, (x - 114.75) / 57.375"
IMAGE_INPUT = "RGB, (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"
NON_COMMERCIAL = "CC BY-NC 4.0"


def _of_authors(file: str, arch: str, with_blocks: bool, frames: int, stride: int, top1: float) -> Published:
    variant = "video_nonlocal_net" if stride in (8, 4) else "video_nonlocal_net_32x2"
    source = "README of facebookresearch/video-nonlocal-net"
    return Published(
        AUTHORS + file, NON_COMMERCIAL, arch, with_blocks, variant, frames, stride, top1=top1, accuracy_source=source
    )


def _of_pyslowfast(file: str, arch: str, with_blocks: bool, variant: str, top1: float) -> Published:
    source = "MODEL_ZOO.md of facebookresearch/SlowFast"
    protocol = "10 clips x 3 crops of 256, 30 frames a second, softmax, mean"
    return Published(
        PYSLOWFAST + file,
        "Apache 2.0 (of the repository; none is stated for the file)",
        arch,
        with_blocks,
        variant,
        protocol=protocol,
        top1=top1,
        accuracy_source=source,
    )


def _start(
    url: str, licence: str, arch: str, sha256: str = "", preprocessing: str = IMAGE_INPUT, variant="torchvision"
):
    return Published(
        url,
        licence,
        arch,
        False,
        variant,
        0,
        0,
        is_start=True,
        sha256=sha256,
        preprocessing=preprocessing,
        protocol="a start from ImageNet",
    )


WEIGHTS: dict[str, Published] = {
    "imagenet_r50": _start(
        f"{ZOO}Nonlocal_ResNet50_pretrained.tar.gz",
        NON_COMMERCIAL,
        "c2d_r50",
        preprocessing=VIDEO_INPUT,
        variant="paddle_zoo",
    ),
    "paddle_zoo_c2d_r50_nl": Published(
        f"{ZOO}NONLOCAL_final.pdparams",
        "Apache 2.0 (of the repository; none is stated for the file)",
        "c2d_r50",
        True,
        "paddle_zoo",
        top1=73.9,
        accuracy_source="README of PaddlePaddle/models, PaddleCV/video, 2019",
    ),
    "authors_c2d_r50": _of_authors("c2d_baseline_8x8_IN_pretrain_400k.pkl", "c2d_r50", False, 8, 8, 71.9),
    "authors_c2d_r50_nl": _of_authors("c2d_nonlocal_8x8_IN_pretrain_400k.pkl", "c2d_r50", True, 8, 8, 74.4),
    "authors_i3d_r50": _of_authors("i3d_baseline_8x8_IN_pretrain_400k.pkl", "i3d_r50", False, 8, 8, 73.4),
    "authors_i3d_r50_nl": _of_authors("i3d_nonlocal_8x8_IN_pretrain_400k.pkl", "i3d_r50", True, 8, 8, 74.7),
    "authors_c2d_r50_32x2": _of_authors("c2d_baseline_32x2_IN_pretrain_400k.pkl", "c2d_r50", False, 32, 2, 72.0),
    "authors_c2d_r50_nl_32x2": _of_authors("c2d_nonlocal_32x2_IN_pretrain_400k.pkl", "c2d_r50", True, 32, 2, 73.9),
    "authors_i3d_r50_32x2": _of_authors("i3d_baseline_32x2_IN_pretrain_400k.pkl", "i3d_r50", False, 32, 2, 73.6),
    "authors_i3d_r50_nl_32x2": _of_authors("i3d_nonlocal_32x2_IN_pretrain_400k.pkl", "i3d_r50", True, 32, 2, 74.9),
    "authors_i3d_r50_32x4": _of_authors("i3d_baseline_32x4_I3D_pretrain_400k.pkl", "i3d_r50", False, 32, 4, 75.5),
    "authors_i3d_r50_nl_32x4": _of_authors("i3d_nonlocal_32x4_I3D_pretrain_400k.pkl", "i3d_r50", True, 32, 4, 76.5),
    "authors_i3d_r50_128x1": _of_authors("i3d_baseline_128x1_I3D_pretrain_400k.pkl", "i3d_r50", False, 128, 1, 75.2),
    "authors_i3d_r50_nl_128x1": _of_authors("i3d_nonlocal_128x1_I3D_pretrain_400k.pkl", "i3d_r50", True, 128, 1, 76.5),
    "pyslowfast_c2d_r50_nopool": _of_pyslowfast("C2D_NOPOOL_8x8_R50.pkl", "c2d_r50", False, "slowfast_nopool", 67.2),
    "pyslowfast_i3d_r50": _of_pyslowfast("I3D_8x8_R50.pkl", "i3d_r50", False, "slowfast", 73.5),
    "pyslowfast_i3d_r50_nl": _of_pyslowfast("I3D_NLN_8x8_R50.pkl", "i3d_r50", True, "slowfast", 74.0),
    "torchvision_r50": _start(f"{TORCHVISION}resnet50-0676ba61.pth", "BSD 3-Clause", "c2d_r50", "0676ba61"),
    "torchvision_r101": _start(f"{TORCHVISION}resnet101-63fe2227.pth", "BSD 3-Clause", "c2d_r101", "63fe2227"),
}
# entry of hubconf -> its weights with pretrained=True: ordinary variant, 8 x 8
HUB_ENTRIES = {
    "nonlocal_c2d_r50": "paddle_zoo_c2d_r50_nl",
    "c2d_r50": "authors_c2d_r50",
    "nonlocal_i3d_r50": "authors_i3d_r50_nl",
    "i3d_r50": "authors_i3d_r50",
}
# depth -> the entry that --pretrain=imagenet takes; of ResNet-101 the zoo published none
IMAGENET_OF_DEPTH = {50: "imagenet_r50", 101: "torchvision_r101"}


def image_entry(shapes: Mapping[str, Sequence[int]]) -> str:
    """The entry of ImageNet weights for a network of these tensors.

    Raises UserError when no published file fits: the network's depth or widths are not those of ResNet-50 or
    ResNet-101.
    """
    kind = network_kind(shapes)
    published = network_shapes(kind.arch, {}, 0) if kind.arch else {}
    found = {name: rgb_shape(shape) if name == "stem.conv.weight" else shape for name, shape in shapes.items()}
    if not kind.arch or any(found.get(n) != s for n, s in published.items() if n.endswith("conv.weight")):
        widths = " of these widths" if kind.arch else ""
        raise UserError(f"no ImageNet weights are published for {kind}{widths}; pass --pretrain=FILE or leave it out")
    return IMAGENET_OF_DEPTH[ARCHS[kind.arch].depth]


def default_entry(config) -> str | None:
    """The entry that a script takes without --weights: the zoo's, for the network it was published for."""
    is_zoo = config.MODEL.arch == "c2d_r50" and config.MODEL.num_classes == 400 and config.INPUT.channels == 3
    return HUB_ENTRIES["nonlocal_c2d_r50"] if is_zoo else None


NAMES = FamilyNames(
    namings=NAMINGS,
    our_names=all_our_names,
    first_kernels=re.compile(r"stem\.conv\.weight"),
    may_be_new=re.compile(r"head\.|proposals\.|stage\d\.nl\d+\."),
    describe=network_kind,
    adapt=_adapt_blocks,
    name_records=name_records,
    warnings=warnings,
    published=WEIGHTS,
    default_entry=default_entry,
    image_entry=image_entry,
    hub_entries=HUB_ENTRIES,
    configuration=configuration,
    origin=origin,
)
