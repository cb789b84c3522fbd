"""Activation recomputation: a block keeps its input only, and computes the rest again for its gradients."""

from __future__ import annotations

import functools

import paddle

from models.nonlocal_model.nonlocal_block import NonLocalBlock
from models.nonlocal_model.resnet_video import Bottleneck
from training.norms import norms_of


def recompute_blocks(model) -> None:
    """Let every bottleneck and non-local block of `model` recompute its activations (Chen et al. 2016)."""
    for layer in model.sublayers():
        if isinstance(layer, Bottleneck):
            layer.forward = functools.partial(_recomputed, layer, layer.forward)
        elif isinstance(layer, NonLocalBlock):
            layer.forward_frames = functools.partial(_recomputed, layer, layer.forward_frames)


def _recomputed(layer, forward, x, num_frames: int):
    from paddle.distributed.fleet.utils import recompute

    if not layer.training or not paddle.is_grad_enabled():
        return forward(x, num_frames)
    x.stop_gradient = False  # behind frozen layers; a block whose input has no gradient would not be recomputed at all
    return recompute(functools.partial(_forward_once, layer, forward), x, num_frames, preserve_rng_state=False)


def _forward_once(layer, forward, x, num_frames: int):
    """The first of the two forward passes runs without gradients and moves norm statistics; the second does not."""
    if not paddle.is_grad_enabled():
        return forward(x, num_frames)
    norms = norms_of(layer)
    momenta = [norm._momentum for norm in norms]
    try:
        for norm in norms:
            norm._momentum = 1.0
        return forward(x, num_frames)
    finally:
        for norm, momentum in zip(norms, momenta):
            norm._momentum = momentum
