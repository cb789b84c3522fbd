"""Tubes, the boxes of one actor over consecutive frames: linking of detections, overlap, video-mAP.

The rules are those of ACT's evaluation (Kalogeiton et al., ICCV 2017) with one frame at a time; boxes are in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metrics.frame_map import ACT_MAX_IOU, PIXELS, trapezoid_precision
from utils.boxes import groups_of, iou, nms

BOXES_PER_FRAME = 10
MIN_LINK_IOU = 0.2  # of a box with the last one of its tube
MAX_GAP = 5  # frames from a tube's last box to the next one
MIN_SCORE = 0.01
MIN_LENGTH = 15  # frames, from a tube's first to its last
VIDEO_MAP_IOUS = {"0.2": (0.2,), "0.5": (0.5,), "0.75": (0.75,), "0.5:0.95": tuple(np.arange(50, 100, 5) / 100)}


@dataclass(frozen=True)
class Tube:
    """Boxes float64 [n, 4] of the frames start .. start + n - 1; score: of a detected tube."""

    start: int
    boxes: np.ndarray
    score: float = 1.0

    @property
    def stop(self) -> int:
        """One past the last frame."""
        return self.start + len(self.boxes)


def tube_iou(first: Tube, second: Tube) -> float:
    """The mean IoU over common frames, times common frames / frames from the earlier start to the later end."""
    start, stop = max(first.start, second.start), min(first.stop, second.stop)
    if start >= stop:
        return 0.0
    one, other = (tube.boxes[start - tube.start : stop - tube.start] for tube in (first, second))
    union = max(first.stop, second.stop) - min(first.start, second.start)
    return float(iou(one, other, PIXELS).sum() / union)


def interpolate(frames: np.ndarray, boxes: np.ndarray, score: float = 1.0) -> Tube:
    """The tube through boxes float [n, 4] at `frames`, int [n] ascending; those between are filled in linearly."""
    every = np.arange(frames[0], frames[-1] + 1)
    return Tube(int(frames[0]), np.stack([np.interp(every, frames, corner) for corner in boxes.T], axis=1), score)


def link(frames: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> list[Tube]:
    """Link the detections of one class in one video to tubes.

    In each frame, after suppression at IoU 0.3, the 10 best boxes are left. The tubes, highest mean score first, each
    take the highest-scored box that overlaps their last one by 0.2; what is left starts new tubes. A tube ends after 5
    frames without a box. Tubes of a mean score below 0.01 or shorter than 15 frames are dropped, then those that
    overlap a better one by more than 0.3.

    Args:
        frames: int [M]; boxes: float [M, 4]; scores: float [M].

    Returns:
        Tubes, highest score first.
    """
    tubes: list[list[int]] = []  # the rows of each
    live: list[list[int]] = []  # those of them that may go on
    score_of = scores.tolist()
    stays = nms(boxes, scores, ACT_MAX_IOU, frames, PIXELS)
    for rows in groups_of(frames):
        rows = rows[stays[rows]]
        rows = rows[np.argsort(-scores[rows], kind="stable")][:BOXES_PER_FRAME]
        live = [tube for tube in live if frames[rows[0]] - frames[tube[-1]] <= MAX_GAP]
        live.sort(key=lambda tube: -sum(score_of[row] for row in tube) / len(tube))
        last = np.array([tube[-1] for tube in live], np.int64)
        near = iou(boxes[last][:, None], boxes[rows], PIXELS) >= MIN_LINK_IOU  # [live, rows]
        left = np.ones(len(rows), bool)
        for tube, is_near in zip(live, near):
            places = np.flatnonzero(is_near & left)
            if len(places):  # rows are in order of their scores
                tube.append(rows[places[0]])
                left[places[0]] = False
        new = [[row] for row in rows[left]]
        tubes += new
        live += new
    linked = [
        interpolate(frames[rows], boxes[rows], float(scores[rows].mean()))
        for rows in tubes
        if frames[rows[-1]] - frames[rows[0]] + 1 >= MIN_LENGTH and scores[rows].mean() >= MIN_SCORE
    ]
    kept: list[Tube] = []
    for candidate in sorted(linked, key=lambda tube: -tube.score):
        if all(tube_iou(candidate, better) <= ACT_MAX_IOU for better in kept):
            kept.append(candidate)
    return kept


def video_average_precision(
    truth: Mapping[int, Sequence[Tube]], detected: Mapping[int, Sequence[Tube]], min_iou: float
) -> float:
    """The AP, 0 .. 1, of one class: area by trapezoids, as in `act` frame-mAP; 0 without truth.

    truth, detected: video -> tubes. The detected ones, highest score first, each take the truth tube of their video
    with the largest IoU of those left, if that is at least `min_iou`.
    """
    num_truth = sum(map(len, truth.values()))
    if not num_truth:
        return 0.0
    left = {video: list(tubes) for video, tubes in truth.items()}
    ranked = sorted(
        ((video, tube) for video in sorted(detected) for tube in detected[video]), key=lambda v: -v[1].score
    )
    hits = np.zeros(len(ranked), bool)
    for i, (video, tube) in enumerate(ranked):
        ious = [tube_iou(wanted, tube) for wanted in left.get(video, ())]
        if ious and max(ious) >= min_iou:
            del left[video][int(np.argmax(ious))]
            hits[i] = True
    return trapezoid_precision(hits, num_truth)


def annotated_tubes(frames: np.ndarray, boxes: np.ndarray, persons: np.ndarray) -> list[Tube] | None:
    """The tubes of one class in one video from its annotated boxes, one a person.

    None where they are no tubes: a person has no number (-1), or is not there exactly once in each frame from its
    first to its last. frames: int [M]; boxes: float [M, 4]; persons: int [M].
    """
    tubes = []
    for rows in groups_of(persons):
        rows = rows[np.argsort(frames[rows], kind="stable")]
        if persons[rows[0]] < 0 or (np.diff(frames[rows]) != 1).any():
            return None
        tubes.append(Tube(int(frames[rows[0]]), boxes[rows]))
    return tubes
