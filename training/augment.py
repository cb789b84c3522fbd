"""Targets and clips that are softer than the data: label smoothing, mixup and cutmix. All pure numpy."""

from __future__ import annotations

import numpy as np


def smooth(targets: np.ndarray, share: float) -> np.ndarray:
    """(1 - share) target + share / K (Szegedy et al. 2016); targets float32 [N, K]."""
    return targets * np.float32(1.0 - share) + np.float32(share / targets.shape[1])


def mixup(clips: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator):
    """s x + (1 - s) x', x' another clip of the batch, s ~ Beta(alpha, alpha) (Zhang et al. 2018); targets likewise."""
    share = np.float32(rng.beta(alpha, alpha))
    other = rng.permutation(len(clips))
    return share * clips + (1 - share) * clips[other], share * targets + (1 - share) * targets[other]


def cutmix(clips: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator):
    """Paste a box of another clip, the same in all frames, and share the target by area (Yun et al. 2019).

    The box takes 1 - s of the picture, s ~ Beta(alpha, alpha), around a random centre; what lies outside is cut off,
    and the targets are shared by what is left.
    """
    height, width = clips.shape[-2:]
    side = np.sqrt(1.0 - rng.beta(alpha, alpha))
    middle_y, middle_x = rng.integers(height), rng.integers(width)
    top, bottom = _span(middle_y, side * height, height)
    left, right = _span(middle_x, side * width, width)
    other = rng.permutation(len(clips))
    pasted = clips.copy()
    pasted[..., top:bottom, left:right] = clips[other][..., top:bottom, left:right]
    share = np.float32(1.0 - (bottom - top) * (right - left) / (height * width))
    return pasted, share * targets + (1 - share) * targets[other]


def _span(middle: int, length: float, limit: int) -> tuple[int, int]:
    start = int(round(middle - length / 2))
    return max(0, start), min(limit, start + int(round(length)))


def augment(clips: np.ndarray, targets: np.ndarray, recipe, rng: np.random.Generator):
    """What the recipe asks for; with both mixes on, each batch gets one of them by a throw of a coin.

    clips: float32 [N, 3, T, S, S]. targets: float32 [N, K]. Returns both in the same shapes.
    """
    if recipe.label_smoothing:
        targets = smooth(targets, recipe.label_smoothing)
    mixes = [(mixup, recipe.mixup_alpha), (cutmix, recipe.cutmix_alpha)]
    mixes = [(mix, alpha) for mix, alpha in mixes if alpha > 0]
    if mixes:
        mix, alpha = mixes[int(rng.integers(len(mixes)))]
        clips, targets = mix(clips, targets, alpha, rng)
    return clips, targets
