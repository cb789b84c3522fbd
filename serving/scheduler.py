"""Jobs wait in a queue, a few are worked on at once; they survive a restart, and leave when their time has come."""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

from datareader.video import VideoError
from datareader.workers import ReaderPool
from serving.engine import Engine, Interrupted, JobBackend
from serving.jobs import RESULTS, Job, JobOptions, copy_result, new_id
from serving.problems import Problem
from serving.videos import Videos, is_full
from serving.work import Work, result_of
from utils.errors import RunError, UserError

ABANDONED_SECONDS = 600.0  # a waiting job that no client has asked for so long makes room for others
RETRY_SECONDS = 10
ROOM_SECONDS, ROOM_BYTES = 1.0, 1 << 20  # between two looks at a full disk, and what a job waits for
OTHER_NETWORK = "this job is of another network or configuration than the server has now; make a new one"

logger = logging.getLogger("serving")
RESULT_NAMES = {
    "windows",
    "record.json",
    "features.npz",
    *(f"segments.{kind}" for kind in ("json", "csv", "srt", "vtt")),
}


def is_unfinished(folder: Path) -> bool:
    """Whether a job was not accepted yet, or half deleted, when the server was killed."""
    names = {file.name for file in folder.iterdir()}
    return "job.json" not in names and all(name.startswith(RESULTS) for name in names)


class Slot:
    """A thread that works on one job after the other, and its reading process."""

    def __init__(self):
        self.pool = ReaderPool(1)
        self.job: Job | None = None


