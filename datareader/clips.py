"""What a reading process is asked for: plain data that can be sent to it, with a `read` that does the work there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from datareader import sampling, transforms
from datareader.video import Limits, Reading, VideoError, read_chosen


@dataclass(frozen=True)
class ReaderSettings:
    """Who decodes, and what one video may cost."""

    decoder: str = "pyav"
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class ClipSettings:
    """A clip's length in frames, the stride between them, the range of the short side and the crop's side in pixels."""

    clip_length: int
    frame_stride: int
    scales: tuple[int, int]
    crop_px: int
    mirror: bool = True


@dataclass(frozen=True)
class TrainingClip:
    """A random clip. All its randomness comes from default_rng(key), in this order: place in time, short side, mirror,
    crop; so it does not depend on who reads it, or when."""

    path: str
    key: tuple[int, ...]
    clip: ClipSettings
    reader: ReaderSettings

    def read(self) -> tuple[np.ndarray, int]:
        """uint8 [T, S, S, 3] and the video's number of frames."""
        rng = np.random.default_rng(self.key)
        time_seed = int(rng.integers(2**62))
        short_side = transforms.random_short_side(self.clip.scales, rng)
        mirror = bool(rng.random() < 0.5) and self.clip.mirror
        space_seed = int(rng.integers(2**62))

        def choose(num_frames: int) -> np.ndarray:
            start = sampling.random_start(
                num_frames, self.clip.clip_length, self.clip.frame_stride, np.random.default_rng(time_seed)
            )
            return sampling.clip_indices(start, self.clip.clip_length, self.clip.frame_stride, num_frames)

        def offset_in(height: int, width: int) -> tuple[int, int]:
            return transforms.random_offset(height, width, self.clip.crop_px, np.random.default_rng(space_seed))

        return _read_clip(self, choose, short_side, offset_in, mirror)


@dataclass(frozen=True)
class CentreClip:
    """The clip in the middle, its centre crop at short side scales[0]."""

    path: str
    clip: ClipSettings
    reader: ReaderSettings

    def read(self) -> tuple[np.ndarray, int]:
        """uint8 [T, S, S, 3] and the video's number of frames."""

        def choose(num_frames: int) -> np.ndarray:
            start = sampling.centre_start(num_frames, self.clip.clip_length, self.clip.frame_stride)
            return sampling.clip_indices(start, self.clip.clip_length, self.clip.frame_stride, num_frames)

        def offset_in(height: int, width: int) -> tuple[int, int]:
            return transforms.centre_offset(height, width, self.clip.crop_px)

        return _read_clip(self, choose, self.clip.scales[0], offset_in, False)


def _read_clip(request: TrainingClip | CentreClip, choose, short_side: int, offset_in, mirror: bool):
    """Resize and crop each frame as it is decoded. `choose` and `offset_in` depend on their arguments alone, as a
    damaged video may be begun anew, with other frames of another size."""

    def prepare(frame: np.ndarray) -> np.ndarray:
        check_elongation(request.path, frame.shape, short_side, request.reader.limits)
        frame = transforms.resize_frame(frame, short_side)
        offset = offset_in(*frame.shape[:2])
        return transforms.crop(frame, offset, request.clip.crop_px, request.clip.crop_px, mirror)

    reading = read_chosen(request.path, choose, request.reader.decoder, request.reader.limits, prepare)
    return reading.taken(), reading.num_frames


@dataclass(frozen=True)
class ViewFrames:
    """The frames that the test clips of a video need, each once, resized to the short side but not cropped."""

    path: str
    num_clips: int
    clip_length: int
    frame_stride: int
    short_side: int
    reader: ReaderSettings

    def read(self) -> tuple[np.ndarray, Reading]:
        """uint8 [U, h, w, 3], and the reading without its frames (indices are [num_clips, clip_length])."""

        def choose(num_frames: int) -> np.ndarray:
            return sampling.test_indices(num_frames, self.num_clips, self.clip_length, self.frame_stride)

        def prepare(frame: np.ndarray) -> np.ndarray:
            check_elongation(self.path, frame.shape, self.short_side, self.reader.limits)
            return transforms.resize_frame(frame, self.short_side)

        reading = read_chosen(self.path, choose, self.reader.decoder, self.reader.limits, prepare)
        empty = np.empty((0, 0, 0, 3), np.uint8)
        return reading.frames, Reading(empty, reading.numbers, reading.indices, reading.num_frames, reading.complaint)


def check_elongation(path: str, shape: tuple[int, ...], short_side: int, limits: Limits) -> None:
    """Raise VideoError when scaling the short side would make a frame of more than max_pixels (1 px high, say)."""
    height, width = transforms.short_side_size(shape[0], shape[1], short_side)
    if height * width > limits.max_pixels:
        raise VideoError(path, f"{shape[1]}x{shape[0]} px scaled to a short side of {short_side} px would be "
                         f"{width}x{height}")  # fmt: skip
