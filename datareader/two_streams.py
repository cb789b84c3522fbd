"""The views of both streams, RGB frames and optical flow, of videos that are decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from datareader import decoding
from datareader.decoding import Prepare, Reading, VideoError
from datareader.flow.source import ComputedFlow
from datareader.loaders import Failure, ViewLoader, read_ahead
from datareader.requests import ReaderSettings, ViewFrames, without_frames
from datareader.views import VideoViews, ViewProtocol
from utils.errors import UserError

Views = tuple[VideoViews | Failure, VideoViews | Failure]


@dataclass(frozen=True)
class TwoStreamFrames:
    """The frames and the flow that the views of a video need; the source of the flow is a ComputedFlow."""

    rgb: ViewFrames
    flow: ViewFrames

    @property
    def path(self) -> str:
        return self.rgb.path

    @property
    def reader(self) -> ReaderSettings:
        return self.rgb.reader

    def read(self) -> tuple[np.ndarray, tuple[Reading, Reading]]:
        """Flow and frames as the bytes of one array, uint8 [L], which `unpack` takes apart, and the readings of frames
        and flow without them. Raises VideoError."""
        plans = [
            request.source.plan(request.path, request.choose, request.reader, request.resizer())
            for request in (self.rgb, self.flow)
        ]
        both = _BothForms(*(plan.keep for plan in plans))
        stored = decoding.read(
            self.path,
            lambda num_frames: np.union1d(*(plan.choose_frames(num_frames) for plan in plans)),
            self.reader.decoder,
            self.reader.limits,
            both.prepare,
        )
        parts = both.split(stored.frames)
        rgb, flow = (plan.reading(replace(stored, frames=part)) for plan, part in zip(plans, parts))
        packed = np.concatenate([flow.frames.reshape(-1).view(np.uint8), rgb.frames.reshape(-1)])
        return packed, (without_frames(rgb), without_frames(flow))


def unpack(packed: np.ndarray, readings: tuple[Reading, Reading]) -> tuple[np.ndarray, np.ndarray]:
    """The frames, uint8 [U, h, w, 3], and the flow, float32 [V, h, w, 2], of a `TwoStreamFrames`; views."""
    rgb, flow = ((len(reading.numbers), *reading.frames.shape[1:]) for reading in readings)
    num_bytes = 4 * int(np.prod(flow))
    return packed[num_bytes:].reshape(rgb), packed[:num_bytes].view(np.float32).reshape(flow)


class _BothForms:
    """Two forms of each frame, uint8, as the bytes of one array."""

    def __init__(self, first: Prepare, second: Prepare):
        self.forms = (first, second)
        self.shapes: list[tuple[int, ...]] = []

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """uint8 [1, L]."""
        prepared = [form(frame) for form in self.forms]
        self.shapes = [array.shape for array in prepared]  # the same for all frames of a video
        return np.concatenate([array.reshape(-1) for array in prepared])[None]

    def split(self, frames: np.ndarray) -> list[np.ndarray]:
        """uint8 [U, 1, L] -> both forms of the U frames."""
        end_of_first = int(np.prod(self.shapes[0]))
        parts = (frames[:, 0, :end_of_first], frames[:, 0, end_of_first:])
        return [part.reshape(len(frames), *shape) for part, shape in zip(parts, self.shapes)]


class TwoStreamLoader:
    """For each video the views of the RGB and of the flow stream, or the reason why a stream cannot be read.

    rgb, flow: loaders of the same videos. Where flow is computed, with the same decoder and limits for both streams, a
    video is decoded once for both; the views are the same as those of the two loaders by themselves.
    """

    def __init__(self, rgb: ViewLoader, flow: ViewLoader):
        self.rgb, self.flow = rgb, flow
        same_limits = replace(rgb.reader, frame_rate=None) == replace(flow.reader, frame_rate=None)
        self.decodes_once = isinstance(flow.source, ComputedFlow) and same_limits
        self.pool, self.ids = rgb.pool, rgb.ids

    def __len__(self) -> int:
        return len(self.rgb)

    def __iter__(self) -> Iterator[Views]:
        return read_ahead(self.pool, self.ids, self.read)

    @property
    def protocol(self) -> ViewProtocol:
        """That of both streams. Raises UserError where they have different ones."""
        if self.rgb.protocol != self.flow.protocol:
            raise UserError(
                f"the views of the two streams differ: {self.rgb.protocol} and {self.flow.protocol}; name them, as "
                "--views=adaptive:10x3"
            )
        return self.rgb.protocol

    def read(self, video_id: int, reader, clips: tuple[int, ...] | None = None) -> Views:
        """The views of a video, or of some of its clips, in both streams. reader: of `ReaderPool`."""
        request = TwoStreamFrames(self.rgb.request(video_id, clips), self.flow.request(video_id, clips))
        if self.decodes_once and request.rgb.path == request.flow.path:
            try:
                packed, readings = reader.run(request)
                frames, fields = unpack(packed, readings)
                return self.rgb.views(video_id, frames, readings[0]), self.flow.views(video_id, fields, readings[1])
            except VideoError:
                pass  # each stream by itself: one of them may be readable, as the frame of a video of one frame
        return self.rgb.read(video_id, reader, clips), self.flow.read(video_id, reader, clips)
