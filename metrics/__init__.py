"""Metrics: of clips in training (topk), of videos (multiview, multilabel), of boxes (frame_map, tubes), and per-video
results on disk (results)."""

from metrics.multilabel import MultiLabelMeter, mean_average_precision
from metrics.multiview import MultiViewMeter
from metrics.results import VideoMeter, VideoScores, load_scores, save_scores
from metrics.topk import TopkMeter, topk_correct

__all__ = [
    "MultiLabelMeter",
    "MultiViewMeter",
    "TopkMeter",
    "VideoMeter",
    "VideoScores",
    "load_scores",
    "mean_average_precision",
    "save_scores",
    "topk_correct",
]
