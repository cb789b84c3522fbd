"""What a non-local block attends to: the weights of chosen points of a clip, as heat over its frames and the strongest
links, in pixels of the clip. Importing this does not import Paddle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import UserError


@dataclass(frozen=True)
class Look:
    """The attention of a point of the clip.

    position: (t, h, w) of the block's grid; point_px: its centre (x, y). weights: float32 [T, H', W'] of the positions
    that the block sees; centres_px: their x [W'] and y [H'], float64, in pixels of the clip, cell_px apart. heat:
    [T, S, S], the weights over the pixels. targets: (t, x, y, weight), the strongest first. frames_per_step: frames of
    the clip that one t covers; is_signed: the weights do not sum to 1.
    """

    position: tuple[int, int, int]
    point_px: tuple[float, float]
    weights: np.ndarray
    centres_px: tuple[np.ndarray, np.ndarray]
    cell_px: int
    heat: np.ndarray
    targets: list[tuple[int, float, float, float]]
    frames_per_step: int
    is_signed: bool

    @property
    def uniform_weight(self) -> float:
        """The weight of each position, were all that the block sees equal."""
        return 1 / max(int((self.weights != 0).sum()), 1)


def find_looks(
    model,
    clip: np.ndarray,
    frame: int,
    points: Sequence[tuple[float, float]] = (),
    *,
    block: str | None = None,
    num_points: int = 3,
    num_arrows: int = 20,
) -> tuple[str, list[Look], np.ndarray]:
    """The block's name, a Look for each point, and the class scores [K] of the clip.

    model: the eager network. clip: float32 [1, C, T, S, S], normalised. frame: of the clip, 0 .. T - 1. points: (x, y)
    as fractions of that frame; none: its `num_points` strongest ones. block: as res3.nl1, None: the last one of res3,
    else the last one. num_arrows: the number of targets. Raises UserError for a block that the network does not have.
    """
    import paddle

    from models.nonlocal_model.attention_map import attention_rows, grid_of_stage, recorded_inputs

    name, layer = find_block(model, block)
    side = clip.shape[-1]
    grid = grid_of_stage(model, name.partition(".")[0], side)
    with recorded_inputs(layer) as calls, paddle.no_grad():
        scores = model.class_scores(model(paddle.to_tensor(clip))).numpy()[0]
    x, num_steps = calls[0]
    size = tuple(x.shape[2:])
    step = frame // grid.frames_per_step
    if points:
        places = [(step, grid.nearest(v * side, size[0]), grid.nearest(u * side, size[1])) for u, v in points]
    else:
        places = strongest_points(layer, x, num_steps, step, size, num_points)
    weights, _ = attention_rows(layer, x, num_steps, places)
    is_softmax = layer.instantiation in ("gaussian", "embedded_gaussian")
    keys = grid.pooled() if layer.subsample else grid
    return name, [_look(p, w, grid, keys, side, is_softmax, num_arrows) for p, w in zip(places, weights)], scores


def named_blocks(model) -> dict[str, Any]:
    """The non-local blocks of a network by the names that users see, res3.nl1 and so on; weight files have stage3.nl1.
    In the order of the computation."""
    from models.nonlocal_model.attention_map import nonlocal_blocks

    return {_shown_name(name): layer for name, layer in nonlocal_blocks(model).items()}


def find_block(model, block: str | None = None) -> tuple[str, Any]:
    """Name and layer of a block; `block` as for `find_looks`. Raises UserError for one that is not there."""
    blocks = named_blocks(model)
    last_of_res3 = next((name for name in reversed(blocks) if name.startswith("res3.")), next(reversed(blocks), ""))
    name = _shown_name(block or last_of_res3)
    if name not in blocks:
        raise UserError(f"no non-local block {name!r} in this network; there are: {', '.join(blocks) or 'none'}")
    return name, blocks[name]


def _shown_name(block: str) -> str:
    return block.replace("stage", "res", 1) if block.startswith("stage") else block


def strongest_points(block, x, num_steps: int, step: int, size: tuple[int, int], count: int) -> list[tuple]:
    """Positions of one step with the largest single weight, no two of them neighbours."""
    from models.nonlocal_model.attention_map import attention_rows

    places = [(step, h, w) for h in range(size[0]) for w in range(size[1])]
    weights, _ = attention_rows(block, x, num_steps, places)
    order = np.argsort(-np.abs(weights).reshape(len(places), -1).max(1), kind="stable")
    apart, chosen = max(2, min(size) // 4), []
    for place in (places[i] for i in order):
        if all(max(abs(place[1] - other[1]), abs(place[2] - other[2])) >= apart for other in chosen):
            chosen.append(place)
        if len(chosen) == count:
            break
    return chosen


def _look(position, weights: np.ndarray, grid, keys, side: int, is_softmax: bool, num_arrows: int) -> Look:
    heat = np.stack([keys.spread(frame, side, side) for frame in weights])
    order = np.argsort(-np.abs(weights), axis=None, kind="stable")[:num_arrows]
    targets = []
    for t, h, w in zip(*np.unravel_index(order, weights.shape)):
        if weights[t, h, w]:
            targets.append((int(t), keys.centre(w), keys.centre(h), float(weights[t, h, w])))
    point = (grid.centre(position[2]), grid.centre(position[1]))
    rows, columns = (keys.centre(np.arange(count)) for count in weights.shape[1:])
    return Look(
        position, point, weights, (columns, rows), keys.stride_px, heat, targets, grid.frames_per_step, not is_softmax
    )
