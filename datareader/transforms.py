"""From uint8 frames [T, H, W, 3] to the network's clip float32 [3, T, S, S]: resize, crop, mirror, normalise."""

from __future__ import annotations

import cv2
import numpy as np


def short_side_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) after scaling so that the shorter one is `short_side` px; the other is rounded, at least that."""
    ratio = short_side / min(height, width)
    return max(short_side, round(height * ratio)), max(short_side, round(width * ratio))


def resize_frame(frame: np.ndarray, short_side: int) -> np.ndarray:
    """Bilinear (OpenCV's INTER_LINEAR, pixel centres aligned, uint8 arithmetic) to `short_side`: [H, W, 3] -> same."""
    height, width = short_side_size(frame.shape[0], frame.shape[1], short_side)
    if (height, width) == frame.shape[:2]:
        return frame
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)


def resize_short_side(frames: np.ndarray, short_side: int) -> np.ndarray:
    """`resize_frame` for each of [T, H, W, 3]."""
    return np.stack([resize_frame(frame, short_side) for frame in frames])


def random_short_side(scales: list[int], rng: np.random.Generator) -> int:
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
    the other; one crop is the centre one. A square frame gives equal crops."""
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


def crop(frames: np.ndarray, offset: tuple[int, int], height: int, width: int, mirror: bool = False) -> np.ndarray:
    """A view (no copy) of [..., H, W, 3] at offset (top, left), mirrored left to right on demand."""
    part = frames[..., offset[0] : offset[0] + height, offset[1] : offset[1] + width, :]
    return part[..., ::-1, :] if mirror else part


def normalise(
    frames: np.ndarray, mean: float | list[float], std: float | list[float], out: np.ndarray | None = None
) -> np.ndarray:
    """(x - mean) / std with the channels in front: uint8 [T, H, W, 3] -> float32 [3, T, H, W], into `out` if given.

    mean, std: a number for each channel, or one for all.
    """
    if out is None:
        out = np.empty((3, *frames.shape[:3]), np.float32)
    mean, std = (np.broadcast_to(np.array(values, np.float32).reshape(-1, 1), (3, 1)) for values in (mean, std))
    tables = (np.arange(256, dtype=np.float32) - mean) / std  # [3, 256]
    for t, frame in enumerate(frames):
        for channel, plane in enumerate(cv2.split(frame)):
            cv2.LUT(plane, tables[channel], out[channel, t])  # cheaper than arithmetic on each pixel
    return out
