"""GET /api/v1/examples: the first videos of the folder with their results, which the page shows while it is empty."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from fastapi import APIRouter

from serving import schema
from serving.events import as_score, as_segment
from serving.jobs import Job, JobOptions
from serving.problems import Problem
from utils.errors import RunError, UserError

if TYPE_CHECKING:
    from serving.server import Server

NUM_EXAMPLES = 3
MAX_MINUTES = 1.0  # longer videos are offered without a result
REFRESH_SECONDS = 600.0  # results leave after --keep_hours; then they are computed anew
POLL_SECONDS = 0.1


class Examples:
    """Jobs of the first videos of the folder, one after the other, with the options that the page begins with, so that
    opening one of them on the page finds its result."""

    def __init__(self, server: Server):
        self.server = server
        self.pending: set[str] = set()  # videos whose result will come

    def start(self) -> None:
        """Compute what is missing, now and later, in a thread of its own."""
        self.pending = {row["id"] for row in self.rows()}
        threading.Thread(target=self._compute, daemon=True, name="examples").start()

    def options(self) -> JobOptions:
        settings, task = self.server.settings, self.server.tasks[0]
        if task == "classes":
            return JobOptions(task, settings.views, None, settings.topk)
        return JobOptions(task, self.server.window_views[0], settings.stride_seconds, settings.topk)

    def rows(self) -> list[dict]:
        return self.server.videos.list_folder()[:NUM_EXAMPLES]

    def find(self, video_id: str) -> Job | None:
        """The job with the result of a video; a finished one before others."""
        name, content = self.server.videos.describe(video_id)
        wanted = content, name, self.options(), self.server.work.network_id
        jobs = list(self.server.scheduler.jobs.values())
        found = [job for job in jobs if (job.content, job.video_name, job.options, job.network_id) == wanted]
        return max(found, key=lambda job: job.state == "done", default=None)

    def _compute(self) -> None:
        scheduler = self.server.scheduler
        while True:
            for video_id in [row["id"] for row in self.rows()]:
                with contextlib.suppress(UserError, RunError, Problem):
                    self._compute_one(video_id)
                self.pending.discard(video_id)
            if scheduler.stopping.wait(REFRESH_SECONDS):
                return

    def _compute_one(self, video_id: str) -> None:
        """Raises UserError and Problem for a video that cannot be read or is too long, and for a full queue."""
        job, scheduler = self.find(video_id), self.server.scheduler
        if job is None:
            self.server.check_video(self.server.videos.path(video_id), MAX_MINUTES)
            job, _ = scheduler.submit(video_id, self.options(), "")
        while not job.is_final and not scheduler.stopping.wait(POLL_SECONDS):
            pass


def examples_router(server: Server) -> APIRouter:
    router = APIRouter()

    @router.get("/api/v1/examples", tags=["videos"])
    def examples() -> schema.ExampleList:
        """The first videos of the server's folder, with the segments that are known of them."""
        return schema.ExampleList(examples=[example(row) for row in server.examples.rows()])

    def example(row: dict) -> schema.Example:
        job = None
        with contextlib.suppress(Problem):  # it has gone since it was listed
            job = server.examples.find(row["id"])
        info = job.info if job is not None else None
        return schema.Example(
            video=schema.Video(**row), is_final=row["id"] not in server.examples.pending,
            duration=info["duration"] if info else None,
            segments=[schema.ShownSegment(**as_segment(segment)) for segment in job.segments] if job else [],
            top5=[schema.Score(**as_score(score)) for score in job.top] if job else [],
        )  # fmt: skip

    return router
