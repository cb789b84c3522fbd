"""The S3D paper's tables, by subject: what was published, where it was read, and which run here would be that row.

Xie, Sun, Huang, Tu, Murphy, "Rethinking Spatiotemporal Feature Learning", ECCV 2018 (arXiv 1712.04851). None of it was
measured here. The paper itself was not at hand: each value says how it is known. Only the number of table 1 (reversed
frames) is certain; the others are named by their subject.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

READ = "as the source states"
MEMORY = "from memory, not checked"
REVIEW = "from a review of the paper, not checked"


class Row(NamedTuple):
    """name: the network or setting. top1, top5: percent, None where not known. source: who published it. known: how it
    is known here. run: RUNS/<run> of eval.py (of `analyse.py reversed` for reversed frames); None: no such run here."""

    name: str
    top1: Optional[float]
    top5: Optional[float]
    source: str
    known: str
    run: Optional[str] = None


class Cost(NamedTuple):
    """name: the network. arch: the MODEL.arch that is counted beside it, None where there is none. parameters: in
    millions; gflops: 10^9, both as published, None where not known."""

    name: str
    arch: Optional[str]
    parameters: Optional[float]
    gflops: Optional[float]
    known: str


PAPER = "the paper"
README = "DeepMind's README, test set, whole video"
SLOWFAST = "table of the SlowFast paper, validation"
KYLEMIN = "kylemin's README"
READER = "a reader who quotes the paper"

TABLES: dict[str, tuple[str, tuple[Row, ...]]] = {
    "reversed": (
        "table 1: normal frames, and reversed ones",
        (
            Row("Kinetics-400, I3D, normal", 71.1, None, PAPER, MEMORY, "kinetics400/i3d_inception"),
            Row("Kinetics-400, I3D, reversed", 71.1, None, PAPER, MEMORY, "kinetics400/i3d_inception"),
            Row("Kinetics-400, I2D, normal", 67.0, None, PAPER, MEMORY, "kinetics400/i2d"),
            Row("Kinetics-400, I2D, reversed", 67.2, None, PAPER, MEMORY, "kinetics400/i2d"),
            Row("Something-Something v1, I3D, normal", 45.8, None, PAPER, MEMORY, "something_v1/i3d_inception"),
            Row("Something-Something v1, I3D, reversed", 15.2, None, PAPER, MEMORY, "something_v1/i3d_inception"),
            Row("Something-Something v1, I2D, normal", 34.4, None, PAPER, MEMORY, "something_v1/i2d"),
            Row("Something-Something v1, I2D, reversed", 35.2, None, PAPER, MEMORY, "something_v1/i2d"),
        ),
    ),
    "kinetics": (
        "Kinetics-400, RGB",
        (
            Row("I3D, ImageNet start", 71.1, 89.3, README, READ, "kinetics400/i3d_inception"),
            Row("I3D, from scratch", 68.4, 88.0, README, READ, "kinetics400/i3d_inception_scratch"),
            Row("I3D", 72.1, 90.3, SLOWFAST, READ, "kinetics400/i3d_inception"),
            Row("S3D, ImageNet start", 72.2, 90.6, f"{KYLEMIN}, quoting the authors", READ, "kinetics400/s3d"),
            Row("S3D, from scratch", 69.4, 89.1, SLOWFAST, READ, "kinetics400/s3d_scratch"),
            Row("S3D-G", 74.7, 93.4, PAPER, MEMORY, "kinetics400/s3d_g"),
            Row("S3D, kylemin's weights", 72.08, 90.35, KYLEMIN, READ, "kinetics400/s3d_kylemin"),
            Row(
                "S3D, torchvision's weights, one clip of 128 frames at 15 fps", 68.368, 88.05,
                "torchvision's file of weights", READ, "kinetics400/s3d_torchvision",
            ),
            Row(
                "I3D, gluon-cv, 32 x 2, 10 x 3 views", 71.8, None, "gluon-cv's model table", READ,
                "kinetics400/i3d_gluoncv",
            ),
        ),
    ),
    "flow": (
        "Kinetics-400, flow and two streams",
        (
            Row("I3D, flow, ImageNet start", 63.4, 84.9, README, READ, "kinetics400/i3d_flow"),
            Row("I3D, flow, from scratch", 61.5, 83.4, README, READ, "kinetics400/i3d_flow_scratch"),
            Row("I3D, two streams, ImageNet start", 74.2, 91.3, README, READ),
            Row("I3D, two streams, from scratch", 71.6, 90.0, README, READ),
            Row("I3D, two streams", 75.7, 92.0, SLOWFAST, READ),
            Row("S3D-G, flow", 68.0, 87.6, PAPER, MEMORY, "kinetics400/s3d_g_flow"),
            Row("S3D-G, two streams, at 143 G", 77.2, 93.0, SLOWFAST, READ),
        ),
    ),
    "mini_kinetics": (
        "Mini-Kinetics-200, top-1",
        (
            Row("I3D", 78.4, None, PAPER, MEMORY, "mini_kinetics/i3d_inception"),
            Row("S3D, two temporal branches", 78.4, None, READER, READ, "mini_kinetics/s3d"),
            Row("S3D, four temporal branches", 78.9, None, READER, READ, "mini_kinetics/s3d_4"),
            Row("Fast-S3D", 78.0, None, PAPER, MEMORY, "mini_kinetics/fast_s3d"),
        ),
    ),
    "something": (
        "Something-Something v1",
        (
            Row("I3D", 45.8, 76.5, PAPER, MEMORY, "something_v1/i3d_inception"),
            Row("S3D", 47.3, 78.1, PAPER, MEMORY, "something_v1/s3d"),
            Row("S3D-G", 48.2, 78.7, PAPER, MEMORY, "something_v1/s3d_g"),
        ),
    ),
    "transfer": (
        "UCF101 and HMDB51, ImageNet and Kinetics start, RGB",
        (
            Row("UCF101, S3D-G", 96.8, None, "a picture of the paper's table", READ, "ucf101/s3d_g"),
            Row("UCF101, I3D", 95.6, None, "a picture of the paper's table", READ, "ucf101/i3d_inception"),
            Row("HMDB51, S3D-G", 75.9, None, "a picture of the paper's table", READ, "hmdb51/s3d_g"),
            Row("HMDB51, I3D", 74.8, None, "a picture of the paper's table", READ, "hmdb51/i3d_inception"),
        ),
    ),
}  # fmt: skip

COSTS: tuple[Cost, ...] = (
    Cost("I2D", "i2d", None, None, "not published where it was looked for"),
    Cost("I3D", "i3d_inception", 12.06, 107.89, MEMORY),
    Cost("S3D", "s3d", 8.77, 66.38, f"parameters {MEMORY}; FLOPs {REVIEW}"),
    Cost("S3D-G", "s3d_g", 11.56, 71.38, f"parameters {MEMORY}; FLOPs {REVIEW}"),
    Cost("Fast-S3D", "fast_s3d", None, 43.47, MEMORY),
    Cost("S3D-G, two streams", None, None, 142.8, f"{MEMORY}; the SlowFast paper's table has 143"),
)
