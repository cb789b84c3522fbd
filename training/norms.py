"""Norm statistics: frozen layers, statistics of several processes, precise estimates before an evaluation."""

from __future__ import annotations

from itertools import islice

import numpy as np
import paddle

from utils.errors import UserError
from utils.optim import NORMS
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
            names = ", ".join(name for name, _ in model.named_children())
            raise UserError(f"TRAIN.freeze: no layer is called {start!r}; there are {names} and those inside them")
        for parameter in (p for layer in layers for p in layer.parameters()):
            parameter.stop_gradient = True
        frozen += [layer for layer in layers if isinstance(layer, NORMS)]
    for parameter in (p for layer in frozen for p in layer.parameters()):
        parameter.stop_gradient = True
    if all(parameter.stop_gradient for parameter in model.parameters()):
        raise UserError("TRAIN.freeze leaves nothing to train")
    return frozen


def share_statistics(model, processes: Processes) -> None:
    """Give every process the mean of all processes' running statistics: an average of averages is the same average."""
    if processes.count > 1:
        for norm in norms_of(model):
            for statistic in (norm._mean, norm._variance):
                statistic.set_value((processes.sum(statistic.numpy()) / processes.count).astype(np.float32))


def estimate_statistics(model, loader, num_batches: int, processes: Processes, frozen: list) -> None:
    """Replace running statistics by the mean and variance of all activations of `num_batches` training batches.

    E[m] and E[v + m^2] - E[m]^2 over the batches' means m and variances v, as each norm sees them in training ("precise
    BN" of the authors' program). loader: at the position to read from. frozen: norms that keep theirs.
    """
    norms = [norm for norm in norms_of(model) if norm not in frozen]
    if not norms:
        return
    sums, count = [np.zeros((2, norm._mean.shape[0])) for norm in norms], 0
    model.eval()
    momenta = [norm._momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm._momentum = 0.0  # the running statistics become the batch's own
    with paddle.no_grad():
        for batch in islice(loader, num_batches):
            model(paddle.to_tensor(batch.clips))
            count += 1
            for norm, total in zip(norms, sums):
                mean, variance = norm._mean.numpy().astype(np.float64), norm._variance.numpy().astype(np.float64)
                total += [mean, variance + mean**2]
    count = processes.sum(np.array([float(count)]))[0]
    for norm, total, momentum in zip(norms, sums, momenta):
        mean, square = processes.sum(total) / count
        norm._momentum = momentum
        norm._mean.set_value(mean.astype(np.float32))
        norm._variance.set_value(np.maximum(square - mean**2, 0.0).astype(np.float32))
