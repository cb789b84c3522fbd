"""Detected actions judged against annotated ones: frame-mAP by AVA's or ACT's rules, video-mAP, recall of the boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from metrics.frame_map import PIXELS, act_average_precisions, ava_average_precisions, ava_bootstrap, box_recall
from metrics.intervals import percentile_interval, resample_counts
from metrics.tubes import VIDEO_MAP_IOUS, Tube, annotated_tubes, link, video_average_precision
from utils.boxes import groups_of
from utils.errors import UserError

PROTOCOLS = ("ava", "act")
MIN_IOU = 0.5
NUM_DRAWS = 1000
MAX_PER_FRAME = 50  # as AVA's program


def judge_boxes(
    truth: Any,
    detections: Any,
    index: Any,
    classes: Mapping[int, str],
    protocol: str,
    excluded: Collection[int] = (),
    max_per_frame: int = MAX_PER_FRAME,
    num_draws: int = 0,
) -> dict:
    """Evaluate detections by the rules of `protocol` (metrics/frame_map.py, metrics/tubes.py).

    Judged are, for ava, the frames that truth names; for act, all frames of the videos that truth names: there a
    detection in a frame without truth is false. Rows of other frames and classes are left out, which is noted.

    Args:
        truth, detections: what datareader.box_lists.read_truth and read_detections return.
        index: the FrameIndex that both were read with.
        classes: {id: name}, those that are judged.
        protocol: one of PROTOCOLS.
        excluded: numbers of frames that are not judged.
        max_per_frame: rows of a frame that are judged, for ava; 0: all.
        num_draws: bootstrap samples of videos for the interval of mAP, for ava; 0: none.

    Returns:
        protocol; min_iou; mAP; per_class: id, name, average_precision (None without truth), num_truth (rows);
        classes_without_truth: ids; box_recall: of truth boxes, by detected boxes of any class; num_frames that are
        judged; num_truth and num_detections: rows; for ava max_per_frame and, with num_draws and at least two videos,
        intervals: {mAP: [low, high]}, 95 %; for act video_mAP: {minimal tube IoU: value},
        None where truth has no tubes, and in per_class video_average_precision; notes. Values are in percent.

    Raises:
        UserError: the two files have boxes of different units; act without boxes in pixels; no truth is left.
    """
    if len(detections.rows) and detections.unit != truth.unit:
        raise UserError(f"{truth.path} has boxes in {truth.unit} units, {detections.path} in {detections.unit} units")
    if protocol == "act" and truth.unit != "pixels":
        raise UserError(f"{truth.path}: the act protocol needs boxes in pixels (first line `# boxes: pixels`)")
    named = truth.frames
    if protocol == "act":
        named = np.flatnonzero(np.isin(index.video, index.video[truth.frames]))
    excluded = np.array(list(excluded), np.int64)
    notes = [*truth.notes, *detections.notes]
    wanted, found = (_judged(boxes, classes, named, excluded, notes) for boxes in (truth, detections))
    if not len(wanted):
        raise UserError(f"{truth.path}: no row is of a class of the label map and a frame that is judged")
    _note_odd_boxes(detections.path, found, detections.unit, notes)
    ids = sorted(classes)
    if protocol == "ava":
        precisions = ava_average_precisions(wanted, found, ids, MIN_IOU, max_per_frame)
    else:
        precisions = act_average_precisions(wanted, found, ids, MIN_IOU)
    per_class: list[dict] = [
        {
            "id": label,
            "name": classes[label],
            "average_precision": _percent(precision),
            "num_truth": int(np.count_nonzero(wanted["label"] == label)),
        }
        for label, precision in zip(ids, precisions)
    ]
    result = {
        "protocol": protocol,
        "min_iou": MIN_IOU,
        "mAP": _mean(row["average_precision"] for row in per_class),
        "box_recall": _percent(box_recall(wanted, found, MIN_IOU, PIXELS if protocol == "act" else 0.0)),
        "num_frames": len(np.setdiff1d(named, excluded)),
        "num_truth": len(wanted),
        "num_detections": len(found),
        "classes_without_truth": [row["id"] for row in per_class if not row["num_truth"]],
        "per_class": per_class,
        "notes": notes,
    }
    if protocol == "ava":
        result["max_per_frame"] = max_per_frame
        if num_draws:
            result["intervals"] = _intervals(wanted, found, index, named, ids, max_per_frame, num_draws)
    else:
        result["video_mAP"] = _video_map(wanted, found, index, per_class, notes)
    return result


def _judged(
    boxes: Any, classes: Mapping[int, str], named: np.ndarray, excluded: np.ndarray, notes: list[str]
) -> np.ndarray:
    """The rows of a BoxList that are judged; how many are left out is added to `notes`."""
    rows = boxes.rows
    for is_kept, others in (
        (lambda rows: np.isin(rows["label"], list(classes)), "classes that the label map does not have"),
        (lambda rows: np.isin(rows["frame"], named), "frames that truth does not name"),
        (lambda rows: ~np.isin(rows["frame"], excluded), "excluded frames"),
    ):
        kept = is_kept(rows)
        if not kept.all():
            notes.append(f"{boxes.path}: {np.count_nonzero(~kept)} rows of {others} are left out")
        rows = rows[kept]
    return rows


def _intervals(
    wanted: np.ndarray, found: np.ndarray, index: Any, named: np.ndarray, ids: list[int], max_per_frame: int, draws: int
) -> dict:
    """The 95 % interval of mAP over resampled videos; none for a single video."""
    numbers, own = np.unique(index.video[named], return_inverse=True)
    if len(numbers) < 2:
        return {}
    place = np.zeros(len(index.video), np.int64)
    place[named] = own.reshape(-1)
    counts = np.stack([*resample_counts(len(numbers), draws, np.random.default_rng(0))])
    samples = ava_bootstrap(wanted, found, ids, place, counts, MIN_IOU, max_per_frame)
    return {"mAP": [100.0 * bound for bound in percentile_interval(samples)]}


def _note_odd_boxes(path: str, rows: np.ndarray, unit: str, notes: list[str]) -> None:
    """Count what a correct program would not write; the protocol decides what it counts for."""
    box = rows["box"]
    inverted = np.count_nonzero((box[:, :2] >= box[:, 2:]).any(axis=1))
    outside = np.count_nonzero(((box < -0.01) | (box > 1.01)).any(axis=1)) if unit == "relative" else 0
    for number, what in ((inverted, "have x1 >= x2 or y1 >= y2"), (outside, "leave the picture by more than 0.01")):
        if number:
            notes.append(f"{path}: {number} boxes {what}")


def _video_map(
    truth: np.ndarray, detections: np.ndarray, index: Any, per_class: list[dict], notes: list[str]
) -> dict[str, float | None] | None:
    """Video-mAP at each of VIDEO_MAP_IOUS; adds video_average_precision to the rows of `per_class`."""
    wanted: dict[int, dict[int, list[Tube]]] = defaultdict(dict)  # class -> video -> tubes
    detected: dict[int, dict[int, list[Tube]]] = defaultdict(dict)
    if not index.counts_frames:
        notes.append("no video-mAP: it needs numbered frames (#12), not seconds")
        return None
    video, number = index.video, index.time.astype(np.int64)
    for rows in groups_of(truth["label"], video[truth["frame"]]):
        own = truth[rows]
        label, place = own["label"][0], video[own["frame"][0]]
        tubes = annotated_tubes(number[own["frame"]], own["box"], own["person"])
        if tubes is None:
            notes.append(
                f"no video-mAP: truth needs one box a frame for each person, without gaps, unlike {index.videos[place]}"
            )
            return None
        wanted[label][place] = tubes
    for rows in groups_of(detections["label"], video[detections["frame"]]):
        own = detections[rows]
        tubes = link(number[own["frame"]], own["box"], own["score"])
        detected[own["label"][0]][video[own["frame"][0]]] = tubes
    for row in per_class:
        tubes_of_class = wanted[row["id"]], detected[row["id"]]
        row["video_average_precision"] = {
            name: _mean(100.0 * video_average_precision(*tubes_of_class, min_iou) for min_iou in ious)
            for name, ious in VIDEO_MAP_IOUS.items()
        }
    return {name: _mean(row["video_average_precision"][name] for row in per_class) for name in VIDEO_MAP_IOUS}


def _percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * value


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are numbers; None without any."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def report(result: dict) -> str:
    """The result as text: a table of the classes, one of the metrics, the notes."""
    from tabulate import tabulate

    classes = [(row["name"], row["num_truth"], row["average_precision"]) for row in result["per_class"]]
    metrics = [(f"frame-mAP@{result['min_iou']} ({result['protocol']})", result["mAP"])]
    metrics += [(f"video-mAP@{name}", value) for name, value in (result.get("video_mAP") or {}).items()]
    metrics += [("recall of the boxes", result["box_recall"])]
    return "\n".join(
        [
            tabulate(classes, ("class", "truth", "average precision %"), floatfmt=".2f", missingval="-"),
            "",
            tabulate(metrics, ("metric", "%"), floatfmt=".2f", missingval="-"),
            "",
            *(
                f"95 % interval of {name} over videos: {low:.2f} to {high:.2f}"
                for name, (low, high) in result.get("intervals", {}).items()
            ),
            "{num_frames} frames, {num_truth} boxes with a class in truth, {num_detections} detected".format(**result),
            *result["notes"],
        ]
    )
