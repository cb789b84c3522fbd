"""A convolution with a bias has the bits of Paddle's own, forward and backward."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F

from models.layers import conv2d


def test_a_convolution_with_a_bias_has_the_bits_of_paddles_own():
    paddle.seed(0)
    x, weight, bias, upstream = (paddle.randn(s) for s in ([2, 6, 9, 7], [8, 3, 3, 3], [8], [2, 8, 5, 5]))
    found = []
    for convolution in (conv2d, F.conv2d):
        inputs = [tensor.clone().detach() for tensor in (x, weight, bias)]
        for tensor in inputs:
            tensor.stop_gradient = False
        y = convolution(*inputs, [2, 2], [1, 2], 1, 2)
        y.backward(upstream)
        found.append([y, *(tensor.grad for tensor in inputs)])
    for mine, theirs in zip(*found):
        assert bool((mine == theirs).all())
