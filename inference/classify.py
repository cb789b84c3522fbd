"""The most probable classes of each video; and what all predictions share: which videos, names of results, failures."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.schema import Config
from datareader import NO_LABEL, Failure, VideoItem, VideoViews, build_view_loader, read_list
from datareader.decoding import is_url, split_member
from datareader.lists import list_folder, skip_message
from datareader.video import printable
from datareader.workers import ReaderPool
from inference.adaptive import AdaptiveScorer, AdaptiveViews, ScoredViews, StoppingRule
from inference.backends import BackendSpec, backend_facts, score_views
from tasks import Task, build_task
from utils.errors import UserError
from utils.log import Progress

MAX_NAME_BYTES = 180  # file systems take 255; suffixes are added, also those of files being written
MAX_PROGRESS_LINES = 20  # of one video


@dataclass(frozen=True)
class PredictOptions:
    """What to predict, and where to write it.

    folder: where results go. topk: classes listed. views: as --views. stride_seconds: from one sliding window to the
    next, None: half a window. overlay_video: an mp4 file for the one video, or a folder; "" for none. features: a stage
    of the network, as res5. feature_pooling: what a row of features describes, "video", "clip" (of views) or "window"
    (clips that slide over the video). log_interval: steps between two progress lines, 0 disables them. calibrate:
    called with the probabilities [K] of a video, returns calibrated ones; None: they stay as they are. boxes: a csv
    file with the persons whose actions are detected, "": none. detector: an ONNX file that finds them, "persons" or
    "auto". segments: which sliding windows are scored, "all" or "adaptive": as many as are needed.
    """

    folder: Path
    topk: int = 20
    views: str | None = None
    stride_seconds: float | None = None
    overlay_video: str = ""
    features: str = ""
    feature_pooling: str = "video"
    log_interval: int = 1
    calibrate: Callable[[np.ndarray], np.ndarray] | None = None
    boxes: str = ""
    detector: str = "auto"
    segments: str = "all"


# ------------------------------------------------------------------------------------------- videos and results


def find_videos(video_path: str, filelist: str) -> list[VideoItem]:
    """The videos to predict: one file, a folder's videos in order of name, or those of a list. Raises UserError.

    Prints how many files of the folder are skipped because they are not videos.
    """
    if not video_path:
        if not os.path.exists(filelist):
            raise UserError(f"pass --video_path=VIDEO (a file or folder) or --filelist=LIST; {filelist} does not exist")
        return read_list(filelist, labels_required=False)
    if os.path.isdir(video_path):
        skipped: list[str] = []
        items = list_folder(video_path, skipped)
        if skipped:
            print(skip_message(skipped))
        return items
    if not is_url(video_path) and split_member(video_path) is None and not os.path.lexists(video_path):
        raise UserError(f"{printable(video_path)}: no such file or directory")
    return [VideoItem(video_path, NO_LABEL, 1)]


def output_names(paths: Sequence[str]) -> list[Path]:
    """A relative path, without suffix, for each video's results: no two videos share one.

    It is the video's path from the folder that all videos have in common, without its extension; with the extension
    where another video would get the same name (compared without case). A name too long for suffixes is cut, and a
    checksum of the path is appended.
    """
    absolute = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute])
    full = {path: os.path.relpath(path, root) for path in absolute}
    stems = {path: os.path.splitext(name)[0] for path, name in full.items()}
    used = Counter(name.casefold() for path in full for name in {full[path], stems[path]})
    chosen = [Path(stems[path] if used[stems[path].casefold()] == 1 else full[path]) for path in absolute]
    return [name if len(os.fsencode(name.name)) <= MAX_NAME_BYTES else _shortened(name) for name in chosen]


def _shortened(name: Path) -> Path:
    kept = os.fsencode(name.name)[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    return name.with_name(f"{kept}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}")


def check_overlay(options: PredictOptions, num_videos: int) -> None:
    """Raise UserError for one overlay video of several videos."""
    if options.overlay_video.lower().endswith(".mp4") and num_videos > 1:
        raise UserError(f"--draw={options.overlay_video} is one file for {num_videos} videos; name a folder")


def failure_record(failure: Failure, progress: Progress) -> dict:
    """The record of a video that cannot be read; prints the reason."""
    progress.say(f"error: {printable(failure.path)}: {failure.reason}")
    return {"path": failure.path, "error": failure.reason}


def progress_in_video(total: int, interval: int, unit: str) -> Progress:
    """A Progress that prints at most MAX_PROGRESS_LINES lines where it prints lines. interval: 0 disables them."""
    return Progress(total, max(interval, -(-total // MAX_PROGRESS_LINES)) if interval > 0 else 0, unit)


# ------------------------------------------------------------------------------------------- classes


def predict_classes(
    config: Config,
    items: Sequence[VideoItem],
    backend: BackendSpec,
    names: list[str],
    options: PredictOptions,
    progress: Progress,
    pool: ReaderPool | None = None,
) -> Iterator[dict]:
    """A record per video: its path and the task's answers for the mean over its views, or the reason of its failure.

    The backend is built after the other arguments have been checked, while the first videos are read. pool: reads the
    videos; None: processes of its own.
    """
    adaptive = AdaptiveViews.parse(options.views)
    loader = build_view_loader(config, items, section="INFER", views=adaptive.views if adaptive else options.views)
    loader.pool = pool or loader.pool
    task, batch_size = build_task(config), config.INFER.batch_size
    videos: Iterable[VideoViews | ScoredViews | Failure] = loader
    if adaptive:
        rule = StoppingRule.choose(adaptive, [backend.weights_file()], loader.protocol, task.multi_label)
        progress.say(f"adaptive views of {loader.protocol}, {rule.source}")
    else:
        videos = iter(loader)
    built = backend.build()
    if adaptive:
        videos = (video for (video,) in AdaptiveScorer(loader, [(built, batch_size)], rule))
    for video in videos:
        if isinstance(video, Failure):
            yield failure_record(video, progress)
            continue
        facts: dict = backend_facts(built)
        if isinstance(video, ScoredViews):
            scores, facts = video.scores, {**facts, "num_views": len(video.views)}
        else:
            scores = score_views(built, video, batch_size)
        record = class_record(video, video.warning, scores.mean(0), task, names, options, progress)
        yield {**record, **facts}


def class_record(
    video: VideoViews | ScoredViews, warning: str, scores: np.ndarray, task: Task, names: list[str],
    options: PredictOptions, progress: Progress,
) -> dict:  # fmt: skip
    """The record of a video with class scores float [K]; prints it, and what is not whole of the video (warning)."""
    record = {"path": video.path, "num_frames": video.num_frames}
    if warning:
        progress.say(f"{printable(video.path)}: {warning}")
        record["warning"] = warning
    if options.calibrate is not None:
        scores = options.calibrate(scores)
    record["top"] = task.postprocess(scores, names, options.topk)
    progress.say(_table(record))
    return record


def _table(record: dict) -> str:
    from tabulate import tabulate

    rows = [(rank, row["class"], row["probability"]) for rank, row in enumerate(record["top"], 1)]
    return f"\n{printable(record['path'])}\n{tabulate(rows, ('rank', 'class', 'probability'), floatfmt='.4f')}\n"
