"""From frames [T, H, W, C] to the network's clip float32 [C, T, S, S]: resize, crop, mirror, normalise.

Frames are RGB, uint8 and C = 3, or optical flow, float32 in [-1, 1] and C = 2; `modality` says which, "rgb" or "flow".
Resizing does not scale the values of flow, as in the training of all published networks. A transform returns the
parameters it used, so that boxes and other sources of the same video can follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from utils.errors import UserError


def scaled_size(height: int, width: int, short_side: int, keep_aspect_ratio: bool = True) -> tuple[int, int]:
    """(height, width) after scaling so that the shorter one is `short_side` px; the other is rounded, at least that.

    keep_aspect_ratio: False gives a square of `short_side` px.
    """
    if not keep_aspect_ratio:
        return short_side, short_side
    ratio = short_side / min(height, width)
    return max(short_side, round(height * ratio)), max(short_side, round(width * ratio))


def resize_frame(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear (OpenCV's INTER_LINEAR, pixel centres aligned, uint8 arithmetic): [H, W, C] -> [height, width, C]."""
    if (height, width) == frame.shape[:2]:
        return frame
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(height, width, frame.shape[2])  # OpenCV drops a single channel


def resize_short_side(frames: np.ndarray, short_side: int) -> np.ndarray:
    """Each of [T, H, W, C] resized so that its shorter side is `short_side` px."""
    size = scaled_size(frames.shape[1], frames.shape[2], short_side)
    return np.stack([resize_frame(frame, *size) for frame in frames])


def random_short_side(scales: Sequence[int], rng: np.random.Generator) -> int:
    """A whole number, uniform in [scales[0], scales[-1]], both ends included."""
    return int(rng.integers(scales[0], scales[-1], endpoint=True))


def random_offset(height: int, width: int, crop_px: int, rng: np.random.Generator) -> tuple[int, int]:
    """(top, left) of a crop, uniform over all places where it fits; a side equal to the crop is legal.

    Raises ValueError for a frame smaller than the crop.
    """
    _check_fits(height, width, crop_px)
    top = int(rng.integers(0, height - crop_px, endpoint=True))
    return top, int(rng.integers(0, width - crop_px, endpoint=True))


def centre_offset(height: int, width: int, crop_px: int) -> tuple[int, int]:
    """(top, left) of the crop in the middle, rounded towards the top left."""
    _check_fits(height, width, crop_px)
    return (height - crop_px) // 2, (width - crop_px) // 2


