"""A run over a whole list: the folder's fingerprint and lock, progress, and the summary at its end."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from clusters.driver import Pool, drive
from clusters.folder import Folder, open_folder, read_json, write_json
from clusters.job import Job
from clusters.lock import folder_lock
from clusters.rows import RETRIED_KINDS
from clusters.scheduler import Scheduler
from utils.errors import RunError, UserError
from utils.log import remaining

FIRST_ROWS = 1000  # of a run, on which max_error_ratio is judged
PROGRESS_SECONDS = 10.0  # between two versions of progress.json
RUN_FILE, SUCCESS_FILE = "run.json", "_SUCCESS"
COMPACTED = "compacted"  # in _SUCCESS: the parts were joined (compact.py)


@dataclass(frozen=True)
class Share:
    """Every `count`-th part from part `index` on: what one task of a job array computes."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """From "3/64". Raises UserError."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        share = cls(*map(int, found.groups())) if found else cls(0, 0)
        if share.index >= share.count:
            raise UserError(f"--share={text}: write I/N with I from 0 to N - 1")
        return share

    def of(self, parts: Iterable[int]) -> list[int]:
        return [part for part in parts if part % self.count == self.index]

    def file(self, name: str, suffix: str) -> str:
        return name + suffix if self.count == 1 else f"{name}-{self.index}{suffix}"


class Monitor:
    """What an engine is told to call meanwhile: `report` with the rows and errors of each finished piece, and
    `check_setup` with what a worker computes with, which raises UserError when it is something else than the run's."""

    def __init__(self, job: Job, report: Callable[[int, int], None]):
        self.report, self.check_setup = report, partial(check_setup, job.files)


Engine = Callable[[Job, "list[int]", Monitor], None]  # has parts computed; returns when all that can be are there


def pool_engine(make_pool: Callable[[Job], Pool]) -> Engine:
    """Parts are computed by a pool of workers."""

    def compute(job: Job, parts: list[int], monitor: Monitor) -> None:
        scheduler = Scheduler(parts, job.part, job.is_done, job.failures())
        with contextlib.closing(make_pool(job)) as pool:
            drive(job, scheduler, pool, monitor.report, monitor.check_setup)

    return compute


def classify_dataset(
    folder: str | Path,
    facts: dict[str, Any],
    make_job: Callable[[], Job],
    compute: Engine,
    *,
    share: Share = Share(),  # noqa: B008 - it is frozen
    retry_errors: bool = False,
    max_error_ratio: float = 0.05,
) -> dict[str, Any] | None:
    """Compute every part of a run that has no file in the folder yet; returns what _SUCCESS holds, None for a share
    of a run of which other parts are missing.

    folder: a path or the URL of a store. facts: what the results follow from; a folder that was begun with others is
    refused. make_job: writes the list of videos where it is missing. compute: the engine.
    retry_errors: parts with an error of RETRIED_KINDS are computed again. max_error_ratio: of the first 1,000 videos;
    with more errors something is wrong with the whole run.

    Raises UserError for other facts, a second driver and too many errors, RunError as the engine does.
    """
    files = open_folder(str(folder))
    with folder_lock(str(folder), share.file("driver", ".lock")):
        check_facts(files, facts)
        success = read_json(files, SUCCESS_FILE)
        if success and COMPACTED in success:
            if retry_errors:
                raise UserError(f"{files}: its parts were joined (--compact); choose another --output")
            return success
        job = make_job()
        files.sweep()
        missing = share.of(job.missing_parts())
        if retry_errors:
            missing = sorted({*missing, *_forget_errors(job, share, set(missing))})
        if missing:
            files.remove(SUCCESS_FILE)
            report = _Report(job, share, missing, max_error_ratio)
            compute(job, missing, Monitor(job, report))
            if report.num_rows:
                report.write()
        left = job.missing_parts()
        if share.of(left):
            raise RunError(f"{len(share.of(left))} parts are missing, the first is {left[0]}; start the run again")
        if left:
            return None
        success = summarise(job)
        write_json(files, SUCCESS_FILE, success)
        return success


def _forget_errors(job: Job, share: Share, missing: set[int]) -> list[int]:
    """Delete parts whose file has an error that another time may not occur."""
    found = []
    for part in share.of(range(job.num_parts)):
        if part not in missing:
            kinds = job.read(job.part(part), ["error_kind"]).column(0)
            if set(kinds.unique().to_pylist()) & set(RETRIED_KINDS):
                job.forget(part)
                found.append(part)
    return found


