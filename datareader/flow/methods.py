"""Optical flow between two grey frames, by four methods of OpenCV, and what a record of it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from configs.schema import FLOW_SETTINGS
from utils.errors import UserError

if TYPE_CHECKING:
    from configs.schema import Reader  # a reading process starts faster without


def _tvl1(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return cv2.optflow.DualTVL1OpticalFlow_create().calc(first, second, None)


def _dis(preset: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    # A new object a pair: DIS keeps state, so that flow would depend on the pairs before, and frames of another size
    # can crash it.
    return cv2.DISOpticalFlow_create(preset).calc(first, second, None)


def _farneback(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """With the arguments that mmaction2 gives it."""
    settings = {
        "pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2, "flags": 0
    }  # fmt: skip
    return cv2.calcOpticalFlowFarneback(first, second, None, **settings)


# READER.flow_method -> (first, second) -> flow; with OpenCV's default parameters where nothing is said.
METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "tvl1": _tvl1,
    "dis": partial(_dis, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
    "dis_fast": partial(_dis, cv2.DISOPTICAL_FLOW_PRESET_FAST),
    "farneback": _farneback,
}


def check_method(method: str) -> None:
    """Raise UserError where this OpenCV lacks the method: TV-L1 is in the contrib package alone."""
    if method == "tvl1" and not hasattr(cv2, "optflow"):
        raise UserError(
            "READER.flow_method tvl1 needs OpenCV's contrib package, which takes the place of the present one: pip "
            "uninstall opencv-python-headless, then pip install opencv-contrib-python-headless; or choose dis"
        )


def compute_flow(method: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where each pixel of `first` lies in `second`: float32 [h, w, 2], in pixels, x to the right, then y downwards.

    method: a key of METHODS. first, second: uint8 [h, w], grey; 16 px a side at least, which DIS needs. Equal frames
    give exactly 0.
    """
    if np.array_equal(first, second):  # Farneback finds motion in still noise
        return np.zeros((*first.shape, 2), np.float32)
    return METHODS[method](np.ascontiguousarray(first), np.ascontiguousarray(second))


@dataclass(frozen=True)
class FlowProvenance:
    """How flow is computed.

    method: a key of METHODS. bound: pixels, larger values are cut to it and all are divided by it. short_side: of the
    frames, in pixels. frame_rate: that videos are resampled to, None: their own. opencv: its version. order: flow i is
    of frames i and i + 1.
    """

    method: str
    bound: float
    short_side: int
    frame_rate: float | None
    opencv: str = cv2.__version__
    order: str = "frame i to frame i + 1; x right, y down"

    @classmethod
    def of(cls, reader: Reader) -> FlowProvenance:
        """What READER asks for."""
        return cls(**{name: getattr(reader, key) for name, key in FLOW_SETTINGS.items()})

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for weights, exports and manifests."""
        return asdict(self)
