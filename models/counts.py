"""Parameters and multiply-adds of a network of any family, counted from shapes: nothing is computed.

One multiply-add is a product and its sum. Counted are convolutions (also where padding meets zeros), linear layers,
gates and the matrix products of non-local blocks; biases, norms, activations and pools are not.

A layer that is none of Paddle's or ours says its own count by a method

    multiply_adds(inputs, output) -> int     of one call: its positional arguments, its output; tensors of known shapes

which stands for its sublayers, too. One that takes long to trace may have a method

    output_like(*inputs) -> tensor           of the shape of its output; called in place of its forward
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import paddle
from paddle import nn

from models.layers import FramesConv, FrozenAffine

if TYPE_CHECKING:
    from models.recognizer import Recognizer

CONVOLUTIONS = (FramesConv, nn.Conv1D, nn.Conv2D, nn.Conv3D)
NORMS = (nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, FrozenAffine)
STATISTICS = ("._mean", "._variance")  # of batch norms, which Paddle keeps among the parameters


def num_parameters(model: nn.Layer, statistics: bool = False) -> int:
    """Values of a network: kernels, biases, scales and offsets of norms; statistics: means and variances of batch
    norms, too."""
    return sum(
        math.prod(value.shape)
        for name, value in model.state_dict().items()
        if statistics or not f".{name}".endswith(STATISTICS)
    )


def multiply_adds(model: Recognizer, num_frames: int, height: int, width: int) -> int:
    """Multiply-adds of one clip [C, num_frames, height, width]."""
    return sum(multiply_adds_by_layer(model, num_frames, height, width).values())


def multiply_adds_by_layer(model: Recognizer, num_frames: int, height: int, width: int) -> dict[str, int]:
    """Name of a layer -> its multiply-adds, in the order of the computation, of one clip; their sum is the network's.

    The network is traced, not run, so that 250 frames of 256 pixels take no more time or memory than 8 of 32. Layers
    are those of `model`, not of an exported copy.
    Raises UserError for clips that the network does not take.
    """
    counts: dict[str, int] = {}
    hooks, replaced = [], []

    def watch(layer: nn.Layer, prefix: str) -> None:
        for name, child in layer.named_children():
            path = f"{prefix}{name}"
            if isinstance(child, NORMS) or hasattr(child, "output_like"):
                child.forward = getattr(child, "output_like", _same)
                replaced.append((child, child._parameters))
            count = _counter_of(child)
            if count is None:
                watch(child, f"{path}.")
                continue

            def add(layer, inputs, output, path=path, count=count) -> None:
                counts[path] = counts.get(path, 0) + count(inputs, output)

            hooks.append(child.register_forward_post_hook(add))

    was_training = model.training
    model.train()  # in which no neighbouring groups of frames compute the same
    watch(model, "")
    for layer, _ in replaced:
        layer._parameters = {}  # which a trace would take up one by one
    try:
        _trace(model, [1, model.in_channels, num_frames, height, width])
    finally:
        for hook in hooks:
            hook.remove()
        for layer, parameters in replaced:
            del layer.forward
            layer._parameters = parameters
        model.train(was_training)
    return counts


def _counter_of(layer: nn.Layer) -> Any:
    """Function (inputs, output) -> multiply-adds of a call; None for a layer that only holds others, or has none."""
    if hasattr(layer, "multiply_adds"):
        return layer.multiply_adds
    weight = getattr(layer, "weight", None)
    if isinstance(layer, CONVOLUTIONS):
        per_value = math.prod(weight.shape[1:])
        return lambda inputs, output: math.prod(output.shape) * per_value
    if isinstance(layer, nn.Linear):
        return lambda inputs, output: math.prod(output.shape) * weight.shape[0]
    return None


def _same(x):
    """A norm, whose output has the shape of its input."""
    return x


class _Traced(nn.Layer):
    """A network as Paddle traces it."""

    def __init__(self, model: Recognizer):
        super().__init__()
        self.model = model

    def forward(self, clips):
        return self._traced(clips)

    @paddle.jit.not_to_static  # shapes are known, so that what is called is what happens
    def _traced(self, clips):
        return self.model(clips)


def _trace(model: Recognizer, shape: list[int]) -> None:
    """Infer the shapes of everything that a forward pass calls, without computing it."""
    spec = paddle.static.InputSpec(shape, "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Paddle warns of its own code
        traced = paddle.jit.to_static(_Traced(model), input_spec=[spec], full_graph=True)
        traced.forward.concrete_program  # noqa: B018 - building it traces
