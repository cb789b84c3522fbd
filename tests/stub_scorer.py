"""A scorer without a network: the class of a video follows from its path, and so does what goes wrong."""

from __future__ import annotations

import os
import signal
import time
import zlib
from dataclasses import dataclass

import pyarrow as pa

from clusters.rows import Keep, failed_row, schema_of, table_of

SCHEMA = schema_of("classes", Keep(2))


@dataclass(frozen=True)
class Stub:
    """seconds: of each video. setup: what it says it computes with. A path with "deadly" kills the process, one with
    "raising" raises, one with "absent" is an error, one with "greedy" holds
    400 MB for a second, one with "hanging" hangs."""

    seconds: float = 0.0
    setup: str = "stub"

    def build(self) -> Stub:
        return self

    def fail_row(self, video_id: int, path: str, reason: str) -> pa.Table:
        return table_of(SCHEMA, [failed_row(video_id, path, reason)])

    def __call__(self, first_id: int, paths: list[str]) -> pa.Table:
        return table_of(SCHEMA, [self._row(first_id + place, path) for place, path in enumerate(paths)])

    def _row(self, video_id: int, path: str) -> dict:
        time.sleep(self.seconds)
        if "deadly" in path:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hanging" in path:
            time.sleep(3600)
        if "greedy" in path:
            held = b"x" * (400 << 20)
            time.sleep(1.0)
            del held
        if "raising" in path:
            raise ValueError(f"cannot take\n{path}")
        if "absent" in path:
            return failed_row(video_id, path, "no such file or directory")
        label = zlib.crc32(path.encode("utf-8", "surrogateescape")) % 400
        probability = 1 / (1 + label)
        return {
            "id": video_id, "path": path, "num_frames": 10, "class": label, "probability": probability,
            "top_index": [label, 0], "top_probability": [probability, 0.0],
        }  # fmt: skip


def compute_and_die_once(job, parts) -> None:
    """A task of Spark whose process dies after its first part; when it is started again, it lives."""
    from clusters.spark import compute_parts

    parts = list(parts)
    compute_parts(job, parts[:1])
    marker = job.folder / f"died-{parts[0]}"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    compute_parts(job, parts)
