"""RoIAlign as a product with interpolation matrices: the form of exported networks.

paddle2onnx writes Paddle's `roi_align` with the clip of every box as 0 and without its alignment, so an exported
network has none of it. A cell's value is the mean of bilinear samples on a grid, and bilinear weights are a product of
those of the rows and those of the columns; so are their means: cell (p, q) of a box is sum_ij Y[p, i] X[q, j] F[i, j].
"""

from __future__ import annotations

import numpy as np
import paddle

from models.options import MAX_ADAPTIVE_SAMPLES


def roi_cells(x, boxes, num_cells: int, scale: float, sampling_ratio: int, aligned: bool):
    """The cells of boxes, as `paddle.vision.ops.roi_align` computes them: float32 [M, num_cells**2, C], row by row.

    x: features float32 [N, C, h, w]. boxes: float32 [M, 5], M at least 1: (row of x, x1, y1, x2, y2); one of another
    row has zeros. scale: of the coordinates, to positions of x. sampling_ratio: points of a cell on an axis; 0: one for
    each position that a cell is long, rounded up, at most MAX_ADAPTIVE_SAMPLES.
    """
    num_clips, channels, height, width = (paddle.shape(x)[i] for i in range(4))
    corners = boxes[:, 1:] * scale - (0.5 if aligned else 0.0)
    weights = []  # of rows, then of columns: [M, num_cells, length]
    for axis, length in ((1, height), (0, width)):
        low, high = corners[:, axis : axis + 1], corners[:, axis + 2 : axis + 3]
        side = high - low if aligned else paddle.clip(high - low, min=1.0)
        weights.append(_axis_weights(low, side, length, num_cells, sampling_ratio))
    rows, columns = weights
    is_clip = (boxes[:, :1] == paddle.arange(num_clips).astype("float32")).astype("float32")  # [M, N]
    matrix = rows.unsqueeze([2, 4]) * columns.unsqueeze([1, 3])  # [M, cells, cells, h, w]
    matrix = matrix.reshape([-1, num_cells**2, 1, height * width]) * is_clip.unsqueeze([1, 3])
    positions = x.transpose([0, 2, 3, 1]).reshape([-1, channels])  # [N * h * w, C]
    cells = matrix.reshape([-1, num_clips * height * width]).matmul(positions)
    return cells.reshape([-1, num_cells**2, channels])


def _axis_weights(low, side, length, num_cells: int, sampling_ratio: int):
    """What each of `length` positions contributes to each cell, [M, num_cells, length].

    low, side: where the boxes begin and how long they are, positions, [M, 1].
    """
    places = paddle.arange(length).astype("float32")
    room = sampling_ratio or MAX_ADAPTIVE_SAMPLES
    cell, sample = (part.reshape([1, -1]).astype(np.float32) for part in np.mgrid[0:num_cells, 0:room])
    if sampling_ratio:
        counted = 1 / sampling_ratio
        points = low + side * paddle.to_tensor((cell + (sample + 0.5) / sampling_ratio) / num_cells)
    else:
        limits = paddle.to_tensor(num_cells * np.arange(1, room, dtype=np.float32)[None])
        count = 1 + (side > limits).astype("float32").sum(1, keepdim=True)  # ceil(side / num_cells)
        sample = paddle.to_tensor(sample)
        counted = (sample < count).astype("float32") / count
        points = low + side * ((paddle.to_tensor(cell) + (sample + 0.5) / count) / num_cells)
    last = length.astype("float32") - 1
    is_inside = ((points >= -1) & (points <= last + 1)).astype("float32") * counted  # as roi_align has it
    nearest = paddle.minimum(paddle.clip(points, min=0.0), last)
    weights = paddle.clip(1 - (nearest.unsqueeze(2) - places).abs(), min=0.0) * is_inside.unsqueeze(2)
    return weights.reshape([-1, num_cells, room, length]).sum(2)
