"""Segments as JSON, CSV and SRT (SubRip subtitles, which players show over the video)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from inference.merging import Segment
from utils.files import write_together

COLUMNS = ("start_seconds", "end_seconds", "class", "index", "probability")


def write_segments(prefix: Path, facts: dict, segments: Sequence[Segment], names: list[str]) -> list[Path]:
    """Write prefix.json, prefix.csv and prefix.srt, all or none; returns their paths.

    facts: what the JSON file tells beside the segments.
    """
    rows = [segment_row(segment, names) for segment in segments]
    texts = {
        ".json": json.dumps({**facts, "segments": rows}, indent=2, allow_nan=False) + "\n",
        ".csv": csv_text(rows),
        ".srt": srt_text(rows),
    }
    files = {prefix.with_name(prefix.name + suffix): text for suffix, text in texts.items()}
    write_together({path: _writer(text) for path, text in files.items()})
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
    """A line of names, then a line a segment (RFC 4180)."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def srt_text(rows: Sequence[dict]) -> str:
    """Subtitles: number, times, text and a blank line each; lines end as on Windows, where the format comes from."""
    blocks = []
    for number, row in enumerate(rows, 1):
        start = round(1000 * row["start_seconds"])
        end = max(start + 1, round(1000 * row["end_seconds"]))
        words = " ".join(row["class"].split())
        text = f"{words} ({100 * row['probability']:.0f} %)"
        blocks.append(f"{number}\r\n{srt_time(start)} --> {srt_time(end)}\r\n{text}\r\n\r\n")
    return "".join(blocks)


def srt_time(milliseconds: int) -> str:
    """As 01:02:03,456."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{rest:03d}"
