"""Videos of any length -> segments with times: windows slide over each, equal neighbours become one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datareader import Failure, VideoItem, VideoWindows, build_window_loader
from datareader.video import VideoError, printable
from inference import score_views
from inference.classify import failure_record
from inference.merging import Segment, SegmentMerger
from inference.overlay import film_path, write_film
from inference.progress import long_progress
from inference.segment_files import write_segments
from inference.videos import output_names
from utils.errors import UserError
from utils.log import Progress

SHOWN_SEGMENTS = 30


@dataclass(frozen=True)
class SegmentOptions:
    """folder: where the files go. topk: classes told of each segment. views: crops of each window, as 1x3 or whole.
    hop_seconds: from one window to the next, None: half a window. film: a file for the one video, or a folder, "": no
    film."""

    folder: Path
    topk: int
    views: str | None = None
    hop_seconds: float | None = None
    film: str = ""
    log_interval: int = 1


def predict_segments(
    config, items: Sequence[VideoItem], build: Callable, names: list[str], options: SegmentOptions, progress: Progress
) -> Iterator[dict]:
    """A record a video: its path, how many segments it has and the files that hold them, or why it failed.

    build() gives the engine; it is called when the rest has been found right.
    """
    outputs = output_names([item.path for item in items])
    if options.film.lower().endswith(".mp4") and len(items) > 1:
        raise UserError(f"--draw={options.film} is one file for {len(items)} videos; name a folder")
    loader = build_window_loader(config, items, views=options.views, hop_seconds=options.hop_seconds)
    engine = build()
    for windows in loader:
        if isinstance(windows, Failure):
            record = failure_record(windows, progress)
        else:
            record = _segment_video(config, windows, engine, names, options, outputs[windows.video_id], progress)
        yield record


def _segment_video(
    config, windows: VideoWindows, engine, names: list[str], options: SegmentOptions, output: Path, progress: Progress
) -> dict:
    segments, error = score_windows(config, windows, engine, options)
    if error and not segments:
        return failure_record(Failure(windows.path, windows.video_id, error), progress)
    facts = video_facts(config, windows, options, error)
    files = write_segments(options.folder / "segments" / output, facts, segments, names)
    record = {"path": windows.path, "num_segments": len(segments), "files": [str(file) for file in files]}
    if windows.complaint:
        progress.say(f"{printable(windows.path)}: {windows.complaint}")
    if error:
        progress.say(f"error: {printable(windows.path)}: {error}; its segments end there")
        record["error"] = error
    held = f"{printable(files[0])}, .csv and .srt hold all {len(segments)}"
    progress.say(f"\n{printable(windows.path)}\n{_table(segments, names)}\n{held}\n")
    if options.film and not error:
        record.update(_draw(windows, segments, names, options, output, progress))
    return record


def _draw(
    windows: VideoWindows, segments: list[Segment], names: list[str], options: SegmentOptions, output: Path, progress
) -> dict:
    film = film_path(options.film, output)
    try:
        said = write_film(film, windows, segments, names, options.log_interval)
    except VideoError as error:
        progress.say(f"error: {printable(windows.path)}: {error.cause}; it is not drawn")
        return {"error": error.cause}
    progress.say(f"{printable(film)}: the video with its labels{said}")
    return {"film": str(film)}


def score_windows(
    config, windows: VideoWindows, engine, options: SegmentOptions
) -> tuple[list[Segment], str]:  # fmt: skip
    """The segments of a video, and why they end before it does ("" where they do not)."""
    merger, error = SegmentMerger(options.topk), ""
    batch_size = config.INFER.batch_size
    counter = long_progress(len(windows), options.log_interval, "window")
    try:
        for part, views in windows.batches(max(1, batch_size // windows.protocol.views_per_clip)):
            scores = score_views(engine, views, batch_size)
            scores = scores.reshape(part.stop - part.start, len(views.crops), -1).mean(1)
            for window, row in zip(range(part.start, part.stop), scores):
                merger.add(windows.start_seconds[window], windows.end_seconds[window], row)
                counter.advance(f"windows, {windows.end_seconds[window]:.1f} s")
    except VideoError as failure:
        error = failure.cause
    counter.close()
    return merger.finish(), error


def video_facts(config, windows: VideoWindows, options: SegmentOptions, error: str) -> dict:
    """What a JSON file of segments tells about the video and how it was looked at."""
    timeline, infer = windows.timeline, config.INFER
    facts = {
        "path": windows.path,
        "fps": round(timeline.fps, 6),
        "num_frames": timeline.num_frames,
        "duration_seconds": round(timeline.end_seconds, 6),
        "container_start_seconds": round(timeline.start_seconds, 6),
        "window": {"num_frames": infer.video_length, "frame_stride": infer.sample_rate, "count": len(windows)},
        "hop_seconds": round(float(np.median(np.diff(windows.start_seconds))), 6) if len(windows) > 1 else None,
        "views": options.views or "whole",
        "complaint": windows.complaint,
    }
    return {**facts, "error": error} if error else facts


def _table(segments: Sequence[Segment], names: list[str]) -> str:
    from tabulate import tabulate

    rows = [(s.start, s.end, names[s.indices[0]], s.probabilities[0]) for s in segments[:SHOWN_SEGMENTS]]
    more = f"\n... and {len(segments) - SHOWN_SEGMENTS} more" if len(segments) > SHOWN_SEGMENTS else ""
    return tabulate(rows, ("from s", "to s", "class", "probability"), floatfmt=(".2f", ".2f", "", ".4f")) + more
