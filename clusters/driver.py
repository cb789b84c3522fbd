"""The loop that keeps a pool of workers busy until every part is done. It sees numbers only, never a score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from clusters.job import Job, Piece
from clusters.scheduler import Scheduler

IDLE_SECONDS = 1.0  # between two looks for stragglers


@dataclass(frozen=True)
class Ready:
    """A worker has started. setup: what it computes with, the same for all workers of a run."""

    worker: int
    setup: str


@dataclass(frozen=True)
class Done:
    """A worker has written the file of its piece. num_rows, num_errors: of that file."""

    worker: int
    num_rows: int
    num_errors: int


@dataclass(frozen=True)
class Lost:
    """A worker could not compute its piece. It goes on (Ready follows at once), or has died and is replaced."""

    worker: int
    cause: str


class Pool(Protocol):
    """Workers, numbered from 0, that a cluster or this machine runs. A dead one is replaced by the pool."""

    def now(self) -> float:
        """Seconds."""
        ...

    def send(self, worker: int, piece: Piece) -> None:
        """Let a worker that is Ready or Done compute a piece and write its file."""
        ...

    def events(self, seconds: float) -> list[Ready | Done | Lost]:
        """What has happened; waits at most so long for something to happen.

        Raises UserError or RunError when no worker can be started, or none can write.
        """
        ...

    def kill(self, worker: int) -> None:
        """End a worker that has hung; Lost follows."""
        ...

    def close(self) -> None:
        """End all workers at once, whatever they do."""
        ...


def drive(
    job: Job,
    scheduler: Scheduler,
    pool: Pool,
    report: Callable[[int, int], None],
    check_setup: Callable[[str], None] = lambda setup: None,
) -> None:
    """Compute what the scheduler has. report: is told the rows and errors of each finished piece. check_setup: raises
    when a worker computes with something else than the run."""
    idle: set[int] = set()
    deadlines: dict[int, float] = {}  # of workers with a piece
    overdue: set[int] = set()  # workers that were ended
    while not scheduler.is_finished:
        for worker in sorted(idle):
            piece = scheduler.take(worker, pool.now())
            if piece is None:
                break
            idle.remove(worker)
            deadlines[worker] = pool.now() + len(piece) * job.seconds_per_video
            pool.send(worker, piece)
        for event in pool.events(IDLE_SECONDS):
            deadlines.pop(event.worker, None)
            if isinstance(event, Ready):
                check_setup(event.setup)
                idle.add(event.worker)
            elif isinstance(event, Done):
                idle.add(event.worker)
                if scheduler.finish(event.worker, pool.now()):
                    report(event.num_rows, event.num_errors)
            else:
                idle.discard(event.worker)
                if event.worker in overdue:
                    overdue.remove(event.worker)
                    event = Lost(event.worker, f"took longer than {job.seconds_per_video:g} s and was ended")
                _note(job, scheduler, event, report)
        for worker in [worker for worker, deadline in deadlines.items() if pool.now() > deadline]:
            del deadlines[worker]
            overdue.add(worker)
            pool.kill(worker)
        while scheduler.complete:
            pieces = scheduler.complete.pop()
            job.join(next(iter(pieces)).part, pieces)


def _note(job: Job, scheduler: Scheduler, event: Lost, report: Callable[[int, int], None]) -> None:
    failed = scheduler.fail(event.worker)
    if failed is None:
        return
    job.note_failure(failed.piece.part, failed.count, event.cause)
    if failed.given_up:
        job.fail(failed.piece, event.cause)
        scheduler.settle(failed.piece)
        report(1, 1)
