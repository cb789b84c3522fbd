"""Average precision of detected boxes by class, over frames (frame-mAP), by the rules of two programs.

| | `ava` (ActivityNet's program for AVA) | `act` (ACT's, also MOC's, for JHMDB and UCF101-24) |
|---|---|---|
| lengths | x2 - x1 | x2 - x1 + 1: pixels |
| before matching | 50 best rows of a frame, boxes with x1 < x2, y1 < y2 | suppression at IoU 0.3, by class |
| a detection is compared with | its best truth box of the class, even if that is taken | the best one that is left |
| area under | the envelope of precision, at every step of recall | the points themselves, by trapezoids from (0, 1) |
| a class without truth | counts for nothing | counts 0 in the mean |

Rows are a structured array with the fields frame int64 (a number for each frame), box float64 [4], label int64 and,
for detections, score float64 (`datareader.box_lists.BOX_ROW` has them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from utils.boxes import nms, overlapping_pairs

NUMBERS_AT_ONCE = 2_000_000  # of bootstrap samples: bounds the memory
PIXELS = 1.0  # the margin of the ACT rules
ACT_MAX_IOU = 0.3


def ava_average_precisions(
    truth: np.ndarray,
    detections: np.ndarray,
    classes: Sequence[int],
    min_iou: float = 0.5,
    max_per_frame: int = 50,
) -> list[float | None]:
    """The AP, 0 .. 1, of each of `classes` as AVA's program computes it; None without truth.

    truth, detections: rows of the frames that are judged. max_per_frame: 0 keeps all rows.
    Equal scores, whose order AVA's program leaves open, are ranked by frame, then by row.
    """
    detections = ava_judged(detections, classes, max_per_frame)
    return _average_precisions(truth, detections, classes, min_iou, margin=0.0, best_only=True, area=envelope_precision)


def ava_judged(detections: np.ndarray, classes: Sequence[int], max_per_frame: int) -> np.ndarray:
    """The rows that AVA's program judges."""
    detections = detections[np.isin(detections["label"], classes)]
    if max_per_frame:
        detections = highest_of_each_frame(detections, max_per_frame)
    box = detections["box"]
    return detections[(box[:, 0] < box[:, 2]) & (box[:, 1] < box[:, 3])]


