"""A run over a whole list: the folder's fingerprint and lock, progress, and the summary at its end."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from clusters.driver import Pool, drive
from clusters.job import Job, Piece
from clusters.lock import folder_lock
from clusters.rows import RETRIED_KINDS
from clusters.scheduler import Scheduler
from utils.errors import RunError, UserError
from utils.files import write_json
from utils.log import remaining

FIRST_ROWS = 1000  # of a run, on which max_error_ratio is judged
PROGRESS_SECONDS = 10.0  # between two versions of progress.json
RUN_FILE, PROGRESS_FILE, SUCCESS_FILE = "run.json", "progress.json", "_SUCCESS"


def classify_dataset(
    folder: Path,
    facts: dict[str, Any],
    make_job: Callable[[], Job],
    make_pool: Callable[[Job], Pool],
    *,
    retry_errors: bool = False,
    max_error_ratio: float = 0.05,
) -> dict[str, Any]:
    """Compute every part of a run that has no file in the folder yet; returns what _SUCCESS holds.

    facts: what the results follow from; a folder that was begun with others is refused. make_job: writes the list of
    videos where it is missing. make_pool: starts the workers.
    retry_errors: parts with an error of RETRIED_KINDS are computed again. max_error_ratio: of the first 1,000 videos;
    with more errors something is wrong with the whole run.

    Raises UserError for other facts, a second driver and too many errors, RunError as the pool does.
    """
    with folder_lock(folder):
        check_facts(folder, facts)
        job = make_job()
        job.sweep()
        missing = job.missing_parts()
        if retry_errors:
            missing = sorted({*missing, *_parts_to_retry(job, set(missing))})
        if missing:
            (folder / SUCCESS_FILE).unlink(missing_ok=True)
            scheduler = Scheduler(missing, job.part, job.is_done, job.failures())
            report = _Report(job, sum(len(job.part(part)) for part in missing), max_error_ratio)
            with contextlib.closing(make_pool(job)) as pool:
                drive(job, scheduler, pool, report, lambda setup: check_setup(folder, setup))
            report.write()
        success = summarise(job)
        write_json(folder / SUCCESS_FILE, success)
        return success


def _parts_to_retry(job: Job, missing: set[int]) -> list[int]:
    """Parts whose file has an error that another time may not occur; what is kept of their failures is deleted."""
    found = []
    for part in range(job.num_parts):
        if part not in missing:
            kinds = pq.read_table(job.file(job.part(part)), columns=["error_kind"], partitioning=None).column(0)
            if set(kinds.unique().to_pylist()) & set(RETRIED_KINDS):
                job.forget(part)
                found.append(part)
    return found


# ------------------------------------------------------------------------------------------- the fingerprint


def check_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Write run.json, or compare it. Raises UserError, naming what differs, when the folder holds another run."""
    stored = _stored_facts(folder)
    if stored is None:
        if (folder / "parts").exists():
            raise UserError(f"{folder} holds parts, but {RUN_FILE} is missing or broken; choose another --output")
        write_json(folder / RUN_FILE, facts)
        return
    for name in sorted({*facts, *stored} - {"backend"}):
        if facts.get(name) != stored.get(name):
            raise UserError(
                f"{folder} holds a run with another {name} ({_shown(stored.get(name))} there, "
                f"{_shown(facts.get(name))} now); choose another --output"
            )


def check_setup(folder: Path, setup: str) -> None:
    """Note what the first worker computes with. Raises UserError for one that would compute with something else."""
    facts = _stored_facts(folder) or {}
    if facts.setdefault("backend", setup) != setup:
        raise UserError(
            f"a worker computes with {setup}, other parts were computed with {facts['backend']}; pass --backend"
        )
    write_json(folder / RUN_FILE, facts)


def _stored_facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


# ------------------------------------------------------------------------------------------- progress


class _Report:
    """Called with the rows and errors of each finished piece: prints a line and writes progress.json now and then."""

    def __init__(self, job: Job, num_missing: int, max_error_ratio: float):
        self.job, self.num_missing, self.max_error_ratio = job, num_missing, max_error_ratio
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
                f"{self.job.folder / 'parts'} says why (--max_error_ratio {self.max_error_ratio:g})"
            )
        if time.monotonic() - self.last > PROGRESS_SECONDS:
            self.write()

    def write(self) -> None:
        """The line, and progress.json."""
        self.last = time.monotonic()
        rate = self.num_rows / max(1e-9, self.last - self.begin)
        done = self.job.num_videos - self.num_missing + self.num_rows
        seconds_left = (self.num_missing - self.num_rows) / max(1e-9, rate)
        print(
            f"[{done}/{self.job.num_videos}] {rate:.1f} videos/s, {self.num_errors} errors, "
            f"{remaining(seconds_left)} left",
            flush=True,
        )
        progress = {"videos": self.job.num_videos, "done": done, "errors": self.num_errors}
        progress.update(videos_per_second=round(rate, 3), seconds_left=round(seconds_left))
        write_json(self.job.folder / PROGRESS_FILE, progress)


# ------------------------------------------------------------------------------------------- the end


def summarise(job: Job) -> dict[str, Any]:
    """Videos, scored ones, errors by kind, and the SHA-256 of all parts one behind the other.

    Raises RunError for a part that is missing, damaged, or does not hold the rows it should.
    """
    digest, kinds = hashlib.sha256(), Counter()
    for number in range(job.num_parts):
        piece = job.part(number)
        content = read_part(job, piece)
        digest.update(content)
        table = pq.read_table(io.BytesIO(content), columns=["id", "error_kind"])
        if table.column("id").to_pylist() != list(range(piece.start, piece.stop)):
            raise RunError(f"{job.file(piece)} does not hold the videos {piece.start} to {piece.stop - 1}; delete it")
        kinds.update(table.column("error_kind").drop_null().to_pylist())
    errors = dict(sorted(kinds.items()))
    num_scored = job.num_videos - sum(errors.values())
    return {"videos": job.num_videos, "scored": num_scored, "errors": errors, "sha256": digest.hexdigest()}


def read_part(job: Job, piece: Piece) -> bytes:
    """The bytes of a part. Raises RunError."""
    try:
        return job.file(piece).read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {job.file(piece)}: {error.strerror or error}; start the run again") from error
