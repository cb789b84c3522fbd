"""Everything a server holds: the network, the videos, the jobs, and what it has counted."""

from __future__ import annotations

import contextlib
import hashlib
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

from configs import save_config
from datareader.decoding import Timeline
from datareader.lists import ROOT, class_names_of, read_class_names
from datareader.requests import ReaderSettings, ReadTimeline
from datareader.video import Limits
from datareader.views import ViewProtocol
from datareader.workers import ReaderPool
from inference.adaptive import AdaptiveViews
from inference.backends import BackendSpec, refuse_detector
from serving.engine import Engine, JobBackend
from serving.examples import Examples
from serving.jobs import TASKS
from serving.scheduler import Scheduler
from serving.videos import Disk, Videos
from serving.work import Work, check_duration
from utils.errors import UserError
from utils.files import locked
from weights.containers import stored_sha256

if TYPE_CHECKING:
    from inference.two_streams import TwoStreams

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
    """networks: the one, or the two whose scores are fused. Raises UserError and RunError when one cannot be built.

    spec: of the network, of two streams the RGB one. tasks: that clients may ask for, the page's first.
    """

    def __init__(self, networks: BackendSpec | TwoStreams, settings: Settings, use_gpu: bool | None = None):
        specs = [networks] if isinstance(networks, BackendSpec) else [networks.rgb, networks.flow]
        for spec in specs:
            refuse_detector(spec.config)
        if settings.views is not None:
            parse_views(settings.views)
        self.spec = spec = specs[0]
        self.settings, self.counts = settings, Counts()
        self.tasks = TASKS if len(specs) == 1 else ("classes",)
        self.names = class_names_of(spec.config, "INFER")
        self._lock = contextlib.ExitStack()
        try:
            settings.save_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(settings.save_dir, 0o700)
            self._lock.enter_context(locked(settings.save_dir))
        except OSError as error:
            raise UserError(f"cannot write {settings.save_dir}: {error.strerror}; choose another folder") from error
        self.disk = Disk(settings.save_dir, settings.disk)
        self.videos = Videos(settings.save_dir / "uploads", settings.folder, self.disk)
        self.engine = Engine(specs, use_gpu)
        self.work = Work(spec.config, self.names, settings.max_minutes, self._network_id())
        self._check_default_views()
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
        """What a sliding window may have, the default of the settings first; [] where no task has windows."""
        return (
            [] if "segments" not in self.tasks else sorted(WINDOW_VIEWS, key=lambda views: views != self.settings.views)
        )

    @cached_property
    def weights_sha256(self) -> list[str]:
        """Of each network's file."""
        return [stored_sha256(facts.weights) for facts in self.engine.facts]

    def _network_id(self) -> str:
        """A checksum of all that results depend on beside the video and the options of a job."""
        networks = zip(self.engine.specs, self.engine.facts, self.weights_sha256)
        parts = [(save_config(spec.config), facts.name, facts.precision, sha) for spec, facts, sha in networks]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _check_default_views(self) -> None:
        """Raises UserError."""
        never = threading.Event()
        try:
            self.work.check_views(self.settings.views, JobBackend(self.engine, never, never))
        except BaseException:
            self.engine.close()
            raise

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

    def free_bytes(self, used: int) -> int:
        """That uploads may take now, of a disk with so many used ones."""
        free = shutil.disk_usage(self.settings.save_dir).free
        return max(0, min(free, self.settings.disk - used))


def parse_views(views: str) -> tuple[AdaptiveViews | None, ViewProtocol]:
    """What views names: those of each clip, of adaptive ones all that may be scored. Raises UserError."""
    adaptive = AdaptiveViews.parse(views)
    named = adaptive.views if adaptive else views
    return adaptive, ViewProtocol.parse(named or "whole", num_clips=1)


def new_token() -> str:
    """For --token without a value."""
    return secrets.token_urlsafe(24)
