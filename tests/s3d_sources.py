"""Inception networks of other programs, under their own names, with their own wiring: random tensors, plain outputs.

Written from what those programs do (their names of layers, their padding, their pools), without a look at this
project's tables. `names` below are the places of conv_1a, conv_2b, conv_2c and of the six convolutions of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F

BLOCKS = {
    "3b": (64, 96, 128, 16, 32, 32), "3c": (128, 128, 192, 32, 96, 64), "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64), "4d": (128, 128, 256, 24, 64, 64), "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128), "5b": (256, 160, 320, 32, 128, 128), "5c": (384, 192, 384, 48, 128, 128),
}  # fmt: skip
BRANCHES = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
TORCH = ("weight", "bias", "running_mean", "running_var")


def torch_kernel(array):
    return array


def tensorflow_kernel(array):
    """[T, H, W, in, out], or [H, W, in, out] of images."""
    return np.moveaxis(array, (0, 1), (-1, -2))


@dataclass
class Source:
    """place: (unit "1a" | "2b" | "2c" | ("3b", "b0")) -> start of its names. conv, norm, temporal, temporal_norm: what
    follows; temporal "": kernels over space and time. norm_tensors: scale ("": none), offset, mean, variance.
    gate: unit -> name of a gate's matrix and bias. head: names of the classifier's matrix and bias, its form: "conv"
    [K, C, 1, 1, 1], "linear" [K, C] or "tensorflow" [1, 1, 1, C, K]. The rest is wiring: padding "same", "symmetric" or
    "even" (at any size as TensorFlow at even ones), head_window: of the average pool, "2": 2 frames of the whole map.
    """

    place: Callable
    conv: str
    norm: str
    head: tuple[str, str, str]
    temporal: str = ""
    temporal_norm: str = ""
    temporal_bias: str = ""
    norm_tensors: tuple[str, ...] = tuple(f".{name}" for name in TORCH)
    kernel: Callable = torch_kernel
    padding: str = "same"
    epsilon: float = 1e-3
    stem: tuple[int, ...] = (7, 7, 7)
    separated_stem: bool = True
    gate: Callable | None = None
    gate_is_turned: bool = False
    head_window: str = "2x7x7"
    folded_stem: bool = False
    norm_shape: tuple[int, ...] = ()

    def units(self, width: float, channels: int):
        """(unit, channels in, channels out, kernel, whether it is separated) of every convolution, bottom to top."""

        def scaled(count):
            return count if width == 1 else max(4, round(count * width / 4) * 4)

        c1, c2 = scaled(64), scaled(192)
        yield "1a", channels, c1, self.stem, bool(self.temporal) and self.separated_stem
        yield "2b", c1, c1, (1, 1, 1), False
        yield "2c", c1, c2, (3, 3, 3), bool(self.temporal)
        before = c2
        for block, counts in BLOCKS.items():
            c0, c1a, c1b, c2a, c2b, c3 = map(scaled, counts)
            yield (block, "b0"), before, c0, (1, 1, 1), False
            yield (block, "b1a"), before, c1a, (1, 1, 1), False
            yield (block, "b1b"), c1a, c1b, (3, 3, 3), bool(self.temporal)
            yield (block, "b2a"), before, c2a, (1, 1, 1), False
            yield (block, "b2b"), c2a, c2b, (3, 3, 3), bool(self.temporal)
            yield (block, "b3b"), before, c3, (1, 1, 1), False
            before = c0 + c1b + c2b + c3
        self.features = before

    def tensors(self, width: float = 0.1, classes: int = 5, channels: int = 3, seed: int = 0, is_image: bool = False):
        """{name: array} of a network; width: factor of all channel counts."""
        rng, arrays = np.random.default_rng(seed), {}

        def add_kernel(name, *shape):
            shape = (*shape[:2], *shape[3:]) if is_image else shape
            array = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
            arrays[name] = np.ascontiguousarray(self.kernel(array) if self.kernel is torch_kernel else turned(array))

        def turned(array):  # [out, in, ...] -> [..., in, out]
            return np.moveaxis(array, (0, 1), (-1, -2))

        def add_norm(start, count):
            values = (rng.uniform(0.7, 1.5, count), rng.normal(0, 0.2, count))
            values += (rng.normal(0, 0.2, count), rng.uniform(0.7, 1.5, count))
            for end, value in zip(self.norm_tensors, values):
                if end:
                    arrays[start + end] = value.astype(np.float32).reshape(*self.norm_shape, count)

        for unit, before, count, (kt, kh, kw), separated in self.units(width, channels):
            start = self.place(unit)
            if separated:
                add_kernel(start + self.half(self.conv, 0), count, before, 1, kh, kw)
                add_norm(start + self.half(self.norm, 0), count)
                add_kernel(start + self.temporal, count, count, kt, 1, 1)
                if self.temporal_norm:
                    add_norm(start + self.temporal_norm, count)
                else:
                    arrays[start + self.temporal_bias] = rng.normal(0, 0.2, count).astype(np.float32)
            else:
                inputs = (8 * before, kt // 2, kh // 2, kw // 2) if unit == "1a" and self.folded_stem else None
                add_kernel(start + self.whole(self.conv), count, *(inputs or (before, kt, kh, kw)))
                add_norm(start + self.whole(self.norm), count)
            if self.gate and (unit == "2c" or unit[1] in ("b0", "b1b", "b2b", "b3b")):
                weight, bias = self.gate(unit)
                matrix = rng.normal(0, 1 / count**0.5, (count, count)).astype(np.float32)
                arrays[weight] = matrix if self.gate_is_turned else matrix.reshape(1, 1, 1, count, count)
                if bias:
                    arrays[bias] = rng.normal(0, 0.3, count).astype(np.float32)
        weight, bias, form = self.head
        matrix = rng.normal(0, 1 / self.features**0.5, (classes, self.features)).astype(np.float32)
        shape = {"conv": (classes, self.features, 1, 1, 1), "linear": (classes, self.features)}
        if form == "tensorflow":
            matrix, shape[form] = matrix.T, (*(1,) * (2 if is_image else 3), self.features, classes)
        arrays[weight] = np.ascontiguousarray(matrix).reshape(shape[form])
        arrays[bias] = rng.normal(0, 0.5, classes).astype(np.float32)
        return arrays

    @staticmethod
    def half(text, index):
        """Names that differ for whole and separated convolutions are written "whole|half"."""
        return text.split("|")[-1]

    @staticmethod
    def whole(text):
        return text.split("|")[0]

    def log_probabilities(self, arrays: dict, clips: np.ndarray) -> np.ndarray:
        """log of the scores [N, K] of clips [N, C, T, H, W] in test mode."""
        with paddle.no_grad():
            return F.log_softmax(self._logits(arrays, paddle.to_tensor(clips))).numpy()

    def _logits(self, arrays, x):
        def pairs(sizes, kernel, stride, is_last_pool=False):
            for size, k, s in zip(sizes, kernel, stride):
                if self.padding == "symmetric":
                    yield (0, 0) if is_last_pool else (k // 2, k // 2)
                else:
                    rest = size % s if self.padding == "same" else 0
                    total = max(k - (rest or s), 0)
                    yield total // 2, total - total // 2

        def padded(x, around, value=0.0):
            return F.pad(x, [n for pair in reversed(list(around)) for n in pair], value=value, data_format="NCDHW")

        def conv(name, x, stride=(1, 1, 1), bias=None, around=None):
            weight = arrays[name]
            if self.kernel is tensorflow_kernel:
                weight = weight.transpose(4, 3, 0, 1, 2)
            around = around or pairs(x.shape[2:], weight.shape[2:], stride)
            bias = None if bias is None else paddle.to_tensor(arrays[bias])
            return F.conv3d(padded(x, around), paddle.to_tensor(np.ascontiguousarray(weight)), bias, list(stride))

        def norm(start, x):
            scale, offset, mean, variance = (
                arrays[start + end].reshape(1, -1, 1, 1, 1) if end else np.float32(1) for end in self.norm_tensors
            )
            factor = scale / np.sqrt(variance + self.epsilon)
            return F.relu((x - paddle.to_tensor(mean)) * paddle.to_tensor(factor) + paddle.to_tensor(offset))

        def unit(key, x, stride=(1, 1, 1)):
            start = self.place(key)
            if key == "1a" and self.folded_stem:
                n, c, t, h, w = x.shape
                x = x.reshape([n, c, t // 2, 2, h // 2, 2, w // 2, 2]).transpose([0, 3, 5, 7, 1, 2, 4, 6])
                x = x.reshape([n, 8 * c, t // 2, h // 2, w // 2])
                y = conv(start + self.whole(self.conv), x, around=[(1, 1), (2, 2), (2, 2)])[:, :, 1:, 1:, 1:]
                x = norm(start + self.whole(self.norm), y)
            elif self.temporal and start + self.temporal in arrays:
                y = conv(start + self.half(self.conv, 0), x, (1, *stride[1:]))
                y = norm(start + self.half(self.norm, 0), y)
                bias = None if self.temporal_norm else start + self.temporal_bias
                y = conv(start + self.temporal, y, (stride[0], 1, 1), bias)
                x = norm(start + self.temporal_norm, y) if self.temporal_norm else F.relu(y)
            else:
                x = norm(start + self.whole(self.norm), conv(start + self.whole(self.conv), x, stride))
            if self.gate and self.gate(key)[0] in arrays:
                weight, bias = self.gate(key)
                mean, matrix = x.mean([2, 3, 4]), arrays[weight]
                matrix = matrix.T if self.gate_is_turned else matrix[0, 0, 0]
                factor = mean.matmul(paddle.to_tensor(np.ascontiguousarray(matrix)))
                factor = F.sigmoid(factor + (paddle.to_tensor(arrays[bias]) if bias else 0.0))
                x = x * factor.reshape([*factor.shape, 1, 1, 1])
            return x

        def pool(x, kernel, stride):
            is_last = kernel == (2, 2, 2)
            x = padded(x, pairs(x.shape[2:], kernel, stride, is_last), 0.0)  # 0 as in the ports: behind a ReLU
            return F.max_pool3d(x, list(kernel), list(stride), ceil_mode=self.padding == "even")

        x = pool(unit("1a", x, (2, 2, 2)), (1, 3, 3), (1, 2, 2))
        x = pool(unit("2c", unit("2b", x)), (1, 3, 3), (1, 2, 2))
        for block in BLOCKS:
            if block == "4b":
                x = pool(x, (3, 3, 3), (2, 2, 2))
            if block == "5b":
                x = pool(x, (2, 2, 2), (2, 2, 2))
            parts = [unit((block, "b0"), x), unit((block, "b1b"), unit((block, "b1a"), x))]
            parts += [unit((block, "b2b"), unit((block, "b2a"), x))]
            parts += [unit((block, "b3b"), pool(x, (3, 3, 3), (1, 1, 1)))]
            x = paddle.concat(parts, 1)
        window = {
            "2x7x7": (2, *(min(7, side) for side in x.shape[3:])),
            "all": tuple(x.shape[2:]),
            "2": (2, *x.shape[3:]),
        }[self.head_window]
        x = F.avg_pool3d(x, list(window), 1).flatten(2)  # [N, C, P]
        weight, bias, form = self.head
        matrix = arrays[weight].reshape(arrays[weight].shape[-2:]) if form == "tensorflow" else None
        matrix = arrays[weight].reshape(arrays[weight].shape[:2]).T if matrix is None else matrix
        logits = x.transpose([0, 2, 1]).matmul(paddle.to_tensor(np.ascontiguousarray(matrix)))
        return (logits + paddle.to_tensor(arrays[bias])).mean(1)


NUMBERS = {
    "1a": 0,
    "2b": 2,
    "2c": 3,
    "3b": 5,
    "3c": 6,
    "4b": 8,
    "4c": 9,
    "4d": 10,
    "4e": 11,
    "4f": 12,
    "5b": 14,
    "5c": 15,
}


def by_number(start, ends):
    """Layers are counted, pools too."""

    def place(unit):
        if isinstance(unit, str):
            return f"{start}.{NUMBERS[unit]}"
        return f"{start}.{NUMBERS[unit[0]]}.{ends[unit[1]]}"

    return place


def by_name(stem, block, ends):
    def place(unit):
        return stem[unit] if isinstance(unit, str) else block.format(unit[0]) + ends[unit[1]]

    return place


DOTTED = dict(zip(BRANCHES, ("branch0", "branch1.0", "branch1.1", "branch2.0", "branch2.1", "branch3.1")))
TORCHVISION = Source(
    by_number("features", DOTTED),
    ".0.weight|.0.0.weight",
    ".1|.0.1",
    ("classifier.1.weight", "classifier.1.bias", "conv"),
    temporal=".1.0.weight",
    temporal_norm=".1.1",
    padding="symmetric",
)
KYLEMIN = Source(
    by_number("base", {**DOTTED, "b0": "branch0.0"}),
    ".conv.weight|.conv_s.weight",
    ".bn|.bn_s",
    ("fc.0.weight", "fc.0.bias", "conv"),
    temporal=".conv_t.weight",
    temporal_norm=".bn_t",
    padding="symmetric",
    head_window="2",
)
PIERGIAJ = Source(
    by_name(
        {"1a": "Conv3d_1a_7x7", "2b": "Conv3d_2b_1x1", "2c": "Conv3d_2c_3x3"}, "Mixed_{}.", {b: b for b in BRANCHES}
    ),
    ".conv3d.weight",
    ".bn",
    ("logits.conv3d.weight", "logits.conv3d.bias", "conv"),
)
HASSONY2 = Source(
    by_name(
        {"1a": "conv3d_1a_7x7", "2b": "conv3d_2b_1x1", "2c": "conv3d_2c_3x3"},
        "mixed_{}.",
        {b: end.replace("branch", "branch_") for b, end in DOTTED.items()},
    ),
    ".conv3d.weight",
    ".batch3d",
    ("conv3d_0c_1x1.conv3d.weight", "conv3d_0c_1x1.conv3d.bias", "conv"),
    padding="even",
)
HOWTO100M = Source(
    by_name(
        {"1a": "conv1", "2b": "conv_2b", "2c": "conv_2c"},
        "mixed_{}.conv_",
        {"b0": "b0", "b1a": "b1_a", "b1b": "b1_b", "b2a": "b2_a", "b2b": "b2_b", "b3b": "b3_b"},
    ),
    ".conv1.weight",
    ".bn1",
    ("fc.weight", "fc.bias", "linear"),
    temporal=".conv2.weight",
    temporal_norm=".bn2",
    padding="even",
    epsilon=1e-5,
    stem=(4, 8, 8),
    separated_stem=False,
    folded_stem=True,
    gate=lambda unit: (
        tuple(f"gating.fc.{t}" for t in ("weight", "bias"))
        if unit == "2c"
        else tuple(f"mixed_{unit[0]}.gating_{unit[1][:2]}.fc.{t}" for t in ("weight", "bias"))
        if unit[1] in ("b0", "b1b", "b2b", "b3b")
        else ("", "")
    ),
    gate_is_turned=True,
    head_window="all",
)
GLUONCV = Source(
    by_number("features", {"b0": "0.0", "b1a": "1.0", "b1b": "1.1", "b2a": "2.0", "b2b": "2.1", "b3b": "3.1"}),
    ".0.weight",
    ".1",
    ("output.weight", "output.bias", "linear"),
    norm_tensors=(".gamma", ".beta", ".running_mean", ".running_var"),
    padding="symmetric",
    head_window="all",
)
TF_ENDS = ("Branch_0/{}_0a_1x1", "Branch_1/{}_0a_1x1", "Branch_1/{}_0b_3x3", "Branch_2/{}_0a_1x1", "Branch_2/{}_0b_3x3")
TF_ENDS = dict(zip(BRANCHES, (*TF_ENDS, "Branch_3/{}_0b_1x1")))


def tensorflow_place(prefix, kind, typo=True):
    def place(unit):
        if isinstance(unit, str):
            return f"{prefix}{kind}_{unit}_{ {'1a': '7x7', '2b': '1x1', '2c': '3x3'}[unit] }"
        end = TF_ENDS[unit[1]].format(kind)
        if typo and unit == ("5b", "b2b"):  # so in all released files
            end = f"Branch_2/{kind}_0a_3x3"
        return f"{prefix}Mixed_{unit[0]}/{end}"

    return place


def deepmind(prefix: str = "RGB/inception_i3d/", norm_shape=(1, 1, 1, 1)) -> Source:
    return Source(
        tensorflow_place(prefix, "Conv3d"),
        "/conv_3d/w",
        "/batch_norm",
        (f"{prefix}Logits/Conv3d_0c_1x1/conv_3d/w", f"{prefix}Logits/Conv3d_0c_1x1/conv_3d/b", "tensorflow"),
        norm_tensors=("", "/beta", "/moving_mean", "/moving_variance"),
        kernel=tensorflow_kernel,
        norm_shape=norm_shape,
    )


def _slim_gate(unit):
    if unit == "2c" or unit[1] in ("b0", "b1b", "b2b", "b3b"):
        return f"{tensorflow_place('InceptionV1/', 'Conv2d', False)(unit)}/self_gating/transformer_W/weights", ""
    return "", ""


def slim(**wiring) -> Source:
    """The authors' S3D-G, or, with temporal="" and no gates, the Inception-v1 of images."""
    return Source(
        tensorflow_place("InceptionV1/", "Conv2d", wiring.pop("typo", False)),
        "/weights",
        "/BatchNorm",
        ("InceptionV1/Logits/Conv2d_0c_1x1/weights", "InceptionV1/Logits/Conv2d_0c_1x1/biases", "tensorflow"),
        **{
            "temporal": "/temporal/weights", "temporal_bias": "/temporal/biases", "kernel": tensorflow_kernel,
            "norm_tensors": ("", "/beta", "/moving_mean", "/moving_variance"), "stem": (3, 7, 7),
            "separated_stem": False, "gate": _slim_gate, **wiring,
        },
    )  # fmt: skip


GOOGLENET = Source(
    by_name(
        {"1a": "conv1", "2b": "conv2", "2c": "conv3"},
        "inception{}.",
        dict(zip(BRANCHES, ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1"))),
    ),
    ".conv.weight",
    ".bn",
    ("fc.weight", "fc.bias", "linear"),
)
EARLIER = dict(zip(BLOCKS, ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")))
_later = GOOGLENET.place
GOOGLENET.place = lambda unit: _later(unit if isinstance(unit, str) else (EARLIER[unit[0]], unit[1]))
