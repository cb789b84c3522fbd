import numpy as np
import pytest

from utils.boxes import class_nms, clip_boxes, nms
from utils.errors import UserError


def test_a_box_that_fits_is_left_as_it_is():
    boxes = np.array([[0, 0, 160, 120], [3.25, 4.5, 20, 30]], np.float32)
    clipped = clip_boxes(boxes, 120, 160)
    assert clipped.dtype == np.float32 and clipped.tolist() == boxes.tolist()
    assert clip_boxes(np.zeros((0, 4)), 120, 160).shape == (0, 4)


@pytest.mark.parametrize(
    "box, expected",
    [
        ((20, 30, 3, 4), (3, 4, 20, 30)),  # inverted
        ((-5, -1e30, 1e6, 50), (0, 0, 160, 50)),  # outside
        ((7, 9, 7, 9.5), (7, 9, 8, 10)),  # empty
        ((160, 120, 160, 120), (159, 119, 160, 120)),
        ((300, 400, 500, 600), (159, 119, 160, 120)),  # nothing of it is in the picture
        ((-9, -9, -3, -3), (0, 0, 1, 1)),
    ],
)
def test_any_finite_box_becomes_one_of_a_pixel_at_least_inside_of_the_picture(box, expected):
    assert clip_boxes(np.array([box]), 120, 160).tolist() == [list(expected)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_coordinate_that_is_not_finite_is_refused(value):
    with pytest.raises(UserError, match="box 1 has a coordinate that is not finite"):
        clip_boxes(np.array([[1, 2, 3, 4], [1, 2, value, 4]]), 120, 160)


@pytest.mark.parametrize("limit", [2000, 3])
def test_the_classes_of_the_same_boxes_are_suppressed_one_by_one(monkeypatch, limit):
    monkeypatch.setattr("utils.boxes.MATRIX_BOXES", limit)
    rng = np.random.default_rng(0)
    for number in (0, 1, 2, 5, 30):
        corner = rng.random((number, 2)) * 0.7
        boxes = np.concatenate([corner, corner + 0.3 * rng.random((number, 2))], axis=1)
        scores = rng.integers(0, 6, (number, 4)) / 5  # with many equal ones
        for max_iou in (0.0, 0.3, 1.0):
            stays = class_nms(boxes, scores, max_iou)
            for k in range(4):
                np.testing.assert_array_equal(stays[:, k], nms(boxes, scores[:, k], max_iou))


def test_groups_do_not_suppress_each_other():
    boxes, scores = np.tile([0.0, 0.0, 9.0, 9.0], (4, 1)), np.array([0.1, 0.4, 0.3, 0.2])
    assert nms(boxes, scores, 0.5).tolist() == [False, True, False, False]
    assert nms(boxes, scores, 0.5, np.array([0, 1, 1, 0])).tolist() == [False, True, False, True]
