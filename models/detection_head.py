"""The head of a detector: features of clips and boxes -> logits of each box."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.vision.ops import roi_align

from models.layers import merge_clips, split_clips
from models.options import DetectionOptions, HeadOptions
from models.roi_matrices import roi_cells


class DetectionHead(nn.Linear):
    """RoIAlign on the mean over time, maximum or mean over a box's cells, dropout and a linear classifier.

    forward(features float [N, C, t, h, w], boxes float32 [M, 5]) -> logits [M, K], of one label a box [M, K + 1], the
    last column of the background. A box is (index of its clip, x1, y1, x2, y2), in pixels of the clip, as
    `utils.boxes.clip_boxes` returns them; those of a clip stand together, in order of clips. M may be 0.

    stride: pixels of the clip that a position of the features stands for.
    """

    def __init__(self, in_channels: int, stride: int, options: HeadOptions, detection: DetectionOptions):
        normal = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, options.init_std))
        num_outputs = options.num_classes if options.multi_label else options.num_classes + 1
        super().__init__(in_channels, num_outputs, weight_attr=normal)
        self.stride, self.options, self.detection = stride, options, detection
        self.dropout = nn.Dropout(options.dropout_rate)

    def forward(self, features, boxes):
        return self.forward_frames(merge_clips(features), features.shape[2], boxes)

    def forward_frames(self, x, num_frames: int, boxes):
        """The same from frames [N*t, C, h, w], the t frames of a clip in a row."""
        if boxes.shape[0] == 0:  # Paddle 2.6 sums nothing that is empty
            return paddle.zeros([0, self.weight.shape[1]])
        x = self._pooled(split_clips(x, num_frames).mean(1), boxes)
        return F.linear(self.dropout(x), self.weight, self.bias)

    def _pooled(self, x, boxes):
        """The maximum or the mean over the cells of each box on x [N, C, h, w]: [M, C]."""
        detection = self.detection
        clip_of_box = boxes[:, :1].astype("int64")
        boxes_of_clip = (clip_of_box == paddle.arange(paddle.shape(x)[0], dtype="int64")).astype("int32").sum(0)
        cells = roi_align(  # which takes no features narrower than the boxes' float32
            x.astype("float32"), boxes[:, 1:], boxes_of_clip.astype("int32"), detection.roi_size, 1 / self.stride,
            detection.sampling_ratio or -1, detection.aligned,
        )  # fmt: skip
        # not max([2, 3]), whose gradient is 100 times slower
        pool = F.max_pool2d if detection.roi_pool == "max" else F.avg_pool2d
        return pool(cells, detection.roi_size).flatten(1)

    def class_scores(self, logits):
        """Scores of boxes in 0..1, [M, K]: sigmoids, or of one label a box the softmax without the background."""
        if self.options.multi_label:
            return F.sigmoid(logits)
        return F.softmax(logits)[:, : self.options.num_classes]

    def folded(self, volumes: bool) -> DetectionHead:
        return ExportedDetectionHead(self)


class ExportedDetectionHead(DetectionHead):
    """A DetectionHead in evaluation mode, for at least one box, whose RoIAlign is a product with matrices."""

    def __init__(self, head: DetectionHead):
        super().__init__(head.weight.shape[0], head.stride, head.options, head.detection)
        self.set_state_dict(head.state_dict())

    def _pooled(self, x, boxes):
        detection = self.detection
        cells = roi_cells(x, boxes, detection.roi_size, 1 / self.stride, detection.sampling_ratio, detection.aligned)
        return (cells.max if detection.roi_pool == "max" else cells.mean)(1)