def spread_offsets(height: int, width: int, crop_px: int, num_crops: int) -> list[tuple[int, int]]:
    """(top, left) of `num_crops` crops spread evenly along the longer side, from its start to its end, and centred on
    the other; one crop is the centre one. In a square they are spread along the width."""
    top, left = centre_offset(height, width, crop_px)
    if num_crops == 1:
        return [(top, left)]
    room = max(height, width) - crop_px
    places = [room * i // (num_crops - 1) for i in range(num_crops)]
    if height > width:
        return [(place, left) for place in places]
    return [(top, place) for place in places]


def _check_fits(height: int, width: int, crop_px: int) -> None:
    if min(height, width) < crop_px:
        raise ValueError(f"a crop of {crop_px} px does not fit into a frame of {height} x {width} (height x width)")


def crop(frames: np.ndarray, offset: tuple[int, int], height: int, width: int) -> np.ndarray:
    """A view (no copy) of [..., H, W, C] at offset (top, left)."""
    return frames[..., offset[0] : offset[0] + height, offset[1] : offset[1] + width, :]


def mirror(frames: np.ndarray, modality: str) -> np.ndarray:
    """[..., H, W, C] left to right. What moves right in flow then moves left: its x is negated."""
    mirrored = frames[..., ::-1, :]
    return mirrored * np.array([-1, 1], frames.dtype) if modality == "flow" else mirrored


def normalise(
    frames: np.ndarray,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    out: np.ndarray | None = None,
) -> np.ndarray:
    """(x - mean) / std with the channels in front: uint8 or float32 [T, H, W, C] -> float32 [C, T, H, W], into `out` if
    given.

    mean, std: C numbers, or one for all channels.
    """
    num_channels = frames.shape[-1]
    if out is None:
        out = np.empty((num_channels, *frames.shape[:3]), np.float32)
    means, stds = _per_channel(mean, num_channels), _per_channel(std, num_channels)
    if frames.dtype != np.uint8:
        out[...] = np.moveaxis((frames - np.array(means, np.float32)) / np.array(stds, np.float32), -1, 0)
        return out
    tables = _lookup_tables(means, stds)
    for t, frame in enumerate(frames):
        for channel, plane in enumerate(cv2.split(frame)):
            cv2.LUT(plane, tables[channel], out[channel, t])  # cheaper than arithmetic on each pixel
    return out


def _per_channel(value: float | Sequence[float], num_channels: int) -> tuple[float, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (float(value),) * num_channels
    if len(values) != num_channels:
        raise UserError(f"INPUT.mean and INPUT.std hold {len(values)} numbers, the frames have {num_channels} channels")
    return values


@lru_cache(maxsize=16)
def _lookup_tables(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    """(x - mean) / std of x = 0 .. 255 for each channel: float32 [256]."""
    values = np.arange(256, dtype=np.float32)
    return tuple((values - np.float32(m)) / np.float32(s) for m, s in zip(mean, std))


@dataclass(frozen=True)
class TransformParameters:
    """What was done to every frame of a clip, in pixels: scaled from source_height x source_width to height x width,
    cut at (top, left) to crop_height x crop_width, then mirrored left to right or not."""

    source_height: int
    source_width: int
    height: int
    width: int
    top: int
    left: int
    crop_height: int
    crop_width: int
    mirrored: bool = False

    def apply(self, frame: np.ndarray, modality: str = "rgb") -> np.ndarray:
        """[source_height, source_width, C] -> [crop_height, crop_width, C]."""
        frame = resize_frame(frame, self.height, self.width)
        part = crop(frame, (self.top, self.left), self.crop_height, self.crop_width)
        return mirror(part, modality) if self.mirrored else part

    def map_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (x1, y1, x2, y2), pixels of the source frame -> pixels of the crop: float64 [N, 4], not clipped."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        scale = np.array([self.width / self.source_width, self.height / self.source_height] * 2)
        boxes = boxes * scale - np.array([self.left, self.top] * 2)
        if self.mirrored:
            boxes[:, [0, 2]] = self.crop_width - boxes[:, [2, 0]]
        return boxes

    def source_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """The reverse of `map_boxes`: boxes [N, 4] in pixels of the crop -> pixels of the source frame, float64."""
        boxes = np.array(boxes, np.float64).reshape(-1, 4)
        if self.mirrored:
            boxes[:, [0, 2]] = self.crop_width - boxes[:, [2, 0]]
        scale = np.array([self.width / self.source_width, self.height / self.source_height] * 2)
        return (boxes + np.array([self.left, self.top] * 2)) / scale


@dataclass(frozen=True)
class DrawnTransform:
    """A transform whose random choices are made: short side and mirror here, the place of the crop by `seed` (None: the
    centre) once the size of the frames is known. crop_px: None takes the whole frame. keep_aspect_ratio: as
    `scaled_size` has it."""

    short_side: int
    crop_px: int | None
    mirrored: bool = False
    seed: int | None = None
    keep_aspect_ratio: bool = True

    def parameters(self, source_height: int, source_width: int) -> TransformParameters:
        """The same for the same size, however often it is called."""
        height, width = scaled_size(source_height, source_width, self.short_side, self.keep_aspect_ratio)
        if self.crop_px is None:
            place = (0, 0, height, width)
        elif self.seed is None:
            place = (*centre_offset(height, width, self.crop_px), self.crop_px, self.crop_px)
        else:
            rng = np.random.default_rng(self.seed)
            place = (*random_offset(height, width, self.crop_px, rng), self.crop_px, self.crop_px)
        return TransformParameters(source_height, source_width, height, width, *place, self.mirrored)


class Transform:
    """Resize, crop, mirror. Subclasses draw the random choices."""

    def draw(self, rng: np.random.Generator | None) -> DrawnTransform:
        raise NotImplementedError

    def __call__(
        self, clip: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, TransformParameters]:
        """uint8 [T, H, W, C] -> uint8 [T, S, S, C] and the parameters used."""
        parameters = self.draw(rng).parameters(*clip.shape[1:3])
        return np.stack([parameters.apply(frame) for frame in clip]), parameters


@dataclass(frozen=True)
class RandomTransform(Transform):
    """Short side uniform in `scales` (without the aspect ratio: side of a square), mirrored with probability 1/2 where
    `mirror` allows it, crop anywhere."""

    scales: tuple[int, int]
    crop_px: int
    mirror: bool = True
    keep_aspect_ratio: bool = True

    def draw(self, rng: np.random.Generator | None) -> DrawnTransform:
        assert rng is not None, "a random transform needs a generator"
        short_side = random_short_side(self.scales, rng)
        mirrored = bool(rng.random() < 0.5) and self.mirror
        seed = int(rng.integers(2**62))
        return DrawnTransform(short_side, self.crop_px, mirrored, seed, self.keep_aspect_ratio)


@dataclass(frozen=True)
class CentreTransform(Transform):
    """The centre crop at a fixed short side, with crop_px None the whole frame; nothing is random."""

    short_side: int
    crop_px: int | None
    keep_aspect_ratio: bool = True

    def draw(self, rng: np.random.Generator | None = None) -> DrawnTransform:
        return DrawnTransform(self.short_side, self.crop_px, keep_aspect_ratio=self.keep_aspect_ratio)
