"""What a run leaves to look at: log.jsonl, VisualDL scalars, a progress bar or plain lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.errors import RunError
from utils.files import write_text
from utils.i18n import tr


class RunLog:
    """A run's rows as JSON lines in save_dir/log.jsonl and as VisualDL scalars in save_dir/visualdl.

    save_dir: the run's folder. from_iteration: rows of a broken-off run beyond it are dropped (they come again), and
    its validation with `redo_validation`. `rows` holds all rows, for the curves.
    """

    def __init__(self, save_dir: str, from_iteration: int = 0, redo_validation: bool = False):
        from visualdl import LogWriter

        self.path = Path(save_dir) / "log.jsonl"
        self.rows = [row for row in _read_rows(self.path) if row.get("iteration", 0) <= from_iteration]
        if from_iteration == 0:
            self.rows = []
        if redo_validation:
            self.rows = [
                row for row in self.rows if (row.get("kind"), row.get("iteration")) != ("valid", from_iteration)
            ]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self.stream = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run
        self.writer = LogWriter(logdir=str(Path(save_dir) / "visualdl"))

    def write(self, kind: str, iteration: int, **values: Any) -> None:
        """Add a row; numbers go to VisualDL as kind/name."""
        row = {"kind": kind, "iteration": iteration, **values}
        self.rows.append(row)
        try:
            self.stream.write(json.dumps(row) + "\n")
            self.stream.flush()
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    self.writer.add_scalar(f"{kind}/{name}", float(value), iteration)
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}; free space and --resume") from error

    def image(self, name: str, iteration: int, picture: np.ndarray) -> None:
        """Add a picture, uint8 RGB [H, W, 3], to VisualDL."""
        try:
            self.writer.add_image(name, picture, iteration)
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}; free space and --resume") from error

    def close(self) -> None:
        """Flush and close both."""
        self.stream.close()
        self.writer.close()


def _read_rows(path: Path) -> list[dict]:
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break  # a crash cut the last line
    return rows


class Progress:
    """A progress bar on a terminal; elsewhere a plain line every `interval` steps (0: none).

    total, initial: steps in all and done before. unit: what a step is.
    """

    def __init__(self, total: int, interval: int, unit: str, initial: int = 0):
        self.interval, self.step, self.total = interval, initial, total
        self.is_bar = sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=initial, unit=unit, dynamic_ncols=True, disable=None)

    def advance(self, text: str) -> None:
        """One step further; `text` says how it went."""
        self.step += 1
        self.bar.update()
        if self.is_bar:
            self.bar.set_postfix_str(text, refresh=False)
        elif self.interval > 0 and (self.step % self.interval == 0 or self.step == self.total):
            print(f"[{self.step}/{self.total}] {text}", flush=True)

    def say(self, text: str) -> None:
        """A line that stays, above the bar; errors are in the language of the locale."""
        text = tr(text)
        if self.is_bar:
            self.bar.write(text)
        else:
            print(text, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()


def remaining(seconds: float) -> str:
    """Seconds as 1:02:03."""
    return tqdm.format_interval(max(0, int(seconds)))
