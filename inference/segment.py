"""Videos of any length -> segments with times: windows slide over each video, and equal neighbours are merged.

Writes each video's segments as JSON, CSV, and subtitles for players (SRT, SubRip) and for browsers (WebVTT).
"""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.schema import Config
from datareader import Failure, VideoItem, VideoWindows, build_window_loader
from datareader.video import VideoError, printable
from inference.adaptive_segments import AdaptiveWindows
from inference.backends import Backend, BackendSpec, backend_facts, score_views
from inference.classify import PredictOptions, check_overlay, failure_record, output_names, progress_in_video
from utils.files import write_together
from utils.log import Progress

SHOWN_SEGMENTS = 30  # rows of the printed table
COLUMNS = ("start_seconds", "end_seconds", "class", "index", "probability")  # of the CSV file


def predict_segments(
    config: Config,
    items: Sequence[VideoItem],
    backend: BackendSpec,
    names: list[str],
    options: PredictOptions,
    progress: Progress,
) -> Iterator[dict]:
    """A record per video: its path, its number of segments and their files, or the reason of its failure.

    The backend is built after the other arguments have been checked.
    """
    outputs = output_names([item.path for item in items])
    check_overlay(options, len(items))
    loader = build_window_loader(config, items, views=options.views, stride_seconds=options.stride_seconds)
    built = backend.build()
    for windows in loader:
        if isinstance(windows, Failure):
            record = failure_record(windows, progress)
        else:
            record = _segment_video(config, windows, built, names, options, outputs[windows.video_id], progress)
            record.update(backend_facts(built))
        yield record


def _segment_video(
    config: Config,
    windows: VideoWindows,
    backend: Backend,
    names: list[str],
    options: PredictOptions,
    output: Path,
    progress: Progress,
) -> dict:
    segments, error, num_scored = score_windows(config, windows, backend, options)
    if error and not segments:
        return failure_record(Failure(windows.path, windows.video_id, error), progress)
    facts = video_facts(config, windows, options, error, num_scored)
    files = write_segments(options.folder / "segments" / output, facts, segments, names)
    record = {"path": windows.path, "num_segments": len(segments), "files": [str(file) for file in files]}
    if windows.warning:
        progress.say(f"{printable(windows.path)}: {windows.warning}")
    if error:
        progress.say(f"error: {printable(windows.path)}: {error}; its segments end there")
        record["error"] = error
    held = f"{printable(files[0])}, .csv, .srt and .vtt hold all {len(segments)}"
    if options.segments == "adaptive":
        held += f"; {num_scored} of {len(windows)} windows were scored"
    progress.say(f"\n{printable(windows.path)}\n{_table(segments, names)}\n{held}\n")
    if options.overlay_video and not error:
        from inference.overlay import draw_overlay, write_overlay

        def write(target: Path) -> str:
            return write_overlay(target, windows, segments, names, options.log_interval)

        record.update(draw_overlay(windows, options, output, "labels", write, progress))
    return record


def score_windows(
    config: Config, windows: VideoWindows, backend: Backend, options: PredictOptions
) -> tuple[list[Segment], str, int]:
    """The segments of a video, the reason why they end before it does ("" where they do not), and how many windows were
    scored."""
    merger, error = SegmentMerger(options.topk), ""
    batch_size = config.INFER.batch_size
    adaptive = AdaptiveWindows(windows, backend, batch_size) if options.segments == "adaptive" else None
    counter = progress_in_video(len(windows), options.log_interval, "window")
    num_merged = 0
    try:
        for part, scores in adaptive or window_scores(windows, backend, batch_size):
            for window, row in zip(range(part.start, part.stop), scores):
                merger.add(windows.start_seconds[window], windows.end_seconds[window], row)
                counter.advance(f"windows, {windows.end_seconds[window]:.1f} s")
            num_merged = part.stop
    except VideoError as failure:
        error = failure.reason
    counter.close()
    return merger.finish(), error, adaptive.num_scored if adaptive else num_merged


