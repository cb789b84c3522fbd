"""A picture of clips as the network sees them: a row a clip, its frames from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from utils.files import write_atomically

CAPTION_PX, GAP_PX, MAX_FRAMES, MAX_SIDE_PX = 16, 2, 8, 112


def clip_sheet(
    clips: np.ndarray,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    captions: Sequence[str],
    pixel_aspects: Sequence[float] | None = None,
) -> np.ndarray:
    """Draw clips under each other with a caption above each.

    clips: float [N, 3, T, H, W], normalised as (RGB - mean) / std, each of one number or of one a channel.
    captions: N texts; signs beyond ASCII become "?".
    pixel_aspects: how many times as wide as high the pixels of each clip are shown (None: square); such clips are
    stretched along one side, shorter rows are filled with black.
    Returns uint8 RGB [height, width, 3]: at most 8 frames of a clip, evenly, with every so many pixels of large ones.
    """
    import cv2

    mean, std = (np.reshape(values, (-1, 1, 1, 1)) for values in (mean, std))
    frames = np.clip(np.asarray(clips) * std + mean, 0, 255).round().astype(np.uint8).transpose(0, 2, 3, 4, 1)
    frames = as_rgb(frames)
    frames = frames[:, :: -(-frames.shape[1] // MAX_FRAMES)]
    step = -(-max(frames.shape[2:4]) // MAX_SIDE_PX)
    frames = frames[:, :, ::step, ::step]
    rows = []
    for clip, caption, aspect in zip(frames, captions, pixel_aspects or [1.0] * len(frames)):
        if aspect != 1:
            height, width = (round(s * max(1.0, a)) for s, a in zip(clip.shape[1:3], (1 / aspect, aspect)))
            clip = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in clip])
        clip = np.pad(clip, ((0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0)))
        strip = np.zeros((CAPTION_PX, clip.shape[0] * clip.shape[2], 3), np.uint8)
        text = caption.encode("ascii", "replace").decode()
        cv2.putText(strip, text, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (230, 230, 230), 1, cv2.LINE_AA)
        rows += [strip, np.concatenate(list(clip), 1)]
    longest = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, longest - row.shape[1]), (0, 0))) for row in rows], 0)


def display_scale(config: Any) -> tuple[list[float], list[float]]:
    """mean and std that make a picture, 0..255, of the clips of a configuration: INPUT's; of flow, in [-1, 1], grey
    where nothing moves."""
    if config.READER.modality == "flow":
        return [127.5] * 2, [127.5] * 2
    return config.INPUT.mean, config.INPUT.std


def as_rgb(frames: np.ndarray) -> np.ndarray:
    """uint8 [..., C] -> [..., 3]: the channels in order, grey for those that are missing (flow has two), no more than
    three."""
    missing = max(0, 3 - frames.shape[-1])
    grey = np.full((*frames.shape[:-1], missing), 128, np.uint8)
    return np.concatenate([frames[..., :3], grey], -1)


def write_picture(path, picture: np.ndarray) -> None:
    """Write uint8 RGB [H, W, 3] as PNG, atomically."""
    import cv2

    encoded = cv2.imencode(".png", picture[:, :, ::-1])[1]
    write_atomically(path, lambda stream: stream.write(encoded.tobytes()))
