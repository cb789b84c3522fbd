"""A picture of clips as the network sees them: a row a clip, its frames from left to right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utils.files import write_atomically

CAPTION_PX, GAP_PX, MAX_FRAMES, MAX_SIDE_PX = 16, 2, 8, 112


def clip_sheet(clips: np.ndarray, mean: float, std: float, captions: Sequence[str]) -> np.ndarray:
    """Draw clips under each other with a caption above each.

    clips: float [N, 3, T, H, W], normalised as (RGB - mean) / std. captions: N texts; signs beyond ASCII become "?".
    Returns uint8 RGB [height, width, 3]: at most 8 frames of a clip, evenly, with every so many pixels of large ones.
    """
    import cv2

    frames = np.clip(np.asarray(clips) * std + mean, 0, 255).round().astype(np.uint8).transpose(0, 2, 3, 4, 1)
    frames = frames[:, :: -(-frames.shape[1] // MAX_FRAMES)]
    step = -(-max(frames.shape[2:4]) // MAX_SIDE_PX)
    frames = np.pad(frames[:, :, ::step, ::step], ((0, 0), (0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0)))
    rows = []
    for clip, caption in zip(frames, captions):
        strip = np.zeros((CAPTION_PX, clip.shape[0] * clip.shape[2], 3), np.uint8)
        text = caption.encode("ascii", "replace").decode()
        cv2.putText(strip, text, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (230, 230, 230), 1, cv2.LINE_AA)
        rows += [strip, np.concatenate(list(clip), 1)]
    return np.concatenate(rows, 0)


def write_picture(path, picture: np.ndarray) -> None:
    """Write uint8 RGB [H, W, 3] as PNG, atomically."""
    import cv2

    encoded = cv2.imencode(".png", picture[:, :, ::-1])[1]
    write_atomically(path, lambda stream: stream.write(encoded.tobytes()))
