"""What tools/classify_dataset.py costs beside the scores: python tools/benchmark.py dataset

A list of a million videos and a scorer that answers at once: what remains is scheduling, reading the list and writing
the parts. The driver is killed at half and started again. "Working again" is the time from its start to the next
finished part; overhead is the time of all workers for a video, compared with --seconds_per_video of scoring.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clusters.dataset import classify_dataset, pool_engine
from clusters.job import Job
from clusters.local_pool import LocalPool
from clusters.rows import Keep, failed_row, schema_of, table_of
from tools.benchmarks.harness import machine, machine_line
from utils.cli import positive_int
from utils.files import write_json

SCHEMA = schema_of("classes", Keep(10))


class InstantScorer:
    """Ten classes of each video, without looking at it."""

    def __call__(self, first_id: int, paths: list[str]) -> pa.Table:
        count = len(paths)
        top = np.arange(10 * count).reshape(count, 10) % 400
        columns = {
            "id": np.arange(first_id, first_id + count),
            "path": paths,
            "num_frames": np.full(count, 300),
            "class": top[:, 0],
            "probability": np.full(count, 0.5, np.float32),
            "views": ["1xwhole"] * count,
            "top_index": list(top),
            "top_probability": list(np.full((count, 10), 0.1, np.float32)),
        }
        missing = {name: [None] * count for name in SCHEMA.names if name not in columns}
        return pa.table(
            {name: pa.array({**columns, **missing}[name], SCHEMA.field(name).type) for name in SCHEMA.names}
        )


def fail_row(video_id: int, path: str, reason: str) -> pa.Table:
    return table_of(SCHEMA, [failed_row(video_id, path, reason)])


def main(argv: list[str]) -> None:
    args = _parse(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = folder / "videos.parquet"
        with pq.ParquetWriter(videos, pa.schema([("path", pa.string())])) as writer:
            for start in range(0, args.videos, 10_000):
                numbers = range(start, min(start + 10_000, args.videos))
                writer.write_table(
                    pa.table({"path": [f"/data/some folder/video {number:09d}.mp4" for number in numbers]})
                )
        job = Job(folder / "out", videos, args.videos, args.part, InstantScorer, fail_row)
        first = _drive(job, args.workers, stop_after=job.num_parts // 2)
        second = _drive(job, args.workers)
        whole = _drive(Job(folder / "whole", videos, args.videos, args.part, InstantScorer, fail_row), args.workers)
        equal = _summary(folder / "out")["sha256"] == _summary(folder / "whole")["sha256"]
    overhead = whole["seconds"] * args.workers / args.videos
    result = {
        "videos": args.videos, "part": args.part, "workers": args.workers,
        "seconds": round(whole["seconds"], 1),
        "driver_mb": round(max(run["driver_mb"] for run in (first, second, whole)), 1),
        "overhead_ms_per_video": round(1000 * overhead, 3),
        "overhead_percent": round(100 * overhead / args.seconds_per_video, 3),
        "seconds_until_working_again": round(second["first_part"], 2),
        "same_files_after_the_kill": equal, "machine": machine(),
    }  # fmt: skip
    print(machine_line(result["machine"]))
    print(json.dumps({name: value for name, value in result.items() if name != "machine"}, indent=2))
    if args.json:
        write_json(args.json, result)


def _summary(folder: Path) -> dict:
    return json.loads((folder / "_SUCCESS").read_text(encoding="utf-8"))


def _drive(job: Job, num_workers: int, stop_after: int | None = None) -> dict[str, float]:
    """Run the driver in a process of its own, killed after so many parts. Its seconds, peak of memory, and the time
    to its first part."""
    done = _num_parts(job)
    begin, first_part = time.monotonic(), 0.0
    child = os.fork()
    if not child:
        classify_dataset(job.folder, {}, lambda: job, pool_engine(partial(LocalPool, num_workers=num_workers)))
        os._exit(0)
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.02)
        if not first_part or stop_after:
            count = _num_parts(job)
            first_part = first_part or (count > done and time.monotonic() - begin)
            if stop_after and count >= stop_after:
                os.kill(child, signal.SIGKILL)
    seconds = time.monotonic() - begin
    return {"seconds": seconds, "driver_mb": usage.ru_maxrss / 1024, "first_part": float(first_part)}


def _num_parts(job: Job) -> int:
    return len(list(Path(job.folder).glob("parts/*/part-*.parquet")))


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py dataset", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--videos", type=positive_int, default=1_000_000, help="rows of the list (default: %(default)s)"
    )
    parser.add_argument("--part", type=positive_int, default=1000, help="videos in a part (default: %(default)s)")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes (default: %(default)s)")
    parser.add_argument(
        "--seconds_per_video", type=float, default=0.5,
        help="what scoring takes, for the overhead in percent (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", help="write the results here")
    return parser.parse_args(argv)
