"""What jobs compute, by predict.py's own code: the same frames, batches and scores, bit for bit."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.schema import Config
from datareader import NO_LABEL, Failure, VideoItem, VideoWindows, build_view_loader, build_window_loader
from datareader.video import VideoError
from datareader.workers import ReaderPool
from inference.classify import PredictOptions, predict_classes
from inference.features import view_features, window_features, write_features
from inference.segment import (
    Segment,
    SegmentMerger,
    segment_row,
    video_facts,
    window_scores,
    windows_per_group,
    write_segments,
)
from inference.two_streams import TwoStreams
from inference.two_streams import predict_classes as predict_two_streams
from serving.engine import JobBackend
from serving.jobs import Job, WindowScores
from tasks.classification import best_classes
from utils.errors import UserError
from utils.files import write_json

PUBLISH_SECONDS = 0.5  # between two lists of the segments so far
TOP = 5  # classes of a window and of the whole video that the page shows


@dataclass(frozen=True)
class Work:
    """What all jobs share. config: of the network, of two streams the RGB one's. names: of the classes. max_minutes: of
    video. network_id: tells what computes, so that the results of another network are not taken for its own."""

    config: Config
    names: list[str]
    max_minutes: float
    network_id: str

    def run(self, job: Job, video: Path, backend: JobBackend, pool: ReaderPool) -> None:
        """Compute the job's result and write it into its folder.

        Raises VideoError and UserError, whose line is for the client, and Interrupted.
        """
        {"segments": self._segments, "classes": self._classes, "features": self._features}[job.options.task](
            job, [VideoItem(str(video), NO_LABEL, 1)], backend, pool
        )

    def _options(self, job: Job) -> PredictOptions:
        wanted = job.options
        return PredictOptions(
            job.folder, wanted.topk, wanted.views, wanted.stride_seconds, features=wanted.stage,
            feature_pooling=wanted.pooling, log_interval=0,
        )  # fmt: skip

    def _windows(self, job: Job, items: Sequence[VideoItem], pool: ReaderPool) -> VideoWindows:
        """Opens the video, and tells how long it is."""
        wanted = job.options
        loader = build_window_loader(self.config, items, views=wanted.views, stride_seconds=wanted.stride_seconds)
        loader.pool = pool
        windows = next(iter(loader))
        if isinstance(windows, Failure):
            raise VideoError(windows.path, windows.reason)
        timeline = windows.timeline
        check_duration(timeline.end_seconds, self.max_minutes)
        job.info = {
            "duration": round(timeline.end_seconds, 6),
            "frames": timeline.num_frames,
            "rate": round(timeline.fps, 6),
            "num_windows": len(windows),
        }
        job.save()
        return windows

    # ------------------------------------------------------------------------------------------- segments

    def _segments(self, job: Job, items: Sequence[VideoItem], backend: JobBackend, pool: ReaderPool) -> None:
        options, batch_size = self._options(job), self.config.INFER.batch_size
        windows = self._windows(job, items, pool)
        stored = WindowScores(job.folder / "windows", len(self.names))
        size = windows_per_group(windows, batch_size)
        job.num_windows = stored.keep(0 if job.has_damage else size)
        merger, total, error = SegmentMerger(options.topk), np.zeros(len(self.names)), ""
        for start, end, scores in stored.read(0, job.num_windows):
            merger.add(start, end, scores)
            total += scores
        job.begin_scoring()
        job.scoring_since = time.monotonic(), job.num_windows
        published = 0.0
        try:
            for part, scores in window_scores(windows, backend, batch_size, job.num_windows // size):
                starts, ends = windows.start_seconds[part], windows.end_seconds[part]
                if windows.damage.num_damaged and not job.has_damage:
                    job.has_damage = True
                    job.save()
                stored.append(starts, ends, scores)
                for window in zip(starts, ends, scores):
                    merger.add(*window)
                total += scores.sum(0, dtype=np.float64)
                job.num_windows = part.stop
                if time.monotonic() - published > PUBLISH_SECONDS:
                    self._publish(job, merger.so_far(), total)
                    published = time.monotonic()
        except VideoError as failure:
            backend.check()
            if not job.num_windows:
                raise
            error = failure.reason
        backend.check()
        segments = merger.finish()
        facts = {**video_facts(self.config, windows, options, error, job.num_windows), "path": job.video_name}
        write_segments(job.folder / "segments", facts, segments, self.names, sync=False)
        self._publish(job, segments, total)
        job.warning = "; ".join(filter(None, (windows.warning, error and f"{error}; the segments end there")))

    def _publish(self, job: Job, segments: Sequence[Segment], total: np.ndarray) -> None:
        job.segments = [_shown(segment_row(segment, self.names)) for segment in segments]
        job.top = best_classes(total / max(1, job.num_windows), self.names, TOP)

    # ------------------------------------------------------------------------------------------- classes, features

    def _classes(self, job: Job, items: Sequence[VideoItem], backend: JobBackend, pool: ReaderPool) -> None:
        job.begin_scoring()
        (record,) = self._records(items, backend, self._options(job), pool)
        backend.check()
        if "error" in record:
            raise VideoError(items[0].path, record["error"])
        record["path"] = job.video_name
        write_json(job.folder / "record.json", record, sync=False)
        job.top, job.warning = record["top"][:TOP], record.get("warning", "")

    def check_views(self, views: str | None, backend: JobBackend) -> None:
        """Raise predict.py's UserError for views that the networks cannot have, and for another calibration of adaptive
        ones."""
        no_video = VideoItem("", NO_LABEL, 1)  # its record says so; what was to be checked is checked before
        next(self._records([no_video], backend, PredictOptions(Path(), views=views), ReaderPool(0)))

    def _records(
        self, items: Sequence[VideoItem], backend: JobBackend, options: PredictOptions, pool: ReaderPool
    ) -> Iterator[dict]:
        flow = backend.flow()
        predict, networks = (predict_two_streams, TwoStreams(backend, flow)) if flow else (predict_classes, backend)
        return predict(self.config, items, networks, self.names, options, _Silent(), pool)

    def _features(self, job: Job, items: Sequence[VideoItem], backend: JobBackend, pool: ReaderPool) -> None:
        options, batch_size = self._options(job), self.config.INFER.batch_size

        def pooled(clips: np.ndarray) -> np.ndarray:
            job.begin_scoring()
            return backend.pooled_features(clips, options.features)

        if options.feature_pooling == "window":
            windows = self._windows(job, items, pool)
            arrays, job.warning = window_features(pooled, windows, options, batch_size), windows.warning
        else:
            loader = build_view_loader(self.config, items, section="INFER", views=options.views)
            loader.pool = pool
            video = next(iter(loader))
            if isinstance(video, Failure):
                raise VideoError(video.path, video.reason)
            arrays, job.warning = view_features(pooled, video, options, batch_size), video.warning
        backend.check()
        facts = {"path": job.video_name, "stage": options.features, "pooling": options.feature_pooling}
        write_features(job.folder / "features.npz", arrays, **facts)


def check_duration(seconds: float, max_minutes: float) -> None:
    """Raise UserError for a video that is too long."""
    if seconds > 60 * max_minutes:
        raise UserError(f"the video lasts {seconds / 60:.1f} minutes, the server takes {max_minutes:g} (--max_minutes)")


def result_of(job: Job, names: list[str]) -> None:
    """Read what a finished job found, after a restart, into the job."""
    if job.options.task == "segments":
        stored = json.loads((job.folder / "segments.json").read_text(encoding="utf-8"))
        job.segments = [_shown(row) for row in stored["segments"]]
        rows = WindowScores(job.folder / "windows", len(names))
        total, job.num_windows = np.zeros(len(names)), 0
        while len(part := rows.read(job.num_windows, 4096)):
            total += part["scores"].sum(0, dtype=np.float64)
            job.num_windows += len(part)
        job.top = best_classes(total / max(1, job.num_windows), names, TOP)
    elif job.options.task == "classes":
        job.top = json.loads((job.folder / "record.json").read_text(encoding="utf-8"))["top"][:TOP]


def _shown(row: dict) -> dict:
    """A row of `segment_row` without its list of classes, which its file has: rows of all kept jobs are in memory."""
    return {key: value for key, value in row.items() if key != "top"}


class _Silent:
    """A Progress that shows nothing."""

    def say(self, text: str) -> None:
        pass

    def advance(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass
