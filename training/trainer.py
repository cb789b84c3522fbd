"""Training: one step, one epoch, checkpoints. Everything random follows from (seed, epoch, iteration, process)."""

from __future__ import annotations

import dataclasses
import math
from itertools import islice
from pathlib import Path

import numpy as np
import paddle

from datareader import build_train_loader, read_list
from models import build_model
from training.augment import augment
from training.checkpoint import (
    check_writable,
    only_writer,
    prune_checkpoints,
    read_states,
    save_checkpoint,
    update_state,
)
from training.ema import MovingAverage
from training.interrupt import Interruption
from training.logger import Bystander, Clock, Watcher
from training.norms import (
    estimate_statistics,
    freeze,
    norms_of,
    restored_statistics,
    share_statistics,
    synchronise,
)
from training.objective import build_objective
from training.optimiser import build_optimizer, clip_gradients, gradient_norm, scaled_recipe, scheduled_rate, velocities
from training.precision import Precision, build_network
from training.profiling import Profile
from training.recompute import recompute_blocks
from training.start import EPOCH_PREFIX, Start, check_recipe, delete_run, find_start
from training.validation import validate
from utils.errors import RunError, UserError
from utils.parallel import Processes
from utils.runtime import available_cores
from weights import save_weights


class Trainer:
    """One run: builds all it needs from the configuration, then `run()` trains to the end.

    config: the resolved `Config`. save_dir: the run's folder. processes: this process's place among those of the run.
    pretrain, resume: what --pretrain and --resume name. overwrite: delete an earlier run in `save_dir`.
    seed: None draws one. log_interval: steps between two lines.
    valid_interval: epochs between two validations, 0 none. profiler_path: folder for a trace of the first steps.

    Raises UserError on bad input before the first step, RunError when the run itself fails.
    """

    def __init__(
        self,
        config,
        save_dir: str,
        *,
        processes: Processes | None = None,
        pretrain: str | None = None,
        resume: str | None = None,
        overwrite: bool = False,
        seed: int | None = None,
        log_interval: int = 10,
        valid_interval: int = 1,
        profiler_path: str | None = None,
    ):
        self.config, self.recipe, self.save_dir = config, scaled_recipe(config.TRAIN), Path(save_dir)
        self.processes = processes or Processes()
        self.log_interval, self.valid_interval, self.profiler_path = log_interval, valid_interval, profiler_path
        self.objective = build_objective(config)
        self.items, self.valid_items = self.read_items()
        self.overwrite = overwrite
        self.start: Start = find_start(resume, save_dir, seed, self.processes, overwrite)
        self.start.tell_changes(config)
        paddle.seed(self.start.seed)
        self.model = build_model(config)
        self.build_learning(pretrain)
        self.loader = build_train_loader(
            config, self.items, seed=self.start.seed, rank=self.processes.rank, world_size=self.processes.count,
            num_workers=min(self.recipe.num_reader_threads, available_cores()),
        )  # fmt: skip
        self.total = min(self.recipe.max_iter, self.recipe.epoch * len(self.loader))
        self.iteration, self.best_figure = self.start.iteration, self.start.best_figure
        self.last_checkpoint = self.start.path
        self.sequence = max([state.get("sequence", 0) for _, state in read_states(self.save_dir)], default=0)
        # of the epoch so far, over all processes
        self.sums = np.array(self.start.state.get("epoch_sums", 0.0))
        self.broken: dict[str, str] = dict(self.start.state.get("broken", {}))

    def read_items(self) -> tuple[list, list]:
        """The videos of the training list and, where there is a validation, of the validation list."""
        lists = [self.recipe.filelist] + ([self.config.VALID.filelist] if self.valid_interval else [])
        model = self.config.MODEL
        items = [read_list(path, model.num_classes, multi_label=model.multi_label) for path in lists]
        return items[0], items[-1] if self.valid_interval else []

    def build_learning(self, pretrain: str | None) -> None:
        """Optimiser, precision, moving average and the network as a step calls it, with their first values."""
        recipe = self.recipe
        device = paddle.device.get_device().partition(":")[0]
        check_recipe(self.config, device, self.processes)
        if recipe.sync_bn and self.processes.count > 1:
            self.model = synchronise(self.model, device)
        self.frozen_norms = freeze(self.model, recipe.freeze, recipe.freeze_norms)
        self.trained_norms = [norm for norm in norms_of(self.model) if norm not in self.frozen_norms]
        self.parameters = [p for p in self.model.parameters() if not p.stop_gradient]
        if self.processes.is_first:
            check_writable(
                str(self.save_dir), (3 if recipe.ema_decay else 2) * sum(p.size * 4 for p in self.parameters)
            )
        self.optimizer = build_optimizer(self.model, recipe)
        self.precision = Precision(recipe.amp, device)
        self.start.load_into(self.model, self.optimizer, pretrain)
        self.average = MovingAverage(self.model, recipe.ema_decay)
        self.start.load_rest(self.average, self.precision)
        if recipe.recompute:
            recompute_blocks(self.model)
        self.network = build_network(self.model, recipe)

    def run(self) -> dict:
        """Train from the start's position to `epoch` or `max_iter`; returns the last validation's result."""
        self.is_epoch_open = any(self.processes.gather(self.has_open_epoch()))
        if not self.processes.is_first:
            self.watcher = Bystander()
            return self.train()
        with only_writer(self.save_dir):
            if self.overwrite:
                delete_run(self.save_dir)
            self.watcher = Watcher(
                self.config, self.save_dir, self.total, self.iteration, self.log_interval, self.is_epoch_open
            )
            return self.train()

    def has_open_epoch(self) -> bool:
        """Whether the start lies between an epoch's last step and the end of the epoch, or of the run, which is due."""
        if self.iteration >= self.total:
            return self.start.is_epoch_open or not (self.save_dir / "NONLOCAL.pdparams").exists()
        return self.start.is_epoch_open and self.iteration % len(self.loader) == 0

    def train(self) -> dict:
        """Epoch by epoch, what `run` promises."""
        result: dict = {}
        is_launched = self.processes.count > 1
        try:
            with Interruption(is_launched) as self.interruption, Profile(self.profiler_path) as self.profile:
                if self.is_epoch_open:
                    result = self.end_epoch((self.iteration - 1) // len(self.loader)) or result
                elif self.iteration >= self.total:
                    self.watcher.say(f"{self.save_dir} has been trained to its end, iteration {self.iteration}, before")
                while self.iteration < self.total:
                    epoch, first_batch = divmod(self.iteration, len(self.loader))
                    self.train_epoch(epoch, first_batch)
                    result = self.end_epoch(epoch) or result
        finally:
            self.close()
        return result

    def close(self) -> None:
        """End the reading processes, draw the curves."""
        self.loader.close()
        self.watcher.close()

    def train_epoch(self, epoch: int, first_batch: int) -> None:
        """The rest of an epoch from batch `first_batch`, or up to `max_iter`, and its checkpoint."""
        self.network.train()
        for norm in self.frozen_norms:
            norm.eval()
        self.loader.set_position(epoch, first_batch)
        if first_batch == 0:
            self.broken, self.sums = {}, np.array(0.0)
        clock = Clock()
        for batch in self.loader:
            clock.batch_arrived()
            self.note_failures(batch.failures)
            rate = scheduled_rate(self.iteration, self.recipe, self.total)
            sums, norm = self.step(batch, rate, epoch)
            self.sums = self.sums + sums
            self.iteration += 1
            self.profile.step()
            clock.step_ended()
            num_clips = len(batch) * self.processes.count
            figures = self.objective.running(self.sums)
            self.watcher.step(self.iteration, epoch, figures, clock, num_clips, learning_rate=rate, gradient_norm=norm)
            if self.iteration >= self.total or self.iteration % len(self.loader) == 0:
                break
            interval = self.recipe.checkpoint_interval
            if self.has_to_stop or (interval and self.iteration % interval == 0):
                self.save(f"NONLOCAL_iter{self.iteration}")
            if self.has_to_stop:
                self.stop()
        self.save(f"{EPOCH_PREFIX}{epoch}")

    def step(self, batch, rate: float, epoch: int) -> tuple[np.ndarray, float | None]:
        """One step of the optimiser on one batch; returns the objective's sums over all processes, and |gradient|."""
        rng = np.random.default_rng((self.start.seed, self.iteration, self.processes.rank))
        paddle.seed(int(rng.integers(2**31)))  # dropout's
        clips, targets = augment(batch.clips, self.objective.targets(batch), self.recipe, rng)
        if self.iteration % len(self.loader) == 0:
            captions = [f"{batch.label[i]} {Path(self.items[v].path).name}" for i, v in enumerate(batch.video_id)]
            self.watcher.picture(self.iteration, epoch, clips, captions)

        if self.recipe.sync_bn and self.processes.count > 1:
            self.processes.barrier()  # the norms exchange messages of their own
        loss, logits = 0.0, []
        pieces = np.array_split(np.arange(len(clips)), min(self.recipe.accumulation_steps, len(clips)))
        for piece in pieces:
            with self.precision.autocast():
                output = self.network(paddle.to_tensor(clips[piece]))  # [n, 1, K]
                self.check_positions(output.shape[1])
                logits.append(output[:, 0].astype("float32"))
                share = self.objective.loss(logits[-1], paddle.to_tensor(targets[piece])) * (len(piece) / len(clips))
                self.precision.backward(share)
            loss += share.item()
        self.processes.average_gradients(self.parameters)
        share_statistics(self.trained_norms, self.processes)
        sums = self.objective.sums(np.concatenate([part.detach().numpy() for part in logits]), batch, loss)
        sums = self.agree(batch, loss, sums)

        self.precision.unscale(self.optimizer)
        longest, norm = self.recipe.clip_gradient_norm, None
        if longest is not None or self.watcher.is_due(self.iteration + 1):
            norm = gradient_norm(self.parameters)
        if longest is not None:
            clip_gradients(self.parameters, norm, longest)
        self.optimizer.set_lr(rate)
        self.precision.step(self.optimizer)
        self.optimizer.clear_grad()
        self.average.update(self.iteration)
        return sums, norm

    def check_positions(self, num_positions: int) -> None:
        """Training has one output position."""
        if num_positions != 1:
            raise UserError(
                f"TRAIN.crop_size {self.recipe.crop_size} gives {num_positions} output positions and training has "
                "one; leave MODEL.head_pool_size out"
            )

    def agree(self, batch, loss: float, sums: np.ndarray) -> np.ndarray:
        """The sums over all processes; all of them stop together when a loss is not finite or a signal has come."""
        is_bad = not math.isfinite(loss)
        *total, num_bad, signals = self.processes.sum(np.array([*sums, is_bad, self.interruption.signal], np.float64))
        self.has_to_stop = signals > 0
        if num_bad:
            videos = [self.items[i].path for i in batch.video_id[:4]] if is_bad else []
            videos = [path for part in self.processes.gather(videos) for path in part]
            raise RunError(
                f"the loss became {loss} at iteration {self.iteration} (videos {', '.join(videos)} ...); lower "
                f"learning_rate; the last checkpoint is {self.last_checkpoint or 'none'}"
            )
        return np.array(total)

    def note_failures(self, failures) -> None:
        """Name each broken video once an epoch and count it."""
        for failure in failures:
            if failure.path not in self.broken:
                self.watcher.say(f"replaced a broken video: {failure.path}: {failure.reason}")
            self.broken[failure.path] = failure.reason

    def end_epoch(self, epoch: int) -> dict | None:
        """Validate, publish the last and the best weights, and note in the epoch's checkpoint that this is done.

        The checkpoint is there already, so a stop loses nothing, and the resumed run begins here.
        """
        self.check_stop()
        self.check_broken(epoch)
        result, is_best = None, False
        is_last = self.iteration >= self.total
        with self.average.in_place_of_weights(), restored_statistics(self.model):
            if self.recipe.precise_bn_batches:
                self.loader.set_position(epoch, 0)
                batches = self.until_stopped(islice(self.loader, self.recipe.precise_bn_batches))
                estimate_statistics(self.model, batches, self.processes, self.frozen_norms)
            if self.valid_interval and (is_last or (epoch + 1) % self.valid_interval == 0):
                result = validate(
                    self.model, self.config, self.valid_items, self.objective, self.processes, self.watcher.say,
                    self.check_stop,
                )  # fmt: skip
                self.watcher.validated(self.iteration, epoch, result, len(self.valid_items))
                is_best = result[self.objective.figure] > self.best_figure
                self.best_figure = max(result[self.objective.figure], self.best_figure)
            for name, is_due in (("NONLOCAL_best", is_best), ("NONLOCAL", is_last)):
                if is_due:
                    self.publish(name)
        own = Path(self.last_checkpoint)
        if self.processes.is_first and own.parent == self.save_dir:
            update_state(own, epoch_ended=True, best_figure=self.best_figure)
        return result

    def until_stopped(self, batches):
        """The batches, each after a look whether the run has to stop."""
        for batch in batches:
            self.check_stop()
            yield batch

    def check_stop(self) -> None:
        """End the run if one of its processes has had a signal. All of them call it together."""
        if self.processes.sum(np.array([float(self.interruption.signal)]))[0]:
            self.stop()

    def stop(self) -> None:
        """End all processes of the run together: a launcher kills those that are left behind."""
        self.close()
        self.processes.barrier()
        raise self.interruption.error(self.last_checkpoint)

    def check_broken(self, epoch: int) -> None:
        """One line for the epoch's broken videos; RunError when they are more than READER.max_broken_share."""
        broken = self.all_broken()
        if not broken:
            return
        self.watcher.say(f"epoch {epoch}: {len(broken)} of {len(self.items)} training videos are broken")
        if len(broken) > self.config.READER.max_broken_share * len(self.items):
            raise RunError(
                f"{len(broken)} of {len(self.items)} training videos are broken, more than READER.max_broken_share "
                f"allows; {self.recipe.filelist} needs repair; the last checkpoint is {self.last_checkpoint or 'none'}"
            )

    def all_broken(self) -> dict[str, str]:
        """The epoch's broken videos of all processes, and their causes."""
        return {path: cause for part in self.processes.gather(self.broken) for path, cause in sorted(part.items())}

    def save(self, name: str) -> None:
        """Write the checkpoint `name`, from which the run continues exactly, and delete those it makes needless.

        It is announced, on all processes, when it is on the disk. Raises RunError on all of them when it cannot be.
        """
        self.sequence += 1
        state = {
            "iteration": self.iteration,
            "sequence": self.sequence,
            "run_id": self.start.run_id,
            "seed": self.start.seed,
            "best_figure": self.best_figure,
            "epoch_ended": False,
            "epoch_sums": self.sums.tolist(),
            "broken": self.all_broken(),
            "loss_scale": self.precision.state(),
            "config": dataclasses.asdict(self.config),
        }
        failure = None
        if self.processes.is_first:
            arrays = {**velocities(self.model, self.optimizer), **self.average.arrays()}
            try:
                save_checkpoint(self.save_dir, name, self.weights(), arrays, state)
            except RunError as error:
                failure = str(error)
        failure = self.processes.gather(failure)[0]
        if failure:
            raise RunError(failure)
        self.last_checkpoint = str(self.save_dir / name)
        self.watcher.say(f"saved {self.last_checkpoint}")
        if self.processes.is_first:
            prune_checkpoints(self.save_dir, "NONLOCAL_iter", 1, self.start.run_id)
            prune_checkpoints(self.save_dir, EPOCH_PREFIX, self.recipe.keep_checkpoints, self.start.run_id)

    def publish(self, name: str) -> None:
        """Write the weights alone, as eval.py and predict.py take them."""
        if self.processes.is_first:
            save_weights(self.save_dir / f"{name}.pdparams", self.weights())

    def weights(self) -> dict[str, np.ndarray]:
        """The model's parameters and statistics by name."""
        return {name: tensor.numpy() for name, tensor in self.model.state_dict().items()}
