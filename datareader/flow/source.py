"""Optical flow as a source: computed while a video is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import cv2
import numpy as np

from datareader.decoding import Budget, ChooseIndices, FrameKeeper, Prepare, Reading, VideoError, printable
from datareader.flow.cache import CachedFlow, is_flow_file
from datareader.flow.methods import FlowProvenance, check_method, compute_flow
from datareader.requests import RGB, FramePlan, ReaderSettings, ShortSide, Source
from utils.errors import UserError

if TYPE_CHECKING:
    from configs.schema import Config  # a reading process starts faster without

NO_MOTION = "one frame has no motion"


@dataclass(frozen=True)
class ComputedFlow:
    """Flow i of a video is that from its frame i to frame i + 1, so that n frames have n - 1 flows.

    Frames are resampled to ReaderSettings.frame_rate, resized to the short side and made grey; flow in pixels is then
    cut to +-bound and divided by it. backwards: flow i is from frame i + 1 to frame i, for videos played backwards.
    """

    provenance: FlowProvenance
    backwards: bool = False
    name: ClassVar[str] = "flow"

    def read(self, path: str, choose: ChooseIndices, reader: ReaderSettings, prepare: Prepare) -> Reading:
        """Chosen flows, float32 [U, H, W, 2] in [-1, 1], each passed through `prepare`. Raises VideoError."""
        return self.plan(path, choose, reader, prepare).read()

    def plan(self, path: str, choose: ChooseIndices, reader: ReaderSettings, prepare: Prepare) -> FlowPlan:
        """The steps of `read`. Raises UserError for a file of a cache, whose pictures are flow already."""
        if is_flow_file(path):
            raise UserError(f"{printable(path)} is flow already; set READER.flow_cache to the folder that holds it")
        return FlowPlan(self, path, choose, reader, prepare)

    def between(self, frame: np.ndarray, following: np.ndarray) -> np.ndarray:
        """The flow of two neighbours, uint8 [h, w] grey: float32 [h, w, 2] in [-1, 1]."""
        pair = (following, frame) if self.backwards else (frame, following)
        bound = self.provenance.bound
        return np.clip(compute_flow(self.provenance.method, *pair), -bound, bound) / np.float32(bound)

    def reversed(self) -> ComputedFlow:
        """The flow of the video played backwards, under the numbers of the video played forwards."""
        return replace(self, backwards=not self.backwards)


class FlowPlan(FramePlan):
    """Grey frames i and i + 1 of each chosen flow i, then the flows."""

    def __init__(
        self, source: ComputedFlow, path: str, choose: ChooseIndices, reader: ReaderSettings, prepare: Prepare
    ):
        self.source, self.choose_flows = source, choose
        self.budget = Budget(path, reader.limits.seconds)
        self.resize = ShortSide(path, source.provenance.short_side, reader.limits.max_pixels)
        super().__init__(path, self._choose_pairs, reader, prepare)

    def _choose_pairs(self, num_frames: int) -> np.ndarray:
        if num_frames < 2:
            raise VideoError(self.path, NO_MOTION)
        flows = np.unique(self.choose_flows(num_frames - 1))
        return np.union1d(flows, flows + 1)

    def keep(self, frame: np.ndarray) -> np.ndarray:
        """Brightness by OpenCV's weights, uint8 [h, w], h or w the short side."""
        return cv2.cvtColor(self.resize(frame), cv2.COLOR_RGB2GRAY)

    def reading(self, stored: Reading) -> Reading:
        frames = super().reading(stored)
        num_flows = frames.num_frames - 1
        flows = FrameKeeper(self.path, self.choose_flows(num_flows), self.reader.limits, self.prepare)
        for number, place in zip(flows.numbers.tolist(), np.searchsorted(frames.numbers, flows.numbers).tolist()):
            self.budget.check()
            flows.keep(number, self.source.between(*frames.frames[place : place + 2]))
        return flows.reading(num_flows, frames.warning)


def configured_source(config: Config, computes_missing: bool = False) -> Source:
    """What READER.modality says. Raises UserError, before any video is opened, for a method that OpenCV lacks.

    computes_missing: flow that READER.flow_cache does not hold is computed: videos to predict are new, often.
    """
    reader = config.READER
    if reader.modality == "rgb":
        return RGB
    provenance = FlowProvenance.of(reader)
    if reader.flow_cache:
        return CachedFlow(
            reader.flow_cache, provenance, computed=ComputedFlow(provenance) if computes_missing else None
        )
    check_method(reader.flow_method)
    return ComputedFlow(provenance)