def ava_bootstrap(
    truth: np.ndarray,
    detections: np.ndarray,
    classes: Sequence[int],
    video: np.ndarray,
    counts: np.ndarray,
    min_iou: float = 0.5,
    max_per_frame: int = 50,
) -> np.ndarray:
    """Mean AP, 0 .. 1, of samples of whole videos, float64 [D], as `ava_average_precisions` has it of their frames.

    truth, detections: rows of the frames that are judged. video: int64 [F], the place in `counts` of each frame's
    video. counts: int [D, V], how often each video is in a sample. A sample without truth of a class leaves it out.
    """
    ranked = ava_judged(detections, classes, max_per_frame)
    ranked = ranked[np.lexsort((ranked["frame"], -ranked["score"]))]
    hits = match(truth, ranked, min_iou, 0.0, best_only=True)
    precisions = np.full((len(classes), len(counts)), np.nan)
    for place, label in enumerate(classes):
        own = ranked["label"] == label
        is_hit, video_of_row = hits[own], video[ranked["frame"][own]]
        of_video = np.bincount(video[truth["frame"][truth["label"] == label]], minlength=counts.shape[1])
        # the envelope's maxima are at hits: up to each of them, the detections and the hits of each video, [V, H]
        places = np.flatnonzero(is_hit)
        videos = np.arange(counts.shape[1])
        seen_by_video, hits_by_video = (
            np.stack([np.searchsorted(np.flatnonzero(chosen & (video_of_row == v)), places, "right") for v in videos])
            for chosen in (np.ones_like(is_hit), is_hit)
        )
        step = max(1, NUMBERS_AT_ONCE // max(1, len(places)))
        for first in range(0, len(counts), step):
            part = counts[first : first + step].astype(np.float64)  # sums of whole numbers stay exact
            num_truth, found = part @ of_video, part @ hits_by_video
            precision = found / np.maximum(part @ seen_by_video, 1)
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            steps = np.diff(found, axis=1, prepend=0)
            has_truth = num_truth > 0
            area = (steps * envelope).sum(axis=1)[has_truth] / num_truth[has_truth]
            precisions[place, first : first + step][has_truth] = area
    num_classes = np.isfinite(precisions).sum(axis=0)
    return np.divide(
        np.nansum(precisions, axis=0), num_classes, out=np.full(len(counts), np.nan), where=num_classes > 0
    )


def act_average_precisions(
    truth: np.ndarray, detections: np.ndarray, classes: Sequence[int], min_iou: float = 0.5
) -> list[float | None]:
    """The AP, 0 .. 1, of each of `classes` by the rules of ACT's frameAP; 0 without truth. Boxes are in pixels.

    truth, detections: rows of all frames of the judged videos.
    """
    detections = detections[np.isin(detections["label"], classes)]
    kept = nms(detections["box"], detections["score"], ACT_MAX_IOU, frame_and_label(detections), PIXELS)
    detections = detections[kept]
    found = _average_precisions(
        truth, detections, classes, min_iou, margin=PIXELS, best_only=False, area=trapezoid_precision
    )
    return [0.0 if value is None else value for value in found]


def _average_precisions(
    truth: np.ndarray,
    detections: np.ndarray,
    classes: Sequence[int],
    min_iou: float,
    *,
    margin: float,
    best_only: bool,
    area: Callable[[np.ndarray, int], float],
) -> list[float | None]:
    detections = detections[np.lexsort((detections["frame"], -detections["score"]))]
    hits = match(truth, detections, min_iou, margin, best_only)
    num_truth = [int(np.count_nonzero(truth["label"] == label)) for label in classes]
    return [
        area(hits[detections["label"] == label], number) if number else None
        for label, number in zip(classes, num_truth)
    ]


def frame_and_label(rows: np.ndarray) -> np.ndarray:
    """A number for each frame and label, int64 [M]; labels are 1 .. 1,000,000 (datareader.box_lists.MAX_LABEL)."""
    return (rows["frame"] << 20) + rows["label"]


def match(truth: np.ndarray, ranked: np.ndarray, min_iou: float, margin: float, best_only: bool) -> np.ndarray:
    """Which detections are true positives, bool [M]. Each takes a truth box of its frame and class, in the given order.

    ranked: rows, highest score first. best_only: a detection whose best truth box is taken is false, whatever others
    it overlaps; else it takes the best of those that are left.
    """
    detected, wanted = overlapping_pairs(
        frame_and_label(ranked), ranked["box"], frame_and_label(truth), truth["box"], min_iou, margin
    )
    if best_only:
        first = np.unique(detected, return_index=True)[1]
        detected, wanted = detected[first], wanted[first]
    hits, taken = np.zeros(len(ranked), bool), np.zeros(len(truth), bool)
    for i, j in zip(detected.tolist(), wanted.tolist()):
        if not hits[i] and not taken[j]:
            hits[i] = taken[j] = True
    return hits


def envelope_precision(hits: np.ndarray, num_truth: int) -> float:
    """AP = sum over n of (R_n - R_{n-1}) max_{m >= n} P_m (PASCAL VOC 2010, all points).

    hits: bool [M], true positives, highest score first. num_truth: at least 1.
    """
    precision, recall = _precision_and_recall(hits, num_truth)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def trapezoid_precision(hits: np.ndarray, num_truth: int) -> float:
    """AP = sum over n of (R_n - R_{n-1}) (P_n + P_{n-1}) / 2 with R_0 = 0, P_0 = 1. The arguments as above."""
    precision, recall = _precision_and_recall(hits, num_truth)
    precision = np.append(1.0, precision)
    return float(np.sum(np.diff(recall, prepend=0.0) * (precision[1:] + precision[:-1]) / 2))


def _precision_and_recall(hits: np.ndarray, num_truth: int) -> tuple[np.ndarray, np.ndarray]:
    found = np.cumsum(hits)
    return found / np.arange(1, len(hits) + 1), found / num_truth


def box_recall(truth: np.ndarray, detections: np.ndarray, min_iou: float = 0.5, margin: float = 0.0) -> float | None:
    """The ratio of truth boxes that a detected box of any class overlaps by `min_iou`; None without truth.

    A box with several classes, so with several rows, counts once.
    """
    truth, detections = distinct_boxes(truth), distinct_boxes(detections)
    if not len(truth):
        return None
    covered, _ = overlapping_pairs(
        truth["frame"], truth["box"], detections["frame"], detections["box"], min_iou, margin
    )
    return len(np.unique(covered)) / len(truth)


def distinct_boxes(rows: np.ndarray) -> np.ndarray:
    """The first row of each box of each frame."""
    keys = np.column_stack([rows["frame"], rows["box"]])
    order = np.lexsort(keys.T)
    is_new = np.append(True, (keys[order[1:]] != keys[order[:-1]]).any(axis=1))[: len(rows)]
    return rows[np.sort(order[is_new])]


def highest_of_each_frame(rows: np.ndarray, number: int) -> np.ndarray:
    """The `number` highest-scored rows of each frame (of equal ones the earlier), in their order."""
    order = np.lexsort((-rows["score"], rows["frame"]))
    frame = rows["frame"][order]
    place = np.arange(len(rows)) - np.searchsorted(frame, frame)
    return rows[np.sort(order[place < number])]
