"""What a training run shows and leaves to look at, by its main process.

| file in --save_dir | |
|---|---|
| log.jsonl | a row per --log_interval steps and per validation |
| visualdl/ | the same numbers as VisualDL scalars, and a picture of the clips of each epoch |
| curves.png | loss, accuracy and learning rate over the run, drawn when it ends or stops |
| clips_first.png, clips_last.png | the first clips of the first and of the latest epoch as the network sees them |
| config.yaml | the resolved configuration |
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from configs import save_config
from configs.schema import Config
from utils.clip_sheets import clip_sheet, display_scale, write_picture
from utils.errors import RunError
from utils.files import write_text
from utils.log import Progress, remaining

CLIPS_OF_A_PICTURE = 8
FIRST_PROFILED_STEP, LAST_PROFILED_STEP = 3, 8


class Logger:
    """Progress, log and pictures of a run in `save_dir`.

    total, iteration: steps in all and done before. interval: steps from one row to the next, 0 disables them.
    redo_validation: the validation at `iteration` comes again.
    """

    def __init__(
        self, config: Config, save_dir: Path, total: int, iteration: int, interval: int, redo_validation: bool
    ):
        self.config, self.save_dir, self.total, self.interval = config, save_dir, total, interval
        write_text(save_dir / "config.yaml", save_config(config))
        self.log = RunLog(save_dir, iteration, redo_validation)
        self.progress = Progress(total, interval, "step", iteration)

    def say(self, text: str) -> None:
        """A line that stays, above the progress bar."""
        self.progress.say(text)

    def step(self, iteration: int, epoch: int, metrics: dict, clock: Clock, num_clips: int, **row) -> None:
        """Advance the progress; write a row of the log at the interval. metrics: of the epoch so far."""
        clips_per_second = num_clips / clock.seconds
        left = remaining((self.total - iteration) * clock.seconds)
        hidden = ("loss", "num_clips")
        texts = [f"loss {metrics['loss']:.4f}"] if metrics.get("loss") is not None else []
        texts += [f"{name} {value:.2f}" for name, value in metrics.items() if name not in hidden]
        self.progress.advance(
            f"epoch {epoch} {' '.join(texts)} lr {row['learning_rate']:.2g} {clips_per_second:.2f} clips/s left {left}"
        )
        if self.is_due(iteration):
            row.update(clips_per_second=clips_per_second, reading_share=clock.reading_share)
            if paddle.device.get_device().startswith("gpu"):
                row["gpu_gigabytes"] = paddle.device.cuda.max_memory_allocated() / 1e9
            self.log.write("train", iteration, epoch=epoch, **metrics, **row)

    def is_due(self, iteration: int) -> bool:
        """Whether this step has a row in the log."""
        return self.interval > 0 and (iteration % self.interval == 0 or iteration == self.total)

    def validated(self, iteration: int, epoch: int, result: dict, num_videos: int) -> None:
        """A row and a line for a validation."""
        self.log.write("valid", iteration, epoch=epoch, **result)
        hidden = ("loss", "num_clips", "num_broken")
        texts = " ".join(f"{name} {value:.2f}" for name, value in result.items() if name not in hidden)
        loss = "none" if result["loss"] is None else f"{result['loss']:.4f}"
        self.say(
            f"validation after epoch {epoch}: {texts} loss {loss} ({num_videos} videos, {result['num_broken']} broken)"
        )

    def show_clips(self, iteration: int, epoch: int, clips: np.ndarray, captions: list[str]) -> None:
        """clips_first.png (epoch 0) or clips_last.png, and an image in VisualDL: the first clips of a batch.

        clips: float32 [N, C, T, S, S] as the network sees them.
        """
        captions = captions[:CLIPS_OF_A_PICTURE]
        sheet = clip_sheet(clips[: len(captions)], *display_scale(self.config), captions)
        write_picture(self.save_dir / f"clips_{'last' if epoch else 'first'}.png", sheet)
        self.log.image("train/clips", iteration, sheet)

    def close(self) -> None:
        """Close the log and draw save_dir/curves.png."""
        from utils.plots import draw_curves

        self.progress.close()
        self.log.close()
        draw_curves(self.log.rows, self.save_dir / "curves.png")


class SilentLogger:
    """The Logger of the other ranks, and of a run that has not begun: shows nothing."""

    def say(self, text: str) -> None: ...

    def step(self, *args, **row) -> None: ...

    def is_due(self, iteration: int) -> bool:
        return False

    def validated(self, *args) -> None: ...

    def show_clips(self, *args) -> None: ...

    def close(self) -> None: ...


class RunLog:
    """A run's rows as JSON lines in save_dir/log.jsonl and as VisualDL scalars in save_dir/visualdl.

    save_dir: the run's folder. from_iteration: rows of a broken-off run beyond it are dropped (they come again), and
    its validation with `redo_validation`. `rows` holds all rows, for the curves.
    """

    def __init__(self, save_dir: Path, from_iteration: int = 0, redo_validation: bool = False):
        from visualdl import LogWriter

        self.path = save_dir / "log.jsonl"
        self.rows = [row for row in _read_rows(self.path) if row.get("iteration", 0) <= from_iteration]
        if from_iteration == 0:
            self.rows = []
        if redo_validation:
            self.rows = [
                row for row in self.rows if (row.get("kind"), row.get("iteration")) != ("valid", from_iteration)
            ]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self.stream = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run
        self.writer = LogWriter(logdir=str(save_dir / "visualdl"))

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


class Clock:
    """Seconds of a step, and how many of them went by in waiting for its batch."""

    def __init__(self):
        self.since = self.arrived = time.perf_counter()
        self.seconds, self.reading_share = 1.0, 0.0

    def batch_arrived(self) -> None:
        """The step's batch is there."""
        self.arrived = time.perf_counter()

    def step_ended(self) -> None:
        """The step has ended, the next one begins."""
        now = time.perf_counter()
        self.seconds = now - self.since
        self.reading_share = (self.arrived - self.since) / self.seconds
        self.since = now


class Profile:
    """Records the steps from FIRST_PROFILED_STEP to LAST_PROFILED_STEP as a Chrome trace in `folder` (open it in
    chrome://tracing); None: nothing."""

    def __init__(self, folder: str | None):
        self.profiler = None
        if folder is not None:
            from paddle import profiler

            self.profiler = profiler.Profiler(
                scheduler=(FIRST_PROFILED_STEP, LAST_PROFILED_STEP),
                on_trace_ready=profiler.export_chrome_tracing(folder),
            )

    def __enter__(self) -> Profile:
        if self.profiler:
            self.profiler.start()
        return self

    def step(self) -> None:
        """One training step has ended."""
        if self.profiler:
            self.profiler.step()

    def __exit__(self, *error) -> None:
        if self.profiler:
            self.profiler.stop()