# ------------------------------------------------------------------------------------------- the fingerprint


def check_facts(files: Folder, facts: dict[str, Any]) -> None:
    """Write run.json, or compare it. Raises UserError, naming what differs, when the folder holds another run."""
    stored = read_json(files, RUN_FILE)
    if stored is None and any(True for _ in files.names("parts")):
        stored = read_json(files, RUN_FILE)  # another share may have begun since
        if stored is None:
            raise UserError(f"{files} holds parts, but {RUN_FILE} is missing or broken; choose another --output")
    if stored is None:
        write_json(files, RUN_FILE, facts)
        return
    for name in sorted({*facts, *stored} - {"backend"}):
        if facts.get(name) != stored.get(name):
            raise UserError(
                f"{files} holds a run with another {name} ({_shown(stored.get(name))} there, "
                f"{_shown(facts.get(name))} now); choose another --output"
            )


def check_setup(files: Folder, setup: str) -> None:
    """Note what the first worker computes with. Raises UserError for one that would compute with something else."""
    facts = read_json(files, RUN_FILE) or {}
    if "backend" not in facts:
        facts["backend"] = setup
        write_json(files, RUN_FILE, facts)
    elif facts["backend"] != setup:
        raise UserError(
            f"a worker computes with {setup}, other parts were computed with {facts['backend']}; pass --backend"
        )


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


# ------------------------------------------------------------------------------------------- progress


class _Report:
    """Called with the rows and errors of each finished piece: prints a line and writes progress.json now and then."""

    def __init__(self, job: Job, share: Share, missing: list[int], max_error_ratio: float):
        self.job, self.max_error_ratio, self.file = job, max_error_ratio, share.file("progress", ".json")
        self.num_videos = sum(len(job.part(part)) for part in share.of(range(job.num_parts)))
        self.num_missing = sum(len(job.part(part)) for part in missing)
        self.num_rows = self.num_errors = 0
        self.begin = self.last = time.monotonic()

    def __call__(self, num_rows: int, num_errors: int) -> None:
        is_first = self.num_rows < FIRST_ROWS
        self.num_rows += num_rows
        self.num_errors += num_errors
        if is_first and self.num_rows >= FIRST_ROWS and self.num_errors > self.max_error_ratio * self.num_rows:
            self.write()
            raise UserError(
                f"{self.num_errors} of the first {self.num_rows} videos could not be scored; the column error of "
                f"{self.job.folder}/parts says why (--max_error_ratio {self.max_error_ratio:g})"
            )
        if time.monotonic() - self.last > PROGRESS_SECONDS:
            self.write()

    def write(self) -> None:
        """The line, and progress.json."""
        self.last = time.monotonic()
        rate = self.num_rows / max(1e-9, self.last - self.begin)
        done = self.num_videos - self.num_missing + self.num_rows
        seconds_left = (self.num_missing - self.num_rows) / max(1e-9, rate)
        print(
            f"[{done}/{self.num_videos}] {rate:.1f} videos/s, {self.num_errors} errors, {remaining(seconds_left)} left",
            flush=True,
        )
        progress = {"videos": self.num_videos, "done": done, "errors": self.num_errors}
        progress.update(videos_per_second=round(rate, 3), seconds_left=round(seconds_left))
        write_json(self.job.files, self.file, progress)


# ------------------------------------------------------------------------------------------- the end


def summarise(job: Job) -> dict[str, Any]:
    """Videos, scored ones, errors by kind, and the SHA-256 of all parts one behind the other.

    Raises RunError for a part that is missing, damaged, or does not hold the rows it should.
    """
    digest, kinds = hashlib.sha256(), Counter()
    for number in range(job.num_parts):
        piece = job.part(number)
        content = job.content(piece)
        digest.update(content)
        table = pq.read_table(io.BytesIO(content), columns=["id", "error_kind"])
        if table.column("id").to_pylist() != list(range(piece.start, piece.stop)):
            name = f"{job.folder}/{job.name(piece)}"
            raise RunError(f"{name} does not hold the videos {piece.start} to {piece.stop - 1}; delete it")
        kinds.update(table.column("error_kind").drop_null().to_pylist())
    errors = dict(sorted(kinds.items()))
    num_scored = job.num_videos - sum(errors.values())
    return {"videos": job.num_videos, "scored": num_scored, "errors": errors, "sha256": digest.hexdigest()}
