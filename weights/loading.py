"""Weights of any source into a network: read safely, renamed, fitted strictly, and said in a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import paddle

from models.recognizer import Recognizer
from utils.errors import UserError
from weights.containers import read_stored
from weights.download import download
from weights.fit import Fitted, fit
from weights.geometry import differences, geometry_name
from weights.published import DEFAULTS, IMAGENET_OF_ARC, WEIGHTS
from weights.rename import ZOO_HEAD_FACTOR, Renamed, rename
from weights.safe_pickle import Refused
from weights.shapes import network_kind, network_shapes

SOURCE_TITLES = {
    "own": "this program",
    "torch": "this program's PyTorch form",
    "caffe2": "video-nonlocal-net (Caffe2)",
    "paddle_fluid": "the old Paddle zoo",
    "slowfast": "PySlowFast",
    "mmaction2": "mmaction2",
    "pytorchvideo": "PyTorchVideo",
    "pytorchvideo_nopool": "PyTorchVideo, without pool2",
    "torchvision": "torchvision",
    "paddle": "paddle.vision",
}
TELLING_SOURCES = {"slowfast", "mmaction2", "pytorchvideo", "pytorchvideo_nopool"}


@dataclass
class LoadReport:
    """What `load_weights` did; `summary()` says it in a line."""

    path: str
    source: str
    num_loaded: int
    num_inflated: int = 0
    left_out: list[str] = field(default_factory=list)
    started_anew: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        parts = [f"loaded {self.num_loaded} tensors from {self.path}"]
        if self.source != "own":
            parts[0] += f" (names of {SOURCE_TITLES[self.source]})"
        if self.num_inflated:
            parts.append(f"{self.num_inflated} kernels inflated from 2-D")
        if self.left_out:
            parts.append(f"left out: {_listed(self.left_out)}")
        if self.started_anew:
            parts.append(f"start anew: {_listed(self.started_anew)}")
        return "; ".join(parts + self.notes)


def read_renamed(path: str | Path, source: str = "auto", head_factor: float = ZOO_HEAD_FACTOR) -> Renamed:
    """A weight file of any source under our names. Raises UserError naming the file."""
    stored = read_stored(path)
    try:
        return rename(stored, source, head_factor)
    except Refused as error:
        raise UserError(f"{path} cannot be read as weights: {error}") from error


def fit_to(model: Recognizer, renamed: Renamed, path: str | Path, *, partial: bool = False) -> Fitted:
    """The model's tensors out of a file's. Raises UserError naming the file."""
    target = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    try:
        return fit(renamed, target, partial=partial)
    except Refused as error:
        text = f"{path} is of another network than the configuration's: {error}"
        if not partial:
            text += ". Choose the configuration it was made with, or begin a training from it by --pretrain"
        raise UserError(text) from error


def load_weights(
    model: Recognizer,
    path: str | Path,
    *,
    partial: bool = False,
    source: str = "auto",
    head_factor: float = ZOO_HEAD_FACTOR,
) -> LoadReport:
    """Load a weight file of any source (see docs/weights.md) into `model`, all of it or nothing.

    partial: the file is a start for training: classifier and non-local blocks may be missing or of another shape (they
    keep the model's values), and 2-D kernels are spread over time. source: whose names the file has; "auto": told by
    the names. head_factor: see `rename`.

    Raises UserError, naming the file, when it is no weight file, damaged, hostile or of another network.
    """
    renamed = read_renamed(path, source, head_factor)
    fitted = fit_to(model, renamed, path, partial=partial)
    model.set_state_dict({name: paddle.to_tensor(array) for name, array in fitted.arrays.items()})
    return LoadReport(
        str(path),
        renamed.source,
        len(fitted.arrays),
        len(fitted.inflated),
        fitted.left_out,
        fitted.started_anew,
        [] if partial else _geometry_note(model, renamed),
    )


def _geometry_note(model: Recognizer, renamed: Renamed) -> list[str]:
    """A warning when the file's network, where its names tell, is wired otherwise than the model."""
    if renamed.source not in TELLING_SOURCES:
        return []
    kind = network_kind({name: array.shape for name, array in renamed.arrays.items()})
    found = differences(model, geometry_name(renamed.source, kind))
    if not found:
        return []
    return [f"WARNING: {SOURCE_TITLES[renamed.source]} computes something else; set {', '.join(found)}"]


def fetch_weights(name: str) -> str:
    """The local file of an entry of the weight table, downloaded when it is not there yet.

    Raises UserError for an unknown entry, RunError when the network fails (with the command to fetch it by hand).
    """
    if name not in WEIGHTS:
        raise UserError(f"no published weights {name!r}; there are {', '.join(WEIGHTS)}")
    entry = WEIGHTS[name]
    flag = "--pretrain=FILE" if entry.is_start else "--weights=FILE"
    return str(download(entry.url, sha256=entry.sha256, instead=f"pass {flag}"))


def published_weights(video_arc_choice: int, with_blocks: bool) -> str:
    """The local file of the published 8 x 8 weights of a network. Raises UserError where nobody published any."""
    name = DEFAULTS.get((video_arc_choice, with_blocks))
    if name is None:
        raise UserError(f"nobody published weights for video_arc_choice {video_arc_choice}; pass a file of your own")
    return fetch_weights(name)


def imagenet_weights(model: Recognizer) -> str:
    """The local file of ImageNet weights for a network of this depth, downloaded when it is not there yet.

    Raises UserError before anything is downloaded when no published file fits: the network's depth or widths are not
    those of ResNet-50 or ResNet-101.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    kind = network_kind(shapes)
    name = IMAGENET_OF_ARC.get(kind.video_arc_choice)
    published = network_shapes(kind.video_arc_choice, {}, 0) if name else {}
    if name is None or any(shapes.get(n) != s for n, s in published.items() if n.endswith("conv.weight")):
        widths = " of these widths" if name else ""
        raise UserError(f"no ImageNet weights are published for {kind}{widths}; pass --pretrain=FILE or leave it out")
    return fetch_weights(name)


def _listed(names: list[str]) -> str:
    """A few names, or how many of which parts."""
    if len(names) <= 4:
        return ", ".join(names)
    parts = sorted({".".join(name.split(" ")[0].split(".")[:2]) for name in names})
    return f"{len(names)} tensors of {', '.join(parts)}" if len(parts) <= 12 else f"{len(names)} tensors"
