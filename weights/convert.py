"""Weights of other programs onto one of our networks, and ours under their names.

read_stored -> rename (their names to ours) -> fit (inflate, fold or complete where that is exact, else refuse).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from weights import LoadReport
from weights.containers import Stored, read_stored
from weights.naming import (
    FLOW_CHANNELS,
    PLAIN,
    RGB_CHANNELS,
    FamilyNames,
    Origin,
    all_families,
    all_sources,
    family_of,
    recognise,
)
from weights.safe_pickle import Refused

CROSS_MODALITY = "the mean over RGB, for x and for y"
EPSILON = 1e-5  # of a source's batch norms where its naming says no other
STATISTICS = ("_mean", "_variance")


@dataclass
class Renamed:
    """A file's arrays under our names.

    arrays, origins: our name -> numbers, name in the file. actions: our name -> what was done to it. dropped: names
    in the file that are no weights. unknown: names in the file that this program does not have. head_factor: see
    `rename`. recorded: where a converted file says that its weights are from.
    """

    source: str
    kind: str
    arrays: dict[str, np.ndarray]
    origins: dict[str, str]
    actions: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    family: FamilyNames = PLAIN
    head_factor: float = 1.0
    recorded: Origin | None = None

    def describe(self) -> Any:
        """What network the file's tensors make; its str() is for people."""
        return self.family.describe(shapes_of(self.arrays))

    def origin(self) -> Origin | None:
        """What the weights were trained with, where the file or its names tell it."""
        return self.recorded or self.family.origin(self.source, self.describe())

    def epsilon(self) -> float:
        """Of the file's norms."""
        naming = self.family.namings.get(self.source)
        return naming.epsilon if naming else EPSILON

    def dropped_note(self) -> list[str]:
        """A line on the dropped tensors that are worth one."""
        naming = self.family.namings.get(self.source)
        told = [name for name in self.dropped if not name.endswith("num_batches_tracked")]
        return (
            [f"{len(told)} tensors dropped: {naming.dropped_note}"] if naming and naming.dropped_note and told else []
        )


@dataclass
class Fitted:
    """arrays: name -> float32 numbers of the network's shapes. inflated: kernels that became 5-D. unexpected: tensors
    of the file, reinitialised: tensors of the network, that have no partner; only of a partial fit.
    """

    arrays: dict[str, np.ndarray]
    actions: dict[str, str]
    inflated: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    reinitialised: list[str] = field(default_factory=list)


def convert(
    model,
    path: str | Path,
    *,
    partial: bool = False,
    source: str = "auto",
    head_factor: float = 0.5,
    check_padding: bool = True,
) -> tuple[dict[str, np.ndarray], LoadReport]:
    """The model's tensors out of a file of any program, and the report; arguments as of `weights.load_weights`."""
    target = shapes_of(model.state_dict())
    renamed = read_renamed(path, source, head_factor, target)
    origin = renamed.origin()
    if origin is not None and check_padding:
        check_origin(model, origin, renamed.family, path)
    fitted = fit_to(target, renamed, path, partial=partial)
    title = "" if renamed.source == "own" else renamed.family.namings[renamed.source].title
    notes = renamed.dropped_note()
    notes += [f"{name}: {action}" for name, action in fitted.actions.items() if action == CROSS_MODALITY]
    found = [] if partial else renamed.family.warnings(model, renamed.source, renamed.describe())
    if found:
        notes.append(f"WARNING: {title} computes something else; set {', '.join(found)}")
    report = LoadReport(
        str(path),
        len(fitted.arrays),
        title=title,
        num_inflated=len(fitted.inflated),
        unexpected=fitted.unexpected,
        reinitialised=fitted.reinitialised,
        notes=notes,
        origin=origin,
    )
    return fitted.arrays, report


