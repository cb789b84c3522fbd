"""The layers of a training step beside PyTorch's, each alone, on the shapes that they have in the step.

Kinds: the stem's convolution, those over frames, 3x3 and 1x1 (stride 2 among them), norms with a ReLU behind them, max
pools over space. A layer's time is that of its forward and backward pass; equal layers are measured once and counted
as often as they occur. What a step does besides (sums, attention, loss, optimiser) is not among them.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tools.benchmarks.harness import TORCH_NETWORKS, call_other
from tools.benchmarks.matrix import RUNS, median_seconds
from utils.errors import UserError
from utils.files import write_json
from utils.runtime import available_cores


@dataclasses.dataclass
class Layer:
    """kind: see above. operation: "conv", "norm" or "pool". shape: [N, C, T, H, W] of the input. kernel, stride,
    padding: of frames, height and width. operations: floating-point ones of both passes, 0 where none are counted.
    call: function of the input [N*T, C, H, W] -> output; count: layers like it."""

    kind: str
    operation: str
    shape: list[int]
    out_channels: int
    kernel: tuple
    stride: tuple
    padding: list[int]
    needs_gradient: bool
    operations: float
    call: Callable
    count: int = 1

    def facts(self) -> dict:
        """What torch_networks.py needs."""
        left_out = ("call", "kind", "operations", "count")
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in left_out}


def layers_of(step) -> list[Layer]:
    """The layers of a step (train.py's Step), in the order of the computation.

    Raises UserError where padding is not the same on both sides.
    """
    import paddle
    import paddle.nn.functional as F

    from models.layers import FramesConv, MaxPool
    from models.nonlocal_model.nonlocal_block import Projection

    found: dict[str, Layer] = {}
    num_clips = len(step.clips)

    def watch(layer, inputs, output) -> None:
        x = inputs[0]
        frames = x.shape[0] // num_clips
        window = isinstance(layer, (FramesConv, MaxPool))
        kernel, stride = (layer.kernel, layer.stride) if window else ((1, 1, 1), (1, 1, 1))
        pairs = [layer.frame_padding(frames), *layer._space_padding(x)] if window else [(0, 0)] * 3
        if any(before != after for before, after in pairs):
            raise UserError("the case `layers`: PyTorch's layers pad both sides alike, this network's do not")
        shape = [num_clips, x.shape[1], frames, *x.shape[2:]]
        needs_gradient, operations = not x.stop_gradient, 0.0
        call = (lambda x: layer(x, frames)) if window else layer
        if isinstance(layer, paddle.nn.BatchNorm2D):
            kind, operation, call = "norm and ReLU", "norm", lambda x: F.relu(layer(x))
        elif isinstance(layer, MaxPool):
            kind, operation = "max pool", "pool"
        else:
            operation = "conv"
            kind = "stem" if not needs_gradient else "over frames" if kernel[0] > 1 else f"{kernel[1]}x{kernel[2]}"
            products = math.prod(output.shape) * x.shape[1] * math.prod(kernel)
            operations = 2.0 * products * (3 if needs_gradient else 2)
        sizes = shape, output.shape[1], kernel, stride, [before for before, _ in pairs]
        key = f"{kind} {sizes}"
        if key in found:
            found[key].count += 1
        else:
            found[key] = Layer(kind, operation, *sizes, needs_gradient, operations, call)

    kinds = (FramesConv, Projection, MaxPool, paddle.nn.BatchNorm2D)
    hooks = [each.register_forward_post_hook(watch) for each in step.model.sublayers() if isinstance(each, kinds)]
    step.forward()
    for hook in hooks:
        hook.remove()
    return list(found.values())


def our_seconds(layer: Layer, clock: Callable[[], float]) -> float:
    """Seconds of its forward and backward pass."""
    import paddle

    clips, channels, frames, height, width = layer.shape
    x = paddle.randn([clips * frames, channels, height, width])
    x.stop_gradient = not layer.needs_gradient
    upstream = paddle.randn(layer.call(x).shape)

    def both_passes():
        layer.call(x).backward(upstream)
        x.clear_gradient(set_to_zero=False)

    return median_seconds(both_passes, clock)


def torch_seconds(python: str, layers: list[Layer], processor_time: bool) -> list[float]:
    """The same of each layer in PyTorch, in another process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "layers.json"
        write_json(file, [layer.facts() for layer in layers])
        threads = os.environ.get("OMP_NUM_THREADS", str(available_cores()))
        command = [python, TORCH_NETWORKS, "layers", "--layers", str(file), "--runs", str(RUNS), "--threads", threads]
        return call_other(command + ["--processor_time"] * processor_time)[0]["seconds"]


def measure_layers(name: str, step, torch_python: str | None, repeats: int, processor_time: bool) -> dict:
    """Print a table of the kinds, and return {"layers NAME, KIND": {side: seconds of each round}}, of a step."""
    from tabulate import tabulate

    clock = time.process_time if processor_time else time.perf_counter
    layers = layers_of(step)
    kinds = list(dict.fromkeys(layer.kind for layer in layers))
    rounds: dict[str, dict[str, list[float]]] = {kind: {} for kind in kinds}
    steps = []
    for _ in range(repeats):
        sides = {"PyTorch": torch_seconds(torch_python, layers, processor_time)} if torch_python else {}
        sides["ours"] = [our_seconds(layer, clock) for layer in layers]
        steps.append(step.median_seconds(processor_time) * len(step.clips))
        for side, seconds in sides.items():
            for kind in kinds:
                of_kind = sum(each * layer.count for each, layer in zip(seconds, layers) if layer.kind == kind)
                rounds[kind].setdefault(side, []).append(of_kind)
    rows = []
    for kind, of_sides in rounds.items():
        count = sum(layer.count for layer in layers if layer.kind == kind)
        operations = sum(layer.count * layer.operations for layer in layers if layer.kind == kind) / 1e9
        medians = {side: statistics.median(seconds) for side, seconds in of_sides.items()}
        rates = [operations / medians[side] if operations and side in medians else None for side in ("ours", "PyTorch")]
        rows.append((kind, count, operations or None, *rates, 100 * medians["ours"] / statistics.median(steps)))
    heads = (name, "layers", "1e9 operations", "a second, ours", "PyTorch", "% of our step")
    print(tabulate(rows, heads, floatfmt=".0f"))
    return {f"layers {name}, {kind}": of_sides for kind, of_sides in rounds.items()}
