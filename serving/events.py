"""Server-sent events of a job: its state and its windows as they are scored.

An event's id is the number of windows that the client has then, so that Last-Event-ID goes on with the next one. The
other events are whole states, and are sent again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from serving.jobs import Job, WindowScores
from serving.problems import in_chinese
from serving.work import TOP
from tasks.classification import best_classes

if TYPE_CHECKING:
    from serving.server import Server

POLL_SECONDS = 0.02  # a look costs some microseconds where nothing has changed
COMMENT_SECONDS = 15.0  # without an event
ROWS = 256  # windows sent at once


async def job_events(server: Server, job: Job, first: int) -> AsyncIterator[str]:
    """first: windows that the client has."""
    sent, spoken = first, time.monotonic()
    position, info, segments, told = -1, None, None, "queued"
    while True:
        state = job.state  # before the windows: all of a finished job are there
        blocks = []
        if state == "queued" and server.scheduler.position(job) != position:
            position = server.scheduler.position(job)
            blocks.append(event("position", sent, {"position": position}))
        if state in ("decoding", "scoring") and state != told:
            told = state
            blocks.append(event("state", sent, {"state": state}))
        if job.info is not None and info is None:
            info = job.info
            blocks.append(event("info", sent, info))
        rows = await run_in_threadpool(window_events, server, job, sent) if job.num_windows > sent else []
        blocks += rows
        sent += len(rows)
        if job.segments and job.segments is not segments and sent >= job.num_windows:
            segments = job.segments
            top = [as_score(row) for row in job.top]
            blocks.append(event("segments", sent, {"segments": [as_segment(s) for s in segments], "top5": top}))
        is_last = job.is_final and len(rows) < ROWS and state == job.state
        if is_last:
            blocks.append(event(*_ending(job, sent)))
        if blocks:
            yield "".join(blocks)
            spoken = time.monotonic()
        if is_last or server.scheduler.stopping.is_set():
            return
        job.last_seen = time.monotonic()
        if time.monotonic() - spoken > COMMENT_SECONDS:
            yield ": the job goes on\n\n"
            spoken = time.monotonic()
        if len(rows) < ROWS:
            await asyncio.sleep(POLL_SECONDS)


def window_events(server: Server, job: Job, first: int) -> list[str]:
    """Of the windows from `first` on, at most ROWS."""
    count = min(ROWS, job.num_windows - first)
    if job.options.task != "segments" or count <= 0:
        return []
    blocks = []
    rows = WindowScores(job.folder / "windows", len(server.names)).read(first, count)
    for index, (start, end, scores) in enumerate(rows, first):
        is_newest = index + 1 == job.num_windows and not job.is_final
        data = {
            "index": index,
            "start": float(start),
            "end": float(end),
            "top5": [as_score(row) for row in best_classes(scores, server.names, TOP)],
            "seconds_left": job.seconds_left() if is_newest else None,
        }
        blocks.append(event("window", index + 1, data))
    return blocks


def _ending(job: Job, sent: int) -> tuple[str, int, dict]:
    if job.state == "failed":
        return "failed", sent, {"detail": job.detail, "detail_zh": in_chinese(job.detail)}
    if job.state == "cancelled":
        return "cancelled", sent, {}
    top = [as_score(row) for row in job.top]
    return "done", sent, {"warning": job.warning, "warning_zh": in_chinese(job.warning), "top5": top}


def event(kind: str, number: int, data: dict[str, Any]) -> str:
    return f"event: {kind}\nid: {number}\ndata: {json.dumps(data)}\n\n"


def as_score(row: dict) -> dict:
    """A row of `best_classes` or of a segment's `top`."""
    return {"class": row["index"], "score": row["probability"]}


def as_segment(row: dict) -> dict:
    """A row of `segment_row`."""
    return {"start": row["start_seconds"], "end": row["end_seconds"], **as_score(row)}
