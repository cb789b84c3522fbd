"""Activation recomputation: a block keeps its input only, and computes the rest again for its gradients."""

from __future__ import annotations

import functools

import paddle

from training.norms import norms_of
from utils.errors import UserError


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