def check_origin(model, origin: Origin, family: FamilyNames, path: str | Path) -> None:
    """Raise UserError naming the file where the model cannot serve weights of that origin."""
    try:
        family.check_origin(model, origin)
    except Refused as error:
        raise UserError(f"{path}: {error}") from error


def read_renamed(
    path: str | Path, source: str = "auto", head_factor: float = 0.5, target: Mapping[str, tuple] | None = None
) -> Renamed:
    """A weight file of any program under our names; `rename` says what the arguments are. Raises UserError naming
    the file."""
    stored = read_stored(path)
    try:
        return rename(stored, source, head_factor, target)
    except Refused as error:
        raise UserError(f"{path} cannot be read as weights: {error}") from error


def fit_to(target: Mapping[str, tuple], renamed: Renamed, path: str | Path, *, partial: bool = False) -> Fitted:
    """The tensors of a network of these shapes out of a file's. Raises UserError naming the file."""
    try:
        return fit(renamed, target, partial=partial)
    except Refused as error:
        text = f"{path} is of another network than the configuration's: {error}"
        if not partial:
            text += ". Choose the configuration it was made with, or initialise a training from it with --pretrain"
        raise UserError(text) from error


def rename(
    stored: Stored, source: str = "auto", head_factor: float = 0.5, target: Mapping[str, tuple] | None = None
) -> Renamed:
    """Our names for the arrays of a file.

    source: whose names they are, or "auto": by the names in the file. head_factor: what the old zoo's classifier is
    multiplied by (its networks scaled the features at test time; without that step 1). target: the network's tensors,
    whose names are ours too where the family has no table. Raises Refused when the names are nobody's.
    """
    arrays = stored.arrays if stored.unnamed is None else name_records(stored.unnamed)
    recorded = Origin.read(stored.record)
    if arrays and all(name.startswith("module.") for name in arrays):  # torch.nn.DataParallel
        arrays = {name[len("module.") :]: array for name, array in arrays.items()}
    if source not in ("auto", *all_sources()):
        raise Refused(f"--source {source}: there are auto, {', '.join(all_sources())}")
    found = recognise(arrays, source)
    known = found[0].ours_by_name(found[1]) if found else {}
    num_ours = len(arrays.keys() & target.keys()) if target and source in ("auto", "own") else 0
    if num_ours > len(arrays.keys() & known.keys()):
        family, source = PLAIN, "own"
        naming, known = None, {name: name for name in target}
    elif found:
        family, source = found
        naming = family.namings[source]
    elif source == "auto":
        first = ", ".join(list(arrays)[:3])
        raise Refused(f"its {len(arrays)} tensors ({first}, ...) have the names of no known program")
    else:
        raise Refused(f"none of its {len(arrays)} tensors ({next(iter(arrays))}, ...) has a name of {source}")
    result = Renamed(source, stored.kind, {}, {}, family=family, head_factor=head_factor, recorded=recorded)
    for name, array in arrays.items():
        ours = known.get(name)
        if ours is None:
            is_dropped = naming is not None and re.fullmatch(naming.dropped, name) is not None
            (result.dropped if is_dropped else result.unknown).append(name)
            continue
        result.arrays[ours], result.origins[ours] = array, name
    if naming:
        _turn_head(result, naming.head_is_transposed)
        if naming.finish:
            naming.finish(result)
    return result


