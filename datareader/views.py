"""The views of a test video: clips over time x crops over space, cut out of frames decoded and resized once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from datareader import transforms
from utils.errors import UserError

WHOLE_FRAME_MULTIPLE = 32  # px; the network halves height and width five times


@dataclass(frozen=True)
class ViewProtocol:
    """How a video is looked at: `num_clips` places in time, `num_crops` in space (0: the whole frame), mirrored too?"""

    num_clips: int
    num_crops: int
    mirrored: bool = False

    @classmethod
    def parse(cls, text: str, mirrored: bool = False, num_clips: int = 10) -> ViewProtocol:
        """From "10x3" (clips x crops), "10xwhole" or "whole", which takes `num_clips`. Raises UserError."""
        match = re.fullmatch(r"(?:([1-9]\d{0,3})x)?(?:(?<=x)([1-9]\d{0,2})|whole)", text)
        if not match:
            raise UserError(f"views {text!r}: write clips x crops, as 10x3 or 1x1, or whole (10xwhole)")
        return cls(int(match[1] or num_clips), int(match[2] or 0), mirrored)

    def __str__(self) -> str:
        """As `parse` takes it; with "mirrored" behind it."""
        return f"{self.num_clips}x{self.num_crops or 'whole'}{' mirrored' if self.mirrored else ''}"

    @property
    def views_per_clip(self) -> int:
        return max(1, self.num_crops) * (2 if self.mirrored else 1)

    def __len__(self) -> int:
        return self.num_clips * self.views_per_clip

    def spread_order(self) -> np.ndarray:
        """All views, int64 [V], in an order whose every beginning is spread over time and space.

        Clips follow bit-reversed numbers from the middle of the video, and each comes once before any comes again; the
        crops of neighbours in the order differ, the centre one is first.
        """
        bits = (self.num_clips - 1).bit_length()
        reversed_bits = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits)] if bits else [0]
        places = [number * self.num_clips // 2**bits for number in reversed_bits]  # several numbers may give a place
        clips = [(place + self.num_clips // 2) % self.num_clips for place in dict.fromkeys(places)]
        num_crops = self.views_per_clip
        crops = sorted(range(num_crops), key=lambda crop: crop != max(1, self.num_crops) // 2)
        order = [
            clip * num_crops + crops[(position + turn) % num_crops]
            for turn in range(num_crops)
            for position, clip in enumerate(clips)
        ]
        return np.array(order, np.int64)


@dataclass(frozen=True)
class Crop:
    """A rectangle of the resized frame, in pixels, perhaps mirrored left to right."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False


@dataclass(frozen=True)
class VideoViews:
    """One video, decoded once, and its views. View v is crop v % C of clip v // C; mirrored crops come last.

    frames: [U, h, w, C], each wanted frame once, uint8, of flow float32; frame_numbers: int64 [U], their places in the
    video; clip_indices: int64 [num_clips, T], the frames of each clip, numbered as in the video; warning: what is not
    whole; modality: "rgb" or "flow".
    """

    video_id: int
    label: int
    path: str
    num_frames: int
    frames: np.ndarray
    frame_numbers: np.ndarray
    clip_indices: np.ndarray
    crops: tuple[Crop, ...]
    mean: float | Sequence[float]
    std: float | Sequence[float]
    labels: tuple[int, ...] = ()
    warning: str = ""
    modality: str = "rgb"
    clip_positions: np.ndarray = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "clip_positions", np.searchsorted(self.frame_numbers, self.clip_indices))

    def __len__(self) -> int:
        return len(self.clip_indices) * len(self.crops)

    def reversed(self) -> VideoViews:
        """The same frames and crops, each clip played backwards."""
        return replace(self, clip_indices=self.clip_indices[:, ::-1])

    def clip_of(self, view_id: int | np.ndarray) -> int | np.ndarray:
        """The clip (place in time) of a view."""
        return view_id // len(self.crops)

    def crop_of(self, view_id: int) -> Crop:
        """The rectangle of a view."""
        return self.crops[view_id % len(self.crops)]

    def clips(self, view_ids) -> np.ndarray:
        """The network's input for some views: float32 [n, C, T, height, width], normalised."""
        view_ids = [int(view_id) for view_id in view_ids]
        first, num_channels = self.crops[0], self.frames.shape[-1]
        out = np.empty((len(view_ids), num_channels, self.clip_indices.shape[1], first.height, first.width), np.float32)
        for place, view_id in enumerate(view_ids):
            part = self.crop_of(view_id)
            for t, position in enumerate(self.clip_positions[self.clip_of(view_id)]):
                rectangle = transforms.crop(self.frames[position], (part.top, part.left), part.height, part.width)
                if part.mirrored:
                    rectangle = transforms.mirror(rectangle, self.modality)
                transforms.normalise(rectangle[None], self.mean, self.std, out[place, :, t : t + 1])
        return out


def find_crops(height: int, width: int, crop_px: int, protocol: ViewProtocol) -> tuple[Crop, ...]:
    """The rectangles of a protocol on resized frames of this size; the whole frame is cut, around its centre, to
    multiples of 32 px."""
    if protocol.num_crops:
        offsets = transforms.spread_offsets(height, width, crop_px, protocol.num_crops)
        plain = [Crop(top, left, crop_px, crop_px) for top, left in offsets]
    else:
        whole = [max(1, side // WHOLE_FRAME_MULTIPLE) * WHOLE_FRAME_MULTIPLE for side in (height, width)]
        whole = [min(side, full) for side, full in zip(whole, (height, width))]
        plain = [Crop((height - whole[0]) // 2, (width - whole[1]) // 2, whole[0], whole[1])]
    mirrored = [Crop(c.top, c.left, c.height, c.width, True) for c in plain] if protocol.mirrored else []
    return (*plain, *mirrored)
