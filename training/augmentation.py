"""Label smoothing, mixup and cutmix of a batch, in numpy."""

from __future__ import annotations

import numpy as np

from configs.schema import Train


def smooth(targets: np.ndarray, fraction: float) -> np.ndarray:
    """(1 - fraction) target + fraction / K (Szegedy et al. 2016); targets float32 [N, K]."""
    return targets * np.float32(1.0 - fraction) + np.float32(fraction / targets.shape[1])


def mixup(clips: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator):
    """r x + (1 - r) x', x' another clip of the batch, r ~ Beta(alpha, alpha) (Zhang et al. 2018); targets likewise."""
    ratio = np.float32(rng.beta(alpha, alpha))
    other = rng.permutation(len(clips))
    return ratio * clips + (1 - ratio) * clips[other], ratio * targets + (1 - ratio) * targets[other]


def cutmix(clips: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator):
    """Paste a box of another clip, the same in all frames; mix the targets by the areas (Yun et al. 2019).

    The box takes 1 - r of the picture, r ~ Beta(alpha, alpha), around a random centre, clipped to the picture; the
    targets are mixed by the areas after clipping.
    """
    height, width = clips.shape[-2:]
    side = np.sqrt(1.0 - rng.beta(alpha, alpha))
    middle_y, middle_x = rng.integers(height), rng.integers(width)
    top, bottom = _span(middle_y, side * height, height)
    left, right = _span(middle_x, side * width, width)
    other = rng.permutation(len(clips))
    pasted = clips.copy()
    pasted[..., top:bottom, left:right] = clips[other][..., top:bottom, left:right]
    ratio = np.float32(1.0 - (bottom - top) * (right - left) / (height * width))
    return pasted, ratio * targets + (1 - ratio) * targets[other]


def _span(middle: int, length: float, limit: int) -> tuple[int, int]:
    start = int(round(middle - length / 2))
    return max(0, start), min(limit, start + int(round(length)))


def augment(clips: np.ndarray, targets: np.ndarray, recipe: Train, rng: np.random.Generator):
    """Apply what the recipe (TRAIN) asks for; with mixup and cutmix on, each batch gets one of them at random.

    clips: float32 [N, C, T, S, S]. targets: float32 [N, K]. Returns both in the same shapes.
    """
    if recipe.label_smoothing:
        targets = smooth(targets, recipe.label_smoothing)
    mixes = [(mixup, recipe.mixup_alpha), (cutmix, recipe.cutmix_alpha)]
    mixes = [(mix, alpha) for mix, alpha in mixes if alpha > 0]
    if mixes:
        mix, alpha = mixes[int(rng.integers(len(mixes)))]
        clips, targets = mix(clips, targets, alpha, rng)
    return clips, targets
