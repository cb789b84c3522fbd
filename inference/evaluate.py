"""All that eval.py does: score every video of a list, compute the task's metrics, write a report."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs import save_config
from configs.schema import Config
from inference.adaptive import AdaptiveScorer, AdaptiveViews, ScoredViews, StoppingRule
from inference.backends import BackendSpec, backend_facts, view_outputs
from tasks import Meter, Task, build_task
from utils.errors import UserError
from utils.files import file_sha256, write_json, write_text
from utils.log import Progress
from utils.parallel import Ranks
from utils.runtime import available_cores
from weights.containers import stored_sha256

if TYPE_CHECKING:
    from datareader import Failure, VideoViews


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
    evaluation = Evaluation(replace(backend, config=config), options, ranks)
    evaluation.build()
    progress = Progress(len(evaluation.loader), options.log_interval, "video")
    for video in evaluation.videos():
        evaluation.add(video, progress)
        progress.advance(evaluation.running())
    progress.close()
    evaluation.finish(ranks)


class Evaluation:
    """The evaluation of one network: the views of its list, the meter, the report.

    Raises UserError on bad input; the backend is built last, by `build`.
    """

    def __init__(self, backend: BackendSpec, options: EvalOptions, ranks: Ranks):
        import datareader
        from datareader.lists import class_names_of

        config, test = backend.config, backend.config.TEST
        self.config, self.options, self.task = config, options, build_task(config)
        self.adaptive = AdaptiveViews.parse(options.views)
        if self.adaptive and options.save_views:
            raise UserError("--save_views keeps the scores of all views; leave it out with --views=adaptive")
        names = class_names_of(config)
        # of the list as it is read now; read_list reports a list that cannot be read
        self.list_sha256 = file_sha256(test.filelist) if os.path.isfile(test.filelist) else ""
        items = datareader.read_list(
            test.filelist, config.MODEL.num_classes, filename_gt=test.filename_gt, multi_label=self.task.multi_label
        )
        if test.dataset_size not in (None, len(items)):
            print(
                f"{test.filelist} has {len(items)} videos, TEST.dataset_size says {test.dataset_size}; the list counts"
            )
        self.loader = datareader.build_view_loader(
            config, items, section="TEST", views=self.adaptive.views if self.adaptive else options.views,
            reverse_frames=options.reverse_frames, num_workers=min(test.num_reader_threads, available_cores()),
            rank=ranks.rank, world_size=ranks.world_size,
        )  # fmt: skip
        self.meter = self.task.meter(items, names)
        if options.groups:
            self.meter.set_groups(options.groups)
        self.spec = replace(backend, weights=backend.weights_file()).checked_on(items)
        self.num_views: list[int] = []  # of each video that was scored here, where they are adaptive

    def build(self, rule: StoppingRule | None = None) -> None:
        """Build the backend. rule: of adaptive views, None: that of this network by itself. Raises UserError."""
        if self.adaptive:
            self.rule = rule or StoppingRule.choose(
                self.adaptive, [self.spec.weights_file()], self.loader.protocol, self.task.multi_label
            )
        self.backend = self.spec.build()
        assert self.spec.weights is not None
        self.weights_sha256 = stored_sha256(self.spec.weights)  # now: training may write the file meanwhile

    def videos(self) -> Iterable[VideoViews | ScoredViews | Failure]:
        """All videos of this rank: their views, or their scores where the views are adaptive."""
        if self.adaptive is None:
            return self.loader
        scorer = AdaptiveScorer(self.loader, [(self.backend, self.config.TEST.batch_size)], self.rule)
        return (video for (video,) in scorer)

    def add(self, video: VideoViews | ScoredViews | Failure, progress: Progress) -> None:
        """Give the meter the scores of a video, or the reason of its failure."""
        from datareader import Failure

        if isinstance(video, Failure):
            self.meter.add_failure(video.video_id, video.reason)
            progress.say(f"broken video, counted as wrong: {video.path}: {video.reason}")
            return
        if video.warning:
            progress.say(f"{video.path}: {video.warning}")
        if isinstance(video, ScoredViews):
            self.num_views.append(len(video.views))
            kept = {"logits": video.logits.mean(axis=0), "num_views": np.array(len(video.views))}
            clips = video.views // self.loader.protocol.views_per_clip
            self.meter.add_video(video.video_id, video.scores, clips, video.labels, kept)
            return
        scores, logits = view_outputs(self.backend, video, self.config.TEST.batch_size)  # [V, K]
        kept = {"logits": logits.mean(axis=0)}
        if self.options.save_views:  # 474 MB for 19,761 videos of 30 views and 400 classes
            kept["view_scores"] = scores.astype(np.float16)
        self.meter.add_video(video.video_id, scores, video.clip_of(np.arange(len(video))), video.labels, kept)

    def running(self) -> str:
        """The metrics so far."""
        return " ".join(f"{name} {value:.2f}" for name, value in self.meter.running().items())

    def finish(self, ranks: Ranks) -> dict:
        """Gather what all ranks scored and write the report on the main process. Returns what it says of adaptive
        views, {} without."""
        for state in ranks.all_gather(self.meter.state()):
            self.meter.merge(state)
        adaptive = self._adaptive_facts(ranks) if self.adaptive else {}
        if not ranks.is_main_process:
            return adaptive
        options, views = self.options, str(self.loader.protocol)
        result = {
            **self.meter.result(),
            **self.meter.intervals(),
            "weights": options.weights,
            "views": views,
            "reverse_frames": options.reverse_frames,
            **backend_facts(self.backend),
            **adaptive,
        }
        if options.reverse_frames and self.config.READER.modality == "flow":  # a cache has no flow of swapped frames
            result["reversed"] = "approximate" if self.config.READER.flow_cache else "exact"
        write_text(options.folder / "config.yaml", save_config(self.config))
        write_results(
            options.folder, self.task, self.meter, result, self.config.TEST.filelist, self.list_sha256,
            self.task.report(result), weights_sha256=self.weights_sha256, views=views,
        )  # fmt: skip
        return adaptive

    def _adaptive_facts(self, ranks: Ranks) -> dict:
        """mean_views: the mean number of views of a video that was scored, on any rank; and the rule's threshold."""
        states = ranks.all_gather({"num_views": np.array(self.num_views, np.int64)})
        counts = np.concatenate([state["num_views"] for state in states])
        return {
            "mean_views": float(counts.mean()) if len(counts) else None,
            "adaptive": {
                "confidence": self.adaptive.confidence,
                "threshold": self.rule.threshold,
                "source": self.rule.source,
            },
        }


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
