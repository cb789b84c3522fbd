"""Training: one step, one epoch, validation, checkpoints. Everything random follows from (seed, epoch, iteration)."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F

from configs import save_config
from datareader import build_train_loader, build_valid_loader, read_list
from metrics import TopkMeter
from models import build_model
from training.interrupt import Interruption
from training.profiling import Profile
from training.start import Start, find_start
from utils.checkpoint import check_writable, prune_checkpoints, save_arrays, save_checkpoint
from utils.errors import RunError, UserError
from utils.files import write_text
from utils.log import Progress, RunLog, remaining
from utils.optim import build_optimizer, learning_rate_at, velocities


class Trainer:
    """One run: builds all it needs from the configuration, then `run()` trains to the end.

    config: the resolved `Config`. save_dir: the run's folder. pretrain, resume: what --pretrain and --resume name.
    seed: None draws one. log_interval: steps between two lines. valid_interval: epochs between two validations, 0 none.
    profiler_path: folder for a trace of the first steps.

    Raises UserError on bad input before the first step, RunError when the run itself fails.
    """

    def __init__(
        self,
        config,
        save_dir: str,
        *,
        pretrain: str | None = None,
        resume: str | None = None,
        seed: int | None = None,
        log_interval: int = 10,
        valid_interval: int = 1,
        profiler_path: str | None = None,
    ):
        self.config, self.recipe, self.save_dir = config, config.TRAIN, Path(save_dir)
        self.log_interval, self.valid_interval, self.profiler_path = log_interval, valid_interval, profiler_path
        num_classes = config.MODEL.num_classes
        self.items = read_list(self.recipe.filelist, num_classes)
        self.valid_items = read_list(config.VALID.filelist, num_classes) if valid_interval else []
        self.start: Start = find_start(resume, save_dir, seed)
        paddle.seed(self.start.seed)
        self.model = build_model(config)
        num_bytes = sum(p.size * 4 for p in self.model.parameters())
        check_writable(save_dir, 2 * num_bytes)
        self.optimizer = build_optimizer(self.model, self.recipe)
        self.start.load_into(self.model, self.optimizer, pretrain)
        self.loader = build_train_loader(config, self.items, seed=self.start.seed)
        self.iteration, self.best_top1 = self.start.iteration, self.start.best_top1
        self.last_checkpoint = self.start.path
        self.broken: dict[str, str] = {}

    def run(self) -> dict:
        """Train from the start's position to `epoch` or `max_iter`; returns the last validation's result."""
        self.total = min(self.recipe.max_iter, self.recipe.epoch * len(self.loader))
        write_text(self.save_dir / "config.yaml", save_config(self.config))
        self.log = RunLog(str(self.save_dir), self.iteration)
        self.progress = Progress(self.total, self.log_interval, "step", self.iteration)
        result: dict = {}
        try:
            with Interruption() as self.interruption, Profile(self.profiler_path) as self.profile:
                epoch, first_batch = divmod(self.iteration, len(self.loader))
                while self.iteration < self.total:
                    self.train_epoch(epoch, first_batch)
                    result = self.end_epoch(epoch) or result
                    epoch, first_batch = epoch + 1, 0
        finally:
            self.progress.close()
            self.log.close()
        save_arrays(self.save_dir / "NONLOCAL.pdparams", self.weights())
        self.draw_curves()
        return result

    def train_epoch(self, epoch: int, first_batch: int) -> None:
        """The rest of an epoch from batch `first_batch`, or up to `max_iter`."""
        self.model.train()
        self.loader.set_position(epoch, first_batch)
        self.broken.clear()
        meter, since = TopkMeter(), time.perf_counter()
        batches = iter(self.loader)
        while (batch := next(batches, None)) is not None:
            arrived = time.perf_counter()
            self.note_failures(batch.failures)
            rate = self.learning_rate()
            if len(batch.label):
                loss, scores = self.step(batch, rate)
                meter.update(scores, np.asarray(batch.label), loss)
            self.iteration += 1
            self.profile.step()
            now = time.perf_counter()
            self.report(epoch, meter, rate, len(batch.label), now - since, arrived - since)
            since = now
            if self.interruption.signal:
                self.save(f"NONLOCAL_iter{self.iteration}")
                self.interruption.stop(self.last_checkpoint)
            if self.iteration >= self.total:
                break

    def step(self, batch, rate: float) -> tuple[float, np.ndarray]:
        """One step of the optimiser on one batch; returns the loss and the clips' scores [N, K]."""
        paddle.seed(int(np.random.default_rng((self.start.seed, self.iteration)).integers(2**31)))  # dropout's
        logits = self.model(paddle.to_tensor(batch.clips))  # [N, 1, K]
        if logits.shape[1] != 1:
            raise UserError(
                f"TRAIN.crop_size {self.recipe.crop_size} gives {logits.shape[1]} output positions and training has "
                "one; leave MODEL.head_pool_size out"
            )
        loss = F.cross_entropy(logits[:, 0], paddle.to_tensor(batch.label))
        value = loss.item()
        if not math.isfinite(value):
            files = ", ".join(self.items[i].path for i in np.asarray(batch.video_id)[:4])
            raise RunError(
                f"the loss became {value} at iteration {self.iteration} (videos {files} ...); lower learning_rate; "
                f"the last checkpoint is {self.last_checkpoint or 'none'}"
            )
        loss.backward()
        self.optimizer.set_lr(rate)
        self.optimizer.step()
        self.optimizer.clear_grad()
        return value, F.softmax(logits[:, 0].detach()).numpy()

    def learning_rate(self) -> float:
        recipe = self.recipe
        return learning_rate_at(self.iteration, recipe.learning_rate, recipe.learning_rate_decay, recipe.step_sizes)

    def report(self, epoch: int, meter: TopkMeter, rate: float, num_clips: int, seconds: float, waited: float) -> None:
        """The bar's text for every step, a row of the log every `log_interval` steps."""
        mean, clips_per_second = meter.result(), num_clips / seconds
        left = remaining((self.total - self.iteration) * seconds)
        self.progress.advance(
            f"epoch {epoch} loss {mean['loss']:.4f} top1 {mean['top1']:.2f} top5 {mean['top5']:.2f} lr {rate:.2g} "
            f"{clips_per_second:.2f} clips/s left {left}"
        )
        if self.log_interval > 0 and (self.iteration % self.log_interval == 0 or self.iteration == self.total):
            self.log.write(
                "train", self.iteration, epoch=epoch, **mean, learning_rate=rate, clips_per_second=clips_per_second,
                reading_share=waited / seconds,
            )  # fmt: skip

    def note_failures(self, failures) -> None:
        """Name each broken video once an epoch and count it."""
        for failure in failures:
            if failure.path not in self.broken:
                self.progress.say(f"replaced a broken video: {failure.path}: {failure.cause}")
            self.broken[failure.path] = failure.cause

    def end_epoch(self, epoch: int) -> dict | None:
        """Check the broken share, validate, save the epoch's checkpoint and the best one."""
        if self.broken:
            self.progress.say(f"epoch {epoch}: {len(self.broken)} of {len(self.items)} training videos are broken")
            if len(self.broken) > self.config.READER.max_broken_share * len(self.items):
                raise RunError(
                    f"{len(self.broken)} of {len(self.items)} training videos are broken, more than "
                    f"READER.max_broken_share allows; {self.recipe.filelist} needs repair"
                )
        result, is_best = None, False
        is_last = self.iteration >= self.total
        if self.valid_interval and (is_last or (epoch + 1) % self.valid_interval == 0):
            result = self.validate(epoch)
            is_best = result["top1"] > self.best_top1
            self.best_top1 = max(result["top1"], self.best_top1)
        self.save(f"NONLOCAL_epoch{epoch}")
        if is_best:
            save_arrays(self.save_dir / "NONLOCAL_best.pdparams", self.weights())
        prune_checkpoints(self.save_dir, "NONLOCAL_iter", 1)
        prune_checkpoints(self.save_dir, "NONLOCAL_epoch", self.recipe.keep_checkpoints)
        return result

    def validate(self, epoch: int) -> dict:
        """Top-1, top-5 and loss of the centre clip and crop of each validation video."""
        self.model.eval()
        meter, num_broken = TopkMeter(), 0
        with paddle.no_grad():
            for batch in build_valid_loader(self.config, self.valid_items):
                for failure in batch.failures:
                    self.progress.say(f"broken validation video, counted as wrong: {failure.path}: {failure.cause}")
                num_broken += len(batch.failures)
                if len(batch.label):
                    logits = self.model(paddle.to_tensor(batch.clips))
                    label = paddle.to_tensor(batch.label)
                    scores = self.model.class_scores(logits)
                    loss = F.nll_loss(paddle.log(scores), label).item()
                    meter.update(scores.numpy(), np.asarray(batch.label), loss)
        result = meter.result()
        share = 1 - num_broken / len(self.valid_items)
        result = {**result, "top1": result["top1"] * share, "top5": result["top5"] * share, "num_broken": num_broken}
        self.log.write("valid", self.iteration, epoch=epoch, **result)
        self.progress.say(
            f"validation after epoch {epoch}: top1 {result['top1']:.2f} top5 {result['top5']:.2f} "
            f"loss {result['loss']:.4f} ({len(self.valid_items)} videos, {num_broken} broken)"
        )
        return result

    def weights(self) -> dict[str, np.ndarray]:
        """The model's parameters and statistics by name."""
        return {name: tensor.numpy() for name, tensor in self.model.state_dict().items()}

    def save(self, name: str) -> None:
        """Write the checkpoint `name`, from which the run continues exactly."""
        state = {
            "iteration": self.iteration,
            "seed": self.start.seed,
            "best_top1": self.best_top1,
            "batches_per_epoch": len(self.loader),
        }
        prefix = save_checkpoint(self.save_dir, name, self.weights(), velocities(self.model, self.optimizer), state)
        self.last_checkpoint = str(prefix)

    def draw_curves(self) -> None:
        """save_dir/curves.png."""
        from utils.plots import draw_curves

        draw_curves(self.log.rows, self.save_dir / "curves.png")
