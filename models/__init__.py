"""The families of networks: `FAMILIES` is the one table in which a network is registered (docs/add-a-network.md).

Importing this module loads no network: an entry names its modules, which are imported when they are used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from configs.schema import ARCHS

if TYPE_CHECKING:
    from configs.schema import Config


@dataclass(frozen=True)
class Family:
    """What the program knows of a family of networks. Places are written "package.module:name".

    archs: values of MODEL.arch, the first is the default.
    builder: function (config) -> network with fresh weights.
    sections: the family's own sections of the configuration -> their dataclasses, written as those of configs.schema.
    weight_names: the module of weights/ with the family's tables of tensor names; "": only our own names.
    """

    archs: tuple[str, ...]
    builder: str
    sections: Mapping[str, str] = field(default_factory=dict)
    weight_names: str = ""

    def configuration_sections(self) -> dict[str, type]:
        """Section name -> dataclass of its keys."""
        return {name: load(place) for name, place in self.sections.items()}


def load(place: str) -> Any:
    """The object that "package.module:name" names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


FAMILIES: dict[str, Family] = {
    "NONLOCAL": Family(
        archs=tuple(ARCHS),
        builder="models.nonlocal_model.nonlocal_model:model_from_config",
        weight_names="weights.nonlocal_names",
    ),
}


def build_model(config: Config):
    """The network that `config.MODEL` names, with fresh weights."""
    return load(FAMILIES[config.MODEL.name].builder)(config)


def __getattr__(name: str) -> Any:
    if name == "NonLocalModel":
        return load("models.nonlocal_model.nonlocal_model:NonLocalModel")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
