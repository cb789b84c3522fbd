"""Two networks on the same videos, one on RGB frames and one on optical flow; each video is decoded once."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from configs import config_from_args
from configs.schema import Config
from datareader import Failure, VideoItem, build_view_loader
from datareader.lists import class_names_of
from datareader.two_streams import TwoStreamLoader
from datareader.workers import ReaderPool
from inference.adaptive import AdaptiveScorer, AdaptiveViews, ScoredViews, StoppingRule
from inference.backends import BackendSpec, backend_facts, view_outputs
from inference.classify import PredictOptions, class_record, failure_record
from inference.evaluate import EvalOptions, Evaluation, write_results
from tasks import build_task
from tasks.fusion import comparison_table, fuse_video, judge_fusion, load_runs
from utils.errors import UserError
from utils.log import Progress
from utils.parallel import Ranks

STREAMS = ("rgb", "flow")


@dataclass(frozen=True)
class TwoStreams:
    """The networks of both streams, for code that builds them after its other checks."""

    rgb: BackendSpec
    flow: BackendSpec

    @property
    def config(self) -> Config:
        """The RGB stream's, where both agree."""
        return self.rgb.config

    def checked_on(self, items: Sequence[VideoItem]) -> TwoStreams:
        """As `BackendSpec.checked_on`."""
        return TwoStreams(self.rgb.checked_on(items), self.flow.checked_on(items))

    def rule(self, adaptive: AdaptiveViews, loader: TwoStreamLoader) -> StoppingRule:
        """When the fused scores of a video's views are settled. Raises UserError as `StoppingRule.choose` does."""
        weights = [self.rgb.weights_file(), self.flow.weights_file()]
        return StoppingRule.choose(adaptive, weights, loader.protocol, build_task(self.config).multi_label)


def two_streams(args: argparse.Namespace, section: str) -> TwoStreams:
    """What --two_stream RGB FLOW and the other flags say; each file has the config.yaml of its training beside it.

    section: TEST or INFER. Raises UserError for files of other modalities, and of classes that differ.
    """
    specs = []
    for modality, weights in zip(STREAMS, args.two_stream):
        path = Path(weights).parent / "config.yaml"
        if not Path(weights).is_file():
            raise UserError(f"--two_stream {weights}: no such file")
        if not path.is_file():
            raise UserError(f"--two_stream {weights}: no config.yaml of its training beside it")
        config = config_from_args(argparse.Namespace(**{**vars(args), "config": str(path)}), (section,))
        if config.READER.modality != modality:
            raise UserError(f"--two_stream RGB FLOW: {path} is of modality {config.READER.modality}, not {modality}")
        specs.append(BackendSpec(config, weights, "", args.backend, args.precision, section))
    names = [class_names_of(spec.config, section) for spec in specs]
    if names[0] != names[1]:
        raise UserError("--two_stream RGB FLOW: the two networks are of other classes")
    return TwoStreams(*specs)


# ------------------------------------------------------------------------------------------- evaluation


def evaluate_two_streams(streams: TwoStreams, options: EvalOptions, ranks: Ranks) -> None:
    """Evaluate both networks on the videos of TEST.filelist as `evaluate_videos` does, in the folders rgb and flow, and
    their fusion, as tools/fuse_scores.py does, in options.folder. Adaptive views are those that the fusion needs.

    Raises UserError on bad input before a backend is built, also for streams of other lists.
    """
    lists = [spec.config.TEST.filelist for spec in (streams.rgb, streams.flow)]
    if lists[0] != lists[1]:
        raise UserError(f"--two_stream: TEST.filelist is {lists[0]} for rgb, {lists[1]} for flow; pass --filelist")
    folders = {name: options.folder / name for name in STREAMS}
    evaluations = [
        Evaluation(spec, replace(options, folder=folder, weights=spec.weights), ranks)
        for spec, folder in zip((streams.rgb, streams.flow), folders.values())
    ]
    loader = TwoStreamLoader(*(evaluation.loader for evaluation in evaluations))
    adaptive = evaluations[0].adaptive
    rule = streams.rule(adaptive, loader) if adaptive else None
    for evaluation in evaluations:
        evaluation.build(rule)
    networks = [(evaluation.backend, evaluation.config.TEST.batch_size) for evaluation in evaluations]
    progress = Progress(len(loader), options.log_interval, "video")
    for videos in AdaptiveScorer(loader, networks, rule) if rule else loader:
        for evaluation, video in zip(evaluations, videos):
            evaluation.add(video, progress)
        progress.advance("; ".join(f"{name} {one.running()}" for name, one in zip(STREAMS, evaluations)))
    progress.close()
    for name, evaluation in zip(STREAMS, evaluations):
        if ranks.is_main_process:
            print(f"\n{name}:")
        facts = evaluation.finish(ranks)
    if ranks.is_main_process:
        runs = load_runs({name: folder / "scores.npz" for name, folder in folders.items()})
        task, meter, result = judge_fusion(runs, groups=options.groups)
        result.update(reverse_frames=options.reverse_frames, **facts)
        print("\nfused:")
        write_results(
            options.folder, task, meter, result, lists[0], evaluations[0].list_sha256,
            f"{task.report(result)}\n\n{comparison_table(result)}",
        )  # fmt: skip


# ------------------------------------------------------------------------------------------- prediction


def predict_classes(
    config: Config,
    items: Sequence[VideoItem],
    streams: TwoStreams,
    names: list[str],
    options: PredictOptions,
    progress: Progress,
    pool: ReaderPool | None = None,
) -> Iterator[dict]:
    """A record per video as `inference.classify.predict_classes` gives it, for the fused scores of both streams."""
    specs, adaptive = (streams.rgb, streams.flow), AdaptiveViews.parse(options.views)
    views = adaptive.views if adaptive else options.views
    loader = TwoStreamLoader(*(build_view_loader(spec.config, items, section="INFER", views=views) for spec in specs))
    loader.pool = pool or loader.pool
    rule = streams.rule(adaptive, loader) if adaptive else None
    if rule:
        progress.say(f"adaptive views of {loader.protocol}, {rule.source}")
    task, built = build_task(config), [spec.build() for spec in specs]
    networks = [(backend, spec.config.INFER.batch_size) for backend, spec in zip(built, specs)]
    for videos in AdaptiveScorer(loader, networks, rule) if rule else loader:
        failure = next((video for video in videos if isinstance(video, Failure)), None)
        if failure is not None:
            yield failure_record(failure, progress)
            continue
        outputs = [
            (video.scores, video.logits) if isinstance(video, ScoredViews) else view_outputs(backend, video, batch_size)
            for video, (backend, batch_size) in zip(videos, networks)
        ]
        warning = "; ".join(dict.fromkeys(video.warning for video in videos if video.warning))
        fused = fuse_video(outputs, task.multi_label)
        record = class_record(videos[0], warning, fused, task, names, options, progress)
        facts = {"num_views": len(outputs[0][0])} if rule else {}
        yield {**record, "backends": {name: backend_facts(backend) for name, backend in zip(STREAMS, built)}, **facts}
