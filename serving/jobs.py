"""A job: what is to be found in which video, how far it is, and the folder that survives a restart.

jobs/<id>/job.json       the job, replaced as a whole when its state changes
jobs/<id>/windows        rows of scores, appended as windows are scored (segments only)
jobs/<id>/segments.*, features.npz, record.json     the result

What is written survives the death of the process at any moment. It is not synced: uploads are not either, and a job
without its video is nothing; after a loss of power the jobs of the last seconds are to be made again.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import write_json

STATES = ("queued", "decoding", "scoring", "done", "failed", "cancelled")
FINAL = ("done", "failed", "cancelled")
TASKS = ("segments", "classes", "features")
RESULTS = ("windows", "segments.", "features.npz", "record.json")  # how the names of a job's other files begin


def new_id() -> str:
    """128 random bits in base32: 26 letters and digits."""
    return base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


@dataclass(frozen=True)
class JobOptions:
    """What is to be found. views, stride_seconds, topk: as predict.py's flags. stage, pooling: of features."""

    task: str = "segments"
    views: str | None = None
    stride_seconds: float | None = None
    topk: int = 20
    stage: str = ""
    pooling: str = "video"


@dataclass
class Job:
    """folder: of the job. video_id, video_name, content: the video, its name for people and what identifies its
    content. owner: whose browser it is. created, finished: seconds since 1970. detail: why it failed. warning: what is
    not whole in the video. info: duration, frames, rate, num_windows. has_damage: of the file, so that a restart
    begins with the first window and counts the damage once. network_id: as in `Work`. last_seen: when a client last
    asked for it.
    """

    folder: Path
    id: str
    video_id: str
    video_name: str
    content: str
    options: JobOptions
    owner: str = ""
    state: str = "queued"
    created: float = field(default_factory=time.time)
    finished: float | None = None
    detail: str = ""
    warning: str = ""
    info: dict[str, Any] | None = None
    has_damage: bool = False
    network_id: str = ""
    # not stored
    num_windows: int = 0
    segments: list[dict] = field(default_factory=list)
    top: list[dict] = field(default_factory=list)
    scoring_since: tuple[float, int] | None = None
    last_seen: float = field(default_factory=time.monotonic)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)  # of the state

    NOT_STORED = ("folder", "num_windows", "segments", "top", "scoring_since", "last_seen", "stop", "lock")

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    def save(self) -> None:
        """Replace job.json. Raises RunError when the disk is full."""
        stored = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.NOT_STORED}
        write_json(self.folder / "job.json", {**stored, "options": asdict(self.options)}, sync=False)

    @classmethod
    def load(cls, folder: Path) -> Job:
        """Raises OSError, ValueError, TypeError or KeyError for a folder that holds no job."""
        stored = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        job = cls(folder=folder, **{**stored, "options": JobOptions(**stored["options"])})
        if job.state not in STATES or job.options.task not in TASKS or job.id != folder.name:
            raise ValueError(f"{folder}: no job")
        return job

    def begin_scoring(self) -> None:
        """The state of a job that goes on; a cancelled one keeps its own."""
        with self.lock:
            if not self.is_final:
                self.state = "scoring"

    def end(self, state: str, detail: str = "") -> None:
        with self.lock:
            self.state, self.detail, self.finished = state, detail, time.time()
        self.save()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_done_as(self, other: Job) -> bool:
        """Whether it has found what `other` of the same content is to find; the video's name stands in results."""
        return self.state == "done" and (self.video_name, self.options) == (other.video_name, other.options)

    def seconds_left(self) -> float | None:
        """By the rate of the windows of this run so far."""
        if self.scoring_since is None or not self.info or self.num_windows == self.scoring_since[1]:
            return None
        begin, first = self.scoring_since
        rate = (self.num_windows - first) / max(1e-6, time.monotonic() - begin)
        return (self.info["num_windows"] - self.num_windows) / rate

    def progress(self) -> float | None:
        """From 0 to 1; None where it is not known."""
        if self.state == "done":
            return 1.0
        return self.num_windows / self.info["num_windows"] if self.info and self.num_windows else None


class WindowScores:
    """The scored windows of a job in a file, appended group by group; what a killed process was writing is cut off.

    A row is start and end in seconds (float64) and scores (float32 [num_classes]).
    """

    def __init__(self, path: Path, num_classes: int):
        self.path = path
        self.dtype = np.dtype([("start", "<f8"), ("end", "<f8"), ("scores", "<f4", (num_classes,))])

    def keep(self, multiple: int) -> int:
        """Cut the file to a multiple of so many rows (0: to none) and return their number."""
        num_rows = self.path.stat().st_size // self.dtype.itemsize if self.path.exists() else 0
        num_rows = num_rows // multiple * multiple if multiple else 0
        with open(self.path, "ab") as stream:
            stream.truncate(num_rows * self.dtype.itemsize)
        return num_rows

    def append(self, starts: np.ndarray, ends: np.ndarray, scores: np.ndarray) -> None:
        """starts, ends: [n]; scores: [n, num_classes]."""
        rows = np.empty(len(scores), self.dtype)
        rows["start"], rows["end"], rows["scores"] = starts, ends, scores
        with open(self.path, "ab") as stream:
            stream.write(rows.tobytes())

    def read(self, first: int, count: int) -> np.ndarray:
        """Rows from `first` on, at most so many; only whole ones."""
        try:
            with open(self.path, "rb") as stream:
                stream.seek(first * self.dtype.itemsize)
                data = stream.read(count * self.dtype.itemsize)
        except FileNotFoundError:
            data = b""
        return np.frombuffer(data[: len(data) // self.dtype.itemsize * self.dtype.itemsize], self.dtype)


def copy_result(source: Job, target: Job) -> None:
    """Give `target` the finished result of `source`, which has the same content and options."""
    target.folder.mkdir(parents=True, exist_ok=True)
    for file in source.folder.iterdir():
        if file.name != "job.json":
            os.link(file, target.folder / file.name)
    target.info, target.warning, target.detail = source.info, source.warning, source.detail
    target.end("done", source.detail)
