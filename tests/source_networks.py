"""Networks of other programs, under their own names, with their own wiring: random tensors and plain 5-D outputs.

Written from what those programs do, without a look at this project's templates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import paddle
import paddle.nn.functional as F

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
PLACES = {50: {3: (1, 3), 4: (1, 3, 5)}, 101: {3: (1, 3), 4: (6, 13, 20)}}
TORCH_NORM = (".weight", ".bias", ".running_mean", ".running_var")


@dataclass
class SourceNetwork:
    """conv, norm: (stage, block, "a" | "b" | "c" | "shortcut") -> name of the kernel, start of the norm's names.
    project: (stage, block, "theta" | ...) -> start of a projection's names. The rest is wiring.
    """

    conv: Callable
    norm: Callable
    project: Callable | None
    block_norm: Callable | None
    stem: tuple[str, str]
    head: tuple[str, str]
    norm_tensors: tuple[str, ...] = TORCH_NORM
    projection_tensors: tuple[str, str] = (".weight", ".bias")
    head_shape: str = "classes first"
    out_has_bias: bool = True
    is_image: bool = False
    stem_stride: int = 1
    pool1: tuple[int, int] = (1, 1)
    padding: int = 0
    has_pool2: bool = True
    head_side: int = 7
    averages_logits: bool = False
    use_scale: bool = True
    pool_after: bool = False
    head_factor: float = 1.0
    group_frames: dict = field(default_factory=dict)
    is_detector: bool = False  # res5 has stride 1 and 3 x 3 kernels dilated by 2

    def tensors(self, inflated: bool, depth: int = 50, places=None, width: int = 8, classes: int = 5, seed: int = 0):
        """{name: array} of a network whose conv1 has `width` channels (64 in the published ones)."""
        rng = np.random.default_rng(seed)
        arrays = {}

        def kernel(name, *shape):
            shape = (*shape[:2], *shape[3:]) if self.is_image else shape
            arrays[name] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)

        def norm(start, channels, scale=1.0):
            values = [scale * rng.uniform(0.5, 1.5, channels), rng.normal(0, 0.1, channels)]
            values += [rng.normal(0, 0.1, channels), rng.uniform(0.5, 1.5, channels)]
            arrays.update({start + end: v.astype(np.float32) for end, v in zip(self.norm_tensors, values)})

        kernel(self.stem[0], width, 3, 5 if inflated else 1, 7, 7)
        norm(self.stem[1], width)
        before = width
        for k, count in zip(range(2, 6), BLOCKS[depth]):
            inner, out = width << (k - 2), 4 * width << (k - 2)
            for i in range(count):
                over_time = inflated and (k == 2 or i % 2 == (k == 5))
                kernel(self.conv(k, i, "a"), inner, before, 3 if over_time else 1, 1, 1)
                kernel(self.conv(k, i, "b"), inner, inner, 1, 3, 3)
                kernel(self.conv(k, i, "c"), out, inner, 1, 1, 1)
                for conv, channels in (("a", inner), ("b", inner), ("c", out)):
                    norm(self.norm(k, i, conv), channels, 0.3 if conv == "c" else 1.0)
                if i == 0:
                    kernel(self.conv(k, 0, "shortcut"), out, before, 1, 1, 1)
                    norm(self.norm(k, 0, "shortcut"), out)
                if i in (PLACES[depth] if places is None else places).get(k, ()):
                    self._add_block(arrays, rng, kernel, norm, k, i, out)
                before = out
        shape = (classes, before) if self.head_shape == "classes first" else (before, classes)
        head = rng.normal(0, 1, shape).astype(np.float32)
        arrays[self.head[0]] = head / np.float32(self._feature_size(arrays, rng) / 1.5)
        arrays[self.head[1]] = rng.normal(0, 0.5, classes).astype(np.float32)
        return arrays

    def _feature_size(self, arrays, rng) -> float:
        """Length of the last features of a clip, by which logits come out about as large as a trained network's."""
        clip = rng.standard_normal((1, 3, 8, 64, 64)).astype(np.float32)
        with paddle.no_grad():
            state = {name: paddle.to_tensor(array) for name, array in arrays.items()}
            return float(paddle.linalg.norm(self._features(state, paddle.to_tensor(clip)).mean([2, 3, 4])))

    def _add_block(self, arrays, rng, kernel, norm, k, i, channels):
        weight, bias = self.projection_tensors
        for projection in ("theta", "phi", "g", "out"):
            shape = (channels, channels // 2) if projection == "out" else (channels // 2, channels)
            kernel(self.project(k, i, projection) + weight, *shape, 1, 1, 1)
            if projection in ("theta", "phi"):  # a softmax of a single key would multiply rounding errors
                arrays[self.project(k, i, projection) + weight] *= np.float32(0.4)
            if projection != "out" or self.out_has_bias:
                arrays[self.project(k, i, projection) + bias] = rng.normal(0, 0.3, shape[0]).astype(np.float32)
        if self.block_norm:
            norm(self.block_norm(k, i), channels)

    def log_probabilities(self, arrays: dict, clips: np.ndarray) -> np.ndarray:
        """log of the scores [N, K] of clips [N, 3, T, H, W] in test mode."""
        state = {name: paddle.to_tensor(array) for name, array in arrays.items()}
        with paddle.no_grad():
            x = self._features(state, paddle.to_tensor(clips))
            sides = x.shape[3:] if self.head_side == 0 else [min(self.head_side, side) for side in x.shape[3:]]
            x = F.avg_pool3d(x, [x.shape[2], *sides], 1).flatten(2).transpose([0, 2, 1]) * self.head_factor
            weight = state[self.head[0]]
            logits = x.matmul(weight.t() if self.head_shape == "classes first" else weight) + state[self.head[1]]
            if self.averages_logits:
                return F.log_softmax(logits.mean(1)).numpy()
            return paddle.log(F.softmax(logits).mean(1)).numpy()

    def box_scores(self, arrays: dict, clip: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Sigmoids [M, K] of boxes [M, 4], pixels of a clip [1, 3, T, H, W]: RoIAlign on 7 x 7 cells of the mean over
        time, with as many samples as a cell is long and without an offset of half a pixel, and its maximum."""
        with paddle.no_grad():
            state = {name: paddle.to_tensor(array) for name, array in arrays.items()}
            features = self._features(state, paddle.to_tensor(clip)).mean(2)[0].numpy()
        pooled = np.stack([legacy_roi_align(features, box / 16, 7).max((1, 2)) for box in boxes])
        return 1 / (1 + np.exp(-(pooled @ arrays[self.head[0]].T + arrays[self.head[1]])))

    def _features(self, state, x):
        def conv(name, x, stride=(1, 1, 1), bias=None, dilation=1):
            weight = state[name]
            weight = weight.unsqueeze(2) if weight.ndim == 4 else weight
            padding = [side // 2 * step for side, step in zip(weight.shape[2:], (1, dilation, dilation))]
            return F.conv3d(x, weight, state.get(bias), list(stride), padding, [1, dilation, dilation])

        def norm(start, x):
            scale, shift, *statistics = (state[start + end].reshape([1, -1, 1, 1, 1]) for end in self.norm_tensors)
            if statistics:
                x = (x - statistics[0]) / paddle.sqrt(statistics[1] + 1e-5)
            return x * scale + shift

        def attend(k, i, x):
            name = {p: self.project(k, i, p) for p in ("theta", "phi", "g", "out")}
            weight, bias = self.projection_tensors
            pooled = x if self.pool_after else F.max_pool3d(x, [1, 2, 2], [1, 2, 2])
            theta = conv(name["theta"] + weight, x, bias=name["theta"] + bias)
            phi = conv(name["phi"] + weight, pooled, bias=name["phi"] + bias)
            g = conv(name["g"] + weight, pooled, bias=name["g"] + bias)
            if self.pool_after:
                phi, g = (F.max_pool3d(t, [1, 2, 2], [1, 2, 2]) for t in (phi, g))
            rows = theta.flatten(2).transpose([0, 2, 1]).matmul(phi.flatten(2))
            rows = F.softmax(rows * theta.shape[1] ** -0.5 if self.use_scale else rows)
            y = rows.matmul(g.flatten(2).transpose([0, 2, 1])).transpose([0, 2, 1]).reshape(theta.shape)
            y = conv(name["out"] + weight, y, bias=name["out"] + bias)
            return x + (norm(self.block_norm(k, i), y) if self.block_norm else y)

        def in_groups(k, i, x):
            size = self.group_frames.get(k, x.shape[2])
            return paddle.concat([attend(k, i, x[:, :, t : t + size]) for t in range(0, x.shape[2], size)], 2)

        x = F.relu(norm(self.stem[1], conv(self.stem[0], x, (self.stem_stride, 2, 2))))
        x = F.max_pool3d(x, [self.pool1[0], 3, 3], [self.pool1[1], 2, 2], [0, self.padding, self.padding])
        for k in range(2, 6):
            i = 0
            while self.conv(k, i, "a") in state:
                is_dilated = self.is_detector and k == 5
                stride = (1, 2, 2) if i == 0 and k > 2 and not is_dilated else (1, 1, 1)
                y = F.relu(norm(self.norm(k, i, "a"), conv(self.conv(k, i, "a"), x)))
                y = conv(self.conv(k, i, "b"), y, stride, dilation=1 + is_dilated)
                y = F.relu(norm(self.norm(k, i, "b"), y))
                y = norm(self.norm(k, i, "c"), conv(self.conv(k, i, "c"), y))
                if i == 0:
                    x = norm(self.norm(k, 0, "shortcut"), conv(self.conv(k, 0, "shortcut"), x, stride))
                x = F.relu(y + x)
                if self.project and self.project(k, i, "g") + self.projection_tensors[0] in state:
                    x = in_groups(k, i, x)
                i += 1
            if k == 2 and self.has_pool2:
                x = F.max_pool3d(x, [2, 1, 1], [2, 1, 1])
        return x


def legacy_roi_align(features: np.ndarray, box: np.ndarray, num_cells: int) -> np.ndarray:
    """The means of a box's cells, [C, num_cells, num_cells], as Caffe2's RoIAlign with sampling_ratio 0, sample by
    sample. features: [C, h, w]. box: x1, y1, x2, y2, positions."""
    height, width = features.shape[1:]
    sides = np.maximum(box[2:] - box[:2], 1)
    counts = np.ceil(sides / num_cells).astype(int)

    def at(y, x):
        if not (-1 <= y <= height and -1 <= x <= width):
            return np.zeros(len(features))
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        i, j = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
        above = features[:, i, j] * (1 - (x - j)) + features[:, i, min(j + 1, width - 1)] * (x - j)
        k = min(i + 1, height - 1)
        below = features[:, k, j] * (1 - (x - j)) + features[:, k, min(j + 1, width - 1)] * (x - j)
        return above * (1 - (y - i)) + below * (y - i)

    found = np.zeros((len(features), num_cells, num_cells))
    for p in range(num_cells):
        for q in range(num_cells):
            samples = [
                at(box[1] + sides[1] / num_cells * (p + (r + 0.5) / counts[1]),
                   box[0] + sides[0] / num_cells * (q + (s + 0.5) / counts[0]))
                for r in range(counts[1]) for s in range(counts[0])
            ]  # fmt: skip
            found[:, p, q] = np.mean(samples, axis=0)
    return found


def _branch(conv, shortcut="branch1", other="branch2{}"):
    return shortcut if conv == "shortcut" else other.format(conv)


def caffe2(**wiring) -> SourceNetwork:
    return SourceNetwork(
        lambda k, i, c: f"res{k}_{i}_{_branch(c)}_w",
        lambda k, i, c: f"res{k}_{i}_{_branch(c)}_bn",
        lambda k, i, p: f"nonlocal_conv{k}_{i}_{p}",
        wiring.pop("block_norm", lambda k, i: f"nonlocal_conv{k}_{i}_bn"),
        ("conv1_w", "res_conv1_bn"),
        ("pred_w", "pred_b"),
        **{"norm_tensors": ("_s", "_b", "_rm", "_riv"), "projection_tensors": ("_w", "_b"), **wiring},
    )


def paddle_fluid(depth: int = 50, **wiring) -> SourceNetwork:
    def label(k, i):
        return f"{k}b{i}" if depth == 101 and k == 4 and i else f"{k}{'abcdefghijklmnopqrstuvwxyz'[i]}"

    return SourceNetwork(
        lambda k, i, c: f"res{label(k, i)}_{_branch(c)}_weights",
        lambda k, i, c: f"bn{label(k, i)}_{_branch(c)}",
        lambda k, i, p: f"nonlocal_conv{k}_{i}_{p}",
        lambda k, i: f"nonlocal_conv{k}_{i}_bn",
        ("conv1_weights", "bn_conv1"),
        ("pred_w", "pred_b"),
        norm_tensors=("_scale", "_offset", "_mean", "_variance"),
        projection_tensors=("_w", "_b"),
        head_shape="channels first",
        head_factor=0.5,
        **wiring,
    )


def slowfast(**wiring) -> SourceNetwork:
    return SourceNetwork(
        lambda k, i, c: f"s{k}.pathway0_res{i}.{_branch(c, other='branch2.{}')}.weight",
        lambda k, i, c: f"s{k}.pathway0_res{i}.{_branch(c, other='branch2.{}')}_bn",
        lambda k, i, p: f"s{k}.pathway0_nonlocal{i}.conv_{p}",
        lambda k, i: f"s{k}.pathway0_nonlocal{i}.bn",
        ("s1.pathway0_stem.conv.weight", "s1.pathway0_stem.bn"),
        ("head.projection.weight", "head.projection.bias"),
        padding=1,
        **wiring,
    )


def mmaction2(**wiring) -> SourceNetwork:
    def conv(k, i, c):
        return f"backbone.layer{k - 1}.{i}." + ("downsample" if c == "shortcut" else f"conv{' abc'.index(c)}")

    inside = {"theta": "theta", "phi": "phi.0", "g": "g.0", "out": "conv_out"}
    return SourceNetwork(
        lambda k, i, c: conv(k, i, c) + ".conv.weight",
        lambda k, i, c: conv(k, i, c) + ".bn",
        lambda k, i, p: f"backbone.layer{k - 1}.{i}.non_local_block.{inside[p]}.conv",
        lambda k, i: f"backbone.layer{k - 1}.{i}.non_local_block.conv_out.bn",
        ("backbone.conv1.conv.weight", "backbone.conv1.bn"),
        ("cls_head.fc_cls.weight", "cls_head.fc_cls.bias"),
        **{
            "out_has_bias": False,
            "stem_stride": 2,
            "pool1": (1, 2),
            "padding": 1,
            "head_side": 0,
            "use_scale": False,
            "pool_after": True,
            **wiring,
        },
    )


def pytorchvideo() -> SourceNetwork:
    def start(k, i):
        return f"blocks.{ {2: 1, 3: 3, 4: 4, 5: 5}[k] }.res_blocks.{i}."

    return SourceNetwork(
        lambda k, i, c: start(k, i) + _branch(c, "branch1_conv.weight", "branch2.conv_{}.weight"),
        lambda k, i, c: start(k, i) + _branch(c, "branch1_norm", "branch2.norm_{}"),
        None,
        None,
        ("blocks.0.conv.weight", "blocks.0.norm"),
        ("blocks.6.proj.weight", "blocks.6.proj.bias"),
        padding=1,
        averages_logits=True,
    )


def image_network(is_paddle: bool = False) -> SourceNetwork:
    """torchvision's ResNets, or paddle.vision's."""

    def layer(k, i, c, kind, index):
        return f"layer{k - 1}.{i}." + (f"downsample.{index}" if c == "shortcut" else f"{kind}{' abc'.index(c)}")

    return SourceNetwork(
        lambda k, i, c: layer(k, i, c, "conv", 0) + ".weight",
        lambda k, i, c: layer(k, i, c, "bn", 1),
        None,
        None,
        ("conv1.weight", "bn1"),
        ("fc.weight", "fc.bias"),
        norm_tensors=(".weight", ".bias", "._mean", "._variance") if is_paddle else TORCH_NORM,
        head_shape="channels first" if is_paddle else "classes first",
        is_image=True,
        padding=1,
    )