class Scheduler:
    """folder: of the jobs. max_active: jobs that are worked on at once, each with a reading process. max_waiting: jobs
    that may wait. What was not finished when the server ended is queued again.
    """

    def __init__(self, folder: Path, videos: Videos, engine: Engine, work: Work, max_active: int, max_waiting: int):
        self.folder, self.videos, self.engine, self.work = folder, videos, engine, work
        self.max_waiting = max_waiting
        self.jobs: dict[str, Job] = {}
        self.queue: list[Job] = []
        self.stopping = threading.Event()
        self.lock = threading.RLock()
        self.wakeup = threading.Condition(self.lock)
        self._restore()
        self.slots = [Slot() for _ in range(max_active)]
        self.threads = [threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in self.slots]
        for thread in self.threads:
            thread.start()

    def _restore(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        found = []
        for folder in self.folder.iterdir():
            try:
                for part in folder.glob(".*.part"):  # what a killed server was writing
                    part.unlink()
                if is_unfinished(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                    continue
                job = Job.load(folder)
                if job.network_id != self.work.network_id and job.state not in ("failed", "cancelled"):
                    # until the server has that network again: nothing of this is written
                    job.state, job.detail, job.finished = "failed", OTHER_NETWORK, job.finished or time.time()
                elif job.state == "done":
                    result_of(job, self.work.names)
                found.append(job)
            except (OSError, ValueError, TypeError, KeyError) as error:
                logger.warning("%s holds no job and is left as it is: %s", folder.name, error)
        for job in sorted(found, key=lambda job: job.created):
            self.jobs[job.id] = job
            if not job.is_final:
                job.state = "queued"
                self.queue.append(job)

    # ------------------------------------------------------------------------------------------- clients

    def submit(self, video_id: str, options: JobOptions, owner: str) -> tuple[Job, bool]:
        """The job for a video, and whether it was finished before. Raises Problem when too many wait."""
        name, content = self.videos.describe(video_id)
        job = Job(self.folder / new_id(), "", video_id, name, content, options, owner, network_id=self.work.network_id)
        job.id = job.folder.name
        with self.lock:
            done = next((j for j in self.jobs.values() if j.content == content and j.is_done_as(job)), None)
            if done is not None and (done.video_id, done.owner) == (video_id, owner):
                return done, True
            if done is not None:  # of another client, who may delete it
                with contextlib.suppress(FileNotFoundError), self._undone(job):
                    copy_result(done, job)
                    result_of(job, self.work.names)
                    self.jobs[job.id] = job
                    return job, True
            if len(self.queue) >= self.max_waiting and not self._drop_abandoned():
                detail = f"{len(self.queue)} videos are waiting, no more are taken; try again later"
                raise Problem(429, detail, {"Retry-After": str(RETRY_SECONDS)})
            with self._undone(job):
                job.save()
            self.jobs[job.id] = job
            self.queue.append(job)
            self.wakeup.notify()
        return job, False

    @contextlib.contextmanager
    def _undone(self, job: Job) -> Iterator[None]:
        """Leave nothing of a job that could not be written."""
        try:
            yield
        except BaseException:
            job.remove()
            raise

    def _drop_abandoned(self) -> bool:
        """Fail the oldest waiting job that nobody asks for; whether there was one."""
        now = time.monotonic()
        job = next((job for job in self.queue if now - job.last_seen > ABANDONED_SECONDS), None)
        if job is None:
            return False
        self.queue.remove(job)
        job.end("failed", "given up: it waited, and nobody asked for it; other videos came")
        return True

    def find(self, job_id: str) -> Job:
        """Raises Problem for an unknown job."""
        job = self.jobs.get(job_id)
        if job is None:
            raise Problem(404, "no such job; it may have been deleted after its time")
        job.last_seen = time.monotonic()
        return job

    def position(self, job: Job) -> int:
        """Jobs before this one in the queue."""
        with self.lock:
            return self.queue.index(job) if job in self.queue else 0

    def cancel(self, job: Job) -> None:
        """End a job at once, or forget a finished one; its upload goes with its last job."""
        with self.lock:
            job.stop.set()
            if job in self.queue:
                self.queue.remove(job)
            if job.is_final:
                self.jobs.pop(job.id, None)
                job.remove()
            else:
                (job.folder / "windows").unlink(missing_ok=True)
                try:
                    job.end("cancelled")
                except RunError as error:  # after a restart it would go on
                    logger.warning("job %s is cancelled, which cannot be written: %s", job.id, error)
                for slot in self.slots:
                    if slot.job is job:
                        slot.pool.abort()
            if not any(other.video_id == job.video_id and other.state != "cancelled" for other in self.jobs.values()):
                self.videos.delete(job.video_id)

    # ------------------------------------------------------------------------------------------- work

    def _serve(self, slot: Slot) -> None:
        while True:
            with self.lock:
                slot.job = None
                while not self.queue and not self.stopping.is_set():
                    self.wakeup.wait()
                if self.stopping.is_set():
                    break
                slot.job = job = self.queue.pop(0)
                job.state = "decoding"
            self._work_on(job, slot.pool)
        slot.pool.close()

    def _work_on(self, job: Job, pool: ReaderPool) -> None:
        """Whatever happens, the slot goes on to the next job."""
        backend = JobBackend(self.engine, job.stop, self.stopping)
        try:
            self.work.run(job, self.videos.path(job.video_id), backend, pool)
            self._end(job, "done")
        except (Interrupted, CancelledError):
            pass  # cancelled, or continued after a restart
        except Exception as error:
            if job.stop.is_set():  # its files may have been deleted while it ran
                pass
            elif is_full(error) or is_full(error.__cause__):
                self._wait_for_room(job)
            else:
                self._fail(job, error)
        with self.lock:
            if job.stop.is_set():  # it may have written after that
                (job.folder / "windows").unlink(missing_ok=True)
                if job.id not in self.jobs:
                    job.remove()

    def _fail(self, job: Job, error: Exception) -> None:
        if isinstance(error, VideoError):
            detail = error.reason
        elif isinstance(error, (UserError, RunError, Problem)):
            detail = str(error)
        else:
            logger.error("job %s", job.id, exc_info=error)
            detail = "the server made a mistake with this video; its log has the reason"
        try:
            self._end(job, "failed", detail)
        except RunError as full:  # after a restart it is tried again
            logger.error("%s", full)

    def _end(self, job: Job, state: str, detail: str = "") -> None:
        """Raises RunError when the disk is full."""
        with self.lock:
            if not job.stop.is_set() and not (self.stopping.is_set() and state == "failed"):
                job.end(state, detail)

    def _wait_for_room(self, job: Job) -> None:
        """What was accepted is not lost to a full disk: queue the job again when there is room."""
        logger.warning("job %s waits: the disk is full", job.id)
        with self.lock:
            if not job.stop.is_set():
                job.state, job.finished = "queued", None
        while not job.stop.is_set() and not self.stopping.wait(ROOM_SECONDS):
            if self.videos.disk.free() >= ROOM_BYTES:
                break
        with self.lock:
            if not job.stop.is_set():
                self.queue.insert(0, job)

    def stop(self, timeout: float) -> None:
        """Finish the batches in work; unfinished jobs stay on the disk."""
        self.stopping.set()
        with self.lock:
            self.wakeup.notify_all()
            for slot in self.slots:
                slot.pool.abort()
        deadline = time.monotonic() + timeout
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    # ------------------------------------------------------------------------------------------- leaving

    def active(self) -> list[Job]:
        return [slot.job for slot in self.slots if slot.job is not None]

    def forget_old(self, seconds: float) -> None:
        """Delete what ended, and the uploads that no job has used, so long ago."""
        oldest = time.time() - seconds
        for job in list(self.jobs.values()):
            if job.is_final and (job.finished or 0) < oldest:
                self.cancel(job)
        used = {job.video_id for job in list(self.jobs.values())}
        self.videos.delete_unused(used, oldest)

    def make_room(self, num_bytes: int) -> None:
        """Delete finished jobs and unused uploads, the oldest first, until so many bytes fit. Raises Problem."""
        disk = self.videos.disk
        if disk.fits(num_bytes):
            return
        finished = sorted((j for j in list(self.jobs.values()) if j.is_final), key=lambda job: job.finished or 0)
        for job in itertools.chain(finished, [None]):
            if job is None:
                self.videos.delete_unused({j.video_id for j in list(self.jobs.values())}, time.time() - 60)
            else:
                self.cancel(job)
            if disk.fits(num_bytes):
                return
        raise Problem(507, f"the server has no room for {num_bytes} bytes more (--disk); try again later")
