"""How a step of the network is computed: mixed precision, compiled graphs, recomputed activations."""

from __future__ import annotations

import functools

import numpy as np
import paddle
from paddle import nn

from configs.schema import Train
from training.norms import norms_of
from utils.errors import UserError

AMP_LEVEL = "O1"  # Paddle's own lists: conv2d, matmul and linear narrow; softmax, means and losses in float32


class Precision:
    """Convolutions, linear layers and matrix products in a narrow type, all else and the weights in float32.

    name: "float32" (everything), "bfloat16", or "float16" with a loss scale that adapts itself.
    Raises UserError for a narrow type on the CPU, where Paddle has no such kernels.
    """

    def __init__(self, name: str, device: str):
        if name != "float32" and device == "cpu":
            raise UserError(f"TRAIN.amp {name} needs a GPU: Paddle's CPU kernels are float32; leave --amp out")
        self.name = name
        self.scaler = paddle.amp.GradScaler(enable=name == "float16", init_loss_scaling=2.0**16)

    def autocast(self):
        """The context of a forward pass."""
        dtype = "float16" if self.name == "float32" else self.name  # a type is demanded even where it is off
        return paddle.amp.auto_cast(enable=self.name != "float32", dtype=dtype, level=AMP_LEVEL)

    def backward(self, loss) -> None:
        """Gradients of the loss, scaled for float16."""
        self.scaler.scale(loss).backward()

    def unscale(self, optimizer) -> None:
        """Take the scale out of the gradients, so that they can be measured and clipped."""
        self.scaler.unscale_(optimizer)

    def step(self, optimizer) -> None:
        """The optimiser's step; with float16 it is left out when a gradient overflowed, and the scale halves."""
        self.scaler.step(optimizer)
        self.scaler.update()

    def state(self) -> dict:
        """The loss scale and its counters as plain numbers, for a checkpoint."""
        state = self.scaler.state_dict() if self.name == "float16" else {}
        return {name: value.item() if hasattr(value, "item") else value for name, value in state.items()}

    def load(self, state: dict) -> None:
        """Continue from `state`."""
        if state and self.name == "float16":
            self.scaler.load_state_dict({**state, "scale": np.array([state["scale"]], np.float32)})


class Clips(nn.Layer):
    """The network as one callable, so that compiling it leaves the network itself dynamic for everybody else."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, clips):
        return self.model(clips)


def build_network(model, recipe: Train) -> nn.Layer:
    """What a training step calls: the model, compiled for TRAIN.graph static."""
    network: nn.Layer = Clips(model)
    if recipe.graph == "static":
        if recipe.recompute:
            raise UserError("TRAIN.recompute works in the dynamic graph only; leave --graph=static out")
        network = paddle.jit.to_static(network, full_graph=True)
    return network


def recompute_blocks(model) -> None:
    """Let the recomputable blocks of `model`, a Recognizer, recompute their activations (Chen et al. 2016).

    Raises UserError for a network without such blocks.
    """
    if not model.recomputable_blocks():
        raise UserError("TRAIN.recompute: this network has no blocks that can be computed again; leave it out")
    model.backbone.run_block = _recomputed


def _recomputed(block, x, *rest):
    from paddle.distributed.fleet.utils import recompute

    if not block.training or not paddle.is_grad_enabled():
        return block(x, *rest)
    x.stop_gradient = False  # behind frozen layers; a block whose input has no gradient would not be recomputed at all
    return recompute(functools.partial(_forward_once, block), x, *rest, preserve_rng_state=False)


def _forward_once(block, x, *rest):
    """The first of the two forward passes runs without gradients and moves norm statistics; the second does not."""
    if not paddle.is_grad_enabled():
        return block(x, *rest)
    norms = norms_of(block)
    momenta = [norm._momentum for norm in norms]
    try:
        for norm in norms:
            norm._momentum = 1.0
        return block(x, *rest)
    finally:
        for norm, momentum in zip(norms, momenta):
            norm._momentum = momentum
