"""Flow as bytes: the codes of this program's caches, and those of the JPEG folders that other programs write.

Flow here is normalised: in pixels, divided by the bound (20 px) and inside [-1, 1].
"""

from __future__ import annotations

import numpy as np

LEVELS = 127  # codes on each side of ZERO
ZERO = 128


def encode(flow: np.ndarray) -> np.ndarray:
    """q = clip(round(127 f) + 128, 1, 255): no motion is exactly 128, and the code of -f is 256 - q.

    flow: floats in [-1, 1], any shape; what lies outside is clipped. Returns uint8 of that shape.
    """
    return np.clip(np.rint(flow * LEVELS) + ZERO, ZERO - LEVELS, ZERO + LEVELS).astype(np.uint8)


def decode(codes: np.ndarray) -> np.ndarray:
    """f = (q - 128) / 127, float32 in [-1, 1]. The code 0, which lossy compression can make of 1, counts as 1."""
    return _VALUES[codes]


def decode_peers(codes: np.ndarray) -> np.ndarray:
    """f = q / 127.5 - 1, float32: codes of denseflow and mmaction2, floor(127.5 (f + 1)), in which no motion is 127,
    read as -0.004."""
    return _PEERS_VALUES[codes]


_CODES = np.arange(256)
_VALUES = (np.maximum(_CODES - ZERO, -LEVELS) / LEVELS).astype(np.float32)
_PEERS_VALUES = (_CODES / 127.5 - 1).astype(np.float32)
