"""Everything a server holds: the network, the videos, the jobs, and what it has counted."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from datareader.decoding import Timeline
from datareader.lists import ROOT, class_names_of, read_class_names
from datareader.requests import ReaderSettings, ReadTimeline
from datareader.video import Limits
from datareader.workers import ReaderPool
from inference.backends import refuse_detector
from serving.engine import Engine
from serving.examples import Examples
from serving.scheduler import Scheduler
from serving.videos import Disk, Videos
from serving.work import Work, check_duration
from utils.files import file_sha256, locked

if TYPE_CHECKING:
    from inference.backends import BackendSpec

WINDOW_VIEWS = ("whole", "1x1", "1x3")  # that a sliding window may have
STOP_SECONDS = 30.0  # for the batches in work when the server ends


@dataclass(frozen=True)
class Settings:
    """The flags of serve.py. host, allow_hosts, allow_origins: names that requests may use. token: "" asks for none.
    folder: videos that are offered. max_upload, disk: bytes; max_jobs: that may wait; active_jobs: worked on at once.
    views, stride_seconds, topk: of a job that names none.
    """

    save_dir: Path
    folder: Path | None = None
    host: str = "127.0.0.1"
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    token: str = ""
    max_upload: int = 2 << 30
    max_minutes: float = 240.0
    max_jobs: int = 16
    active_jobs: int = 4
    disk: int = 10 << 30
    keep_hours: float = 24.0
    views: str | None = None
    stride_seconds: float | None = None
    topk: int = 20


@dataclass
class Counts:
    """For GET /metrics. requests: by (method, route, status)."""

    requests: Counter = field(default_factory=Counter)
    started: float = field(default_factory=time.time)


class Server:
    """Raises UserError and RunError when the network cannot be built."""

    def __init__(self, spec: BackendSpec, settings: Settings, use_gpu: bool | None = None):
        refuse_detector(spec.config)
        self.spec, self.settings, self.counts = spec, settings, Counts()
        self.names = class_names_of(spec.config, "INFER")
        settings.save_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(settings.save_dir, 0o700)
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(locked(settings.save_dir))
        self.disk = Disk(settings.save_dir, settings.disk)
        self.videos = Videos(settings.save_dir / "uploads", settings.folder, self.disk)
        self.work = Work(spec.config, self.names, settings.max_minutes)
        self.engine = Engine(spec, use_gpu)
        self.probes = ReaderPool(1)
        self.scheduler = Scheduler(
            settings.save_dir / "jobs", self.videos, self.engine, self.work, settings.active_jobs, settings.max_jobs
        )
        self.examples = Examples(self)
        self._ended = threading.Event()
        threading.Thread(target=self._tidy, daemon=True, name="tidy").start()

    @cached_property
    def chinese_names(self) -> list[str] | None:
        """Of the classes, where a file <dataset>_labels_cn.txt lies beside that of the English names; else None."""
        path = ROOT / f"data/dataset/nonlocal/{self.spec.config.MODEL.dataset}_labels_cn.txt"
        return read_class_names(path, len(self.names)) if path.is_file() else None

    @property
    def window_views(self) -> list[str]:
        """What a sliding window may have, the default of the settings first."""
        return sorted(WINDOW_VIEWS, key=lambda views: views != self.settings.views)

    @cached_property
    def weights_sha256(self) -> str:
        return file_sha256(self.engine.facts.weights)

    def check_video(self, path: Path, max_minutes: float | None = None) -> None:
        """In a reading process: raise VideoError for a file that is no video, UserError for one that is longer than
        the settings allow, or than `max_minutes`."""
        reader = self.spec.config.READER
        limits = Limits(seconds=reader.seconds_per_video)
        request = ReadTimeline(str(path), ReaderSettings(reader.decoder, limits, reader.folder_fps, reader.frame_rate))
        answer = self.probes.submit(lambda process: process.run(request)[1]).result()
        if isinstance(answer, Timeline):  # else the frames must be decoded to be counted, which the job does
            check_duration(answer.end_seconds, max_minutes or self.settings.max_minutes)

    def stop(self) -> None:
        """Finish the batches in work and write nothing more; unfinished jobs go on at the next start."""
        self._ended.set()
        self.scheduler.stop(STOP_SECONDS)
        self.probes.close()
        self.engine.close()
        self._lock.close()

    def _tidy(self) -> None:
        while not self._ended.wait(60):
            self.scheduler.forget_old(3600 * self.settings.keep_hours)

    def free_bytes(self) -> int:
        """That uploads may take now."""
        free = shutil.disk_usage(self.settings.save_dir).free
        return max(0, min(free, self.settings.disk - self.disk.used()))


def new_token() -> str:
    """For --token without a value."""
    return secrets.token_urlsafe(24)