def name_records(records: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The names of a combined binary of the old zoo, which holds its tensors in the order of their names.

    Raises Refused when the shapes in that order are those of none of its networks.
    """
    for family in all_families():
        named = family.name_records(records)
        if named is not None:
            return named
    raise Refused(f"its {len(records)} tensors have no names, and the shapes of none of the old zoo's networks")


def _turn_head(result: Renamed, is_transposed: bool) -> None:
    weight = result.arrays.get("head.weight")
    if weight is None:
        return
    if weight.ndim == 5 and weight.shape[2:] == (1, 1, 1):  # a classifier as a convolution
        weight, is_transposed = weight.reshape(weight.shape[:2]), True
    if is_transposed and weight.ndim == 2:
        result.actions["head.weight"] = "transposed"
        weight = weight.T
    result.arrays["head.weight"] = weight


def fit(renamed: Renamed, target: Mapping[str, tuple[int, ...]], *, partial: bool = False) -> Fitted:
    """The network's tensors from a file's.

    target: name -> shape. partial: the file is a start: classifier and non-local blocks may be missing, left over or of
    another shape, statistics may be missing, and 2-D kernels may be spread over time.

    Raises Refused, naming counts and a tensor, when the file is of another network or its numbers cannot be right.
    """
    arrays, actions = dict(renamed.arrays), dict(renamed.actions)
    may_be_new = renamed.family.may_be_new.match
    check_numbers(arrays, renamed.origins)
    is_image = any(array.ndim == 4 for array in arrays.values()) and not any(a.ndim == 5 for a in arrays.values())
    renamed.family.adapt(arrays, actions, target)
    _adapt_norms(arrays, actions, target, is_image, renamed.epsilon())
    _adapt_modality(arrays, actions, target, renamed.family, partial)
    fitted = Fitted({}, actions)
    wrong, missing = [], []
    for name, shape in target.items():
        array = arrays.get(name)
        if array is None:
            is_optional = may_be_new(name) or (is_image and name.endswith(STATISTICS))
            (fitted.reinitialised if partial and is_optional else missing).append(name)
        elif array.shape == shape:
            fitted.arrays[name] = np.ascontiguousarray(array, np.float32)
        elif len(shape) == 5 and array.shape == (*shape[:2], *shape[3:]) and (partial or shape[2] == 1):
            fitted.arrays[name] = _inflate(array, shape[2])
            fitted.inflated.append(name)
            fitted.actions[name] = "a new axis" if shape[2] == 1 else f"inflated: {shape[2]} times, divided by as much"
        elif partial and may_be_new(name):
            fitted.unexpected.append(f"{name} {list(array.shape)}")
            fitted.reinitialised.append(name)
        else:
            wrong.append(name)
    extra = [name for name in arrays if name not in target]
    if partial:
        fitted.unexpected += [name for name in extra if may_be_new(name)]
        extra = [name for name in extra if not may_be_new(name)]
    extra += renamed.unknown
    if missing or extra or wrong:
        raise Refused(_difference(renamed, arrays, target, missing, extra, wrong))
    return fitted


def _adapt_modality(arrays: dict, actions: dict, target: Mapping, family: FamilyNames, partial: bool) -> None:
    """To begin a training of flow from RGB weights: the first kernel's mean over RGB, once for x and once for y (Wang
    et al., "Temporal Segment Networks", ECCV 2016). Raises Refused for other channels than the network's."""
    for name in filter(family.first_kernels.fullmatch, target):
        kernel, channels = arrays.get(name), target[name][1]
        if kernel is None or kernel.ndim < 4 or kernel.shape[1] == channels:
            continue
        if partial and (kernel.shape[1], channels) == (RGB_CHANNELS, FLOW_CHANNELS):
            mean = kernel.mean(1, np.float64, keepdims=True).astype(np.float32)
            arrays[name], actions[name] = np.repeat(mean, channels, 1), CROSS_MODALITY
        else:
            raise Refused(f"its clips are of {_modality(kernel.shape[1])}, the network's of {_modality(channels)}")


def _modality(channels: int) -> str:
    modality = {RGB_CHANNELS: "RGB, ", FLOW_CHANNELS: "optical flow, "}.get(channels, "")
    return f"{modality}{channels} channels"


def _inflate(kernel: np.ndarray, kernel_frames: int) -> np.ndarray:
    """[out, in, h, w] -> [out, in, kT, h, w]: repeated and divided, so that a still clip gives the same sums."""
    shape = (*kernel.shape[:2], kernel_frames, *kernel.shape[2:])
    return np.ascontiguousarray(np.broadcast_to((kernel / np.float32(kernel_frames))[:, :, None], shape), np.float32)


