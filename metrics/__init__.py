"""What a run is judged by: clips in training (topk), videos in testing (multiview), actions of videos (multilabel)."""

from metrics.multilabel import MultiLabelMeter, mean_average_precision
from metrics.multiview import MultiViewMeter
from metrics.scores_file import VideoScores, load_scores, save_scores
from metrics.topk import TopkMeter, topk_correct

__all__ = [
    "MultiLabelMeter",
    "MultiViewMeter",
    "TopkMeter",
    "VideoScores",
    "load_scores",
    "mean_average_precision",
    "save_scores",
    "topk_correct",
]
