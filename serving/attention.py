"""POST /api/v1/attention: what a non-local block attends to from a point of a frame.

Between page and server every place is a pair of fractions of the shown frame's width and height: pixels of a video need
not be square, and the network sees the centre crop of a resized copy.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Optional

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field

from datareader import Crop, Failure, VideoItem, VideoViews, VideoWindows, build_window_loader
from datareader.lists import NO_LABEL
from datareader.sampling import start_around
from datareader.workers import ReaderPool
from serving.problems import Problem
from utils.errors import UserError

if TYPE_CHECKING:
    from configs.schema import Config
    from inference.attention import Look
    from serving.engine import Engine
    from serving.server import Server

MAX_ARROWS = 100


class Question(BaseModel):
    """A point of the frame that is shown at `time`; without x and y it is the point with the strongest link."""

    video_id: str
    time: float = Field(ge=0, le=1e7, description="seconds from the start of the video, as players count them")
    block: Optional[str] = Field(None, description="as GET model lists them; the default is the last one of res3")
    x: Optional[float] = Field(None, ge=0, le=1, description="fraction of the shown frame's width")
    y: Optional[float] = Field(None, ge=0, le=1, description="fraction of the shown frame's height")
    arrows: int = Field(8, ge=1, le=MAX_ARROWS, description="how many of the strongest links")


class Area(BaseModel):
    """A rectangle, in fractions of the shown frame."""

    left: float
    top: float
    width: float
    height: float


class Target(BaseModel):
    """The end of a link: its frame of the clip, the second at which that is shown, its place and its weight."""

    frame: int
    t: float
    x: float
    y: float
    weight: float


class Answer(BaseModel):
    """frames: the seconds of the clip's frames; frame: that of the point. seen: what the network sees of the frame.
    heat: base64 of float16, little endian, of shape `grid` (steps, rows, columns): the weights, evenly spaced over
    `heat_area`; a step covers frames_per_step frames of the clip. sum: of all weights, 1 for the softmax forms;
    uniform: the weight of each position, were all equal; signed: the weights are not normalised."""

    block: str
    frames: list[float]
    frame: int
    x: float
    y: float
    seen: Area
    grid: tuple[int, int, int]
    heat: str
    heat_area: Area
    frames_per_step: int
    targets: list[Target]
    sum: float
    uniform: float
    signed: bool


def attention_router(server: Server) -> APIRouter:
    """The route, with a reading process of its own."""
    router = APIRouter()
    pool = ReaderPool(1)

    @router.post("/api/v1/attention", response_model=Answer, tags=["attention"])
    def attention(question: Question):
        path = server.videos.path(question.video_id)
        if not server.engine.facts[0].blocks:
            raise Problem(409, "this network has no non-local block: it has no space-time links to show")
        clip = read_clip(server.spec.config, pool, str(path), question.time)
        return answer(server.engine, clip, question)

    return router


@dataclass(frozen=True)
class ClipAt:
    """A clip of a video around a moment. views: one view, the centre crop; times: float64 [T], when its frames are
    shown; frame: the one that is shown at the moment."""

    views: VideoViews
    times: np.ndarray
    frame: int


def read_clip(config: Config, pool: ReaderPool, path: str, time: float) -> ClipAt:
    """The clip around `time`, in seconds; beyond the end the last one. Raises UserError, VideoError."""
    loader = build_window_loader(config, [VideoItem(path, NO_LABEL, 1)], views="1x1")
    loader.pool = pool
    (windows,) = loader
    if isinstance(windows, Failure):
        raise UserError(windows.reason)
    return clip_at(windows, time)


def clip_at(windows: VideoWindows, time: float) -> ClipAt:
    """The clip with the frame that is shown at `time`, as near to its middle as the video allows."""
    times, clip = windows.source_times, windows.clip
    length, stride = clip.clip_length, clip.frame_stride
    shown = max(0, int(np.searchsorted(times.times, time + 1e-6, side="right")) - 1)
    start = start_around(times.num_frames, length, stride, shown)
    windows = replace(windows, starts=np.array([start]))
    batches = windows.batches(1)
    _, views = next(batches)
    batches.close()
    indices = windows.indices(0, 1)[0]
    frame = int(np.abs(indices - shown).argmin())
    return ClipAt(views, times.times[indices], frame)


def answer(engine: Engine, clip: ClipAt, question: Question) -> Answer:
    """Raises UserError for a block that the network does not have and for a point that it does not see."""
    height, width = clip.views.frames.shape[1:3]
    crop = clip.views.crops[0]
    points = []
    if question.x is not None and question.y is not None:
        points = [_into_crop(question.x, question.y, crop, height, width)]
    block, (look,) = engine.looks(clip.views.clips([0]), clip.frame, points, question.block, question.arrows)
    return _answer(block, look, clip, crop, height, width)


def _into_crop(x: float, y: float, crop: Crop, height: int, width: int) -> tuple[float, float]:
    """Fractions of the frame -> fractions of the crop. Raises UserError for a point outside."""
    u, v = (x * width - crop.left) / crop.width, (y * height - crop.top) / crop.height
    if not (0 <= u <= 1 and 0 <= v <= 1):
        area = _area(crop.left, crop.top, crop.width, crop.height, height, width)
        right, bottom = area.left + area.width, area.top + area.height
        raise UserError(
            f"the network does not see this point: its crop is x {area.left:.3f} to {right:.3f}, y {area.top:.3f} to "
            f"{bottom:.3f} of the frame"
        )
    return u, v


def _area(left: float, top: float, wide: float, high: float, height: int, width: int) -> Area:
    return Area(left=left / width, top=top / height, width=wide / width, height=high / height)


def _answer(block: str, look: Look, clip: ClipAt, crop: Crop, height: int, width: int) -> Answer:
    def x_of(pixel: float) -> float:
        return (crop.left + pixel + 0.5) / width

    def y_of(pixel: float) -> float:
        return (crop.top + pixel + 0.5) / height

    def frame_of(step: int) -> int:
        """The first frame that a step covers; of the point's own step the point's frame."""
        own = clip.frame // look.frames_per_step
        return clip.frame if step == own else min(step * look.frames_per_step, len(clip.times) - 1)

    columns, rows = look.centres_px
    cell = look.cell_px
    heat_left, heat_top = crop.left + columns[0] + 0.5 - cell / 2, crop.top + rows[0] + 0.5 - cell / 2
    return Answer(
        block=block,
        frames=[round(float(t), 6) for t in clip.times],
        frame=clip.frame,
        x=x_of(look.point_px[0]),
        y=y_of(look.point_px[1]),
        seen=_area(crop.left, crop.top, crop.width, crop.height, height, width),
        grid=look.weights.shape,
        heat=base64.b64encode(look.weights.astype("<f2").tobytes()).decode(),
        heat_area=_area(heat_left, heat_top, cell * len(columns), cell * len(rows), height, width),
        frames_per_step=look.frames_per_step,
        targets=[
            Target(
                frame=frame_of(step),
                t=round(float(clip.times[frame_of(step)]), 6),
                x=x_of(to_x),
                y=y_of(to_y),
                weight=weight,
            )
            for step, to_x, to_y, weight in look.targets
        ],
        sum=float(look.weights.sum()),
        uniform=look.uniform_weight,
        signed=look.is_signed,
    )
