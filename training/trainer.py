"""Training: one step, one epoch, checkpoints. Everything random follows from (seed, epoch, iteration, rank)."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import paddle

from configs.schema import Config
from datareader import Batch, build_train_loader, build_valid_loader, read_list
from datareader.flow.methods import FlowProvenance
from datareader.key_frames import KeyFrameLoader, KeyFrames, KeyFrameTrainLoader, read_key_frames
from models import build_model
from tasks import Task, build_task
from tasks.detection import DetectionMeter
from tasks.score_boxes import score_key_frames
from training.augmentation import augment
from training.checkpoint import (
    check_writable,
    only_writer,
    prune_checkpoints,
    read_states,
    save_checkpoint,
    update_state,
)
from training.interrupt import Interruption
from training.logger import Clock, Logger, Profile, SilentLogger
from training.norms import (
    estimate_statistics,
    freeze,
    norms_of,
    restored_statistics,
    share_statistics,
    synchronise,
)
from training.optimiser import (
    MovingAverage,
    build_optimizer,
    clip_gradients,
    gradient_norm,
    momentum_buffers,
    scaled_recipe,
    scheduled_rate,
)
from training.precision import Precision, build_network, recompute_blocks
from training.resume import check_recipe, delete_run, find_resume_point
from utils.errors import RunError, UserError
from utils.parallel import Ranks
from utils.runtime import available_cores
from weights import ORIGIN_KEY, save_weights
from weights.naming import Origin

PieceLoss = Callable[[np.ndarray], tuple[paddle.Tensor, paddle.Tensor]]


@dataclass(frozen=True)
class StepResult:
    """Of a step over all ranks: the task's sums of the batch, |gradient| where it was measured, whether to stop."""

    sums: np.ndarray
    gradient_norm: float | None
    must_stop: bool


