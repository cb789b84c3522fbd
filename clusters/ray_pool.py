"""Workers that are actors of Ray Core, on this machine or on a cluster whose machines all see the same files.

Only numbers go through Ray: workers read the list and write the parts themselves, so its object store holds nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clusters.driver import Done, Lost, Ready
from clusters.job import Job, Piece
from clusters.memory import bound_memory
from clusters.worker import answer
from utils.errors import RunError, UserError

MAX_FAILED_STARTS = 3  # in a row
OBJECT_STORE_BYTES = 100 << 20  # of a Ray that is started here; by default it takes a third of the memory
ROOT = str(Path(__file__).resolve().parents[1])


class Worker:
    """An actor. The program's folder is on its path (PYTHONPATH), on every machine at the same place."""

    def __init__(self, job: Job):
        self.job = job

    def start(self) -> tuple:
        """("ready", setup), or ("stop", exception) when the job can run nowhere."""
        bound_memory(self.job.worker_bytes)
        try:
            self.score = self.job.make_scorer()
        except (UserError, RunError) as error:
            return "stop", error
        return "ready", getattr(self.score, "setup", "")

    def run(self, piece: Piece) -> tuple:
        return answer(self.job, piece, self.score)


class RayPool:
    """`num_workers` actors, each with its share of the cluster's cores and, on request, of a GPU.

    address: of a cluster to join, "auto" for the one of this machine; None: Ray is started here and ends with the pool.
    gpus_per_worker: 0.5 puts two workers on a GPU. environment: variables that the workers get.
    """

    def __init__(
        self,
        job: Job,
        num_workers: int,
        environment: Mapping[str, str] | None = None,
        address: str | None = None,
        gpus_per_worker: float = 0.0,
    ):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ModuleNotFoundError as error:
            raise UserError('--cluster ray needs ray: pip install ".[ray]"') from error
        self.ray, self.job = ray, job
        started_here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        try:
            ray.init(address=address or "local", log_to_driver=False, **({} if address else started_here))
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"no Ray at --address={address}: {str(error).splitlines()[0]}") from error
        num_cores = int(ray.cluster_resources().get("CPU", 0))
        num_gpus = ray.cluster_resources().get("GPU", 0.0)
        if num_cores < num_workers or num_gpus < gpus_per_worker * num_workers:
            ray.shutdown()
            raise UserError(f"--workers {num_workers}: the cluster has {num_cores} cores and {num_gpus:g} GPUs")
        threads = num_cores // num_workers
        variables = {"OMP_NUM_THREADS": str(threads), **(environment or {}), "PYTHONPATH": ROOT}
        self.actor = ray.remote(Worker).options(
            num_cpus=threads, num_gpus=gpus_per_worker, runtime_env={"env_vars": variables}
        )
        self.failed_starts = 0
        self.setups: dict[int, str] = {}
        self.actors: dict[int, Any] = {}
        self.pending: dict[Any, int] = {}  # what Ray will tell -> of which worker
        for worker in range(num_workers):
            self._start(worker)

    def now(self) -> float:
        return time.monotonic()

    def send(self, worker: int, piece: Piece) -> None:
        self.pending[self.actors[worker].run.remote(piece)] = worker

    def events(self, seconds: float) -> list[Ready | Done | Lost]:
        found: list[Ready | Done | Lost] = []
        ready, _ = self.ray.wait(list(self.pending), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self.ray.wait(list(self.pending), num_returns=len(self.pending), timeout=0)
        elif not any(node["Alive"] for node in self.ray.nodes()):  # Ray itself would wait for ever
            raise RunError("Ray has died: no machine of the cluster is alive; start the same command again")
        for reference in ready:
            found += self._event(self.pending.pop(reference), reference)
        return found

    def _event(self, worker: int, reference) -> list[Ready | Done | Lost]:
        try:
            kind, *values = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            return [self._replace(worker, error)]
        if kind == "stop":
            raise values[0]
        if kind == "ready":
            self.setups[worker], self.failed_starts = values[0], 0
            return [Ready(worker, values[0])]
        if kind == "done":
            return [Done(worker, *values)]
        return [Lost(worker, *values), Ready(worker, self.setups[worker])]

    def _start(self, worker: int) -> None:
        self.actors[worker] = self.actor.remote(self.job)
        self.pending[self.actors[worker].start.remote()] = worker

    def _replace(self, worker: int, error: Exception) -> Lost:
        cause = type(error).__name__
        self.failed_starts += worker not in self.setups
        if self.failed_starts == MAX_FAILED_STARTS:
            raise RunError(f"the workers do not start ({cause}: {str(error).splitlines()[0]})")
        self.setups.pop(worker, None)
        self._start(worker)
        return Lost(worker, f"killed its worker ({cause})")

    def kill(self, worker: int) -> None:
        self.ray.kill(self.actors[worker])

    def close(self) -> None:
        for actor in self.actors.values():
            self.ray.kill(actor)
        self.ray.shutdown()
