"""The paper's tables: which configuration is which row, and what was published.

Published: Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018 (arXiv 1711.07971), section 5, Kinetics-400
validation, top-1 / top-5 in percent over 10 x 3 views. Rows marked README also stand in the authors' repository; the
others were transcribed by hand. None of them was measured here.
"""

from __future__ import annotations

from typing import NamedTuple, Optional


class Row(NamedTuple):
    """name: the paper's. config: configs/ablations/<config>.yaml, None where this program has no such network."""

    name: str
    config: Optional[str]
    top1: float
    top5: float
    in_readme: bool = False


TABLES: dict[str, tuple[str, tuple[Row, ...]]] = {
    "a": (
        "instantiations: one block in res4, C2D R50",
        (
            Row("baseline", "c2d_r50", 71.8, 89.7),
            Row("Gaussian", "c2d_r50_gaussian", 72.5, 90.2),
            Row("Gaussian, embedded", "c2d_r50_embedded_gaussian", 72.7, 90.5),
            Row("dot product", "c2d_r50_dot_product", 72.9, 90.3),
            Row("concatenation", "c2d_r50_concatenation", 72.8, 90.5),
        ),
    ),
    "b": (
        "stages: one block, C2D R50",
        (
            Row("baseline", "c2d_r50", 71.8, 89.7),
            Row("res2", "c2d_r50_res2", 72.7, 90.3),
            Row("res3", "c2d_r50_res3", 72.9, 90.4),
            Row("res4", "c2d_r50_embedded_gaussian", 72.7, 90.5),
            Row("res5", "c2d_r50_res5", 72.3, 90.1),
        ),
    ),
    "c": (
        "deeper: number of blocks, C2D",
        (
            Row("R50, baseline", "c2d_r50", 71.8, 89.7),
            Row("R50, 1 block", "c2d_r50_embedded_gaussian", 72.7, 90.5),
            Row("R50, 5 blocks", "c2d_r50_5_blocks", 73.8, 91.0),
            Row("R50, 10 blocks", "c2d_r50_10_blocks", 74.3, 91.2),
            Row("R101, baseline", "c2d_r101", 73.1, 91.0),
            Row("R101, 1 block", "c2d_r101_1_block", 74.3, 91.3),
            Row("R101, 5 blocks", "c2d_r101_5_blocks", 75.1, 91.7),
            Row("R101, 10 blocks", "c2d_r101_10_blocks", 75.1, 91.6),
        ),
    ),
    "d": (
        "space, time, spacetime: 5 blocks, C2D",
        (
            Row("R50, baseline", "c2d_r50", 71.8, 89.7),
            Row("R50, space only", "c2d_r50_space", 72.9, 90.8),
            Row("R50, time only", "c2d_r50_time", 73.1, 90.5),
            Row("R50, spacetime", "c2d_r50_5_blocks", 73.8, 91.0),
            Row("R101, baseline", "c2d_r101", 73.1, 91.0),
            Row("R101, space only", "c2d_r101_space", 74.4, 91.3),
            Row("R101, time only", "c2d_r101_time", 74.4, 90.5),
            Row("R101, spacetime", "c2d_r101_5_blocks", 75.1, 91.7),
        ),
    ),
    "e": (
        "non-local against 3-D convolution, R101 (published relative sizes in brackets)",
        (
            Row("C2D (1x params, 1x FLOPs)", "c2d_r101", 73.1, 91.0),
            Row("I3D 3x3x3 (1.5x, 1.8x)", None, 74.1, 91.2),
            Row("I3D 3x1x1 (1.2x, 1.5x)", "i3d_r101", 74.4, 91.1),
            Row("non-local C2D, 5 blocks (1.2x, 1.2x)", "c2d_r101_5_blocks", 75.1, 91.7),
        ),
    ),
    "f": (
        "non-local I3D, 5 blocks",
        (
            Row("R50, C2D", "c2d_r50", 71.8, 89.7, True),
            Row("R50, I3D", "i3d_r50", 73.3, 90.7, True),
            Row("R50, non-local I3D", "i3d_r50_5_blocks", 74.9, 91.6, True),
            Row("R101, C2D", "c2d_r101", 73.1, 91.0),
            Row("R101, I3D", "i3d_r101", 74.4, 91.1),
            Row("R101, non-local I3D", "i3d_r101_5_blocks", 76.0, 92.1),
        ),
    ),
    "g": (
        "128 frames, frozen norms",
        (
            Row("R50, C2D", "c2d_r50_128_frames", 73.8, 91.2),
            Row("R50, I3D", "i3d_r50_128_frames", 74.9, 91.7, True),
            Row("R50, non-local I3D", "i3d_r50_5_blocks_128_frames", 76.5, 92.6, True),
            Row("R101, C2D", "c2d_r101_128_frames", 75.3, 91.9),
            Row("R101, I3D", "i3d_r101_128_frames", 76.4, 92.7),
            Row("R101, non-local I3D", "i3d_r101_5_blocks_128_frames", 77.7, 93.3),
        ),
    ),
}