class Trainer:
    """One run: builds all it needs from the configuration, then `run()` trains to the end.

    config: the resolved `Config`. save_dir: the run's folder. ranks: this process among those of the run.
    pretrain, resume: as --pretrain and --resume. overwrite: delete an earlier run in `save_dir`.
    seed: None draws one. log_interval: steps from one line to the next, 0 disables them.
    valid_interval: epochs from one validation to the next, 0 disables them. profiler_path: folder for a trace of the
    first steps.

    Raises UserError on bad input before the first step, RunError when the run itself fails.
    """

    def __init__(
        self,
        config: Config,
        save_dir: str,
        *,
        ranks: Ranks | None = None,
        pretrain: str | None = None,
        resume: str | None = None,
        overwrite: bool = False,
        seed: int | None = None,
        log_interval: int = 10,
        valid_interval: int = 1,
        profiler_path: str | None = None,
    ):
        self.config, self.save_dir, self.ranks = config, Path(save_dir), ranks or Ranks()
        recipe = self.recipe = scaled_recipe(config.TRAIN)
        self.name = config.MODEL.name  # of the files
        self.overwrite, self.log_interval, self.valid_interval = overwrite, log_interval, valid_interval
        self.task: Task = build_task(config)
        self.detects = self.task.name == "detection"  # boxes of key frames are learned, not whole clips
        found = self.read_items("TRAIN")
        self.items = found.samples if isinstance(found, KeyFrames) else found
        self.valid_items = self.read_items("VALID") if valid_interval else []
        point = self.point = find_resume_point(resume, save_dir, seed, self.ranks, self.name, overwrite)
        point.report_changes(config)
        paddle.seed(point.seed)

        # the network; synchronised norms are new layers, so that norms are frozen after it
        device = paddle.device.get_device().partition(":")[0]
        model = build_model(config)
        check_recipe(recipe, self.task, device, self.ranks)
        if recipe.sync_bn and self.ranks.world_size > 1:
            model = synchronise(model, device)
        self.model = model
        self.frozen_norms = freeze(model, recipe.freeze, recipe.freeze_norms)
        self.trained_norms = [norm for norm in norms_of(model) if norm not in self.frozen_norms]
        self.parameters = [p for p in model.parameters() if not p.stop_gradient]
        if self.ranks.is_main_process:
            num_copies = 3 if recipe.ema_decay else 2  # in a checkpoint
            check_writable(save_dir, num_copies * sum(p.size * 4 for p in self.parameters))

        # learning, with its first values
        self.optimizer = build_optimizer(model, recipe)
        self.precision = Precision(recipe.amp, device)
        point.load_into(model, self.optimizer, pretrain, config)
        self.average = MovingAverage(model, recipe.ema_decay)
        point.load_rest(self.average, self.precision)
        if recipe.recompute:
            recompute_blocks(model)
        self.network = build_network(model, recipe)

        # the position
        build_loader = KeyFrameTrainLoader if self.detects else build_train_loader
        self.loader = build_loader(
            config, self.items, seed=point.seed, rank=self.ranks.rank, world_size=self.ranks.world_size,
            num_workers=min(recipe.num_reader_threads, available_cores()),
        )  # fmt: skip
        self.steps_per_epoch = len(self.loader)
        self.total = min(recipe.max_iter, recipe.epoch * self.steps_per_epoch)
        self.iteration, self.best_metric = point.iteration, point.best_metric
        self.last_checkpoint = point.path
        self.sequence = max([state.get("sequence", 0) for _, state in read_states(self.save_dir)], default=0)
        # of the epoch so far: the task's sums over all ranks; this rank's broken videos and the reasons
        self.sums = np.array(point.state.get("epoch_sums", 0.0))
        self.broken: dict[str, str] = dict(point.state.get("broken", {}))

        self.logger: Logger | SilentLogger = SilentLogger()
        self.interruption = Interruption(is_launched=self.ranks.world_size > 1)
        self.profile = Profile(profiler_path)

    def read_items(self, section: str) -> list | KeyFrames:
        """The videos of a section's list with their labels, or their key frames."""
        if self.detects:
            found = read_key_frames(self.config, section)
            if self.ranks.is_main_process:
                print(*found.notes, sep="\n", end="\n" if found.notes else "")
            return found
        filelist = getattr(self.config, section).filelist
        return read_list(filelist, self.config.MODEL.num_classes, multi_label=self.task.multi_label)

    # ------------------------------------------------------------------------------------------------------ the run

    def run(self) -> dict:
        """Train from the resume point to `epoch` or `max_iter`; returns the last validation's result."""
        is_epoch_open = any(self.ranks.all_gather(self.has_open_epoch()))
        if not self.ranks.is_main_process:
            return self.train(is_epoch_open)
        with only_writer(self.save_dir):
            if self.overwrite:
                delete_run(self.save_dir, self.name)
            self.logger = Logger(
                self.config, self.save_dir, self.total, self.iteration, self.log_interval, is_epoch_open
            )
            return self.train(is_epoch_open)

    def has_open_epoch(self) -> bool:
        """Whether the run stopped after an epoch's last step, before the end of the epoch, or of the run, was done."""
        if self.iteration >= self.total:
            return self.point.is_epoch_open or not (self.save_dir / f"{self.name}.pdparams").exists()
        return self.point.is_epoch_open and self.iteration % self.steps_per_epoch == 0

    def train(self, is_epoch_open: bool) -> dict:
        """Epoch by epoch, as `run`."""
        result: dict = {}
        try:
            with self.interruption, self.profile:
                if is_epoch_open:
                    result = self.end_epoch((self.iteration - 1) // self.steps_per_epoch) or result
                elif self.iteration >= self.total:
                    self.logger.say(f"{self.save_dir} has been trained to its end, iteration {self.iteration}, before")
                while self.iteration < self.total:
                    epoch, first_batch = divmod(self.iteration, self.steps_per_epoch)
                    self.train_epoch(epoch, first_batch)
                    result = self.end_epoch(epoch) or result
        finally:
            self.close()
        return result

    def close(self) -> None:
        """End the reading processes, draw the curves."""
        self.loader.close()
        self.logger.close()

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
            step = self.step(batch, rate, epoch)
            self.sums = self.sums + step.sums
            self.iteration += 1
            self.profile.step()
            clock.step_ended()
            self.logger.step(
                self.iteration, epoch, self.task.running(self.sums), clock, len(batch) * self.ranks.world_size,
                learning_rate=rate, gradient_norm=step.gradient_norm,
            )  # fmt: skip
            if self.iteration >= self.total or self.iteration % self.steps_per_epoch == 0:
                break
            interval = self.recipe.checkpoint_interval
            if step.must_stop or (interval and self.iteration % interval == 0):
                self.save(f"{self.name}_iter{self.iteration}")
            if step.must_stop:
                self.stop()
        self.save(f"{self.name}_epoch{epoch}")

    # ----------------------------------------------------------------------------------------------------- one step

    def step(self, batch: Batch, rate: float, epoch: int) -> StepResult:
        """One step of the optimiser on one batch of this rank, at learning rate `rate`."""
        rng = np.random.default_rng((self.point.seed, self.iteration, self.ranks.rank))
        paddle.seed(int(rng.integers(2**31)))  # of dropout
        learn = self.learn_boxes if self.detects else self.learn_clips
        clips, weights, pieces = learn(batch, rng)
        if self.iteration % self.steps_per_epoch == 0:
            captions = [f"{batch.label[i]} {Path(self.items[v].id).name}" for i, v in enumerate(batch.video_id)]
            self.logger.show_clips(self.iteration, epoch, clips, captions)

        if self.recipe.sync_bn:
            self.ranks.barrier()  # synchronised norms exchange messages of their own
        loss, logits = 0.0, []
        for piece in np.array_split(np.arange(len(clips)), min(self.recipe.accumulation_steps, len(clips))):
            with self.precision.autocast():
                piece_logits, piece_loss = pieces(piece)
                logits.append(piece_logits)
                piece_loss = piece_loss * float(weights[piece].sum())
                self.precision.backward(piece_loss)
            loss += piece_loss.item()
        self.ranks.average_gradients(self.parameters)
        share_statistics(self.trained_norms, self.ranks)
        all_logits = np.concatenate([part.detach().numpy() for part in logits])
        sums, must_stop = self.agree(batch, loss, self.task.running_sums(all_logits, batch, loss))

        self.precision.unscale(self.optimizer)
        norm, max_norm = None, self.recipe.clip_gradient_norm
        if max_norm is not None or self.logger.is_due(self.iteration + 1):
            norm = gradient_norm(self.parameters)
        if max_norm is not None:
            clip_gradients(self.parameters, norm, max_norm)
        self.optimizer.set_lr(rate)
        self.precision.step(self.optimizer)
        self.optimizer.clear_grad()
        self.average.update(self.iteration)
        return StepResult(sums, norm, must_stop)

    def learn_clips(self, batch: Batch, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, PieceLoss]:
        """The clips of a batch float32 [N, C, T, S, S], augmented; the weight of each in the loss, float64 [N], their
        mean over ranks adding up to 1; the function that computes those at some places: logits [n, K] and the loss, the
        mean over them."""
        clips, targets = augment(batch.clips, self.task.targets(batch), self.recipe, rng)  # [N, C, T, S, S], [N, K]

        def compute(places: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
            output = self.network(paddle.to_tensor(clips[places]))  # [n, P, K]
            self.check_positions(output.shape[1])
            logits = output.astype("float32").mean(1)
            return logits, self.task.loss(logits, paddle.to_tensor(targets[places]))

        return clips, np.full(len(clips), 1 / len(clips)), compute

    def learn_boxes(self, batch: Batch, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, PieceLoss]:
        """The same of key frames: logits of the boxes that are learned from, the loss with that of the proposals.

        A clip weighs as its boxes do among those of all ranks. With a proposal network, whose proposals fill each clip
        up to DETECTION.max_boxes, all clips weigh the same.
        """
        assert batch.box_clip is not None
        weights = np.full(len(batch), 1 / len(batch))
        if self.model.proposals is None:
            counts = np.minimum(np.bincount(batch.box_clip, minlength=len(batch)), self.config.DETECTION.max_boxes)
            (total,) = self.ranks.all_reduce(np.array([float(counts.sum())]))
            weights = counts * self.ranks.world_size / max(1.0, total)

        def compute(places: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
            own = batch.take(places)
            logits, labels, loss = self.model.training_loss(
                paddle.to_tensor(own.clips), own.boxes, own.box_clip, own.box_labels, rng
            )
            logits = logits.astype("float32")
            return logits, self.task.loss(logits, paddle.to_tensor(labels)) + loss

        return batch.clips, weights, compute

    def check_positions(self, num_positions: int) -> None:
        """Training has one output position, or their mean logits where those are what the network is judged by."""
        if num_positions != 1 and self.config.MODEL.head_average != "logits":
            raise UserError(
                f"TRAIN.crop_size {self.recipe.crop_size} gives {num_positions} output positions and training has "
                "one; leave MODEL.head_pool_size out"
            )

    def agree(self, batch: Batch, loss: float, sums: np.ndarray) -> tuple[np.ndarray, bool]:
        """The sums over all ranks, and whether one of them has had a signal.

        Raises RunError on all ranks when the loss of one is not finite.
        """
        is_bad = not math.isfinite(loss)
        *total, num_bad, signals = self.ranks.all_reduce(np.array([*sums, is_bad, self.interruption.signal], float))
        if num_bad:
            videos = [self.items[i].id for i in batch.video_id[:4]] if is_bad else []
            videos = [path for part in self.ranks.all_gather(videos) for path in part]
            raise RunError(
                f"the loss became {loss} at iteration {self.iteration} (videos {', '.join(videos)} ...); lower "
                f"learning_rate; the last checkpoint is {self.last_checkpoint or 'none'}"
            )
        return np.array(total), signals > 0

    # ---------------------------------------------------------------------------------------------- end of an epoch

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
                estimate_statistics(self.model, batches, self.ranks, self.frozen_norms)
            if self.valid_interval and (is_last or (epoch + 1) % self.valid_interval == 0):
                check = validate_boxes if self.detects else validate
                result = check(
                    self.model, self.config, self.valid_items, self.task, self.ranks, self.logger.say, self.check_stop
                )
                self.logger.validated(self.iteration, epoch, result, len(self.valid_items))
                is_best = result[self.task.best_metric] > self.best_metric
                self.best_metric = max(result[self.task.best_metric], self.best_metric)
            for name, is_due in ((f"{self.name}_best", is_best), (self.name, is_last)):
                if is_due:
                    self.publish(name)
        own = Path(self.last_checkpoint)
        if self.ranks.is_main_process and own.parent == self.save_dir:
            update_state(own, epoch_ended=True, best_metric=self.best_metric)
        return result

    def until_stopped(self, batches: Iterable) -> Iterator:
        """The batches; checks before each whether the run has to stop."""
        for batch in batches:
            self.check_stop()
            yield batch

    def check_stop(self) -> None:
        """End the run if one of its ranks has had a signal. All of them call it together."""
        if self.ranks.all_reduce(np.array([float(self.interruption.signal)]))[0]:
            self.stop()

    def stop(self) -> None:
        """End all ranks of the run together: a launcher kills those that are left behind."""
        self.close()
        self.ranks.barrier()
        raise self.interruption.error(self.last_checkpoint)

    def note_failures(self, failures: Sequence) -> None:
        """Print each broken video once an epoch and count it."""
        for failure in failures:
            if failure.path not in self.broken:
                self.logger.say(f"replaced a broken video: {failure.path}: {failure.reason}")
            self.broken[failure.path] = failure.reason

    def check_broken(self, epoch: int) -> None:
        """Print how many videos of the epoch are broken; RunError for more than READER.max_broken_share of them."""
        broken = self.all_broken()
        if not broken:
            return
        self.logger.say(f"epoch {epoch}: {len(broken)} of {len(self.items)} training videos are broken")
        if len(broken) > self.config.READER.max_broken_share * len(self.items):
            raise RunError(
                f"{len(broken)} of {len(self.items)} training videos are broken, more than READER.max_broken_share "
                f"allows; {self.recipe.filelist} needs repair; the last checkpoint is {self.last_checkpoint or 'none'}"
            )

    def all_broken(self) -> dict[str, str]:
        """The epoch's broken videos of all ranks, and the reasons."""
        return {path: cause for part in self.ranks.all_gather(self.broken) for path, cause in sorted(part.items())}

    # ------------------------------------------------------------------------------------------------------- files

    def save(self, name: str) -> None:
        """Write the checkpoint `name`, from which the run continues exactly, and delete those it makes needless.

        It is announced, on all ranks, when it is on the disk. Raises RunError on all of them when it cannot be.
        """
        self.sequence += 1
        state = {
            "iteration": self.iteration,
            "sequence": self.sequence,
            "run_id": self.point.run_id,
            "seed": self.point.seed,
            "best_metric": self.best_metric,
            "epoch_ended": False,
            "epoch_sums": self.sums.tolist(),
            "broken": self.all_broken(),
            "loss_scale": self.precision.state(),
            "config": dataclasses.asdict(self.config),
        }
        failure = None
        if self.ranks.is_main_process:
            optimiser_state = {**momentum_buffers(self.model, self.optimizer), **self.average.arrays()}
            try:
                save_checkpoint(self.save_dir, name, self.weights(), optimiser_state, state)
            except RunError as error:
                failure = str(error)
        failure = self.ranks.all_gather(failure)[0]
        if failure:
            raise RunError(failure)
        self.last_checkpoint = str(self.save_dir / name)
        self.logger.say(f"saved {self.last_checkpoint}")
        if self.ranks.is_main_process:
            keep = self.recipe.keep_checkpoints
            prune_checkpoints(self.save_dir, f"{self.name}_iter", 1, self.point.run_id)
            prune_checkpoints(self.save_dir, f"{self.name}_epoch", keep, self.point.run_id)

    def publish(self, name: str) -> None:
        """Write the weights alone, as eval.py and predict.py take them."""
        if self.ranks.is_main_process:
            save_weights(self.save_dir / f"{name}.pdparams", {**self.weights(), **flow_origin(self.config)})

    def weights(self) -> dict[str, np.ndarray]:
        """The model's parameters and statistics by name."""
        return {name: tensor.numpy() for name, tensor in self.model.state_dict().items()}


def flow_origin(config: Config) -> dict[str, dict]:
    """What a file of weights says of the flow that they were trained on; nothing for RGB."""
    if config.READER.modality == "rgb":
        return {}
    return {ORIGIN_KEY: Origin("this network", flow=FlowProvenance.of(config.READER).as_dict()).stored()}


def validate(
    model,
    config: Config,
    items: Sequence,
    task: Task,
    ranks: Ranks,
    say: Callable[[str], None],
    check_stop: Callable[[], None] = lambda: None,
) -> dict:
    """The task's metrics of the centre clip and crop of every video of VALID; the same on all ranks.

    Each video is scored once, whatever the number of ranks. Also in the result: loss (the mean over scored videos, None
    without any), num_clips (videos scored) and num_broken. say: prints a line of text. check_stop: called before each
    batch, on all ranks equally often; may raise.
    """
    model.eval()
    loader = build_valid_loader(
        config, items, num_workers=min(config.VALID.num_reader_threads, available_cores()), rank=ranks.rank,
        world_size=ranks.world_size,
    )  # fmt: skip
    most_batches = max(ranks.all_gather(len(loader)))
    scored, failures = [], []
    with contextlib.closing(loader), paddle.no_grad():
        for batch in islice(chain(loader, repeat(None)), most_batches):
            check_stop()
            if batch is None:
                continue
            failures += batch.failures
            if len(batch):
                logits = model(paddle.to_tensor(batch.clips))  # [N, P, K]
                scores, targets = model.class_scores(logits).numpy(), paddle.to_tensor(task.targets(batch))  # [N, K]
                losses = [task.loss(logits[i].mean(0, keepdim=True), targets[i : i + 1]) for i in range(len(batch))]
                scored += [
                    (video_id, row, loss.item()) for video_id, row, loss in zip(batch.video_id.tolist(), scores, losses)
                ]
    failures = [failure for part in ranks.all_gather(failures) for failure in part]
    for failure in failures:
        say(f"broken validation video, counted as wrong: {failure.path}: {failure.reason}")
    return {**validation_result(task, items, scored, ranks), "num_broken": len(failures)}


def validate_boxes(
    model,
    config: Config,
    frames: KeyFrames,
    task: Task,
    ranks: Ranks,
    say: Callable[[str], None],
    check_stop: Callable[[], None] = lambda: None,
) -> dict:
    """As `validate`, of key frames: the task's metrics of the boxes of VALID, without a loss."""
    model.eval()
    meter = DetectionMeter.of(config, frames)
    loader = KeyFrameLoader(
        config, frames.samples, num_workers=min(config.VALID.num_reader_threads, available_cores()), rank=ranks.rank,
        world_size=ranks.world_size,
    )  # fmt: skip
    with contextlib.closing(loader):
        failures = score_key_frames(model, loader, meter, config.DETECTION)
    check_stop()
    failures = [failure for part in ranks.all_gather(failures) for failure in part]
    for failure in failures:
        say(f"broken validation video, its boxes are counted as missed: {failure.path}: {failure.reason}")
    result = meter.gathered(ranks).result()
    metrics = {name: result[name] for name in task.metrics}
    return {**metrics, "loss": None, "num_clips": len(frames) - len(failures), "num_broken": len(failures)}


def validation_result(task: Task, items: Sequence, scored: list[tuple[int, np.ndarray, float]], ranks: Ranks) -> dict:
    """The task's metrics, loss and num_clips. scored: this rank's (video id, scores [K], loss); videos that no rank has
    scored count as wrong."""
    meter = task.meter(items)
    for video_id, scores, _ in scored:
        meter.add_video(video_id, scores[None])
    for state in ranks.all_gather(meter.state()):
        meter.merge(state)
    result = meter.result()
    num_clips, loss = ranks.all_reduce(np.array([len(scored), sum(loss for _, _, loss in scored)], np.float64))
    metrics = {name: result[name] for name in task.metrics}
    return {**metrics, "loss": loss / num_clips if num_clips else None, "num_clips": int(num_clips)}
