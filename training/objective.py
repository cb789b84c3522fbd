"""What is learned and by which figure it is judged: one class a video, or several."""

from __future__ import annotations

import numpy as np
import paddle.nn.functional as F

from metrics import TopkMeter
from metrics.multilabel import MultiLabelMeter, multi_hot
from utils.parallel import Processes


class SingleLabel:
    """Softmax and cross-entropy; judged by top-1."""

    figure = "top1"

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def targets(self, batch) -> np.ndarray:
        """float32 [N, K], a row a clip."""
        return np.eye(self.num_classes, dtype=np.float32)[batch.label]

    def loss(self, logits, targets):
        """Mean over clips of -sum_k target_k log softmax(logits)_k; both [N, K]."""
        return F.cross_entropy(logits, targets, soft_label=True)

    def sums(self, logits: np.ndarray, batch, loss: float) -> np.ndarray:
        """What a training batch adds to `running`."""
        meter = TopkMeter()
        meter.update(logits, batch.label, loss)
        return meter.state()

    def running(self, sums: np.ndarray) -> dict:
        """Figures of the sums of several batches."""
        meter = TopkMeter()
        meter.load_state(sums)
        return meter.result()

    def validation(self, items, scored, processes: Processes) -> dict:
        """Figures of all videos; `scored` are this process's (video_id, scores [K], loss), without the broken ones."""
        meter = TopkMeter()
        for video_id, scores, loss in scored:
            meter.update(scores[None], [items[video_id].label], loss)
        meter.load_state(processes.sum(meter.state()))
        result = meter.result()
        share = result["num_clips"] / len(items)  # broken videos count as wrong
        return {**result, "top1": result["top1"] * share, "top5": result["top5"] * share}


class MultiLabel:
    """Sigmoid and binary cross-entropy, each class for itself; judged by mean average precision."""

    figure = "mAP"

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def targets(self, batch) -> np.ndarray:
        """float32 [N, K], ones for the classes of each clip."""
        return multi_hot(batch.labels, self.num_classes).astype(np.float32)

    def loss(self, logits, targets):
        """Mean over clips and classes of -t log p - (1 - t) log(1 - p), p = sigmoid(logits); both [N, K]."""
        return F.binary_cross_entropy_with_logits(logits, targets)

    def sums(self, logits: np.ndarray, batch, loss: float) -> np.ndarray:
        """What a training batch adds to `running`."""
        return np.array([len(batch), len(batch) * loss])

    def running(self, sums: np.ndarray) -> dict:
        """Figures of the sums of several batches."""
        return {"loss": sums[1] / sums[0], "num_clips": int(sums[0])}

    def validation(self, items, scored, processes: Processes) -> dict:
        """Figures of all videos; `scored` are this process's (video_id, scores [K], loss), without the broken ones."""
        meter = MultiLabelMeter(self.num_classes, labels=[item.labels for item in items])
        for video_id, scores, _ in scored:
            meter.add_video(video_id, scores[None])
        for state in processes.gather(meter.state()):
            meter.merge(state)
        result = meter.result()
        sums = processes.sum(np.array([len(scored), sum(loss for _, _, loss in scored)], np.float64))
        loss = sums[1] / sums[0] if sums[0] else None
        return {"mAP": result["mAP"], "loss": loss, "num_clips": result["videos_seen"]}


def build_objective(config) -> SingleLabel | MultiLabel:
    """The objective of MODEL.multi_label."""
    return (MultiLabel if config.MODEL.multi_label else SingleLabel)(config.MODEL.num_classes)
