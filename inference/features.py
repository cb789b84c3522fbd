"""Videos -> features: the mean output of a stage of the network, one npz file per video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.schema import Config
from datareader import Failure, VideoItem, VideoViews, VideoWindows, build_view_loader, build_window_loader
from datareader.video import VideoError, printable
from inference.backends import BackendSpec
from inference.classify import PredictOptions, failure_record, output_names, progress_in_video
from utils.errors import UserError
from utils.files import write_atomically
from utils.log import Progress
from utils.runtime import tensor_of

if TYPE_CHECKING:
    from models.recognizer import Recognizer

Pooling = Callable[[np.ndarray], np.ndarray]  # clips float32 [N, C, T, H, W] -> features float32 [N, c]


def predict_features(
    config: Config,
    items: Sequence[VideoItem],
    backend: BackendSpec,
    names: list[str],
    options: PredictOptions,
    progress: Progress,
) -> Iterator[dict]:
    """A record per video: its path, its file and the shape of its features, or the reason of its failure.

    Features come from the eager network, which is loaded after the other arguments have been checked.
    """
    stage, pooling = options.features, options.feature_pooling
    outputs = output_names([item.path for item in items])
    loader: Iterable[VideoWindows | VideoViews | Failure]
    if pooling == "window":
        loader = build_window_loader(config, items, views=options.views, stride_seconds=options.stride_seconds)
    else:
        loader = build_view_loader(config, items, section="INFER", views=options.views)
    model = backend.build_eager().model
    check_stage(model, stage)
    pool = partial(pooled_features, model, stage=stage)
    for video in loader:
        if isinstance(video, Failure):
            yield failure_record(video, progress)
            continue
        try:
            if isinstance(video, VideoWindows):
                arrays = window_features(pool, video, options, config.INFER.batch_size)
            else:
                arrays = view_features(pool, video, options, config.INFER.batch_size)
        except VideoError as error:
            yield failure_record(Failure(video.path, video.video_id, error.reason), progress)
            continue
        if video.warning:
            progress.say(f"{printable(video.path)}: {video.warning}")
        output = options.folder / "features" / outputs[video.video_id]
        file = output.with_name(output.name + ".npz")
        write_features(file, arrays, path=video.path, stage=stage, pooling=pooling)
        shape = list(arrays["features"].shape)
        progress.say(f"{printable(file)}: {stage} of {printable(video.path)}, {' x '.join(map(str, shape))}")
        yield {"path": video.path, "file": str(file), "shape": shape}


def check_stage(model: Recognizer, stage: str) -> None:
    """Raise UserError when the network has no such stage."""
    if stage not in model.stage_names:
        raise UserError(f"--features={stage}: the network's stages are {', '.join(model.stage_names)}")


def write_features(file: Path, arrays: dict[str, np.ndarray], **facts: str) -> None:
    """Write an npz file of arrays and texts."""
    everything = {**arrays, **{name: np.array(text, np.str_) for name, text in facts.items()}}
    write_atomically(file, lambda stream: np.savez(stream, **everything))


def view_features(pool: Pooling, video: VideoViews, options: PredictOptions, batch_size: int) -> dict[str, np.ndarray]:
    """Features of a video's views, averaged over the crops of each clip, and over the clips for "video".

    Returns features float32 [C] or [clips, C] and clip_frames int64 [clips, T], the numbers of their frames.
    """
    rows = _clip_features(pool, video, batch_size)
    features = rows.mean(0) if options.feature_pooling == "video" else rows
    return {"features": features, "clip_frames": video.clip_indices}


def window_features(
    pool: Pooling, video: VideoWindows, options: PredictOptions, batch_size: int
) -> dict[str, np.ndarray]:
    """Features float32 [windows, C] of clips that slide over a video of any length, each averaged over its crops, and
    start_seconds and end_seconds float64 [windows]."""
    rows = []
    counter = progress_in_video(len(video), options.log_interval, "window")
    for part, views in video.batches(max(1, batch_size // video.protocol.views_per_clip)):
        rows.append(_clip_features(pool, views, batch_size))
        for window in range(part.start, part.stop):
            counter.advance(f"windows, {video.end_seconds[window]:.1f} s")
    counter.close()
    times = {"start_seconds": video.start_seconds, "end_seconds": video.end_seconds}
    return {"features": np.concatenate(rows), **times}


def _clip_features(pool: Pooling, views: VideoViews, batch_size: int) -> np.ndarray:
    ids = np.arange(len(views))
    rows = [pool(views.clips(ids[i : i + batch_size])) for i in ids[::batch_size]]
    return np.concatenate(rows).reshape(len(views.clip_indices), len(views.crops), -1).mean(1)


def pooled_features(model: Recognizer, clips: np.ndarray, stage: str) -> np.ndarray:
    """The mean over frames and positions of a stage's output: clips float32 [N, C, T, H, W] -> float32 [N, c]."""
    return pooled_stages(model, clips, [stage])[stage]


def pooled_stages(model: Recognizer, clips: np.ndarray, stages: Sequence[str]) -> dict[str, np.ndarray]:
    """The same of several stages at once, by name."""
    import paddle

    with paddle.no_grad():
        features = model.forward_features(tensor_of(clips), stages)  # [N, c, t, h, w] each
        return {stage: features[stage].mean([3, 4]).mean(2).numpy() for stage in stages}
