"""Where a run begins: at iteration 0 (from scratch or initialised from weights) or resumed from a checkpoint."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.schema import Config, Train
from tasks import Task
from training.checkpoint import Checkpoint, delete_checkpoint, find_checkpoint, read_states
from training.optimiser import AVERAGE_PREFIX, set_momentum_buffers
from utils.errors import RunError, UserError
from utils.parallel import Ranks
from weights import input_warning, load_weights

IMAGENET = "imagenet"


@dataclass
class ResumePoint:
    """Position and seed of a run; `checkpoint` is None for a new one, which begins at iteration 0."""

    seed: int
    run_id: str
    checkpoint: Checkpoint | None = None

    @property
    def state(self) -> dict[str, Any]:
        return self.checkpoint.state if self.checkpoint else {}

    @property
    def is_epoch_open(self) -> bool:
        """Whether the run stopped after an epoch's last step and before the epoch's validation and publication.

        Earlier versions saved an epoch's checkpoint after these, and with another name when stopped before.
        """
        if not self.checkpoint:
            return False
        return not self.state.get("epoch_ended", "_epoch" in self.checkpoint.path.name)

    @property
    def iteration(self) -> int:
        return self.state.get("iteration", 0)

    @property
    def best_metric(self) -> float:
        """The best validation so far, -1 before the first. Earlier versions called it best_figure."""
        return self.state.get("best_metric", self.state.get("best_figure", -1.0))

    @property
    def path(self) -> str | None:
        return str(self.checkpoint.path) if self.checkpoint else None

    def report_changes(self, config: Config) -> None:
        """Print the keys whose values are not those of the checkpoint's run: the run continues with the new ones."""
        before = self.state.get("config", {})
        for section, keys in dataclasses.asdict(config).items():
            for name, value in keys.items():
                old = before.get(section, {}).get(name, value)
                if old != value:
                    print(f"{section}.{name} was {old} in the run that is resumed and is {value} now")

    def load_into(self, model, optimizer, pretrain: str | None, config: Config) -> None:
        """Set the model's first weights (and the optimiser's momentum buffers) and print where they come from.

        pretrain: a file, or `imagenet`, to initialise a new run from; None: the model keeps its random weights.
        """
        if self.checkpoint:
            check_same_names(self.checkpoint, model)
            model.set_state_dict(self.checkpoint.weights)
            trained = {n for n, p in model.named_parameters() if not p.stop_gradient}
            buffers = {n: a for n, a in self.checkpoint.optimiser_state.items() if not n.startswith(AVERAGE_PREFIX)}
            set_momentum_buffers(model, optimizer, {n: a for n, a in buffers.items() if n in trained})
            print(f"resumed from {self.path} at iteration {self.iteration}")
        elif pretrain:
            if pretrain == IMAGENET:
                from weights.download import imagenet_weights

                pretrain = imagenet_weights(model)
            report = load_weights(model, pretrain, partial=True)
            print("; ".join(filter(None, [report.summary(), input_warning(report.origin, config)])))
        else:
            print(f"training from scratch; --pretrain={IMAGENET} or --pretrain=FILE begins from trained weights")

    def load_rest(self, average, precision) -> None:
        """The moving average and the loss scale."""
        average.load(self.checkpoint.optimiser_state if self.checkpoint else {})
        precision.load(self.state.get("loss_scale", {}))


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


