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
    from models.recognizer import Recognizer


@dataclass(frozen=True)
class Family:
    """What the program knows of a family of networks. Places are written "package.module:name".

    archs: values of MODEL.arch, the first is the default.
    options: function (config) -> frozen dataclass, which is all that `builder` reads of a configuration. Its method
        needs_fixed_sizes(num_frames, height, width), where it has one, answers for `needs_fixed_sizes`.
    builder: function (options) -> `models.recognizer.Recognizer` with fresh weights.
    sections: the family's own sections of the configuration -> their dataclasses, written as those of configs.schema.
    shared_sections: those of configs.schema.NETWORK_SECTIONS that it reads, too.
    defaults: "SECTION.key" -> its default, where that of configs.schema is not the family's.
    volume_backends: backends whose exports compute with 3-D convolutions, not 2-D ones over frames: those where that
        form was measured to be faster on CPUs (docs/backends.md).
    detects: whether its builder makes a `models.detector.Detector` for MODEL.task detection.
    weight_names: the module of weights/ with the family's tables of tensor names; "": only our own names.
    """

    archs: tuple[str, ...]
    options: str
    builder: str
    sections: Mapping[str, str] = field(default_factory=dict)
    shared_sections: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    volume_backends: tuple[str, ...] = ("openvino",)
    detects: bool = False
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
        options="models.nonlocal_model.options:options_from_config",
        builder="models.nonlocal_model.resnet_video:build",
        shared_sections=("RESNETS", "NONLOCAL"),
        detects=True,
        weight_names="weights.nonlocal_names",
    ),
    "S3D": Family(
        archs=(
            "s3d",
            "s3d_g",
            "s3d_g_slim",
            "s3d_g_howto100m",
            "fast_s3d",
            "i3d_inception",
            "i2d",
            "top_heavy_i3d",
            "bottom_heavy_i3d",
            "top_heavy_s3d",
            "bottom_heavy_s3d",
        ),
        options="models.s3d_model.options:options_from_config",
        builder="models.s3d_model.trunk:build",
        sections={"S3D": "models.s3d_model.options:S3D"},
        shared_sections=("NONLOCAL",),
        detects=True,
        volume_backends=("openvino", "onnxruntime", "paddle_inference"),
        defaults={
            "MODEL.bn_momentum": 0.999,
            "MODEL.bn_epsilon": 1e-3,
            "MODEL.dropout_rate": 0.2,
            "MODEL.head_average": "logits",
            "INPUT.num_frames": 64,
            "INPUT.frame_stride": 1,
            "INPUT.scales": [256, 256],
            "INPUT.mean": [127.5],
            "INPUT.std": [127.5],
        },
        weight_names="weights.s3d_names",
    ),
}


HUB_MODELS = {
    "NonLocalModel": "models.nonlocal_model.resnet_video:NonLocalModel",
    "S3DModel": "models.s3d_model.trunk:S3DModel",
}


def model_options(config: Config) -> Any:
    """The frozen dataclass that describes the network of a configuration: all that its builder reads."""
    return load(FAMILIES[config.MODEL.name].options)(config)


def build_model(config: Config) -> Recognizer:
    """The network that a configuration describes, with fresh weights."""
    return load(FAMILIES[config.MODEL.name].builder)(model_options(config))


def network_sections(config: Config) -> tuple[str, ...]:
    """The sections of a configuration that its family reads beside MODEL and INPUT."""
    family = FAMILIES[config.MODEL.name]
    return (*family.shared_sections, *family.sections)


def needs_fixed_sizes(config: Config, num_frames: int, height: int, width: int) -> bool:
    """Whether an export for clips [T, H, W] must know their sizes; so unless the family's options say no."""
    check = getattr(model_options(config), "needs_fixed_sizes", None)
    return check is None or check(num_frames, height, width)


def __getattr__(name: str) -> Any:
    if name in HUB_MODELS:  # imports Paddle, which the table does not need
        return load(HUB_MODELS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