def window_scores(
    windows: VideoWindows, backend: Backend, batch_size: int, first_group: int = 0
) -> Iterator[tuple[slice, np.ndarray]]:
    """A group of windows at a time: which ones, and their scores, float32 [n, K], each the mean over its crops.

    A group is `windows_per_group` windows, which the network gets at once. first_group: where to begin; the scores of
    a group are the same wherever the iteration began. Raises VideoError where the reading ends early.
    """
    size = windows_per_group(windows, batch_size)
    for part, views in windows.batches(size, first_group * size):
        scores = score_views(backend, views, batch_size)
        yield part, scores.reshape(part.stop - part.start, len(views.crops), -1).mean(1)


def windows_per_group(windows: VideoWindows, batch_size: int) -> int:
    """As many windows as make `batch_size` views, one at least."""
    return max(1, batch_size // windows.protocol.views_per_clip)


def video_facts(config: Config, windows: VideoWindows, options: PredictOptions, error: str, num_scored: int) -> dict:
    """The fields of a segments file beside the segments: the video, its windows and views."""
    timeline, infer = windows.timeline, config.INFER
    counts = {"count": len(windows), **({"scored": num_scored} if options.segments == "adaptive" else {})}
    facts = {
        "path": windows.path,
        "fps": round(timeline.fps, 6),
        "num_frames": timeline.num_frames,
        "duration_seconds": round(timeline.end_seconds, 6),
        "container_start_seconds": round(timeline.start_seconds, 6),
        "window": {"num_frames": infer.video_length, "frame_stride": infer.sample_rate, **counts},
        "stride_seconds": round(float(np.median(np.diff(windows.start_seconds))), 6) if len(windows) > 1 else None,
        "views": options.views or "whole",
        "warning": windows.warning,
    }
    return {**facts, "error": error} if error else facts


def _table(segments: Sequence[Segment], names: list[str]) -> str:
    from tabulate import tabulate

    rows = [(s.start, s.end, names[s.indices[0]], s.probabilities[0]) for s in segments[:SHOWN_SEGMENTS]]
    more = f"\n... and {len(segments) - SHOWN_SEGMENTS} more" if len(segments) > SHOWN_SEGMENTS else ""
    return tabulate(rows, ("from s", "to s", "class", "probability"), floatfmt=(".2f", ".2f", "", ".4f")) + more


# ------------------------------------------------------------------------------------------- merging windows


@dataclass(frozen=True)
class Segment:
    """From `start` to `end` (seconds) the same class is the most probable one.

    indices: int64 [topk], classes, the most probable first; probabilities: float64 [topk].
    """

    start: float
    end: float
    indices: np.ndarray
    probabilities: np.ndarray


class SegmentMerger:
    """Scores of overlapping windows -> segments of one class each. Takes windows in order of their starts, and keeps
    only those that overlap.

    At time t the scores are p(t) = mean over the windows with start <= t < end of their scores; between two windows
    that leave a gap, the nearer one's. A segment is a longest stretch [a, b) over which argmax p(t) stays the same; its
    scores are the mean over time, 1 / (b - a) * integral from a to b of p(t) dt. topk: classes kept per segment.
    """

    def __init__(self, topk: int = 1):
        self.topk = topk
        self.windows: list[tuple[float, float, np.ndarray]] = []  # those that reach beyond `now`
        self.last: tuple[float, np.ndarray] | None = None  # end and scores of the window that reaches furthest
        self.now = 0.0
        self.segments: list[Segment] = []
        self.begin, self.best, self.total = 0.0, -1, np.zeros(0)

    def add(self, start: float, end: float, scores: np.ndarray) -> None:
        """A window, not before the last one's start. scores: [K]."""
        scores = np.asarray(scores, np.float64)
        if self.last is None:
            self.now = self.begin = start
        else:
            self._advance(start)
            if start > self.now:
                middle = (self.now + start) / 2
                self._extend(middle, self.last[1])
                self._extend(start, scores)
        self.windows.append((start, end, scores))
        if self.last is None or end >= self.last[0]:
            self.last = (end, scores)

    def finish(self) -> list[Segment]:
        """All segments, once no window follows; they touch each other and cover all windows."""
        if self.last is not None:
            self._advance(self.last[0])
            self._close()
        return self.segments

    def so_far(self) -> list[Segment]:
        """What `finish` would return now; windows may still follow."""
        merger = copy.copy(self)
        merger.windows, merger.segments = list(self.windows), list(self.segments)
        return merger.finish()

    def _advance(self, until: float) -> None:
        """No window that is to come covers the time before `until`."""
        for stop in sorted({end for _, end, _ in self.windows if self.now < end < until} | {until}):
            covering = [scores for _, end, scores in self.windows if end >= stop]
            if not covering:
                break
            self._extend(stop, np.mean(covering, 0))
        self.windows = [window for window in self.windows if window[1] > self.now]

    def _extend(self, until: float, scores: np.ndarray) -> None:
        """p(t) is `scores` from now until then."""
        if until <= self.now:
            return
        best = int(scores.argmax())
        if best != self.best:
            self._close()
            self.begin, self.best, self.total = self.now, best, np.zeros(len(scores))
        self.total = self.total + scores * (until - self.now)
        self.now = until

    def _close(self) -> None:
        if self.now <= self.begin or self.best < 0:
            return
        scores = self.total / (self.now - self.begin)
        order = (-scores).argsort(kind="stable")[: self.topk]
        self.segments.append(Segment(self.begin, self.now, order, scores[order]))


# ------------------------------------------------------------------------------------------- files


def write_segments(
    prefix: Path, facts: dict, segments: Sequence[Segment], names: list[str], sync: bool = True
) -> list[Path]:
    """Write prefix.json, prefix.csv, prefix.srt and prefix.vtt, all or none; returns their paths.

    facts: the JSON file's fields beside the segments. sync: as `write_together`.
    """
    rows = [segment_row(segment, names) for segment in segments]
    texts = {
        ".json": json.dumps({**facts, "segments": rows}, indent=2, allow_nan=False) + "\n",
        ".csv": csv_text(rows),
        ".srt": srt_text(rows),
        ".vtt": vtt_text(rows),
    }
    files = {prefix.with_name(prefix.name + suffix): text for suffix, text in texts.items()}
    write_together({path: _writer(text) for path, text in files.items()}, sync)
    return list(files)


def _writer(text: str):
    return lambda stream: stream.write(text.encode("utf-8", "surrogateescape"))


def segment_row(segment: Segment, names: list[str]) -> dict:
    """A segment as plain values; times in seconds, to the microsecond."""
    top = [
        {"class": names[i], "index": int(i), "probability": round(float(p), 6)}
        for i, p in zip(segment.indices, segment.probabilities)
    ]
    times = {"start_seconds": round(segment.start, 6), "end_seconds": round(segment.end, 6)}
    return {**times, **top[0], "top": top}


def csv_text(rows: Sequence[dict]) -> str:
    """A header line, then a line per segment (RFC 4180)."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def srt_text(rows: Sequence[dict]) -> str:
    """SubRip subtitles: number, times, text and a blank line each; lines end in CR LF, as the format demands."""
    cues = [(*_cue_times(row), _cue_text(row)) for row in rows]
    blocks = [f"{n}\r\n{srt_time(a)} --> {srt_time(b)}\r\n{text}\r\n\r\n" for n, (a, b, text) in enumerate(cues, 1)]
    return "".join(blocks)


def vtt_text(rows: Sequence[dict]) -> str:
    """WebVTT subtitles (W3C), which browsers show in a <track>: a header, then times and text with `&` and `<` escaped,
    and a blank line each."""
    blocks = ["WEBVTT\n\n"]
    for row in rows:
        start, end = (srt_time(time).replace(",", ".") for time in _cue_times(row))
        text = _cue_text(row).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")  # no "-->" in it
        blocks.append(f"{start} --> {end}\n{text}\n\n")
    return "".join(blocks)


def _cue_times(row: dict) -> tuple[int, int]:
    """When a subtitle is shown, in milliseconds; one at least."""
    start = round(1000 * row["start_seconds"])
    return start, max(start + 1, round(1000 * row["end_seconds"]))


def _cue_text(row: dict) -> str:
    return f"{' '.join(row['class'].split())} ({100 * row['probability']:.0f} %)"


def srt_time(milliseconds: int) -> str:
    """As 01:02:03,456."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{rest:03d}"
