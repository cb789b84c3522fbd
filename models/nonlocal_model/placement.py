"""Which residual blocks of res2..res5 a non-local block follows. Plain values: this module needs no Paddle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from utils.errors import UserError

BLOCKS_OF_DEPTH = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # residual blocks of res2..res5
STAGES = {"res2": 2, "res3": 3, "res4": 4, "res5": 5}
PRESETS = (0, 1, 5, 10)


def block_positions(
    depth: int,
    *,
    layer_mod: int = 2,
    conv3_nonlocal: bool = True,
    conv4_nonlocal: bool = True,
    positions: Mapping[str, Sequence[int]] | None = None,
    preset: int | None = None,
    blocks_per_stage: Sequence[int] | None = None,
) -> dict[int, tuple[int, ...]]:
    """Stage 2..5 -> indices i of the residual blocks after whose ReLU a non-local block stands; stages without are out.

    depth: 50 or 101. positions: {"res3": [1, 3], ...}, any of res2..res5. preset: the paper's 0, 1, 5 or 10 blocks: 1
    stands before res4's last residual block; 10 after each block of res3 and res4, or of res4 every fourth at depth
    101. Neither: the zoo's keys, after each i with i mod m = m - 1, where m is layer_mod, or at depth 101 always 2 in
    res3 and 4 layer_mod - 1 in res4. blocks_per_stage: residual blocks of res2..res5; None: the depth's own.

    Raises UserError when positions and preset are both given, or name what the network does not have.
    """
    num_blocks = dict(zip(STAGES.values(), blocks_per_stage or BLOCKS_OF_DEPTH[depth]))
    if positions is not None:
        if preset is not None:
            raise UserError("NONLOCAL.positions and NONLOCAL.num_blocks both say where blocks go; leave one out")
        return {
            stage: _checked_indices(f"NONLOCAL.positions: res{stage}", indices, num_blocks[stage])
            for stage, indices in by_stage("NONLOCAL.positions", positions).items()
            if indices
        }
    if preset is None:
        mod3, mod4 = (layer_mod, layer_mod) if depth == 50 else (2, 4 * layer_mod - 1)
    elif preset == 0:
        return {}
    elif preset == 1:
        return {4: (max(num_blocks[4] - 2, 0),)}
    elif preset == 5:
        conv3_nonlocal = conv4_nonlocal = True
        mod3, mod4 = (2, 2) if depth == 50 else (2, 7)
    elif preset == 10:
        first, step = (0, 1) if depth == 50 else (2, 4)
        return {3: tuple(range(num_blocks[3])), 4: tuple(range(first, num_blocks[4], step))}
    else:
        raise UserError(f"NONLOCAL.num_blocks {preset}: there are {', '.join(map(str, PRESETS))}; or use positions")
    chosen = {3: mod3 if conv3_nonlocal else 0, 4: mod4 if conv4_nonlocal else 0}
    placed = {stage: tuple(range(m - 1, num_blocks[stage], m)) for stage, m in chosen.items() if m}
    return {stage: indices for stage, indices in placed.items() if indices}


def by_stage(key: str, values: Mapping[str, Any]) -> dict[int, Any]:
    """{"res3": value} -> {3: value}; UserError naming `key` when there is no such stage."""
    unknown = [name for name in values if name not in STAGES]
    if unknown:
        raise UserError(f"{key}: unknown stage {unknown[0]!r}; there are {', '.join(STAGES)}")
    return {STAGES[name]: value for name, value in values.items()}


def group_frames_by_stage(group_frames: Mapping[str, int] | None, is_trunk_frozen: bool) -> dict[int, int]:
    """Stage -> frames of a group. None: the authors' choice, 4 in res3 of a trunk with frozen norms, else no groups."""
    if group_frames is None:
        return {3: 4} if is_trunk_frozen else {}
    groups = by_stage("NONLOCAL.group_frames", group_frames)
    for stage, frames in groups.items():
        if type(frames) is not int or frames < 1:
            raise UserError(f"NONLOCAL.group_frames: res{stage}: {frames!r} is not a number of frames, 1 or more")
    return groups


def _checked_indices(key: str, indices: Any, num_blocks: int) -> tuple[int, ...]:
    if not isinstance(indices, (list, tuple)) or any(type(i) is not int for i in indices):
        raise UserError(f"{key}: write a list of residual blocks, counted from 0, such as [1, 3]; found {indices!r}")
    outside = [i for i in indices if not 0 <= i < num_blocks]
    if outside or len(set(indices)) != len(indices):
        wrong = f"block {outside[0]} does not exist" if outside else "a block is named twice"
        raise UserError(f"{key}: {wrong}; the stage has blocks 0 to {num_blocks - 1}")
    return tuple(sorted(indices))
