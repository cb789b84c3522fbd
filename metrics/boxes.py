"""Boxes (x1, y1, x2, y2): overlap, suppression of doubles, pairs of one frame.

`margin` is the length that a box counts for beyond x2 - x1 and y2 - y1: 0 for continuous coordinates (AVA), 1 for
pixel indices whose last one belongs to the box (the ACT evaluation).
"""

from __future__ import annotations

import numpy as np


def box_area(boxes: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """(x2 - x1 + margin)(y2 - y1 + margin) of boxes float [..., 4]; 0 for an inverted box."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2] + margin, 0.0)
    return sides[..., 0] * sides[..., 1]


def box_iou(first: np.ndarray, second: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Intersection over union of boxes float [..., 4] that broadcast; 0 where the union is empty."""
    corners = np.concatenate(
        [np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])], axis=-1
    )
    intersection = box_area(corners, margin)
    union = box_area(first, margin) + box_area(second, margin) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def suppress(boxes: np.ndarray, scores: np.ndarray, max_iou: float, margin: float = 0.0) -> np.ndarray:
    """Non-maximum suppression: the rows that stay, int64, highest score first (of equal ones the earlier row).

    A box is dropped when its IoU with a kept one of higher score is above `max_iou`.
    boxes: float [M, 4]; scores: float [M].
    """
    left, kept = np.argsort(-scores, kind="stable"), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[box_iou(boxes[left], boxes[best], margin) <= max_iou]
    return np.array(kept, np.int64)


def overlapping_pairs(
    first_group: np.ndarray,
    first: np.ndarray,
    second_group: np.ndarray,
    second: np.ndarray,
    min_iou: float,
    margin: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """All (i, j) with first[i] and second[j] in the same group and an IoU of at least `min_iou`.

    Ordered by i, then from the largest IoU to the smallest, then by j.

    Args:
        first_group: int [M], second_group: int [N]; frames, or numbers for frame and class.
        first: float [M, 4], second: float [N, 4].

    Returns:
        i and j, int64 [P] each.
    """
    order = np.argsort(second_group, kind="stable")
    begin, end = (np.searchsorted(second_group[order], first_group, side) for side in ("left", "right"))
    counts = end - begin
    i = np.repeat(np.arange(len(first)), counts)
    within = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    j = order[np.repeat(begin, counts) + within]
    iou = box_iou(first[i], second[j], margin)
    i, j, iou = (values[iou >= min_iou] for values in (i, j, iou))
    ranked = np.lexsort((j, -iou, i))
    return i[ranked], j[ranked]


def groups_of(*keys: np.ndarray) -> list[np.ndarray]:
    """The rows, int64, of each distinct combination of int arrays [M], groups in order of the keys."""
    if not len(keys[0]):
        return []
    order = np.lexsort(keys[::-1])
    changes = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    return np.split(order, np.flatnonzero(changes) + 1)
