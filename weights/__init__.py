"""Weights in and out of networks: our own files here; those of other programs through `weights.convert`."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from configs.schema import FLOW_SETTINGS
from utils.errors import UserError
from utils.files import CHECKPOINT_DIR, ZOO_CHECKPOINT_DIR, write_atomically
from weights.safe_pickle import Refused, read_pickle

OWN_START = b"\x80\x04"  # pickle protocol 4
PADDLE_EXTRAS = "StructuredToParameterName@@"  # added by paddle.save
ORIGIN_KEY = "Origin@@"  # `weights.naming.Origin.stored`, written where weights of other programs are converted
ZOO_HEAD_FACTOR = 0.5  # see weights.convert.rename


@dataclass
class LoadReport:
    """What `load_weights` did; `summary()` says it in a line.

    title: the program whose names the file has; "" for ours. num_inflated: kernels spread over time. unexpected: keys
    of the file that were not loaded. reinitialised: keys of the network that are not in the file, or in another shape,
    and keep the network's initial values. notes: warnings. origin: `weights.naming.Origin` of the weights, None where
    it is not known.
    """

    path: str
    num_loaded: int
    title: str = ""
    num_inflated: int = 0
    unexpected: list[str] = field(default_factory=list)
    reinitialised: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    origin: Any = None

    def summary(self) -> str:
        parts = [f"loaded {self.num_loaded} tensors from {self.path}"]
        if self.title:
            parts[0] += f" (names of {self.title})"
        if self.num_inflated:
            parts.append(f"{self.num_inflated} kernels inflated from 2-D")
        for what, names in (("unexpected", self.unexpected), ("reinitialised", self.reinitialised)):
            if names:
                parts.append(f"{what} keys: {_listed(names)}")
        return "; ".join(parts + self.notes)


def input_warning(origin: Any, config) -> str:
    """A warning where the configuration's clips are not those that weights of an origin were trained with; else ""."""
    if origin is None:
        return ""
    wrong = []
    for name in () if config.READER.modality == "flow" else ("mean", "std"):
        has, wants = getattr(config.INPUT, name), list(getattr(origin, name))
        if wants and (len(has) != len(wants) or not np.allclose(has, wants, atol=0.01)):
            wrong.append(f"INPUT.{name}: {wants}")
    if origin.keep_aspect_ratio not in (None, config.INPUT.keep_aspect_ratio):
        wrong.append(f"INPUT.keep_aspect_ratio: {origin.keep_aspect_ratio}")
    for name, key in FLOW_SETTINGS.items() if origin.flow else ():
        if getattr(config.READER, key) != origin.flow[name]:
            wrong.append(f"READER.{key}: {'none' if origin.flow[name] is None else origin.flow[name]}")
    return f"WARNING: {origin.title} was trained with other clips; set {', '.join(wrong)}" if wrong else ""


def load_weights(
    model,
    path: str | Path,
    *,
    partial: bool = False,
    source: str = "auto",
    head_factor: float = ZOO_HEAD_FACTOR,
    check_padding: bool = True,
) -> LoadReport:
    """Load a weight file of any source (see docs/weights.md) into a network, all of it or nothing.

    partial: initialise a training from the file: classifier and non-local blocks may be missing or of another shape
    (they keep the model's values), and 2-D kernels are spread over time. source: whose names the file has; "auto": told
    by the names. head_factor: of the old zoo's files, see `weights.convert.rename`. check_padding: refuse weights of a
    known origin whose padding is not the network's.

    Raises UserError, naming the file, when it is no weight file, damaged, hostile or of another network.
    """
    tensors = model.state_dict()
    arrays, record = _read_own(path, tensors) if source in ("auto", "own") else (None, None)
    if arrays is not None:
        report = LoadReport(str(path), len(arrays))
        if record is not None:
            from weights.convert import check_origin
            from weights.naming import Origin, family_of

            report.origin = Origin.read(record)
            if report.origin is not None and check_padding:
                check_origin(model, report.origin, family_of(arrays), path)
    else:
        from weights.convert import convert

        arrays, report = convert(
            model, path, partial=partial, source=source, head_factor=head_factor, check_padding=check_padding
        )
    for name, array in arrays.items():
        tensors[name].set_value(array)
    return report


def _read_own(path: str | Path, tensors: Mapping) -> tuple[dict[str, np.ndarray] | None, Any]:
    """The arrays of a file of ours that fits these tensors as it is, and its record of their origin, if any; None,
    None for every other file, damaged ones too."""
    other = None, None
    try:
        if not Path(path).is_file():
            return other
        with open(path, "rb") as stream:
            if stream.read(len(OWN_START)) != OWN_START:
                return other
            stream.seek(0)
            arrays = read_pickle(stream)
    except (Refused, OSError, MemoryError):
        return other  # the converter reads it again and gives the reason
    if not isinstance(arrays, dict):
        return other
    arrays.pop(PADDLE_EXTRAS, None)
    record = arrays.pop(ORIGIN_KEY, None)
    if arrays.keys() != tensors.keys():
        return other
    for name, array in arrays.items():
        is_float = isinstance(array, np.ndarray) and array.dtype in (np.float32, np.float16)
        if not is_float or list(array.shape) != list(tensors[name].shape) or not np.isfinite(array).all():
            return other
        if name.endswith("_variance") and array.size and array.min() < 0:
            return other
    return {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}, record


def save_weights(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write {name: array} as a plain pickle, atomically; paddle.load reads it too. Raises RunError naming the path."""
    write_atomically(path, lambda stream: pickle.dump(dict(arrays), stream, protocol=4))


def find_weights(config, checkpoint_dir: str) -> str:
    """The weights that a script takes without --weights: `checkpoint_dir`/NONLOCAL.pdparams, or another model's name,
    where it exists, else the published ones.

    The zoo's configurations and ours of earlier versions say `./output`, where train.py writes nothing by default:
    behind that folder train.py's default folder is searched. Raises UserError when nothing fits.
    """
    folders = [Path(checkpoint_dir)]
    if folders[0] == Path(ZOO_CHECKPOINT_DIR):
        folders.append(Path(CHECKPOINT_DIR))
    files = [folder / f"{config.MODEL.name}.pdparams" for folder in folders]
    for file in files:
        if file.is_file():
            print(f"no --weights given: taking {file}")
            return str(file)
    from weights.download import fetch_weights
    from weights.naming import family_names

    absent = " and ".join(map(str, files)) + (" do not exist" if len(files) > 1 else " does not exist")
    name = family_names(config.MODEL.name).default_entry(config)
    if name is None:
        raise UserError(f"pass --weights=FILE: {absent} and nobody published weights for this network")
    print(f"no --weights given, {absent}: taking the published {name}")
    return fetch_weights(name)


def _listed(names: list[str]) -> str:
    """A few names, or how many of which parts."""
    if len(names) <= 4:
        return ", ".join(names)
    parts = sorted({".".join(name.split(" ")[0].split(".")[:2]) for name in names})
    return f"{len(names)} tensors of {', '.join(parts)}" if len(parts) <= 12 else f"{len(names)} tensors"
