"""Arrays in our names onto the tensors of one network: inflated, folded or completed where exact, else refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from weights.rename import Renamed
from weights.safe_pickle import Refused
from weights.shapes import network_kind

EPSILON = 1e-5  # of every source's batch norms
STATISTICS = ("_mean", "_variance")
MAY_BE_NEW = re.compile(r"head\.|stage\d\.nl\d+\.")


@dataclass
class Fitted:
    """arrays: name -> float32 numbers of the network's shapes. inflated: kernels that became 5-D. left_out: tensors of
    the file, started_anew: tensors of the network, that have no partner; only of a partial fit.
    """

    arrays: dict[str, np.ndarray]
    actions: dict[str, str]
    inflated: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    started_anew: list[str] = field(default_factory=list)


def fit(renamed: Renamed, target: Mapping[str, tuple[int, ...]], *, partial: bool = False) -> Fitted:
    """The network's tensors from a file's.

    target: name -> shape. partial: the file is a start: classifier and non-local blocks may be missing, left over or of
    another shape, statistics may be missing, and 2-D kernels may be spread over time.

    Raises Refused, naming counts and a tensor, when the file is of another network or its numbers cannot be right.
    """
    arrays, actions = dict(renamed.arrays), dict(renamed.actions)
    _check_numbers(arrays, renamed.origins)
    is_image = arrays.get("stem.conv.weight", np.empty(0)).ndim == 4
    _adapt_blocks(arrays, actions, target)
    _adapt_norms(arrays, actions, target, has_no_statistics=is_image)
    fitted = Fitted({}, actions)
    wrong, missing = [], []
    for name, shape in target.items():
        array = arrays.get(name)
        if array is None:
            is_optional = MAY_BE_NEW.match(name) or (is_image and name.endswith(STATISTICS))
            (fitted.started_anew if partial and is_optional else missing).append(name)
        elif array.shape == shape:
            fitted.arrays[name] = np.ascontiguousarray(array, np.float32)
        elif len(shape) == 5 and array.shape == (*shape[:2], *shape[3:]) and (partial or shape[2] == 1):
            fitted.arrays[name] = _inflate(array, shape[2])
            fitted.inflated.append(name)
            fitted.actions[name] = "a new axis" if shape[2] == 1 else f"inflated: {shape[2]} times, divided by as much"
        elif partial and MAY_BE_NEW.match(name):
            fitted.left_out.append(f"{name} {list(array.shape)}")
            fitted.started_anew.append(name)
        else:
            wrong.append(name)
    extra = [name for name in arrays if name not in target]
    if partial:
        fitted.left_out += [name for name in extra if MAY_BE_NEW.match(name)]
        extra = [name for name in extra if not MAY_BE_NEW.match(name)]
    extra += renamed.unknown
    if missing or extra or wrong:
        raise Refused(_difference(renamed, arrays, target, missing, extra, wrong))
    return fitted


def _inflate(kernel: np.ndarray, kernel_frames: int) -> np.ndarray:
    """[out, in, h, w] -> [out, in, kT, h, w]: repeated and divided, so that a still clip gives the same sums."""
    shape = (*kernel.shape[:2], kernel_frames, *kernel.shape[2:])
    return np.ascontiguousarray(np.broadcast_to((kernel / np.float32(kernel_frames))[:, :, None], shape), np.float32)


def _check_numbers(arrays: Mapping[str, np.ndarray], origins: Mapping[str, str]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise Refused(f"{origins[name]} is of type {array.dtype}, not of floating-point numbers")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Refused(f"{origins[name]} holds infinite numbers or NaN")
        if name.endswith("_variance") and array.size and array.min() < 0:
            raise Refused(f"{origins[name]} is a variance and holds {array.min():g}: were means and variances swapped?")


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
            scale, shift = _scale_and_shift(arrays, f"{prefix}bn.")
            weight = arrays[f"{prefix}out.weight"]
            arrays[f"{prefix}out.weight"] = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            arrays[bias] = arrays.get(bias, np.zeros_like(scale)) * scale + shift
            for tensor in ("weight", "bias", *STATISTICS):
                arrays.pop(f"{prefix}bn.{tensor}", None)
            actions[f"{prefix}out.weight"] = actions[bias] = "the norm behind it folded in"
        if bias in arrays and bias not in target and f"{prefix}bn._mean" in target and f"{prefix}bn._mean" in arrays:
            arrays[f"{prefix}bn._mean"] = arrays[f"{prefix}bn._mean"] - arrays.pop(bias)
            actions[f"{prefix}bn._mean"] = "minus the bias in front of it"


def _adapt_norms(arrays: dict, actions: dict, target: Mapping, has_no_statistics: bool) -> None:
    """Batch norms into frozen scales and shifts, and back."""
    for name in [n for n in arrays if n.endswith("bn.weight")]:
        prefix = name[: -len("weight")]
        has, wants = f"{prefix}_mean" in arrays, f"{prefix}_mean" in target
        if has and not wants and name in target:
            arrays[name], arrays[f"{prefix}bias"] = _scale_and_shift(arrays, prefix)
            for tensor in STATISTICS:
                arrays.pop(f"{prefix}{tensor}", None)
            actions[name] = actions[f"{prefix}bias"] = "statistics folded in"
        elif wants and not has and not has_no_statistics and f"{prefix}_variance" not in arrays:
            for tensor, value in (("_mean", 0.0), ("_variance", 1.0 - EPSILON)):
                arrays[f"{prefix}{tensor}"] = np.full(arrays[name].shape, value, np.float32)
                actions[f"{prefix}{tensor}"] = "the identity, the source's norms are frozen"


def _scale_and_shift(arrays: Mapping[str, np.ndarray], prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """gamma / sqrt(variance + epsilon) and beta - mean * that."""
    scale, shift = np.float64(arrays[f"{prefix}weight"]), np.float64(arrays[f"{prefix}bias"])
    if f"{prefix}_variance" in arrays:
        scale = scale / np.sqrt(np.float64(arrays[f"{prefix}_variance"]) + EPSILON)
        shift = shift - arrays[f"{prefix}_mean"] * scale
    return scale.astype(np.float32), shift.astype(np.float32)


def _difference(renamed: Renamed, arrays, target, missing: list, extra: list, wrong: list) -> str:
    """One line: what differs, what the file is and what the network is."""
    first = next(iter([*missing, *extra, *wrong]))
    origin = renamed.origins.get(first, first)
    origin += f" ({first})" if origin != first else ""
    text = f"{len(missing)} tensors missing, {len(extra)} left over, {len(wrong)} of another shape; first: {origin}"
    if first in wrong:
        text += f" {list(arrays[first].shape)} in place of {list(target[first])}"
    elif first in missing:
        text += " is missing"
    else:
        text += " is left over"
    file_kind, kind = network_kind(_shapes(renamed.arrays)), network_kind(target)
    if file_kind == kind:
        return f"{text}. Both are {kind}, but of other widths"
    return f"{text}. The file is {file_kind}; the network is {kind}"


def _shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}
