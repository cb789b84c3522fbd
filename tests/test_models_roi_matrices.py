"""RoIAlign as a product with matrices against Paddle's own, and at the borders against the definition."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle.vision.ops import roi_align

from models.roi_matrices import roi_cells


def random_boxes(count, width, height, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(-20, [width, height], (count, 2))
    return np.concatenate([low, low + rng.uniform(0.5, 1.2, (count, 1)) * [[width, height]]], axis=1)


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_cells_are_those_of_roi_align(sampling_ratio, aligned):
    features = paddle.to_tensor(np.random.default_rng(1).standard_normal((3, 5, 14, 33)), dtype="float32")
    counts = [2, 0, 30]
    boxes = random_boxes(32, 33 * 16, 14 * 16)  # some leave the map by more than a position
    boxes[:2] = [[0, 0, 33 * 16, 14 * 16], [100, 100, 101, 101]]
    indexed = np.concatenate([np.repeat([0, 1, 2], counts)[:, None], boxes], axis=1)
    for num_cells in (7, 4):
        expected = roi_align(
            features, paddle.to_tensor(boxes, dtype="float32"), paddle.to_tensor(counts, dtype="int32"), num_cells,
            1 / 16, sampling_ratio or -1, aligned,
        ).flatten(2)  # fmt: skip
        found = roi_cells(
            features, paddle.to_tensor(indexed, dtype="float32"), num_cells, 1 / 16, sampling_ratio, aligned
        )
        np.testing.assert_allclose(found.transpose([0, 2, 1]).numpy(), expected.numpy(), atol=2e-5)


def test_a_box_of_no_clip_has_zeros():
    features = paddle.ones([2, 3, 4, 4])
    boxes = paddle.to_tensor([[2.0, 0, 0, 64, 64], [-1, 0, 0, 64, 64], [1, 0, 0, 64, 64]])
    cells = roi_cells(features, boxes, 2, 1 / 16, 2, True).numpy()
    assert (cells[:2] == 0).all() and cells[2].tolist() == [[1, 1, 1]] * 4
