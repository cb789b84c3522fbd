"""The scheduler and the driver's loop in virtual time: pieces take a random time, workers fail, nothing is computed."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from clusters.driver import Done, Lost, Ready, drive
from clusters.job import Job, Piece
from clusters.scheduler import Scheduler

RESTART_SECONDS = 30.0  # until a failed worker is ready again
SPREAD = 0.2  # of the logarithm of a piece's time


@dataclass(frozen=True)
class Machines:
    """num_workers, each scoring a video in seconds_per_video; a piece's time is log-normal around that, one in
    1 / straggler_ratio takes straggler_factor as long, and a worker fails every mean_hours_to_failure on average."""

    num_workers: int
    seconds_per_video: float
    straggler_ratio: float = 0.01
    straggler_factor: float = 20.0
    mean_hours_to_failure: float = 720.0


@dataclass
class Simulated:
    """What came out. seconds: until the last part is done; ideal_seconds: of the work without stragglers and failures,
    evenly spread; num_videos: that were scored or given up; num_failures: of workers, with a piece each."""

    seconds: float
    ideal_seconds: float
    num_videos: int
    num_failures: int

    @property
    def efficiency(self) -> float:
        return self.ideal_seconds / self.seconds


class SimulatedPool:
    """A Pool whose clock jumps from event to event."""

    def __init__(self, machines: Machines, rng: np.random.Generator):
        self.machines, self.rng = machines, rng
        self.clock, self.num_events, self.num_failures, self.busy = 0.0, 0, 0, 0
        self.queue: list[tuple[float, int, Any]] = []
        for worker in range(machines.num_workers):
            self._later(0.0, Ready(worker, "simulated"))

    def _later(self, seconds: float, event) -> None:
        self.num_events += 1  # events of one moment come in the order in which they were made
        heapq.heappush(self.queue, (self.clock + seconds, self.num_events, event))

    def now(self) -> float:
        return self.clock

    def send(self, worker: int, piece: Piece) -> None:
        machines, rng = self.machines, self.rng
        self.busy += 1
        seconds = len(piece) * machines.seconds_per_video * math.exp(SPREAD * rng.standard_normal() - SPREAD**2 / 2)
        if rng.random() < machines.straggler_ratio:
            seconds *= machines.straggler_factor
        failure = 3600 * machines.mean_hours_to_failure * rng.standard_exponential()
        if failure < seconds:
            self.num_failures += 1
            self._later(failure, Lost(worker, "simulated"))
            self._later(failure + RESTART_SECONDS, Ready(worker, "simulated"))
        else:
            self._later(seconds, Done(worker, len(piece), 0))

    def kill(self, worker: int) -> None:
        raise AssertionError("no bound is simulated")

    def close(self) -> None:
        pass

    def events(self, seconds: float) -> list[Ready | Done | Lost]:
        next_time = self.queue[0][0]
        if self.busy < self.machines.num_workers and next_time > self.clock + seconds:
            self.clock += seconds  # an idle worker looks for stragglers meanwhile
            return []
        self.clock, _, event = heapq.heappop(self.queue)
        self.busy -= not isinstance(event, Ready)
        return [event]


class _NoFiles(Job):
    """A Job of which nothing is written."""

    def join(self, part: int, pieces: Iterable[Piece]) -> None:
        pass

    def fail(self, piece: Piece, reason: str) -> None:
        pass

    def note_failure(self, part: int, count: int, cause: str) -> None:
        pass


def simulate(num_videos: int, rows_per_part: int, machines: Machines, seed: int = 0) -> Simulated:
    """What becomes of a list of so many videos, cut into parts of rows_per_part."""
    job = _NoFiles(Path(), Path(), num_videos, rows_per_part, _never, _never)
    pool = SimulatedPool(machines, np.random.default_rng(seed))
    useful = 0

    def report(num_rows: int, num_errors: int) -> None:
        nonlocal useful
        useful += num_rows

    drive(job, Scheduler(range(job.num_parts), job.part), pool, report)
    ideal = num_videos * machines.seconds_per_video
    return Simulated(pool.clock, ideal / machines.num_workers, useful, pool.num_failures)


def _never(*arguments) -> NoReturn:
    raise AssertionError("a simulation computes nothing")
