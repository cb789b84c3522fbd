"""The names of every source, as one template a kind of tensor; the same templates serve reading and writing.

Ours: stem.{conv,bn}, stage{2..5}.block{i}.{a,b,c,shortcut}.{conv,bn}, stage{k}.nl{i}.{theta,phi,g,out,bn}, head.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

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


@dataclass(frozen=True)
class Naming:
    """Templates of one source.

    {stage}, {block}, {conv}, {tensor} are filled in; stage_labels, conv_labels, projection_labels say with what.
    dropped: names in its files that are no weights. head_is_transposed: the classifier is [classes, channels].
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
    dropped: str = r".*\.num_batches_tracked"
    head_is_transposed: bool = True

    def name(self, ours: str) -> str:
        """What this source calls the tensor that we call `ours`; '' when it has no such tensor."""
        return next(self.names(ours), "")

    def names(self, ours: str) -> Iterator[str]:
        """All its spellings, the usual one first."""
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


def _torch_like(**changes) -> Naming:
    return Naming(
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


def _image_network(**changes) -> Naming:
    """torchvision's ResNets; paddle.vision has the same names for all but the statistics."""
    return Naming(
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


def _pytorchvideo(stages: tuple[int, ...], head: int) -> Naming:
    return Naming(
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
OUR_NORM = {tensor: tensor for tensor in NORM_TENSORS}
NAMINGS = {
    "own": _torch_like(norm_tensors=OUR_NORM, dropped="StructuredToParameterName@@", head_is_transposed=False),
    "torch": _torch_like(),
    "caffe2": Naming(
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
        dropped=r".*_momentum|lr|model_iter",
    ),
    "paddle_fluid": Naming(
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
        dropped=r".*_velocity_0|learning_rate.*|@LR_DECAY_COUNTER@|fc_0\.[wb]_0|StructuredToParameterName@@",
        head_is_transposed=False,
    ),
    "slowfast": Naming(
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
    "mmaction2": Naming(
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
    "pytorchvideo": _pytorchvideo((1, 3, 4, 5), 6),
    "pytorchvideo_nopool": _pytorchvideo((1, 2, 3, 4), 5),
    "torchvision": _image_network(),
    "paddle": _image_network(norm_tensors=OUR_NORM, dropped="StructuredToParameterName@@", head_is_transposed=False),
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


@cache
def ours_by_name(source: str) -> dict[str, str]:
    """A source's name -> ours."""
    naming = NAMINGS[source]
    return {name: ours for ours in all_our_names() for name in naming.names(ours)}


def recognise(names: Iterable[str]) -> str | None:
    """The source whose names most of these are; None when they are nobody's."""
    names = set(names)
    sources = ("own", "torch") if "stem.conv.weight" in names else NAMINGS  # the rest need not be spelt out
    counts = {source: len(names & ours_by_name(source).keys()) for source in sources}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] > 3 else None
