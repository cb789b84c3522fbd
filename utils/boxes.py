"""Boxes (x1, y1, x2, y2): checked and clipped to a picture, overlap, suppression of doubles, pairs of one frame.

`margin` is the length that a box counts for beyond x2 - x1 and y2 - y1: 0 for continuous coordinates (AVA), 1 for
pixel indices whose last one belongs to the box (the ACT evaluation).
"""

from __future__ import annotations

import numpy as np

from utils.errors import UserError

PAIRS_AT_ONCE = 1 << 20  # compared in one step: bounds the memory
MATRIX_BOXES = 2000  # all pairs of so many boxes are held at once


def clip_boxes(boxes: np.ndarray, height: float, width: float) -> np.ndarray:
    """Boxes as a network can take them, float32 [M, 4]: all boxes from outside pass through here.

    Corners are put in order, clipped to the picture, and sides of less than a pixel are widened to one. boxes: float
    [M, 4], pixels. height, width: of the picture, pixels. Raises UserError for a coordinate that is not finite.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    bad = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    if len(bad):
        raise UserError(f"box {bad[0]} has a coordinate that is not finite: {boxes[bad[0]].tolist()}")
    size = np.array([width, height], np.float64)
    low = np.clip(np.minimum(boxes[:, :2], boxes[:, 2:]), 0, size - 1)
    high = np.clip(np.maximum(boxes[:, :2], boxes[:, 2:]), low + 1, size)
    return np.concatenate([low, high], axis=1).astype(np.float32)


def checked_boxes(boxes: np.ndarray, box_clip: np.ndarray, num_clips: int, height: float, width: float) -> np.ndarray:
    """What a network takes of boxes of several clips: float32 [M, 5], (clip, x1, y1, x2, y2), as `clip_boxes` has them.

    boxes: float [M, 4], pixels. box_clip: int [M], the index of each box's clip. Raises UserError for an index that is
    none of 0..num_clips - 1 or smaller than the one before, too.
    """
    boxes, index = clip_boxes(boxes, height, width), np.asarray(box_clip)
    bad = np.flatnonzero((index < 0) | (index >= num_clips) | (np.diff(index, prepend=0) < 0))
    if len(bad):
        raise UserError(f"box {bad[0]} is of clip {index[bad[0]]}: boxes are in order of clips 0 to {num_clips - 1}")
    return np.concatenate([index[:, None], boxes], axis=1).astype(np.float32)


def area(boxes: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """(x2 - x1 + margin)(y2 - y1 + margin) of boxes float [..., 4]; 0 for an inverted box."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2] + margin, 0.0)
    return sides[..., 0] * sides[..., 1]


def iou(first: np.ndarray, second: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Intersection over union of boxes float [..., 4] that broadcast; 0 where the union is empty."""
    corners = np.concatenate(
        [np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])], axis=-1
    )
    intersection = area(corners, margin)
    union = area(first, margin) + area(second, margin) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def nms(
    boxes: np.ndarray, scores: np.ndarray, max_iou: float, groups: np.ndarray | None = None, margin: float = 0.0
) -> np.ndarray:
    """Non-maximum suppression, in each group by itself: which boxes stay, bool [M].

    From the highest score down (of equal ones the earlier row first), a box is dropped when its IoU with one that stays
    is above `max_iou`. boxes: float [M, 4]; scores: float [M]; groups: int [M], None: one group.
    """
    groups = np.zeros(len(boxes), np.int64) if groups is None else groups
    order = np.argsort(-scores, kind="stable")
    groups, boxes = groups[order], boxes[order]
    better, worse = overlapping_pairs(groups, boxes, groups, boxes, np.nextafter(max_iou, np.inf), margin)
    stays = np.ones(len(boxes), bool)
    for i, j in zip(better.tolist(), worse.tolist()):  # by i: whether i stays is settled when its pairs come
        if i < j and stays[i]:
            stays[j] = False
    kept = np.empty_like(stays)
    kept[order] = stays
    return kept


def class_nms(boxes: np.ndarray, scores: np.ndarray, max_iou: float) -> np.ndarray:
    """`nms` of the same boxes for each class by itself: which stay, bool [M, K].

    boxes: float [M, 4]; scores: float [M, K].
    """
    if len(boxes) > MATRIX_BOXES:
        return np.stack([nms(boxes, column, max_iou) for column in scores.T], axis=1)
    overlaps = iou(boxes[:, None], boxes[None]) > max_iou  # [M, M]
    order = np.argsort(-scores, axis=0, kind="stable")
    rank = np.argsort(order, axis=0, kind="stable")  # [M, K]
    stays = np.ones(scores.shape, bool)
    classes = np.arange(scores.shape[1])
    for place, best in enumerate(order):  # best: of each class the box that is next
        worse = overlaps[best].T & (rank > place)
        stays &= ~(worse & stays[best, classes])
    return stays


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
    blocks = np.flatnonzero(np.diff(np.cumsum(counts) // PAIRS_AT_ONCE)) + 1
    found = []
    for rows in np.split(np.arange(len(first)), blocks):
        i = np.repeat(rows, counts[rows])
        within = np.arange(len(i)) - np.repeat(np.cumsum(counts[rows]) - counts[rows], counts[rows])
        j = order[np.repeat(begin[rows], counts[rows]) + within]
        overlap = iou(first[i], second[j], margin)
        near = overlap >= min_iou
        found.append((i[near], j[near], overlap[near]))
    i, j, overlap = (np.concatenate(column) for column in zip(*found))
    ranked = np.lexsort((j, -overlap, i))
    return i[ranked], j[ranked]


def groups_of(*keys: np.ndarray) -> list[np.ndarray]:
    """The rows, int64, of each distinct combination of int arrays [M], groups in order of the keys."""
    if not len(keys[0]):
        return []
    order = np.lexsort(keys[::-1])
    changes = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    return np.split(order, np.flatnonzero(changes) + 1)
