"""All that eval.py does for a detector: score the boxes of every key frame, judge them, write a report."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from configs import save_config
from configs.schema import Config
from inference.backends import BackendSpec, backend_facts
from tasks import build_task
from tasks.box_evaluation import NUM_DRAWS
from tasks.detection import DetectionMeter
from tasks.score_boxes import score_key_frames
from utils.errors import UserError
from utils.files import write_json, write_text
from utils.parallel import Ranks
from utils.runtime import available_cores

if TYPE_CHECKING:
    from inference.evaluate import EvalOptions


def evaluate_boxes(config: Config, backend: BackendSpec, options: EvalOptions, ranks: Ranks) -> None:
    """Score the boxes of the key frames of TEST.filelist, each on one rank, and write the report on the main process.

    Raises UserError on bad input before the backend is built.
    """
    from datareader.box_lists import write_boxes
    from datareader.key_frames import KeyFrameLoader, read_key_frames

    if options.views or options.groups or options.save_views:
        raise UserError("a detector is evaluated without --views, --groups and --save_views")
    frames = read_key_frames(config, "TEST")
    meter = DetectionMeter.of(config, frames)
    loader = KeyFrameLoader(
        config, frames.samples, "TEST", reverse_frames=options.reverse_frames,
        num_workers=min(config.TEST.num_reader_threads, available_cores()), rank=ranks.rank,
        world_size=ranks.world_size,
    )  # fmt: skip
    built = backend.build()
    with contextlib.closing(loader):
        failures = score_key_frames(built, loader, meter, config.DETECTION)
    failures = [failure for part in ranks.all_gather(failures) for failure in part]
    meter = meter.gathered(ranks)
    if not ranks.is_main_process:
        return
    notes = [f"broken video, its boxes are counted as missed: {each.path}: {each.reason}" for each in failures]
    result = {
        **meter.result((*frames.notes, *notes), NUM_DRAWS),
        "weights": backend.weights_file(),
        "proposals": config.DETECTION.proposals,
        "reverse_frames": options.reverse_frames,
        **backend_facts(built),
        "num_videos": len(set(frames.index.video[frames.truth.frames])),
    }
    folder = options.folder
    text = build_task(config).report(result)
    print(text)
    write_json(folder / "results.json", result)
    write_text(folder / "results.txt", text + "\n")
    write_text(folder / "config.yaml", save_config(config))
    write_boxes(folder / "detections.csv", meter.rows(), frames.index, frames.truth.unit, "score")
    print(f"results.json, results.txt and detections.csv are in {folder}")
