"""Heads: the features of a backbone -> logits, and logits -> scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.layers import frames_between, merge_clips

if TYPE_CHECKING:
    from models.options import HeadOptions


class ClassificationHead(nn.Linear):
    """Average pool, dropout and a linear classifier at each output position.

    forward(features float [N, C, t, h, w]) -> logits [N, P, K] of P output positions, row by row: the means over
    options.pool_frames frames (0: all) and over options.pool_size x options.pool_size positions (0: all).
    """

    def __init__(self, in_channels: int, options: HeadOptions):
        normal = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, options.init_std))
        super().__init__(in_channels, options.num_classes, weight_attr=normal)
        self.options = options
        self.dropout = nn.Dropout(options.dropout_rate)

    def forward(self, features):
        return self.forward_frames(merge_clips(features), features.shape[2])

    def forward_frames(self, x, num_frames: int):
        """The same from frames [N*t, C, h, w], the t frames of a clip in a row."""
        side = self.options.pool_size
        if side == 0:
            x = F.adaptive_avg_pool2d(x, 1)
        else:
            # an open size (-1) of an exported network is at least the pool's side
            x = F.avg_pool2d(x, [min(side, n) if n > 0 else side for n in x.shape[2:]], 1)  # [N*4, 2048, 1, 1]
        x = x.flatten(2).transpose([0, 2, 1])  # [N*4, P, 2048]
        num_positions = x.shape[1] if x.shape[1] > 0 else paddle.shape(x)[1]
        x = x.reshape([-1, num_frames, num_positions, x.shape[2]])
        x = x.mean(1) if self.options.pool_frames == 0 else self._pool_frames(x, num_frames)
        return F.linear(self.dropout(x), self.weight, self.bias)

    def _pool_frames(self, x, num_frames: int):
        """[N, t, P, C] -> means over pool_frames neighbours [N, (t - pool_frames + 1) * P, C]."""
        length = self.options.pool_frames
        windows = [frames_between(x, k, k + num_frames - length + 1, num_frames) for k in range(length)]
        return (sum(windows[1:], windows[0]) / length).flatten(1, 2)

    def class_scores(self, logits):
        """Scores of clips: softmax over K, then the mean over P (or the other way round): [N, P, K] -> [N, K].

        For several labels a video the sigmoid takes the softmax's place.
        """
        probabilities = F.sigmoid if self.options.multi_label else F.softmax
        if self.options.average == "logits":
            return probabilities(logits.mean(1))
        return probabilities(logits).mean(1)
