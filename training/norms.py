"""Norms: frozen layers, statistics of several ranks, synchronised norms, precise statistics before an evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.autograd import PyLayer

from utils.errors import UserError
from utils.parallel import Ranks

NORMS = (nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, nn.SyncBatchNorm)


def norms_of(model) -> list:
    """The batch norms of a network."""
    return [layer for layer in model.sublayers() if isinstance(layer, NORMS)]


def freeze(model, starts: list[str] | None, with_norms: bool) -> list:
    """Stop the training of layers whose names begin with `starts`, and of all norms if `with_norms`.

    starts: names of stages or layers, such as res2, stem or res3.block0; stage2 for res2 is accepted.
    Returns the norms that from now on have to stay in evaluation mode. Raises UserError for a start that fits nothing.
    """
    layer_of_stage = getattr(getattr(model, "backbone", None), "stage_layers", {})
    frozen = norms_of(model) if with_norms else []
    for start in starts or ():
        stage, dot, rest = start.rstrip(".").partition(".")
        prefix = layer_of_stage.get(stage, stage) + dot + rest + "."
        layers = [layer for name, layer in model.named_sublayers() if (name + ".").startswith(prefix)]
        if not layers:
            stage_of_layer = {layer: stage for stage, layer in layer_of_stage.items()}
            names = ", ".join(
                stage_of_layer.get(name, name) for name, layer in model.named_children() if layer.parameters()
            )
            raise UserError(f"TRAIN.freeze: no layer is called {start!r}; there are {names} and those inside them")
        for parameter in (p for layer in layers for p in layer.parameters()):
            parameter.stop_gradient = True
        frozen += [layer for layer in layers if isinstance(layer, NORMS)]
    for parameter in (p for layer in frozen for p in layer.parameters()):
        parameter.stop_gradient = True
    if all(parameter.stop_gradient for parameter in model.parameters()):
        raise UserError("TRAIN.freeze leaves nothing to train")
    return frozen


def synchronise(model, device: str):
    """`model` with norms that normalise over the clips of all ranks; names and values stay. device: "cpu" or "gpu".

    The norms are new objects where Paddle makes them (on GPUs): call it before anybody keeps some of them.
    """
    if device != "cpu":
        return paddle.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for norm in norms_of(model):
        CpuSyncBatchNorm.convert(norm)
    return model


def share_statistics(norms: list, ranks: Ranks) -> None:
    """Set the running statistics of `norms` to their means over all ranks.

    Done after every step, so that what follows from them (moving average, checkpoint, validation) is the same on all
    ranks, whenever it is looked at.
    """
    if ranks.world_size > 1:
        ranks.average([statistic for norm in norms for statistic in (norm._mean, norm._variance)])


@contextlib.contextmanager
def restored_statistics(model):
    """Running statistics that change while entered are set back at the end."""
    statistics = [statistic for norm in norms_of(model) for statistic in (norm._mean, norm._variance)]
    before = [statistic.clone() for statistic in statistics]
    try:
        yield
    finally:
        for statistic, value in zip(statistics, before):
            statistic.set_value(value)


def estimate_statistics(model, batches: Iterable, ranks: Ranks, frozen: list) -> None:
    """Replace running statistics by the mean and variance of all activations of `batches`.

    E[m] and E[v + m^2] - E[m]^2 over the batches' means m and variances v, as each norm sees them in training, each
    batch weighed by its number of clips ("precise BN" of the authors' program). batches: of this rank; the statistics
    are those of all ranks' batches. frozen: norms that keep theirs.
    """
    norms = [norm for norm in norms_of(model) if norm not in frozen]
    if not norms:
        return
    sums, num_clips = [np.zeros((2, norm._mean.shape[0])) for norm in norms], 0
    model.eval()
    momenta = [norm._momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm._momentum = 0.0  # the running statistics become the batch's own
    try:
        with paddle.no_grad():
            for batch in batches:
                model(paddle.to_tensor(batch.clips))
                num_clips += len(batch.clips)
                for norm, total in zip(norms, sums):
                    mean, variance = norm._mean.numpy().astype(np.float64), norm._variance.numpy().astype(np.float64)
                    total += len(batch.clips) * np.stack([mean, variance + mean**2])
    finally:
        for norm, momentum in zip(norms, momenta):
            norm._momentum = momentum
    num_clips = ranks.all_reduce(np.array([float(num_clips)]))[0]
    for norm, total in zip(norms, sums):
        mean, square = ranks.all_reduce(total) / num_clips
        norm._mean.set_value(mean.astype(np.float32))
        norm._variance.set_value(np.maximum(square - mean**2, 0.0).astype(np.float32))


# Synchronised norms on CPUs: Paddle's own, nn.SyncBatchNorm, has kernels for GPUs only.


class _SumOverRanks(PyLayer):
    """y = sum of x over all ranks; the gradient of x is therefore the sum of all ranks' gradients of y."""

    @staticmethod
    def forward(ctx, x):
        total = x.clone()
        paddle.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.clone()
        paddle.distributed.all_reduce(total)
        return total


class CpuSyncBatchNorm(nn.BatchNorm2D):
    """A batch norm whose training statistics are those of all ranks' activations together.

    mean = sum x / n and variance = sum (x - mean)^2 / n over ranks, clips and positions; with names, parameters and
    running statistics of the norm it stands for. In evaluation, as nn.BatchNorm2D and the others.
    """

    @classmethod
    def convert(cls, norm: nn.Layer) -> CpuSyncBatchNorm:
        """Turn a norm into a synchronised one, in place; the layer, its parameters and their names stay the same."""
        norm.__class__ = cls
        return norm

    def forward(self, x):
        """x: float32 [N, C, ...], N may differ between ranks. Returns the same shape."""
        if not self.training:
            return F.batch_norm(x, self._mean, self._variance, self.weight, self.bias, epsilon=self._epsilon)
        axes, shape = [0, *range(2, x.ndim)], [-1, *[1] * (x.ndim - 2)]  # not [1, -1, ...]: see models.layers.conv2d
        count = _SumOverRanks.apply(paddle.full([1], x.size / x.shape[1]))
        mean = _SumOverRanks.apply(x.sum(axes)) / count  # [C]
        centred = x - mean.reshape(shape)
        variance = _SumOverRanks.apply(centred.square().sum(axes)) / count
        with paddle.no_grad():
            for running, value in ((self._mean, mean), (self._variance, variance)):
                running.set_value(self._momentum * running + (1.0 - self._momentum) * value)
        scale = self.weight / (variance + self._epsilon).sqrt()
        return centred * scale.reshape(shape) + self.bias.reshape(shape)
