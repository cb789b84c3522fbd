"""A file's arrays under our names: what is renamed, turned round, dropped, and what nobody knows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from models.nonlocal_model.placement import block_positions
from weights.containers import Stored
from weights.names import NAMINGS, ours_by_name, recognise
from weights.safe_pickle import Refused
from weights.shapes import network_shapes

# The zoo's test program multiplied the pooled features by 1 - dropout_rate, in front of the classifier.
ZOO_HEAD_FACTOR = 0.5


@dataclass
class Renamed:
    """arrays, origins: our name -> numbers, name in the file. actions: our name -> what was done to it. dropped: names
    in the file that are no weights. unknown: names in the file that this source does not have.
    """

    source: str
    kind: str
    arrays: dict[str, np.ndarray]
    origins: dict[str, str]
    actions: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def rename(stored: Stored, source: str = "auto", head_factor: float = ZOO_HEAD_FACTOR) -> Renamed:
    """Our names for the arrays of a file.

    source: a key of NAMINGS, or "auto": by the names in the file. head_factor: what the old zoo's classifier is
    multiplied by (its networks scaled the features at test time; without that step 1). Raises Refused when the names
    are nobody's.
    """
    arrays = stored.arrays if stored.unnamed is None else name_records(stored.unnamed)
    if arrays and all(name.startswith("module.") for name in arrays):  # torch.nn.DataParallel
        arrays = {name[len("module.") :]: array for name, array in arrays.items()}
    if source == "auto":
        source = recognise(arrays) or "unknown"
    if source not in NAMINGS:
        raise Refused(
            f"its {len(arrays)} tensors ({', '.join(list(arrays)[:3])}, ...) have the names of no known program"
            if source == "unknown"
            else f"--source {source}: there are auto, {', '.join(NAMINGS)}"
        )
    naming, known = NAMINGS[source], ours_by_name(source)
    result = Renamed(source, stored.kind, {}, {})
    for name, array in arrays.items():
        ours = known.get(name)
        if ours is None:
            is_dropped = re.fullmatch(naming.dropped, name) is not None
            (result.dropped if is_dropped else result.unknown).append(name)
            continue
        result.arrays[ours], result.origins[ours] = array, name
    if not result.arrays:
        raise Refused(f"none of its {len(arrays)} tensors ({next(iter(arrays))}, ...) has a name of {source}")
    _turn_head(result, naming.head_is_transposed)
    if source == "paddle_fluid" and head_factor != 1.0 and "head.weight" in result.arrays:
        result.arrays["head.weight"] = result.arrays["head.weight"] * np.float32(head_factor)
        result.actions["head.weight"] = f"times {head_factor:g}, the zoo's factor at test time"
    if source == "mmaction2":
        _add_zero_biases(result)
    return result


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


def _add_zero_biases(result: Renamed) -> None:
    """mmaction2's last projection has no bias."""
    for name in [n for n in result.arrays if n.endswith(".out.weight")]:
        bias = name[: -len("weight")] + "bias"
        if bias not in result.arrays:
            result.arrays[bias] = np.zeros(result.arrays[name].shape[0], np.float32)
            result.origins[bias], result.actions[bias] = "(none)", "0, the source has no such bias"


def name_records(records: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The names of a combined binary of the old zoo, which holds its tensors in the order of their names.

    Raises Refused when the shapes in that order are those of none of its networks.
    """
    naming = NAMINGS["paddle_fluid"]
    for arc in (1, 2, 3, 4):
        positions = block_positions(50 if arc < 3 else 101)
        for places in (positions, {}):
            shapes = network_shapes(arc, places, 0)
            if len(shapes) != len(records):
                continue
            # depth 101 numbers res4's blocks; combined files are younger than that change
            ours = {list(naming.names(name))[-1 if arc > 2 else 0]: name for name in shapes}
            names = sorted(ours)
            if all(_fits(shapes[ours[n]], record.shape) for n, record in zip(names, records)):
                return dict(zip(names, records))
    raise Refused(f"its {len(records)} tensors have no names, and the shapes of none of the old zoo's networks")


def _fits(expected: tuple[int, ...], found: tuple[int, ...]) -> bool:
    """Equal shapes; 0 stands for any number of classes."""
    return len(expected) == len(found) and all(a in (0, b) for a, b in zip(expected, found))
