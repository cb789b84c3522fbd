"""Workers that are processes of this machine, replaced when they die."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path

from clusters.driver import Done, Lost, Ready
from clusters.job import Job, Piece
from clusters.memory import OUT_OF_MEMORY
from utils.errors import RunError

MAX_FAILED_STARTS = 3  # in a row
# A folder called utils where the program was started must not stand in for its own.
CHILD = "import sys; sys.path[0] = sys.argv[2]; from clusters.worker import main; main()"


class LocalPool:
    """`num_workers` fresh Python processes. environment: variables that they get beside this process's own; their
    output goes to worker-N.txt in the folder of logs."""

    def __init__(self, job: Job, num_workers: int, environment: Mapping[str, str] | None = None):
        self.job, self.environment = job, dict(environment or {})
        self.logs = job.files.logs
        self.logs.mkdir(parents=True, exist_ok=True)
        self.failed_starts = 0
        self.workers = {number: self._start(number) for number in range(num_workers)}

    def now(self) -> float:
        return time.monotonic()

    def send(self, worker: int, piece: Piece) -> None:
        self.workers[worker].send(piece)

    def events(self, seconds: float) -> list[Ready | Done | Lost]:
        found: list[Ready | Done | Lost] = []
        by_connection = {worker.connection: number for number, worker in self.workers.items()}
        for connection in wait(list(by_connection), seconds):
            found += self._event(by_connection[connection])
        return found

    def _event(self, number: int) -> list[Ready | Done | Lost]:
        worker = self.workers[number]
        try:
            kind, *answer = worker.connection.recv()
        except (EOFError, OSError):
            return [self._replace(number)]
        if kind == "stop":
            raise answer[0]
        if kind == "ready":
            worker.setup, self.failed_starts = answer[0], 0
            return [Ready(number, worker.setup)]
        if kind == "done":
            return [Done(number, *answer)]
        return [Lost(number, *answer), Ready(number, worker.setup or "")]

    def _replace(self, number: int) -> Lost:
        """A worker has died: start another one in its place."""
        worker = self.workers[number]
        cause = worker.end(wait_seconds=1.0)
        self.failed_starts += worker.setup is None
        if self.failed_starts == MAX_FAILED_STARTS:
            raise RunError(f"the workers do not start ({cause}); see {self.logs / f'worker-{number}.txt'}")
        self.workers[number] = self._start(number)
        return Lost(number, f"killed its worker ({cause})")

    def _start(self, number: int) -> _Worker:
        with open(self.logs / f"worker-{number}.txt", "ab") as log:
            return _Worker(self.job, self.environment, log)

    def kill(self, worker: int) -> None:
        self.workers[worker].process.kill()

    def close(self) -> None:
        for worker in self.workers.values():
            worker.end()


class _Worker:
    """One process. setup: what it said when it was ready, None before."""

    def __init__(self, job: Job, environment: Mapping[str, str], log):
        self.setup: str | None = None
        self.connection, childs_end = Pipe()
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(childs_end.fileno()), root],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            pass_fds=(childs_end.fileno(),),
            start_new_session=True,  # Ctrl-C is for the driver, which ends its workers
            env={**os.environ, **environment, "PYTHONPATH": path},
        )  # fmt: skip
        childs_end.close()
        self.send(job)

    def send(self, message) -> None:
        with contextlib.suppress(OSError):  # it has just died: the next look at its connection tells
            self.connection.send(message)

    def end(self, wait_seconds: float = 0.0) -> str:
        """End the process, by force if it lives on for so long; returns how it ended."""
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(wait_seconds)
        self.process.kill()
        code = self.process.wait()
        if code == OUT_OF_MEMORY:
            return "more than --worker_memory"
        return f"signal {-code}" if code < 0 else f"exit status {code}"
