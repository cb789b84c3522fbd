"""Frame-mAP against the figures of AVA's own program, hand-made cases, and loops over the rules."""

from __future__ import annotations

import json

import numpy as np
import pytest

from datareader.box_lists import BOX_ROW
from metrics.frame_map import act_average_precisions, ava_average_precisions, ava_bootstrap, box_recall
from tests.plain_detection_metrics import plain_act_ap, plain_ava_ap, plain_iou, plain_suppress
from tests.script_runs import ROOT
from utils.boxes import iou, nms, overlapping_pairs

A, C, OTHER = (0.1, 0.1, 0.5, 0.5), (0.1, 0.1, 0.5, 0.46), (0.6, 0.6, 0.9, 0.9)


def rows(items) -> np.ndarray:
    """BOX_ROW of (frame, box, label[, score])."""
    found = np.zeros(len(items), BOX_ROW)
    for row, (frame, box, label, *score) in zip(found, items):
        row["frame"], row["box"], row["label"], row["score"] = frame, box, label, *(score or [1.0])
    return found


def ava(truth, detections, classes=(1,), **options):
    return ava_average_precisions(rows(truth), rows(detections), classes, **options)


def random_case(rng, pixels):
    """Truth and detections of 3 frames and 3 classes, many of them close, some inverted, doubled or of equal score."""
    size = 40 if pixels else 1.0

    def box():
        x, y, w, h = rng.uniform(size=4)
        found = np.array([x / 2, y / 2, x / 2 + 0.1 + w / 3, y / 2 + 0.1 + h / 3]) * size
        return tuple((np.round(found) if pixels else np.round(found, 3)).tolist())

    truth = [(int(rng.integers(3)), box(), int(rng.integers(1, 4))) for _ in range(rng.integers(1, 9))]
    detections = []
    for _ in range(rng.integers(0, 14)):
        frame, near, label = truth[rng.integers(len(truth))]
        found = np.array(near) + rng.normal(scale=0.04 * size, size=4) if rng.random() < 0.7 else np.array(box())
        found = np.round(found) if pixels else found
        detections.append((frame, tuple(found[[2, 1, 0, 3]] if rng.random() < 0.05 else found), label, rng.random()))
    return truth, detections


def test_the_reference_cases_are_those_of_avas_program_to_1e_9():
    case = json.loads((ROOT / "tests/golden/ava_ap_reference.json").read_text(encoding="utf-8"))
    truth = [(frame, box, label) for frame, *box, label in case["truth"]]
    named = {frame for frame, _, _ in truth}
    detections = [(frame, box, *rest) for frame, *box, rest in (
        (*line[:5], line[5:]) for line in case["detections"]) if frame in named]  # fmt: skip
    expected = case["expected"]
    found = ava(truth, detections, range(1, 7))
    assert found[5] is None and expected["6"] is None
    assert found[:5] == pytest.approx([expected[str(label)] for label in range(1, 6)], abs=1e-9)
    assert np.mean(found[:5]) == pytest.approx(expected["mAP@0.5IOU"], abs=1e-9)


@pytest.mark.parametrize(
    ("truth", "detections", "expected"),
    [
        ([(0, A, 1)], [(0, A, 1, 0.5)], 1.0),
        ([(0, A, 1)], [(0, A, 1, 0.9), (0, A, 1, 0.5)], 1.0),
        ([(0, A, 1)], [(0, OTHER, 1, 0.9), (0, A, 1, 0.5)], 0.5),
        ([(0, A, 1), (0, C, 1)], [(0, A, 1, 0.9), (0, A, 1, 0.5)], 0.5),
        ([(0, A, 2)], [(0, A, 1, 0.9)], None),
        ([(0, A, 1)], [], 0.0),
        ([(0, A, 1)], [(0, A, 1, 0.5), (1, A, 1, 0.9)], 0.5),
        ([(0, A, 1)], [(0, A[2:] + A[:2], 1, 0.9), (0, (0.1, 0.1, 0.1, 0.5), 1, 0.8), (0, A, 1, 0.5)], 1.0),
    ],
)
def test_hand_made_cases(truth, detections, expected):
    """A hit; a double; a false box scored higher; the best truth box is taken and another free; no truth; no
    detection; a false one in another frame; inverted and empty boxes."""
    assert ava(truth, detections) == [expected]


def test_only_act_lets_a_detection_take_another_box_than_its_best():
    truth = rows([(0, (0, 0, 99, 9), 1), (0, (5, 0, 109, 9), 1)])
    detections = rows([(0, (0, 0, 54, 9), 1, 0.9), (0, (45, 0, 99, 9), 1, 0.5)])  # IoU of the second: 0.55, 0.52
    assert act_average_precisions(truth, detections, [1]) == [1.0]
    assert ava_average_precisions(truth, detections, [1]) == [0.5]


def test_row_51_of_a_frame_is_ignored_and_0_keeps_all():
    false = [(0, OTHER, 2, 0.9)] * 50
    assert ava([(0, A, 1), (0, A, 2)], [*false, (0, A, 1, 0.5)], (1, 2))[0] == 0
    assert ava([(0, A, 1), (0, A, 2)], [*false[:49], (0, A, 1, 0.5)], (1, 2))[0] == 1
    assert ava([(0, A, 1), (0, A, 2)], [*false, (0, A, 1, 0.5)], (1, 2), max_per_frame=0)[0] == 1
    assert ava([(0, A, 1)], [*false, (0, A, 1, 0.5)])[0] == 1, "rows of classes that are not judged take no place"


