"""SSD-MobileNetV2 at 300 px, which finds persons: the network, its anchors, and how its outputs become boxes.

Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016; Sandler et al., "MobileNetV2", CVPR 2018. Widths, padding
and anchors are those of the detector with 24 Open Images classes that Google ships in MediaPipe Objectron, whose
weights tools/fetch_person_detector.py converts. Batch norms are folded into its convolutions.
"""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

INPUT_PX = 300
NUM_CLASSES, PERSON = 24, 4  # class 0 is the background
# expansion, output channels, how many, stride of the first
INVERTED_RESIDUALS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FIRST_MAP_BLOCK = 13  # the expansion of this block is the first map that boxes are predicted from
EXTRA_MAPS = ((256, 512), (128, 256), (128, 256), (64, 128))  # channels of a 1x1 and of a 3x3 convolution of stride 2
MAP_SIDES = (19, 10, 5, 3, 2, 1)
SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)  # of the picture's side; the last is the one after the last map's
CENTRE_SCALE, SIZE_SCALE = 10.0, 5.0  # encodings are multiplied by these


class Convolution(nn.Conv2D):
    """A convolution with the padding "SAME" of TensorFlow (more at the end where it is odd), then ReLU6 where asked."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True
    ):
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups)
        self.kernel, self.step, self.relu = kernel, stride, relu

    def forward(self, x):
        before_after = [same_padding(size, self.kernel, self.step) for size in x.shape[2:]]
        (top, bottom), (left, right) = before_after
        if top or bottom or left or right:
            x = F.pad(x, [left, right, top, bottom])
        x = super().forward(x)
        return F.relu6(x) if self.relu else x


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of `size`, for ceil(size / stride) outputs."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class InvertedResidual(nn.Layer):
    """A 1x1 convolution to more channels (none for an expansion of 1), a depthwise 3x3 one, and a linear 1x1 one."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int):
        super().__init__()
        inner = in_channels * expansion
        self.expand = Convolution(in_channels, inner, 1) if expansion > 1 else None
        self.depthwise = Convolution(inner, inner, 3, stride, groups=inner)
        self.project = Convolution(inner, out_channels, 1, relu=False)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x):
        """-> the output, and the expanded input."""
        expanded = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(expanded))
        return (x + y if self.is_residual else y), expanded


class SsdMobileNetV2(nn.Layer):
    """forward(pictures float32 [N, 3, 300, 300], RGB in -1..1) -> box encodings [N, 1917, 4] (y, x, height, width,
    relative to the anchors) and class logits [N, 1917, 24]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2)
        self.blocks = nn.LayerList()
        channels = 32
        for expansion, out_channels, count, stride in INVERTED_RESIDUALS:
            for place in range(count):
                self.blocks.append(InvertedResidual(channels, out_channels, expansion, 1 if place else stride))
                channels = out_channels
        self.last = Convolution(channels, 1280, 1)
        map_channels = [self.blocks[FIRST_MAP_BLOCK].depthwise.weight.shape[0], 1280]
        self.extras = nn.LayerList()
        for narrow, wide in EXTRA_MAPS:
            self.extras.append(nn.Sequential(Convolution(map_channels[-1], narrow, 1), Convolution(narrow, wide, 3, 2)))
            map_channels.append(wide)
        num_anchors = [len(shapes) for shapes in anchor_shapes()]
        heads = list(zip(map_channels, num_anchors))
        self.box_heads = nn.LayerList([Convolution(c, 4 * n, 1, relu=False) for c, n in heads])
        self.class_heads = nn.LayerList([Convolution(c, NUM_CLASSES * n, 1, relu=False) for c, n in heads])

    def forward(self, pictures):
        x, maps = self.stem(pictures), []
        for place, block in enumerate(self.blocks):
            x, expanded = block(x)
            if place == FIRST_MAP_BLOCK:
                maps.append(expanded)
        maps.append(self.last(x))
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        boxes = [_by_anchor(head(x), 4) for head, x in zip(self.box_heads, maps)]
        logits = [_by_anchor(head(x), NUM_CLASSES) for head, x in zip(self.class_heads, maps)]
        return paddle.concat(boxes, 1), paddle.concat(logits, 1)

    def convolutions(self) -> list[Convolution]:
        """All convolutions in the order of the published file."""
        found: list[Convolution] = [self.stem]
        heads = iter(zip(self.box_heads, self.class_heads))
        for place, block in enumerate(self.blocks):
            found += [] if block.expand is None else [block.expand]
            found += next(heads) if place == FIRST_MAP_BLOCK else ()
            found += [block.depthwise, block.project]
        for layers in ([self.last], *self.extras):
            found += [*layers, *next(heads)]
        return found


def _by_anchor(x, size: int):
    """[N, anchors * size, h, w] -> [N, h * w * anchors, size]."""
    return x.transpose([0, 2, 3, 1]).reshape([x.shape[0], -1, size])


def anchor_shapes() -> list[list[tuple[float, float]]]:
    """(height, width) of the anchors at a position of each map, as fractions of the picture's sides.

    The first map has (scale, ratio) = (0.1, 1), (0.2, 2), (0.2, 1/2); the others the ratios 1, 2, 1/2, 3, 1/3 at their
    scale, and 1 at the geometric mean with the next one.
    """
    shapes = [[_shape(0.1, 1.0), _shape(SCALES[0], 2.0), _shape(SCALES[0], 0.5)]]
    for scale, following in zip(SCALES[1:], SCALES[2:]):
        shapes.append([_shape(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)])
        shapes[-1].append(_shape((scale * following) ** 0.5, 1.0))
    return shapes


def _shape(scale: float, ratio: float) -> tuple[float, float]:
    return scale / ratio**0.5, scale * ratio**0.5


def anchors() -> np.ndarray:
    """float32 [1917, 4]: centre y, centre x, height, width, as fractions of the picture; map by map, row by row."""
    rows = [
        ((y + 0.5) / side, (x + 0.5) / side, height, width)
        for side, shapes in zip(MAP_SIDES, anchor_shapes())
        for y in range(side)
        for x in range(side)
        for height, width in shapes
    ]
    return np.array(rows, np.float32)


def decode_boxes(encodings: np.ndarray) -> np.ndarray:
    """float32 [1917, 4] of the network -> boxes (x1, y1, x2, y2), fractions of the picture, which they may leave."""
    places = anchors()
    centre = places[:, :2] + encodings[:, :2] / CENTRE_SCALE * places[:, 2:]  # y, x
    half = places[:, 2:] * np.exp(encodings[:, 2:] / SIZE_SCALE) / 2
    return np.concatenate([(centre - half)[:, ::-1], (centre + half)[:, ::-1]], axis=1)
