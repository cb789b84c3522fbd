"""All that predict.py does: find the videos, compute classes, segments or features, write predictions.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.schema import Config
from datareader import VideoItem
from datareader.lists import class_names_of
from inference.backends import BackendSpec
from inference.classify import find_videos, predict_classes
from utils.errors import UserError
from utils.files import write_json
from utils.log import Progress


@dataclass(frozen=True)
class PredictOptions:
    """What to predict. folder: where results go. video_path: a file or folder; "": those of filelist. topk: classes
    listed. views: as --views. segments: classes over time in place of one answer per video. stride_seconds: from one
    window to the next, None: half a window. overlay_video: an mp4 file or a folder, "" for none. features: a stage of
    the network, "" for none. feature_pooling: "video", "clip" or "window"."""

    folder: Path
    video_path: str = ""
    filelist: str = ""
    topk: int = 20
    views: str | None = None
    segments: bool = False
    stride_seconds: float | None = None
    overlay_video: str = ""
    features: str = ""
    feature_pooling: str = "video"
    log_interval: int = 1


def predict_videos(config: Config, backend: BackendSpec, options: PredictOptions) -> None:
    """Predict the videos and write folder/predictions.json: a record per video, also when the run is interrupted.

    Raises UserError when a video could not be predicted (after all others have been), or when an argument is wrong.
    """
    items = find_videos(options.video_path, options.filelist)
    progress = Progress(len(items), options.log_interval, "video")
    target, records, num_broken = options.folder / "predictions.json", [], 0
    try:
        for record in _records(config, backend, options, items, progress):
            records.append(record)
            num_broken += "error" in record
            progress.advance(f"{num_broken} broken")
    finally:
        progress.close()
        if records:
            write_json(target, records)
    print(f"{len(items) - num_broken} of {len(items)} videos predicted; their results are in {target}")
    if num_broken:
        raise UserError(f"{num_broken} of {len(items)} videos could not be predicted; they are named above")


def _records(
    config: Config, backend: BackendSpec, options: PredictOptions, items: Sequence[VideoItem], progress: Progress
) -> Iterator[dict]:
    """A record per video, of what the options ask for."""
    folder, views, stride, interval = options.folder, options.views, options.stride_seconds, options.log_interval
    if options.features:
        from inference.features import FeatureOptions, predict_features

        chosen = FeatureOptions(folder, options.features, options.feature_pooling, views, stride, interval)
        return predict_features(config, items, backend, chosen, progress)
    names = class_names_of(config, "INFER")
    if options.segments or options.overlay_video:
        from inference.segment import SegmentOptions, predict_segments

        over_time = SegmentOptions(folder, options.topk, views, stride, options.overlay_video, interval)
        return predict_segments(config, items, backend, names, over_time, progress)
    return predict_classes(config, items, backend, names, options.topk, views, progress)
