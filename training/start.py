"""Where a run begins: fresh, from pretrained weights, or at a checkpoint; and what it cannot begin with."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

from models.nonlocal_model.weights import imagenet_weights, load_weights
from training.ema import PREFIX
from utils.checkpoint import Checkpoint, find_checkpoint
from utils.errors import RunError, UserError
from utils.optim import set_velocities
from utils.parallel import Processes

IMAGENET = "imagenet"


@dataclass
class Start:
    """Position and seed of a run; `checkpoint` is None for a new one."""

    seed: int
    checkpoint: Checkpoint | None = None

    @property
    def iteration(self) -> int:
        return self.checkpoint.state["iteration"] if self.checkpoint else 0

    @property
    def best_figure(self) -> float:
        return self.checkpoint.state.get("best_figure", -1.0) if self.checkpoint else -1.0

    @property
    def path(self) -> str | None:
        return str(self.checkpoint.path) if self.checkpoint else None

    def tell_changes(self, config) -> None:
        """Name the keys whose values are not those of the checkpoint's run: the run goes on with the new ones."""
        before = self.checkpoint.state.get("config", {}) if self.checkpoint else {}
        for section, keys in dataclasses.asdict(config).items():
            for name, value in keys.items():
                old = before.get(section, {}).get(name, value)
                if old != value:
                    print(f"{section}.{name} was {old} in the run that is resumed and is {value} now")

    def load_into(self, model, optimizer, pretrain: str | None) -> None:
        """Give the model its first weights (and the optimiser its velocities) and say which."""
        if self.checkpoint:
            check_same_names(self.checkpoint, model)
            model.set_state_dict(self.checkpoint.weights)
            speeds = {n: a for n, a in self.checkpoint.velocities.items() if not n.startswith(PREFIX)}
            trained = {n for n, p in model.named_parameters() if not p.stop_gradient}
            set_velocities(model, optimizer, {n: a for n, a in speeds.items() if n in trained})
            print(f"resumed from {self.path} at iteration {self.iteration}")
        elif pretrain:
            path = imagenet_weights(model) if pretrain == IMAGENET else pretrain
            print(load_weights(model, path, partial=True).summary())
        else:
            print(f"training from scratch; --pretrain={IMAGENET} or --pretrain=FILE begins from trained weights")

    def load_rest(self, average, precision) -> None:
        """The moving average and the loss scale."""
        average.load(self.checkpoint.velocities if self.checkpoint else {})
        precision.load(self.checkpoint.state.get("loss_scale", {}) if self.checkpoint else {})


def check_same_names(checkpoint: Checkpoint, model) -> None:
    """Raise UserError when the checkpoint belongs to another network."""
    state = model.state_dict()
    wrong = sorted(set(state) ^ set(checkpoint.weights))
    wrong += [
        n for n in state if n in checkpoint.weights and tuple(checkpoint.weights[n].shape) != tuple(state[n].shape)
    ]
    if wrong:
        raise UserError(
            f"{checkpoint.path}.pdparams is of another network ({len(wrong)} tensors differ, first {wrong[0]}); "
            "resume with the run's own config.yaml"
        )


def find_start(resume: str | None, save_dir: str, seed: int | None, processes: Processes) -> Start:
    """The start that --resume names; without one a new run with `seed`, or with a seed drawn for it.

    The same for all processes. Raises RunError when they do not see the same checkpoints.
    """
    checkpoint = find_checkpoint(resume, save_dir) if resume else None
    drawn = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    start = Start(checkpoint.state["seed"], checkpoint) if checkpoint else Start(drawn)
    starts = processes.gather((start.seed, start.iteration))
    if len({iteration for _, iteration in starts}) > 1:
        raise RunError(
            f"the processes find checkpoints of different iterations in {save_dir}: "
            f"{sorted({iteration for _, iteration in starts})}; put it on a disk that all machines share"
        )
    return dataclasses.replace(start, seed=starts[0][0])


def check_recipe(config, device: str, processes: Processes) -> None:
    """Raise UserError for keys that exclude each other, or that this machine cannot serve."""
    recipe = config.TRAIN
    if recipe.sync_bn and processes.count > 1 and device == "cpu":
        raise UserError("TRAIN.sync_bn needs GPUs: Paddle has no synchronised batch norm for the CPU; leave it out")
    if recipe.label_smoothing and config.MODEL.multi_label:
        raise UserError("TRAIN.label_smoothing is for one class a video; leave it out with MODEL.multi_label")
