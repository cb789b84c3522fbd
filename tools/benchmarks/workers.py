"""Two workers with a thread each against one with two, scoring whole videos: python tools/benchmark.py workers

The workers are those of tools/classify_dataset.py. Time runs from the moment at which all of them are ready until the
last part is written. Memory is what a worker and its reading processes hold then (PSS). The
video is an H.264 file of 10 s, 340 x 256, that is drawn here; the network is C2D-R50 with random weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clusters.driver import drive
from clusters.job import Job
from clusters.local_pool import LocalPool
from clusters.memory import memory_bytes
from clusters.rows import Keep
from clusters.scheduler import Scheduler
from clusters.scoring import ScoringSpec
from inference import BackendSpec
from tools.benchmarks import infer
from tools.benchmarks.harness import alternate, report
from tools.benchmarks.predict import draw_video
from utils.cli import positive_int


def main(argv: list[str]) -> None:
    args = _parse(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = folder / "videos.parquet"
        pq.write_table(pa.table({"path": [draw_video(folder)] * args.videos}), videos)
        config, _, weights = infer.random_network("c2d", name)
        runs = {count: Run(folder, videos, config, weights, args, count) for count in (1, 2)}
        sides = {f"{count} x {args.threads // count} threads": run for count, run in runs.items()}
        results = alternate(sides, args.repeats)
    memory = {name: round(statistics.median(run.worker_mb)) for name, run in zip(sides, runs.values())}
    one, two = (statistics.median(seconds) for seconds in results.values())
    print(f"videos a second: {args.videos / one:.3f} and {args.videos / two:.3f}, ratio {one / two:.3f}")
    print(f"MB a worker: {memory}")
    report("workers", {"1xwhole": results}, args.json, videos=args.videos, worker_mb=memory)


class Run:
    """A run over all videos; returns its seconds. worker_mb: of each worker so far."""

    def __init__(self, folder: Path, videos: Path, config, weights: str, args: argparse.Namespace, num_workers: int):
        self.folder, self.videos, self.num_videos, self.num_workers = folder, videos, args.videos, num_workers
        self.part = args.part
        self.threads, self.worker_mb = args.threads // num_workers, list[float]()
        readers = min(config.INFER.num_reader_threads, self.threads)
        config = dataclasses.replace(config, INFER=dataclasses.replace(config.INFER, num_reader_threads=readers))
        backend = BackendSpec(config, weights, "", args.backend, "float32")
        names = [str(label) for label in range(config.MODEL.num_classes)]
        self.spec = ScoringSpec(config, backend, False, "classes", names, Keep(10), "1xwhole")

    def __call__(self) -> float:
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            job = Job(out, self.videos, self.num_videos, self.part, self.spec.build, self.spec.fail_row)
            pool = Started(LocalPool(job, self.num_workers, {"OMP_NUM_THREADS": str(self.threads)}))
            begin = time.perf_counter()
            drive(job, Scheduler(range(job.num_parts), job.part), pool, lambda num_rows, num_errors: None)
            seconds = time.perf_counter() - begin
            self.worker_mb += [memory_bytes(worker.process.pid) / 1e6 for worker in pool.pool.workers.values()]
            pool.close()
            return seconds


class Started:
    """A LocalPool whose workers are all ready before the clock runs."""

    def __init__(self, pool: LocalPool):
        self.pool, self.ready = pool, list[object]()
        while len(self.ready) < len(pool.workers):
            self.ready += pool.events(1.0)
        self.now, self.send, self.kill, self.close = pool.now, pool.send, pool.kill, pool.close

    def events(self, seconds: float) -> list:
        ready, self.ready = self.ready, []
        return ready or self.pool.events(seconds)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py workers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=positive_int, default=32, help="of a run (default: %(default)s)")
    parser.add_argument("--part", type=positive_int, default=8, help="videos in a part (default: %(default)s)")
    parser.add_argument("--threads", type=positive_int, default=2, help="of all workers (default: %(default)s)")
    parser.add_argument("--backend", default="auto", help="as for predict.py (default: %(default)s)")
    parser.add_argument("--repeats", type=positive_int, default=3, help="timed rounds (default: %(default)s)")
    parser.add_argument("--json", help="write the results here")
    return parser.parse_args(argv)
