"""All that eval.py does: score every video of a list, compute the task's metrics, write a report."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from configs import save_config
from configs.schema import Config
from inference.backends import Backend, BackendSpec, view_outputs
from tasks import Meter, Task, build_task
from utils.files import file_sha256, write_json, write_text
from utils.log import Progress
from utils.parallel import Ranks
from utils.runtime import available_cores
from weights.containers import stored_sha256


@dataclass(frozen=True)
class EvalOptions:
    """folder: where results go. weights: as --weights, for results.json. views: as --views, None: the configuration's.
    reverse_frames: each clip is played backwards. log_interval: videos from one line to the next. save_views: keep the
    scores of each view in scores.npz. groups: as --groups, "": videos are independent."""

    folder: Path
    weights: str | None = None
    views: str | None = None
    reverse_frames: bool = False
    log_interval: int = 1
    save_views: bool = False
    groups: str = ""


def evaluate_videos(config: Config, backend: BackendSpec, options: EvalOptions, ranks: Ranks) -> None:
    """Score the videos of TEST.filelist, each on one rank, and write the report of all of them on the main process.

    Raises UserError on bad input before the backend is built.
    """
    import datareader
    from datareader.lists import class_names_of

    test, task = config.TEST, build_task(config)
    names = class_names_of(config)
    # of the list as it is read now; read_list reports a list that cannot be read
    list_sha256 = file_sha256(test.filelist) if os.path.isfile(test.filelist) else ""
    items = datareader.read_list(
        test.filelist, config.MODEL.num_classes, filename_gt=test.filename_gt, multi_label=task.multi_label
    )
    if test.dataset_size not in (None, len(items)):
        print(f"{test.filelist} has {len(items)} videos, TEST.dataset_size says {test.dataset_size}; the list counts")
    loader = datareader.build_view_loader(
        config, items, section="TEST", views=options.views, reverse_frames=options.reverse_frames,
        num_workers=min(test.num_reader_threads, available_cores()), rank=ranks.rank, world_size=ranks.world_size,
    )  # fmt: skip
    meter = task.meter(items, names)
    if options.groups:
        meter.set_groups(options.groups)
    backend = replace(backend, weights=backend.weights_file())
    built = backend.build()
    score_all(built, loader, meter, test.batch_size, options.log_interval, options.save_views)
    for state in ranks.all_gather(meter.state()):
        meter.merge(state)
    if ranks.is_main_process:
        result = {
            **meter.result(),
            **meter.intervals(),
            "weights": options.weights,
            "views": str(loader.protocol),
            "reverse_frames": options.reverse_frames,
            "backend": built.name,
            "precision": built.precision,
        }
        write_text(options.folder / "config.yaml", save_config(config))
        write_results(
            options.folder, task, meter, result, test.filelist, list_sha256, task.report(result),
            weights_sha256=stored_sha256(backend.weights), views=result["views"],
        )  # fmt: skip


def score_all(
    backend: Backend, loader, meter: Meter, batch_size: int, log_interval: int, save_views: bool = False
) -> None:
    """Give the meter the scores of every video of the loader, or the reason of its failure.

    save_views: keep the scores of each view, as float16: 474 MB for 19,761 videos of 30 views and 400 classes.
    """
    from datareader import Failure

    progress = Progress(len(loader), log_interval, "video")
    for video in loader:
        if isinstance(video, Failure):
            meter.add_failure(video.video_id, video.reason)
            progress.say(f"broken video, counted as wrong: {video.path}: {video.reason}")
        else:
            if video.warning:
                progress.say(f"{video.path}: {video.warning}")
            scores, logits = view_outputs(backend, video, batch_size)  # [V, K]
            kept = {"logits": logits.mean(axis=0)}
            if save_views:
                kept["view_scores"] = scores.astype(np.float16)
            meter.add_video(video.video_id, scores, video.clip_of(np.arange(len(video))), video.labels, kept)
        progress.advance(" ".join(f"{name} {value:.2f}" for name, value in meter.running().items()))
    progress.close()


def write_results(
    folder: Path, task: Task, meter: Meter, result: dict, list_path: str, list_sha256: str, text: str,
    weights_sha256: str = "", views: str = "",
) -> None:  # fmt: skip
    """results.json, results.txt (the text), scores.npz and the task's pictures in a folder; the text to stdout."""
    print(text)
    write_json(folder / "results.json", result)
    write_text(folder / "results.txt", text + "\n")
    meter.save(folder / "scores.npz", list_path, list_sha256, weights_sha256, views)
    task.draw(meter, folder)
    print(f"results.json, results.txt, scores.npz and pictures are in {folder}")
