"""Batch norm over the clips of all processes, for CPUs: Paddle's own, nn.SyncBatchNorm, has kernels for GPUs only."""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.autograd import PyLayer


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
    """nn.BatchNorm2D whose training statistics are those of all ranks' activations together.

    mean = sum x / n and variance = sum (x - mean)^2 / n over ranks, clips and positions; with names, parameters and
    running statistics of the norm it stands for. In evaluation, as nn.BatchNorm2D.
    """

    @classmethod
    def convert(cls, norm: nn.BatchNorm2D) -> CpuSyncBatchNorm:
        """Turn a norm into a synchronised one, in place; the layer, its parameters and their names stay the same."""
        norm.__class__ = cls
        return norm

    def forward(self, x):
        """x: float32 [N, C, H, W], N may differ between ranks. Returns the same shape."""
        if not self.training:
            return super().forward(x)
        count = _SumOverRanks.apply(paddle.full([1], x.size / x.shape[1]))
        mean = _SumOverRanks.apply(x.sum([0, 2, 3])) / count  # [C]
        centred = x - mean.reshape([1, -1, 1, 1])
        variance = _SumOverRanks.apply(centred.square().sum([0, 2, 3])) / count
        with paddle.no_grad():
            for running, value in ((self._mean, mean), (self._variance, variance)):
                running.set_value(self._momentum * running + (1.0 - self._momentum) * value)
        scale = self.weight / (variance + self._epsilon).sqrt()
        return centred * scale.reshape([1, -1, 1, 1]) + self.bias.reshape([1, -1, 1, 1])
