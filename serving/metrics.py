"""GET /metrics: what the server has counted, in the text format of Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from serving.server import Server


def metrics_text(server: Server) -> str:
    scheduler, engine = server.scheduler, server.engine
    states = [job.state for job in list(scheduler.jobs.values())]
    requests = [
        (f'{{method="{method}",route="{route}",status="{status}"}}', count)
        for (method, route, status), count in sorted(server.counts.requests.items())
    ]
    parts = [
        _metric("http_requests_total", "counter", "requests answered", requests),
        _metric("jobs", "gauge", "jobs by state", [(f'{{state="{s}"}}', states.count(s)) for s in sorted(set(states))]),
        _metric("queue_jobs", "gauge", "jobs that wait", [("", len(scheduler.queue))]),
        _metric("clips_total", "counter", "clips that the network has scored", [("", engine.num_clips)]),
        _metric("engine_busy_seconds_total", "counter", "time of the engine's thread", [("", engine.busy_seconds)]),
        _metric("uptime_seconds", "gauge", "since the start", [("", time.time() - server.counts.started)]),
        _metric("disk_used_bytes", "gauge", "uploads and results", [("", server.disk.used())]),
        _metric("resident_memory_bytes", "gauge", "of the server's own process", [("", resident_bytes())]),
    ]
    return "".join(parts)


def _metric(name: str, kind: str, text: str, values: Iterable[tuple[str, float]]) -> str:
    name = f"nonlocal_{name}"
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n" + "".join(f"{name}{label} {v}\n" for label, v in values)


def resident_bytes() -> int:
    """0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