def check_numbers(arrays: Mapping[str, np.ndarray], origins: Mapping[str, str]) -> None:
    """Raise Refused, with the name in the file, for types and values that no weight has."""
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise Refused(f"{origins[name]} is of type {array.dtype}, not of floating-point numbers")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Refused(f"{origins[name]} holds infinite numbers or NaN")
        if name.endswith("_variance") and array.size and array.min() < 0:
            raise Refused(f"{origins[name]} is a variance and holds {array.min():g}: were means and variances swapped?")


def _adapt_norms(arrays: dict, actions: dict, target: Mapping, has_no_statistics: bool, epsilon: float) -> None:
    """Batch norms into frozen scales and shifts, and back."""
    for name in [n for n in arrays if n.endswith("bn.weight")]:
        prefix = name[: -len("weight")]
        has, wants = f"{prefix}_mean" in arrays, f"{prefix}_mean" in target
        if has and not wants and name in target:
            arrays[name], arrays[f"{prefix}bias"] = scale_and_shift(arrays, prefix, epsilon)
            for tensor in STATISTICS:
                arrays.pop(f"{prefix}{tensor}", None)
            actions[name] = actions[f"{prefix}bias"] = "statistics folded in"
        elif wants and not has and not has_no_statistics and f"{prefix}_variance" not in arrays:
            for tensor, value in (("_mean", 0.0), ("_variance", 1.0 - epsilon)):
                arrays[f"{prefix}{tensor}"] = np.full(arrays[name].shape, value, np.float32)
                actions[f"{prefix}{tensor}"] = "the identity, the source's norms are frozen"


def scale_and_shift(
    arrays: Mapping[str, np.ndarray], prefix: str, epsilon: float = EPSILON
) -> tuple[np.ndarray, np.ndarray]:
    """A norm as one multiplication and addition: gamma / sqrt(variance + epsilon) and beta - mean * that."""
    scale, shift = np.float64(arrays[f"{prefix}weight"]), np.float64(arrays[f"{prefix}bias"])
    if f"{prefix}_variance" in arrays:
        scale = scale / np.sqrt(np.float64(arrays[f"{prefix}_variance"]) + epsilon)
        shift = shift - arrays[f"{prefix}_mean"] * scale
    return scale.astype(np.float32), shift.astype(np.float32)


def _difference(renamed: Renamed, arrays, target, missing: list, extra: list, wrong: list) -> str:
    """One line: what differs, what the file is and what the network is."""
    first = next(iter([*missing, *extra, *wrong]))
    origin = renamed.origins.get(first, first)
    origin += f" ({first})" if origin != first else ""
    text = f"{len(missing)} tensors missing, {len(extra)} unexpected, {len(wrong)} of another shape; first: {origin}"
    if first in wrong:
        text += f" {list(arrays[first].shape)} in place of {list(target[first])}"
    else:
        text += " is missing" if first in missing else " is unexpected"
    file, network = renamed.describe(), family_of(target).describe(target)
    if file == network:
        return f"{text}. Both are {file}, but of other widths"
    return f"{text}. The file is {file}; the network is {network}"


def shapes_of(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """{name: shape} of arrays or tensors."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def export_arrays(arrays: Mapping[str, np.ndarray], target: str) -> dict[str, np.ndarray]:
    """{their name: numbers} of a network's tensors, bit by bit the same; the classifier as [classes, channels].

    target: the program, of the network's family. Raises Refused when it has no name for a tensor.
    """
    naming, result = family_of(arrays).namings[target], {}
    for ours, array in arrays.items():
        name = naming.name(ours)
        if not name:
            raise Refused(f"{target} has no tensor like {ours}")
        is_head = ours == "head.weight" and naming.head_is_transposed
        result[name] = np.ascontiguousarray(array.T if is_head else array)
    return result
