"""A family of its own in one file: what docs/add-a-network.md shows, and tests/test_models_families.py registers."""

from __future__ import annotations

from dataclasses import dataclass

from paddle import nn

from configs.schema import key
from models.heads import ClassificationHead
from models.options import HeadOptions, head_options
from models.recognizer import Recognizer


@dataclass
class Toy:
    """A toy of two convolutions (family TOY)."""

    width: int = key(4, "channels of the first convolution", low=1)


@dataclass(frozen=True)
class ToyOptions:
    in_channels: int
    width: int
    head: HeadOptions


def options_from_config(config) -> ToyOptions:
    return ToyOptions(config.INPUT.channels, config.TOY.width, head_options(config, pool_size=0))


class ToyBackbone(nn.Layer):
    def __init__(self, options: ToyOptions):
        super().__init__()
        width = options.width
        self.in_channels = options.in_channels
        self.channels = {"early": width, "late": 2 * width}
        self.strides = {"early": (1, 4, 4), "late": (2, 8, 8)}
        self.stage_layers = {"early": "first", "late": "second"}
        self.first = nn.Sequential(nn.Conv3D(options.in_channels, width, 3, (1, 4, 4), 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv3D(width, 2 * width, 3, 2, 1), nn.BatchNorm3D(2 * width), nn.ReLU())

    def forward_features(self, clips, stages):
        early = self.first(clips)  # [N, width, T, H/4, W/4]
        found = {"early": early, "late": self.second(early)}  # [N, 2 * width, T/2, H/8, W/8]
        return {name: found[name] for name in stages}


def build(options: ToyOptions) -> Recognizer:
    return Recognizer(ToyBackbone(options), ClassificationHead(2 * options.width, options.head), options)
