"""What a run shows while it goes on: progress, log, VisualDL, pictures of clips, curves. The first process shows it."""

from __future__ import annotations

import time
from pathlib import Path

import paddle

from configs import save_config
from utils.clip_sheets import clip_sheet, write_picture
from utils.files import write_text
from utils.log import Progress, RunLog, remaining

CLIPS_OF_A_PICTURE = 8


class Watcher:
    """Log, bar and pictures in `save_dir`. total, iteration: steps in all and done before. interval: between rows.

    is_epoch_open: the validation at `iteration` comes again.
    """

    def __init__(self, config, save_dir: Path, total: int, iteration: int, interval: int, is_epoch_open: bool):
        self.config, self.save_dir, self.total, self.interval = config, save_dir, total, interval
        write_text(save_dir / "config.yaml", save_config(config))
        self.log = RunLog(str(save_dir), iteration, is_epoch_open)
        self.progress = Progress(total, interval, "step", iteration)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.progress.say(text)

    def step(self, iteration: int, epoch: int, figures: dict, clock: Clock, num_clips: int, **row) -> None:
        """The bar's text for every step, a row of the log at the interval. figures: the epoch's so far."""
        clips_per_second = num_clips / clock.seconds
        left = remaining((self.total - iteration) * clock.seconds)
        names = {"loss": "loss {:.4f}", "top1": "top1 {:.2f}", "top5": "top5 {:.2f}"}
        told = " ".join(text.format(figures[name]) for name, text in names.items() if name in figures)
        self.progress.advance(
            f"epoch {epoch} {told} lr {row['learning_rate']:.2g} {clips_per_second:.2f} clips/s left {left}"
        )
        if self.is_due(iteration):
            row.update(clips_per_second=clips_per_second, reading_share=clock.reading_share)
            if paddle.device.get_device().startswith("gpu"):
                row["gpu_gigabytes"] = paddle.device.cuda.max_memory_allocated() / 1e9
            self.log.write("train", iteration, epoch=epoch, **figures, **row)

    def is_due(self, iteration: int) -> bool:
        """Whether this step has a row in the log."""
        return self.interval > 0 and (iteration % self.interval == 0 or iteration == self.total)

    def validated(self, iteration: int, epoch: int, result: dict, num_videos: int) -> None:
        """A row and a line for a validation."""
        self.log.write("valid", iteration, epoch=epoch, **result)
        told = " ".join(f"{name} {result[name]:.2f}" for name in ("top1", "top5", "mAP") if name in result)
        loss = "none" if result["loss"] is None else f"{result['loss']:.4f}"
        self.say(
            f"validation after epoch {epoch}: {told} loss {loss} ({num_videos} videos, {result['num_broken']} broken)"
        )

    def picture(self, iteration: int, epoch: int, clips, captions: list[str]) -> None:
        """save_dir/clips_epoch<n>.png and the same in VisualDL: the first clips of a batch as the network sees them."""
        clip_input = self.config.INPUT
        captions = captions[:CLIPS_OF_A_PICTURE]
        sheet = clip_sheet(clips[: len(captions)], clip_input.mean, clip_input.std, captions)
        write_picture(self.save_dir / f"clips_epoch{epoch}.png", sheet)
        self.log.image("train/clips", iteration, sheet)

    def close(self) -> None:
        """Close the log and draw save_dir/curves.png."""
        from utils.plots import draw_curves

        self.progress.close()
        self.log.close()
        draw_curves(self.log.rows, self.save_dir / "curves.png")


class Bystander:
    """What the other processes have in a Watcher's place: nothing is shown."""

    def say(self, text: str) -> None: ...

    def step(self, *args, **row) -> None: ...

    def is_due(self, iteration: int) -> bool:
        return False

    def validated(self, *args) -> None: ...

    def picture(self, *args) -> None: ...

    def close(self) -> None: ...


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