def find_resume_point(
    resume: str | None, save_dir: str, seed: int | None, ranks: Ranks, name: str, overwrite: bool = False
) -> ResumePoint:
    """The point that --resume names; without one a new run with `seed`, or with a seed drawn for it.

    name: the model's, which checkpoints carry. overwrite: a new run may take the folder of an earlier one. Returns
    the same on all ranks. Raises UserError when `save_dir` belongs to another run, RunError when the ranks do not see
    the same checkpoints.
    """
    if overwrite and resume:
        raise UserError("--overwrite starts a new run and --resume continues one; leave one of them out")
    checkpoint = find_checkpoint(resume, save_dir) if resume else None
    if not overwrite:
        check_folder(save_dir, resume, checkpoint, name)
    if checkpoint:
        point = ResumePoint(checkpoint.state["seed"], checkpoint.state.get("run_id", ""), checkpoint)
    else:
        drawn = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        point = ResumePoint(drawn, os.urandom(8).hex())
    points = ranks.all_gather((point.seed, point.run_id, point.iteration))
    if len({iteration for *_, iteration in points}) > 1:
        raise RunError(
            f"the processes find checkpoints of different iterations in {save_dir}: "
            f"{sorted({iteration for *_, iteration in points})}; put it on a disk that all machines share"
        )
    return dataclasses.replace(point, seed=points[0][0], run_id=points[0][1])


def check_folder(save_dir: str, resume: str | None, checkpoint: Checkpoint | None, name: str) -> None:
    """Raise UserError when training in `save_dir` would mix with, or delete, what another run has left there."""
    found = ""
    states = read_states(Path(save_dir))
    if checkpoint is None:
        found = states[-1][0] if states else next((p.name for p in Path(save_dir).glob(f"{name}*.pdparams")), "")
        log = Path(save_dir) / "log.jsonl"
        if not found and not resume and log.is_file() and log.stat().st_size:
            found = log.name  # of a run that ended before its first checkpoint; `auto` begins it again
        going_on = "no good checkpoint to resume from" if resume else "--resume=auto continues it"
    elif checkpoint.path.parent.resolve() != Path(save_dir).resolve():
        foreign = [n for n, state in states if state.get("run_id", "") != checkpoint.state.get("run_id", "")]
        found, going_on = (foreign[-1] if foreign else ""), "--resume=auto continues it"
    if found:
        raise UserError(
            f"{save_dir} holds an earlier run ({found}): {going_on}, another --save_dir keeps it, "
            "--overwrite deletes it"
        )


def delete_run(folder: Path, name: str) -> None:
    """Delete what an earlier run has left in `folder`: checkpoints, published weights, log and pictures.

    name: the new run's model; the earlier run may have been of another one, which its checkpoints tell.
    """
    names = {name}
    for checkpoint, _ in read_states(folder):
        names.add(re.sub(r"_(epoch|iter)\d+$", "", checkpoint))
        delete_checkpoint(folder / checkpoint)
    patterns = ["clips_first.png", "clips_last.png", "clips_epoch*.png", "curves.png", "log.jsonl"]
    patterns += [f"{n}{end}" for n in names for end in ("*.pdparams", "_*.pdopt", "_*.json")]
    for file in {f for pattern in patterns for f in folder.glob(pattern)}:
        file.unlink()
    shutil.rmtree(folder / "visualdl", ignore_errors=True)


def check_recipe(recipe: Train, task: Task, device: str, ranks: Ranks) -> None:
    """Raise UserError for keys of TRAIN that exclude each other, or that this machine cannot serve."""
    if recipe.sync_bn and recipe.graph == "static" and ranks.world_size > 1 and device == "cpu":
        raise UserError("TRAIN.sync_bn on CPUs works in the dynamic graph only; leave --graph=static out")
    if recipe.label_smoothing and task.multi_label:
        raise UserError("TRAIN.label_smoothing is for one class a video; leave it out with MODEL.multi_label")
    keys = {
        "graph": recipe.graph == "static",
        "label_smoothing": recipe.label_smoothing,
        "mixup_alpha": recipe.mixup_alpha,
        "cutmix_alpha": recipe.cutmix_alpha,
        "precise_bn_batches": recipe.precise_bn_batches,
    }
    if task.name == "detection" and any(keys.values()):
        named = ", ".join(f"TRAIN.{key}" for key, value in keys.items() if value)
        raise UserError(f"{named}: not for MODEL.task detection; leave it out")
