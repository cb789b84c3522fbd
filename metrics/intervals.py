"""Confidence intervals of accuracies."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson_interval(num_right: float, num_videos: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of p = right / n: (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n).

    num_right: 0 .. num_videos; a mean over seeds may be no whole number. Returns (low, high), from 0 to 1.
    Raises ValueError without videos.
    """
    if num_videos < 1:
        raise ValueError("an interval needs at least one video")
    share, n = num_right / num_videos, num_videos
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)