@pytest.mark.parametrize("average_precisions", [ava_average_precisions, act_average_precisions])
def test_truth_is_found_by_itself_and_by_iou_of_051_but_not_of_049(average_precisions):
    truth = rows(
        [(frame, (100.0 * n, 0, 100.0 * n + 49, 49), label) for frame in range(3) for n in (0, 1) for label in (1, 2)]
    )
    margin = 1 if average_precisions is act_average_precisions else 0
    for overlap, expected in ((1, 1), (0.51, 1), (0.49, 0)):
        shifted = truth.copy()
        shifted["box"][:, [0, 2]] += (49 + margin) * (1 - overlap) / (1 + overlap)
        assert iou(shifted["box"], truth["box"], margin) == pytest.approx(np.full(12, overlap))
        assert average_precisions(truth, shifted, (1, 2)) == [expected, expected]


@pytest.mark.parametrize("seed", range(4))
def test_random_cases_equal_loops_over_the_rules(seed):
    """250 a seed, by both rules."""
    rng = np.random.default_rng(seed)
    for _ in range(250):
        truth, detections = random_case(rng, pixels=False)
        limit = int(rng.choice([2, 4, 50]))
        assert ava(truth, detections, (1, 2, 3, 4), max_per_frame=limit) == pytest.approx(
            [plain_ava_ap(truth, detections, label, limit) for label in (1, 2, 3, 4)], abs=1e-12
        )
        truth, detections = random_case(rng, pixels=True)
        assert act_average_precisions(rows(truth), rows(detections), (1, 2, 3, 4)) == pytest.approx(
            [plain_act_ap(truth, detections, label) for label in (1, 2, 3, 4)], abs=1e-12
        )
        covered = [max((plain_iou(box, d[1]) for d in detections if d[0] == frame), default=0) >= 0.5
                   for frame, box in {(frame, box) for frame, box, _ in truth}]  # fmt: skip
        assert box_recall(rows(truth), rows(detections)) == pytest.approx(np.mean(covered))
        if detections:
            boxes, scores = (np.array(values) for values in zip(*((d[1], d[3]) for d in detections)))
            kept = nms(boxes, scores, 0.3, margin=1)
            expected = plain_suppress([(d[1], d[3]) for d in detections], 0.3, 1)
            assert {(tuple(box), score) for box, score in zip(boxes[kept], scores[kept])} == set(expected)


def test_the_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(5)
    truth, detections = random_case(rng, pixels=True)
    for average_precisions in (ava_average_precisions, act_average_precisions):
        expected = average_precisions(rows(truth), rows(detections), (1, 2, 3))
        shuffled = rows(detections)[rng.permutation(len(detections))]
        assert average_precisions(rows(truth)[::-1], shuffled, (1, 2, 3)) == expected


def test_pairs_are_the_same_however_many_are_compared_at_once(monkeypatch):
    rng = np.random.default_rng(6)
    boxes = np.sort(rng.uniform(size=(60, 2, 2)), axis=1).reshape(60, 4)
    groups = rng.integers(0, 4, size=60)
    expected = overlapping_pairs(groups[:40], boxes[:40], groups[40:], boxes[40:], 0.1)
    assert len(expected[0]) > 10
    monkeypatch.setattr("utils.boxes.PAIRS_AT_ONCE", 7)
    found = overlapping_pairs(groups[:40], boxes[:40], groups[40:], boxes[40:], 0.1)
    assert [values.tolist() for values in found] == [values.tolist() for values in expected]


def test_no_detections_and_no_truth():
    none, one = rows([]), rows([(0, A, 1)])
    assert ava_average_precisions(none, one, (1,)) == [None] and act_average_precisions(none, one, (1,)) == [0.0]
    assert ava_average_precisions(one, none, (1,)) == [0.0] and act_average_precisions(one, none, (1,)) == [0.0]
    assert box_recall(none, one) is None and box_recall(one, none) == 0


@pytest.mark.parametrize("limit", [2_000_000, 10])
def test_a_sample_of_videos_has_the_map_of_the_videos_repeated(monkeypatch, limit):
    monkeypatch.setattr("metrics.frame_map.NUMBERS_AT_ONCE", limit)
    rng = np.random.default_rng(0)
    num_frames, video = 12, np.arange(12) // 3  # four videos of three frames
    truth, detections = (np.zeros(number, BOX_ROW) for number in (30, 80))
    for part in (truth, detections):
        corner = rng.integers(0, 3, (len(part), 2)) * 0.3 + 0.05 * rng.random((len(part), 2))
        part["frame"], part["label"] = rng.integers(0, num_frames, len(part)), rng.integers(1, 4, len(part))
        part["box"] = np.concatenate([corner, corner + 0.3], axis=1)
    truth["label"][video[truth["frame"]] != 0] %= 3  # class 3 is in the first video only
    truth["label"] += truth["label"] == 0
    detections["score"] = rng.random(len(detections))
    counts = np.array([[1, 1, 1, 1], [0, 2, 1, 1], [3, 0, 0, 1], [0, 0, 4, 0]])
    found = ava_bootstrap(truth, detections, [1, 2, 3], video, counts, max_per_frame=5)
    for row, value in zip(counts, found):
        parts = [[], []]
        for copy, number in enumerate(np.repeat(np.arange(4), row)):
            for k, rows_of_all in enumerate((truth, detections)):
                own = rows_of_all[video[rows_of_all["frame"]] == number].copy()
                own["frame"] += 100 * copy
                parts[k].append(own)
        aps = ava_average_precisions(*(np.concatenate(each) for each in parts), [1, 2, 3], max_per_frame=5)
        assert value == pytest.approx(np.mean([ap for ap in aps if ap is not None]), abs=1e-12)
