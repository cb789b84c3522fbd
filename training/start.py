"""Where a run begins: fresh, from pretrained weights, or at a checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass

from models.nonlocal_model.weights import fetch_weights, load_weights
from utils.checkpoint import Checkpoint, find_checkpoint
from utils.errors import UserError
from utils.optim import set_velocities

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
    def best_top1(self) -> float:
        return self.checkpoint.state.get("best_top1", -1.0) if self.checkpoint else -1.0

    @property
    def path(self) -> str | None:
        return str(self.checkpoint.path) if self.checkpoint else None

    def load_into(self, model, optimizer, pretrain: str | None) -> None:
        """Give the model its first weights (and the optimiser its velocities) and say which."""
        if self.checkpoint:
            check_same_names(self.checkpoint, model)
            model.set_state_dict(self.checkpoint.weights)
            set_velocities(model, optimizer, self.checkpoint.velocities)
            print(f"resumed from {self.path} at iteration {self.iteration}")
        elif pretrain:
            path = fetch_weights("imagenet_r50") if pretrain == IMAGENET else pretrain
            print(load_weights(model, path, partial=True).summary())
        else:
            print(f"training from scratch; --pretrain={IMAGENET} or --pretrain=FILE begins from trained weights")


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


def find_start(resume: str | None, save_dir: str, seed: int | None) -> Start:
    """The start that --resume names; without one a new run with `seed`, or with a seed drawn for it."""
    checkpoint = find_checkpoint(resume, save_dir) if resume else None
    if checkpoint:
        return Start(checkpoint.state["seed"], checkpoint)
    return Start(int.from_bytes(os.urandom(4), "little") if seed is None else seed)
