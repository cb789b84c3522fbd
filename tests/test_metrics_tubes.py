"""Linking of boxes to tubes and video-mAP, against loops over the rules."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.tubes import Tube, annotated_tubes, interpolate, link, tube_iou, video_average_precision
from tests.plain_detection_metrics import plain_link, plain_tube_iou, plain_video_ap


def path_of(tube: Tube) -> dict:
    return {tube.start + i: tuple(box) for i, box in enumerate(tube.boxes)}


def linked(detections):
    frames, boxes, scores = zip(*detections)
    return link(np.array(frames), np.array(boxes, float), np.array(scores))


def walk(start, stop, x=0.0, score=0.5, step=1.0):
    """An actor of 20 x 40 pixels that moves `step` a frame."""
    return [(f, (x + step * f, 10.0, x + step * f + 19, 49.0), score) for f in range(start, stop)]


def random_video(rng):
    """Up to 3 actors with missing, displaced and doubled boxes, and false ones."""
    detections = []
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(1, 12))
        for frame, box, _ in walk(
            start, start + int(rng.integers(10, 30)), float(rng.integers(0, 60)), 0, rng.normal()
        ):
            for _ in range(rng.choice([0, 1, 1, 1, 2])):
                detections.append(
                    (frame, tuple(np.round(np.array(box) + rng.normal(scale=2, size=4), 1)), rng.random())
                )
    for _ in range(rng.integers(1, 30)):
        x, y = rng.uniform(0, 80, size=2)
        detections.append((int(rng.integers(1, 40)), (x, y, x + 20, y + 30), rng.random()))
    return detections


def test_random_videos_are_linked_and_judged_as_by_loops_over_the_rules():
    rng = np.random.default_rng(0)
    num_tubes = 0
    for _ in range(60):
        truth, detected, plain_truth, plain_detected = {}, {}, [], []
        for video in range(2):
            detections = random_video(rng)
            expected = plain_link(detections)
            found = linked(detections)
            assert len(found) == len(expected)
            for tube, (path, score) in zip(found, expected):
                assert tube.score == pytest.approx(score) and path_of(tube).keys() == path.keys()
                np.testing.assert_allclose(tube.boxes, list(path[f] for f in sorted(path)), atol=1e-9)
            num_tubes += len(found)
            detected[video] = found
            plain_detected += [(video, path_of(tube), tube.score) for tube in found]
            truth[video] = [
                Tube(start, np.array([box for _, box, _ in walk(start, start + 20, x)]))
                for start, x in rng.integers(1, 30, size=(rng.integers(0, 3), 2)).tolist()
            ] + [Tube(t.start + 1, t.boxes + rng.normal(scale=2)) for t in found[:1]]
            plain_truth += [(video, path_of(tube)) for tube in truth[video]]
        for min_iou in (0.2, 0.5):
            assert video_average_precision(truth, detected, min_iou) == pytest.approx(
                plain_video_ap(plain_truth, plain_detected, min_iou)
            )
    assert num_tubes > 60


def test_a_tube_bridges_4_missing_frames_but_not_5_and_fills_them_linearly():
    whole = walk(1, 41)
    (tube,) = linked([d for d in whole if d[0] not in range(20, 24)])
    np.testing.assert_allclose(tube.boxes, [box for _, box, _ in whole], atol=1e-9)
    assert (tube.start, tube.stop) == (1, 41)
    parts = linked([d for d in whole if d[0] not in range(20, 25)])
    assert sorted((tube.start, tube.stop) for tube in parts) == [(1, 20), (25, 41)]


def test_short_and_weak_tubes_and_doubles_are_dropped():
    assert linked(walk(1, 15)) == [] and len(linked(walk(1, 16))) == 1
    assert linked(walk(1, 30, score=0.009)) == [] and len(linked(walk(1, 30, score=0.011))) == 1
    crossing = walk(1, 40, x=0, score=0.9) + walk(1, 40, x=14, score=0.8)  # IoU 0.18 a frame
    assert [tube.score for tube in linked(crossing)] == pytest.approx([0.9, 0.8])


def test_the_iou_of_tubes():
    boxes = np.tile([0.0, 0, 9, 9], (10, 1))
    half = np.tile([0.0, 0, 9, 4], (10, 1))
    assert tube_iou(Tube(1, boxes), Tube(1, boxes)) == 1
    assert tube_iou(Tube(1, boxes), Tube(6, half)) == pytest.approx(0.5 * 5 / 15)
    assert tube_iou(Tube(1, boxes), Tube(11, boxes)) == 0
    assert tube_iou(Tube(1, boxes), Tube(10, boxes)) == pytest.approx(1 / 19)
    other = interpolate(np.array([3, 12]), np.array([[0.0, 0, 9, 9], [5, 5, 14, 14]]))
    assert tube_iou(Tube(1, boxes), other) == pytest.approx(plain_tube_iou(path_of(Tube(1, boxes)), path_of(other)))


def test_annotated_boxes_make_one_tube_a_person_or_none():
    frames, persons = np.array([3, 1, 2, 2, 3]), np.array([0, 0, 0, 7, 7])
    boxes = np.arange(20.0).reshape(5, 4)
    first, second = annotated_tubes(frames, boxes, persons)
    assert (first.start, second.start) == (1, 2) and first.boxes.tolist() == boxes[[1, 2, 0]].tolist()
    assert annotated_tubes(np.array([1, 3]), boxes[:2], np.array([0, 0])) is None
    assert annotated_tubes(np.array([1, 1]), boxes[:2], np.array([0, 0])) is None
    assert annotated_tubes(np.array([1, 2]), boxes[:2], np.array([-1, -1])) is None


def test_video_ap_without_truth_or_detections_is_0():
    tubes = {0: [Tube(1, np.tile([0.0, 0, 9, 9], (20, 1)))]}
    assert video_average_precision({}, tubes, 0.5) == 0 and video_average_precision(tubes, {}, 0.5) == 0
    assert video_average_precision(tubes, tubes, 0.95) == 1
    assert video_average_precision({1: tubes[0]}, tubes, 0.2) == 0, "another video"
