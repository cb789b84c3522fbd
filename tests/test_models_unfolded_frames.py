"""Unfolding each frame once is the 3-D convolution, its weights' gradient too, and what training on CPUs takes."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
import pytest

from models.layers import FramesConv, UnfoldedFrames, merge_clips, to_volumes
from models.unfolded_frames import FRAMES_AT_ONCE

LONG = 2 * FRAMES_AT_ONCE + 3


def largest_difference(found, expected) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.fixture
def calls(monkeypatch) -> list:
    """The calls of UnfoldedFrames.apply."""
    found, apply = [], UnfoldedFrames.apply
    monkeypatch.setattr(UnfoldedFrames, "apply", lambda *args: found.append(args) or apply(*args))
    return found


@pytest.mark.parametrize(
    ("num_frames", "kernel", "stride", "padding"),
    [
        (8, (5, 7, 7), (1, 2, 2), "symmetric"),
        (1, (5, 3, 3), (1, 1, 1), "symmetric"),  # most taps meet padding only
        (LONG, (3, 3, 5), (1, 2, 1), "symmetric"),
        (LONG, (7, 7, 7), (2, 2, 2), "same"),  # an odd rest of the padding on one side
        (6, (3, 3, 3), (1, 1, 1), ((3, 0), (2, 0), (0, 1))),  # the first frame is computed from padding alone
    ],
)
def test_it_is_the_3d_convolution(num_frames, kernel, stride, padding, calls):
    paddle.seed(0)
    conv = FramesConv(2, 32, kernel, stride, padding=padding, has_bias=True)
    clips = paddle.randn([2, 2, num_frames, 13, 10])
    found = to_volumes(conv(merge_clips(clips), num_frames), conv.out_frames(num_frames))
    pairs = conv._volume_padding(clips, None)
    padded = F.pad(clips, [side for pair in reversed(pairs) for side in pair], data_format="NCDHW")
    expected = F.conv3d(padded, conv.weight, conv.bias, stride)
    assert len(calls) == 1
    assert largest_difference(found, expected) < 2e-6
    upstream = paddle.randn(found.shape)
    for mine, theirs in zip(*(paddle.grad(y, [conv.weight, conv.bias], upstream) for y in (found, expected))):
        assert largest_difference(mine, theirs) < 2e-6


def test_it_is_taken_in_training_for_frames_without_a_gradient(calls):
    conv, frames = FramesConv(2, 32, (3, 3, 3)), paddle.randn([4, 2, 6, 6])
    in_training = conv(frames, 4)
    assert len(calls) == 1
    conv.eval()
    in_evaluation = conv(frames, 4)
    conv.train()
    frames.stop_gradient = False
    conv(frames, 4).sum().backward()
    assert len(calls) == 1
    assert frames.grad.abs().sum() > 0
    assert largest_difference(in_training, in_evaluation) < 2e-6
