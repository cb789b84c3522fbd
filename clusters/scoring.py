"""A part's videos -> a table, by the functions of predict.py: the same scores, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from clusters.rows import Keep, error_columns, failed_row, schema_of, table_of
from configs.schema import Config
from datareader import NO_LABEL, Failure, VideoItem, build_view_loader, build_window_loader
from datareader.key_windows import KeyFrameWindowLoader
from datareader.video import VideoError
from inference.backends import Backend, BackendSpec, refuse_detector
from inference.classify import PredictOptions, predict_classes
from inference.detect import box_source, check_detector, detect_actions, warning_of
from inference.features import check_stage, pooled_features, view_features
from inference.segment import score_windows
from utils.runtime import choose_device, set_variables


@dataclass(frozen=True)
class ScoringSpec:
    """What is computed of each video, the same in every worker.

    task: a key of rows.COLUMNS. class_names: of config. views: as predict.py's. refine_below, refine_views: videos
    whose best probability is lower are scored again with these views; 0: none. stride_seconds: of segments, None: half
    a window; of key frames, None: 1. features: a stage of the network, as res5. boxes, detector: as predict.py's. A
    worker reads with config.INFER.num_reader_threads processes.
    """

    config: Config
    backend: BackendSpec
    use_gpu: bool | None
    task: str
    class_names: list[str]
    keep: Keep
    views: str | None = None
    refine_below: float = 0.0
    refine_views: str | None = None
    stride_seconds: float | None = None
    features: str = ""
    boxes: str = ""
    detector: str = "auto"

    @property
    def schema(self) -> pa.Schema:
        return schema_of(self.task, self.keep)

    def check(self) -> None:
        """Raise UserError for a detector and for views that the configuration does not have, before a worker starts."""
        if self.task == "detect":
            check_detector(self.config)
            box_source(self.config, self.options())
            return
        refuse_detector(self.config)
        video = [VideoItem("", NO_LABEL, 1)]
        if self.task == "segments":
            build_window_loader(self.config, video, views=self.views)
            return
        for views in (self.views, self.refine_views):
            build_view_loader(self.config, video, section="INFER", views=views)

    def options(self, **changes) -> PredictOptions:
        """What predict.py's functions are asked for."""
        options = PredictOptions(
            Path(), topk=self.keep.topk or len(self.class_names), views=self.views,
            stride_seconds=self.stride_seconds, features=self.features, log_interval=0, boxes=self.boxes,
            detector=self.detector,
        )  # fmt: skip
        return replace(options, **changes)

    def build(self) -> VideoScorer:
        return VideoScorer(self)

    def fail_row(self, video_id: int, path: str, reason: str) -> pa.Table:
        """The table of a video that killed its workers."""
        return table_of(self.schema, [failed_row(video_id, path, reason)])


class VideoScorer:
    """The network of a worker. setup: what runs it."""

    def __init__(self, spec: ScoringSpec):
        set_variables()
        choose_device(spec.use_gpu)
        self.spec, self.rows_of = spec, getattr(self, f"_{spec.task}")
        self.backend: Backend = spec.backend.build_eager() if spec.task == "features" else spec.backend.build()
        if spec.task == "features":
            check_stage(self.backend.model, spec.features)
        self.setup = f"{self.backend.name}, {self.backend.precision}"

    def __call__(self, first_id: int, paths: list[str]) -> pa.Table:
        """A row per video. first_id: the first video's place in the list."""
        items = [VideoItem(path, NO_LABEL, line) for line, path in enumerate(paths, 1)]
        rows = [
            {"id": video_id, "path": path, **row}
            for video_id, path, row in zip(range(first_id, first_id + len(paths)), paths, self.rows_of(items))
        ]
        return table_of(self.spec.schema, rows)

    def _classes(self, items: Sequence[VideoItem]) -> Iterator[dict]:
        spec = self.spec
        rows = self._class_rows(items, spec.views)
        unsure = [place for place, row in enumerate(rows) if row.get("probability", 1.0) < spec.refine_below]
        if unsure:
            refined = self._class_rows([items[place] for place in unsure], spec.refine_views)
            for place, row in zip(unsure, refined):
                rows[place] = row
        yield from rows

    def _class_rows(self, items: Sequence[VideoItem], views: str | None) -> list[dict]:
        spec = self.spec
        records = predict_classes(
            spec.config, items, _Built(self.backend), spec.class_names, self.spec.options(views=views), _Silent()
        )
        return [self._class_row(record, views) for record in records]

    def _class_row(self, record: dict, views: str | None) -> dict:
        if "error" in record:
            return error_columns(record["error"])
        best = record["top"][0]
        row = {name: record[name] for name in ("num_frames", "warning") if name in record}
        default = f"{self.spec.config.INFER.num_test_clips // 3}x3"
        row.update({"class": best["index"], "probability": best["probability"], "views": views or default})
        return {**row, **self.spec.keep.values(record["top"])}

    def _segments(self, items: Sequence[VideoItem]) -> Iterator[dict]:
        spec, options = self.spec, self.spec.options(topk=1)
        loader = build_window_loader(spec.config, items, views=spec.views, stride_seconds=spec.stride_seconds)
        for windows in loader:
            if isinstance(windows, Failure):
                yield error_columns(windows.reason)
                continue
            segments, error, _ = score_windows(spec.config, windows, self.backend, options)
            yield {
                "num_frames": windows.timeline.num_frames,
                "warning": windows.warning or None,
                "segments": [
                    {
                        "start_seconds": segment.start,
                        "end_seconds": segment.end,
                        "class": segment.indices[0],
                        "probability": segment.probabilities[0],
                    }
                    for segment in segments
                ],
                **(error_columns(error) if error else {}),
            }

    def _features(self, items: Sequence[VideoItem]) -> Iterator[dict]:
        spec, options = self.spec, self.spec.options()
        pool = partial(pooled_features, self.backend.model, stage=options.features)
        for video in build_view_loader(spec.config, items, section="INFER", views=spec.views):
            if isinstance(video, Failure):
                yield error_columns(video.reason)
                continue
            arrays = view_features(pool, video, options, spec.config.INFER.batch_size)
            row = {"num_frames": video.num_frames, "warning": video.warning or None}
            yield {**row, "features": arrays["features"]}

    def _detect(self, items: Sequence[VideoItem]) -> Iterator[dict]:
        spec = self.spec
        source = box_source(spec.config, spec.options())
        for windows in KeyFrameWindowLoader(spec.config, items, source.key_frames):
            if isinstance(windows, Failure):
                yield error_columns(windows.reason)
                continue
            try:
                moments = detect_actions(spec.config, windows, self.backend, source)
            except VideoError as error:
                yield error_columns(error.reason)
                continue
            rows = []
            for moment in moments:
                for box, scores, track in zip(moment.boxes, moment.scores, moment.tracks):
                    best = (-scores).argsort(kind="stable")[: spec.keep.topk or None]
                    row = {"frame": moment.frame, "seconds": moment.seconds, "box": box[:4], "score": box[4]}
                    rows.append({**row, "track": track, "top_index": best, "top_probability": scores[best]})
            warning = warning_of(windows, source) or None
            yield {"num_frames": windows.timeline.num_frames, "warning": warning, "boxes": rows}


@dataclass(frozen=True)
class _Built:
    """A BackendSpec whose backend is there already."""

    backend: Backend

    def build(self) -> Backend:
        return self.backend


class _Silent:
    """A Progress that prints nothing: results and errors are rows."""

    def say(self, text: str) -> None:
        pass
