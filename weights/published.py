"""Weights that others published: where they lie, what they are, how they were tested, under which licence.

Accuracies are Kinetics-400 validation, top-1 in percent, as their source states them; none was measured here.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTHORS = "https://s3.amazonaws.com/video-nonlocal/"
ZOO = "https://paddlemodels.bj.bcebos.com/video_classification/"
PYSLOWFAST = "https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/kinetics400/"
TORCHVISION = "https://download.pytorch.org/models/"
VIDEO_INPUT = "RGB, (x - 114.75) / 57.375"
IMAGE_INPUT = "RGB, (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"
VIEWS = "10 clips x 3 crops of 256, softmax, mean"
NON_COMMERCIAL = "CC BY-NC 4.0"


@dataclass(frozen=True)
class Published:
    """One entry. sha256: "" where its publisher tells none; a short one is the digits in the file's name.

    video_arc_choice: the network, or for images (is_start) the depth's first arc. frames x stride: of a clip. geometry:
    a key of GEOMETRIES. top1: percent, with accuracy_source.
    """

    url: str
    licence: str
    video_arc_choice: int
    with_blocks: bool
    geometry: str
    frames: int = 8
    stride: int = 8
    is_start: bool = False
    sha256: str = ""
    preprocessing: str = VIDEO_INPUT
    protocol: str = VIEWS
    top1: float | None = None
    accuracy_source: str = ""


def _of_authors(file: str, arc: int, with_blocks: bool, frames: int, stride: int, top1: float) -> Published:
    geometry = "video_nonlocal_net" if stride in (8, 4) else "video_nonlocal_net_32x2"
    source = "README of facebookresearch/video-nonlocal-net"
    return Published(
        AUTHORS + file, NON_COMMERCIAL, arc, with_blocks, geometry, frames, stride, top1=top1, accuracy_source=source
    )


def _of_pyslowfast(file: str, arc: int, with_blocks: bool, geometry: str, top1: float) -> Published:
    source = "MODEL_ZOO.md of facebookresearch/SlowFast"
    protocol = "10 clips x 3 crops of 256, 30 frames a second, softmax, mean"
    return Published(
        PYSLOWFAST + file,
        "Apache 2.0 (of the repository; none is told for the file)",
        arc,
        with_blocks,
        geometry,
        protocol=protocol,
        top1=top1,
        accuracy_source=source,
    )


def _start(
    url: str, licence: str, arc: int, sha256: str = "", preprocessing: str = IMAGE_INPUT, geometry="torchvision"
):
    return Published(
        url,
        licence,
        arc,
        False,
        geometry,
        0,
        0,
        is_start=True,
        sha256=sha256,
        preprocessing=preprocessing,
        protocol="a start from ImageNet",
    )


WEIGHTS = {
    "imagenet_r50": _start(
        f"{ZOO}Nonlocal_ResNet50_pretrained.tar.gz", NON_COMMERCIAL, 1, preprocessing=VIDEO_INPUT, geometry="paddle_zoo"
    ),
    "paddle_zoo_c2d_r50_nl": Published(
        f"{ZOO}NONLOCAL_final.pdparams",
        "Apache 2.0 (of the repository; none is told for the file)",
        1,
        True,
        "paddle_zoo",
        top1=73.9,
        accuracy_source="README of PaddlePaddle/models, PaddleCV/video, 2019",
    ),
    "authors_c2d_r50": _of_authors("c2d_baseline_8x8_IN_pretrain_400k.pkl", 1, False, 8, 8, 71.9),
    "authors_c2d_r50_nl": _of_authors("c2d_nonlocal_8x8_IN_pretrain_400k.pkl", 1, True, 8, 8, 74.4),
    "authors_i3d_r50": _of_authors("i3d_baseline_8x8_IN_pretrain_400k.pkl", 2, False, 8, 8, 73.4),
    "authors_i3d_r50_nl": _of_authors("i3d_nonlocal_8x8_IN_pretrain_400k.pkl", 2, True, 8, 8, 74.7),
    "authors_c2d_r50_32x2": _of_authors("c2d_baseline_32x2_IN_pretrain_400k.pkl", 1, False, 32, 2, 72.0),
    "authors_c2d_r50_nl_32x2": _of_authors("c2d_nonlocal_32x2_IN_pretrain_400k.pkl", 1, True, 32, 2, 73.9),
    "authors_i3d_r50_32x2": _of_authors("i3d_baseline_32x2_IN_pretrain_400k.pkl", 2, False, 32, 2, 73.6),
    "authors_i3d_r50_nl_32x2": _of_authors("i3d_nonlocal_32x2_IN_pretrain_400k.pkl", 2, True, 32, 2, 74.9),
    "authors_i3d_r50_32x4": _of_authors("i3d_baseline_32x4_I3D_pretrain_400k.pkl", 2, False, 32, 4, 75.5),
    "authors_i3d_r50_nl_32x4": _of_authors("i3d_nonlocal_32x4_I3D_pretrain_400k.pkl", 2, True, 32, 4, 76.5),
    "authors_i3d_r50_128x1": _of_authors("i3d_baseline_128x1_I3D_pretrain_400k.pkl", 2, False, 128, 1, 75.2),
    "authors_i3d_r50_nl_128x1": _of_authors("i3d_nonlocal_128x1_I3D_pretrain_400k.pkl", 2, True, 128, 1, 76.5),
    "pyslowfast_c2d_r50_nopool": _of_pyslowfast("C2D_NOPOOL_8x8_R50.pkl", 1, False, "slowfast_nopool", 67.2),
    "pyslowfast_i3d_r50": _of_pyslowfast("I3D_8x8_R50.pkl", 2, False, "slowfast", 73.5),
    "pyslowfast_i3d_r50_nl": _of_pyslowfast("I3D_NLN_8x8_R50.pkl", 2, True, "slowfast", 74.0),
    "torchvision_r50": _start(f"{TORCHVISION}resnet50-0676ba61.pth", "BSD 3-Clause", 1, "0676ba61"),
    "torchvision_r101": _start(f"{TORCHVISION}resnet101-63fe2227.pth", "BSD 3-Clause", 3, "63fe2227"),
}
# (video_arc_choice, with blocks) -> the entry that hubconf's pretrained=True takes: ordinary geometry, 8 x 8
DEFAULTS = {
    (1, True): "paddle_zoo_c2d_r50_nl",
    (1, False): "authors_c2d_r50",
    (2, True): "authors_i3d_r50_nl",
    (2, False): "authors_i3d_r50",
}
# video_arc_choice -> the entry that --pretrain=imagenet takes; of ResNet-101 the zoo published none
IMAGENET_OF_ARC = {1: "imagenet_r50", 2: "imagenet_r50", 3: "torchvision_r101", 4: "torchvision_r101"}
