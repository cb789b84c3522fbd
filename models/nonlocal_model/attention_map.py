"""Where a non-local block looks: its weights f(x_i, x_j) / C for chosen i, and where positions lie in pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F

from models.nonlocal_model.nonlocal_block import NonLocalBlock
from models.recognizer import Recognizer
from utils.errors import UserError


@dataclass(frozen=True)
class Grid:
    """Where a stage's positions lie in the clip: position h is centred on pixel h * stride_px + offset_px.

    frames_per_step: frames of the clip that one of the stage's frames stands for.
    """

    stride_px: int
    offset_px: float
    frames_per_step: int

    def pooled(self) -> Grid:
        """The grid of positions that a 2 x 2 pool makes: each centred between two."""
        return Grid(2 * self.stride_px, self.offset_px + self.stride_px / 2, self.frames_per_step)

    def nearest(self, pixel: float, num_positions: int) -> int:
        """The position whose centre is nearest to a pixel."""
        return int(np.clip(round((pixel - self.offset_px) / self.stride_px), 0, num_positions - 1))

    def centre(self, position: float) -> float:
        return position * self.stride_px + self.offset_px

    def spread(self, values: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
        """[H, W] at the positions -> [height_px, width_px], linear between centres; NaN beyond the last positions' own
        cells, where an odd side's last row went into no pool."""
        rows, columns = (self._places(n, size) for n, size in zip(values.shape, (height_px, width_px)))
        return _between(_between(values, rows).T, columns).T

    def _places(self, num_positions: int, size_px: int) -> np.ndarray:
        """Each pixel as a fractional position, at most half a position beyond the first and the last one."""
        places = (np.arange(size_px) - self.offset_px) / self.stride_px
        inside = (places >= -0.5) & (places <= num_positions - 0.5)
        return np.where(inside, np.clip(places, 0, num_positions - 1), np.nan)


def _between(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows of `values` at fractional places; NaN at a place of NaN."""
    low = np.nan_to_num(places).astype(int)
    high, fraction = np.minimum(low + 1, len(values) - 1), (places - low)[:, None]
    return values[low] * (1 - fraction) + values[high] * fraction


def grid_of_stage(model: Recognizer, stage: str, side_px: int) -> Grid:
    """The grid of a stage, such as res3, for clips of that height or width."""
    frames, stride_px, _ = model.backbone.strides[stage]
    return Grid(stride_px, model.backbone.offset_px(stage, side_px), frames)


def nonlocal_blocks(model: Recognizer) -> dict[str, NonLocalBlock]:
    """The blocks of a network by name, "stage3.nl1" and so on, in the order of the computation."""
    return {name: layer for name, layer in model.named_sublayers() if isinstance(layer, NonLocalBlock)}


@contextmanager
def recorded_inputs(block: NonLocalBlock) -> Iterator[list]:
    """Within the context, every call of the block appends (x [N*T, C, H, W], T) to the list."""
    calls: list = []
    hook = block.register_forward_pre_hook(lambda _, inputs: calls.append((inputs[0].detach(), inputs[1])))
    try:
        yield calls
    finally:
        hook.remove()


def attention_rows(
    block: NonLocalBlock, x, num_frames: int, positions: Sequence[tuple[int, int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """The weights that positions of one clip give to all positions j.

    x: float [T, C, H, W], the block's input for one clip of `num_frames` T. positions: R triples (t, h, w).

    Returns weights float32 [R, T, H', W'] of the sub-sampled positions j, 0 where j is outside the extent or the
    group, and values g [T, H', W', e], so that y_i is the sum of weights times values. Rows of the two softmax forms
    sum to 1; those of the dot product are signed.
    """
    height, width = x.shape[2:]
    outside = [p for p in positions if not (0 <= p[0] < num_frames and 0 <= p[1] < height and 0 <= p[2] < width)]
    if outside:
        raise UserError(f"position {outside[0]} lies outside {num_frames} x {height} x {width} positions")
    with paddle.no_grad():
        queries, keys, values = block.project(x)  # [T, d, HW], [T, d, H'W'], [T, e, H'W']
        rows = [
            _row(block, queries[t, :, h * width + w], keys, (t, h * width + w), num_frames) for t, h, w in positions
        ]
    halved = [max(side // 2, 1) if block.subsample else side for side in (height, width)]
    weights = np.stack(rows).reshape(len(positions), num_frames, *halved)
    return weights, values.transpose([0, 2, 1]).numpy().reshape(num_frames, *halved, -1)


def _row(block: NonLocalBlock, query, keys, position: tuple[int, int], num_frames: int) -> np.ndarray:
    """One row over all [T * H'W'] positions j."""
    frame, place = position
    seen = np.zeros((num_frames, keys.shape[2]), bool)
    group = 1 if block.extent == "space" else min(block.group_frames or num_frames, num_frames)
    start = frame // group * group
    seen[start : start + group, place if block.extent == "time" else slice(None)] = True
    index = paddle.to_tensor(np.flatnonzero(seen))
    chosen = paddle.gather(keys.transpose([0, 2, 1]).flatten(0, 1), index)  # [J, d]
    if block.instantiation == "concatenation":
        weights = F.relu(query + chosen.squeeze(1)) / len(chosen)
    else:
        products = paddle.matmul(chosen, query)
        weights = products / len(chosen) if block.instantiation == "dot_product" else F.softmax(products)
    row = np.zeros(seen.size, np.float32)
    row[seen.ravel()] = weights.numpy()
    return row
