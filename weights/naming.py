"""What a family of networks tells the converter: the names of its tensors in other programs, and how files are adapted.

A family's module (models.FAMILIES[...].weight_names) holds one `FamilyNames` called NAMES.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.schema import FLOW_SETTINGS

if TYPE_CHECKING:
    from weights.convert import Renamed
    from weights.download import Published

RGB_CHANNELS, FLOW_CHANNELS = 3, 2
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, eq=False)  # compared by identity: its names are computed once
class Naming:
    """The names of one program.

    title: of the program. names: our name -> its spellings there, the usual one first; none where it has no such
    tensor. dropped: pattern of the names in its files that are no weights. head_is_transposed: its classifier is
    [classes, channels]. finish: adapts the renamed arrays of its files in place. epsilon: of its norms. dropped_note:
    what it is that is dropped, where a reader should know.
    """

    title: str
    names: Callable[[str], Iterator[str]]
    dropped: str = r".*\.num_batches_tracked"
    head_is_transposed: bool = True
    finish: Callable[[Renamed], None] | None = None
    epsilon: float = 1e-5
    dropped_note: str = ""

    def name(self, ours: str) -> str:
        """The program's usual name of the tensor that we call `ours`; "" where it has no such tensor."""
        return next(iter(self.names(ours)), "")


@dataclass(frozen=True)
class Origin:
    """What a program's weights were trained with, as far as tensors do not tell it; converted files keep it.

    title: of the program. padding: the network's, "" where it does not matter. mean, std: of each channel, of values
    0..255. keep_aspect_ratio: frames are resized so; None: not known. flow: of networks of optical flow, how it was
    computed, by the names of configs.schema.FLOW_SETTINGS and others that are for people; empty: of RGB.
    """

    title: str
    padding: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    keep_aspect_ratio: bool | None = None
    flow: Mapping[str, str | float | None] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        """As plain values, for a weight file."""
        fields = {**dataclasses.asdict(self), "mean": list(self.mean), "std": list(self.std)}
        return fields if self.flow else {name: value for name, value in fields.items() if name != "flow"}

    @classmethod
    def read(cls, stored: Any) -> Origin | None:
        """What `stored` made, out of a file; None for anything else."""
        if not isinstance(stored, dict):
            return None
        flow = stored.get("flow", {})  # files of RGB networks, and of earlier versions, have none
        if stored.keys() | {"flow"} != {field.name for field in dataclasses.fields(cls)} or not _is_flow(flow):
            return None
        texts = [stored["title"], stored["padding"]]
        lists = [stored["mean"], stored["std"]]
        if not all(isinstance(text, str) and len(text) < 100 for text in texts):
            return None
        if not all(isinstance(part, list) and all(isinstance(n, float) for n in part) for part in lists):
            return None
        if stored["keep_aspect_ratio"] not in (True, False, None):
            return None
        mean, std = map(tuple, lists)
        return cls(texts[0], texts[1], mean, std, stored["keep_aspect_ratio"], flow)

    def input_rule(self) -> str:
        """Its clips, for people."""
        if self.flow:
            return f"of optical flow in [-1, 1] ({', '.join(f'{name} {value}' for name, value in self.flow.items())})"
        size = ", frames resized to a square" if self.keep_aspect_ratio is False else ""
        return f"(x - {_numbers(self.mean)}) / {_numbers(self.std)}{size}"


def rgb_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """A first kernel's shape [out, in, ...] in the same network of RGB; shapes of other kernels stay."""
    out, channels, *rest = shape
    return (out, RGB_CHANNELS if channels == FLOW_CHANNELS else channels, *rest)


def _is_flow(stored: Any) -> bool:
    """Whether it may be `Origin.flow`: short texts and numbers by name, those of the settings among them."""
    if stored == {}:
        return True
    if not isinstance(stored, dict) or not FLOW_SETTINGS.keys() <= stored.keys() or len(stored) > 20:
        return False
    return all(
        isinstance(name, str) and len(name) < 100 and isinstance(value, (str, int, float, type(None)))
        and len(str(value)) < 100
        for name, value in stored.items()
    )  # fmt: skip


