"""Norm statistics: frozen layers, statistics of several processes, precise estimates before an evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import numpy as np
import paddle

from training.optimiser import NORMS
from training.sync_norm import CpuSyncBatchNorm
from utils.errors import UserError
from utils.parallel import Processes


def norms_of(model) -> list:
    """The batch norms of a network."""
    return [layer for layer in model.sublayers() if isinstance(layer, NORMS)]


def freeze(model, starts: list[str] | None, with_norms: bool) -> list:
    """Stop the training of layers whose names begin with `starts`, and of all norms if `with_norms`.

    Returns the norms that from now on have to stay in evaluation mode. Raises UserError for a start that fits nothing.
    """
    frozen = norms_of(model) if with_norms else []
    for start in starts or ():
        layers = [layer for name, layer in model.named_sublayers() if (name + ".").startswith(start.rstrip(".") + ".")]
        if not layers:
            names = ", ".join(name for name, layer in model.named_children() if layer.parameters())
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


def share_statistics(norms: list, processes: Processes) -> None:
    """Set the running statistics of `norms` to their means over all ranks.

    Done after every step, so that what follows from them (moving average, checkpoint, validation) is the same on all
    ranks, whenever it is looked at.
    """
    if processes.count > 1:
        processes.average([statistic for norm in norms for statistic in (norm._mean, norm._variance)])


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


def estimate_statistics(model, batches: Iterable, processes: Processes, frozen: list) -> None:
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
    num_clips = processes.sum(np.array([float(num_clips)]))[0]
    for norm, total in zip(norms, sums):
        mean, square = processes.sum(total) / num_clips
        norm._mean.set_value(mean.astype(np.float32))
        norm._variance.set_value(np.maximum(square - mean**2, 0.0).astype(np.float32))
