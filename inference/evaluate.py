"""All that eval.py does: score every video of a list, compute the task's metrics, write a report."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs import save_config
from configs.schema import Config
from inference.backends import Backend, BackendSpec, score_views
from tasks import Meter, Task, build_task
from utils.files import file_sha256, write_json, write_text
from utils.log import Progress
from utils.parallel import Ranks
from utils.runtime import available_cores


@dataclass(frozen=True)
class EvalOptions:
    """folder: where results go. weights: as --weights, for results.json. views: as --views, None: the configuration's.
    reverse_frames: each clip is played backwards. log_interval: videos from one line to the next."""

    folder: Path
    weights: str | None = None
    views: str | None = None
    reverse_frames: bool = False
    log_interval: int = 1


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
    built = backend.build()
    score_all(built, loader, meter, test.batch_size, options.log_interval)
    for state in ranks.all_gather(meter.state()):
        meter.merge(state)
    if ranks.is_main_process:
        write_report(task, meter, config, built, options, list_sha256)


def score_all(backend: Backend, loader, meter: Meter, batch_size: int, log_interval: int) -> None:
    """Give the meter the scores of every video of the loader, or the reason of its failure."""
    from datareader import Failure

    progress = Progress(len(loader), log_interval, "video")
    for video in loader:
        if isinstance(video, Failure):
            meter.add_failure(video.video_id, video.reason)
            progress.say(f"broken video, counted as wrong: {video.path}: {video.reason}")
        else:
            if video.warning:
                progress.say(f"{video.path}: {video.warning}")
            scores = score_views(backend, video, batch_size)  # [V, K]
            meter.add_video(video.video_id, scores, video.clip_of(np.arange(len(video))), video.labels)
        progress.advance(" ".join(f"{name} {value:.2f}" for name, value in meter.running().items()))
    progress.close()


def write_report(
    task: Task, meter: Meter, config: Config, backend: Backend, options: EvalOptions, list_sha256: str
) -> None:
    """results.json, results.txt, scores.npz, config.yaml and the task's pictures in options.folder; text to stdout."""
    result = meter.result()
    result.update(weights=options.weights, views=options.views, reverse_frames=options.reverse_frames)
    result.update(backend=backend.name, precision=backend.precision)
    write_text(options.folder / "config.yaml", save_config(config))
    write_results(options.folder, task, meter, result, config.TEST.filelist, list_sha256, task.report(result))


def write_results(
    folder: Path, task: Task, meter: Meter, result: dict, list_path: str, list_sha256: str, text: str
) -> None:
    """results.json, results.txt (the text), scores.npz and the task's pictures in a folder; the text to stdout."""
    print(text)
    write_json(folder / "results.json", result)
    write_text(folder / "results.txt", text + "\n")
    meter.save(folder / "scores.npz", list_path, list_sha256)
    task.draw(meter, folder)
    print(f"results.json, results.txt, scores.npz and pictures are in {folder}")