def _numbers(values: tuple[float, ...]) -> str:
    texts = [f"{value:.7g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"


@dataclass(frozen=True)
class Description:
    """What a set of tensors is, where the family says no more."""

    num_tensors: int

    def __str__(self) -> str:
        return f"a network of {self.num_tensors} tensors"


@dataclass(frozen=True, eq=False)
class FamilyNames:
    """All that weights/ knows of a family; the defaults serve a family that has only our own names.

    namings: program -> its names; "own" is ours. our_names: () -> every name that a network of the family can have.
    first_kernels: names of the kernels that see the channels of clips. may_be_new: names of tensors that weights to
    initialise from may lack or have in another shape. describe: {our name: shape} -> what network that is: printed, and
    compared. adapt: (arrays, actions, shapes of the network) -> None, changes arrays in place where that is exact.
    name_records: tensors without names -> {name: tensor}, None when they are of none of the family's networks.
    warnings: (model, program, description of the file) -> what the model computes otherwise. published: entry ->
    published weights. default_entry: config -> the entry taken without --weights, or None. image_entry: shapes of a
    network -> the entry of --pretrain=imagenet; raises UserError. hub_entries: entry of hubconf -> the published
    weights of its pretrained=True. configuration: (program, description of a file, variant, arch, num_classes) ->
    (variant, note, sections): under which configuration our network computes what the file's does; "" and 0 take the
    file's own; raises Refused. origin: (program, description of a file) -> its `Origin`, None where the names do not
    tell it. check_origin: (model, Origin) -> None; raises UserError where the model cannot serve weights of that
    origin.
    """

    namings: Mapping[str, Naming] = field(default_factory=dict)
    our_names: Callable[[], Iterable[str]] = tuple
    first_kernels: re.Pattern = re.compile(r"(?!)")
    may_be_new: re.Pattern = re.compile(r"head\.")
    describe: Callable[[Shapes], Any] = lambda shapes: Description(len(shapes))
    adapt: Callable[[dict, dict, Shapes], None] = lambda arrays, actions, target: None
    name_records: Callable[[list[np.ndarray]], dict[str, np.ndarray] | None] = lambda records: None
    warnings: Callable[[Any, str, Any], list[str]] = lambda model, source, description: []
    published: Mapping[str, Published] = field(default_factory=dict)
    default_entry: Callable[[Any], str | None] = lambda config: None
    image_entry: Callable[[Shapes], str] | None = None
    hub_entries: Mapping[str, str] = field(default_factory=dict)
    configuration: Callable[[str, Any, str, str, int], tuple[str, str, dict]] | None = None
    origin: Callable[[str, Any], Origin | None] = lambda source, description: None
    check_origin: Callable[[Any, Origin], None] = lambda model, origin: None

    def ours_by_name(self, source: str) -> dict[str, str]:
        """A program's names -> ours."""
        return _ours_by_name(self.namings[source], self.our_names)


PLAIN = FamilyNames()


@cache
def _ours_by_name(naming: Naming, our_names: Callable[[], Iterable[str]]) -> dict[str, str]:
    return {name: ours for ours in our_names() for name in naming.names(ours)}


def family_names(family: str) -> FamilyNames:
    """The names of a family of models.FAMILIES."""
    from models import FAMILIES

    module = FAMILIES[family].weight_names
    return importlib.import_module(module).NAMES if module else PLAIN


def all_families() -> list[FamilyNames]:
    """The names of every family that has more than our own."""
    from models import FAMILIES

    return [family_names(family) for family, entry in FAMILIES.items() if entry.weight_names]


def all_sources() -> list[str]:
    """Every program whose names are known."""
    return list(dict.fromkeys(source for family in all_families() for source in family.namings))


def recognise(names: Iterable[str], source: str = "auto") -> tuple[FamilyNames, str] | None:
    """The family and the program whose names most of these are; None when they are nobody's.

    source: only this program's names are compared.
    """
    names = set(names)
    best, most = None, 3 if source == "auto" else 0
    for family in all_families():
        for program in family.namings if source == "auto" else {source} & family.namings.keys():
            count = len(names & family.ours_by_name(program).keys())
            if count > most:
                best, most = (family, program), count
    return best


def family_of(names: Iterable[str]) -> FamilyNames:
    """The family of the network that has tensors of these names (ours); PLAIN where no table has most of them."""
    names = set(names)
    found = recognise(names, "own")
    return found[0] if found and 2 * len(names & found[0].ours_by_name("own").keys()) > len(names) else PLAIN
