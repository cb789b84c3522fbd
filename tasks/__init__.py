"""Tasks: what the outputs of a network mean. `TASKS` is the one table in which a task is registered.

A task says what is learned (targets, loss), how it is judged (meter, metrics) and how results are shown (report,
postprocess). The trainer, eval.py and predict.py know only `Task`. To add one: write a class with the members of `Task`
(docs/add-a-task.md), add a line to `TASKS`, and set MODEL.task to its name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from utils.errors import UserError

if TYPE_CHECKING:
    from configs.schema import Config

# MODEL.task -> "package.module:Class"; the class is called with the number of classes
TASKS = {
    "classification": "tasks.classification:Classification",
    "multi_label": "tasks.multi_label:MultiLabel",
    "detection": "tasks.detection:Detection",
}


class Meter(Protocol):
    """What the program needs of a task's meter; `metrics.VideoMeter` has all of it."""

    class_names: list[str]

    def add_video(
        self,
        video_id: int,
        view_scores: np.ndarray,
        clip_of_view: np.ndarray | None = None,
        labels: Sequence[int] | None = None,
        kept: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Record the scores float [V, K] of a video's views. clip_of_view: int [V]. labels: must be the list's. kept:
        arrays that scores.npz holds beside the scores, by name."""
        ...

    def add_failure(self, video_id: int, cause: str) -> None:
        """Record that a video could not be scored."""
        ...

    def running(self) -> dict[str, float]:
        """Metrics so far, where they are cheap."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """What was recorded, for `merge` on another rank."""
        ...

    def merge(self, state: dict[str, np.ndarray]) -> None:
        """Add what another rank recorded."""
        ...

    def result(self) -> dict:
        """The metrics in percent, per_class, videos_seen, videos_expected, videos_broken."""
        ...

    def set_groups(self, source: str) -> None:
        """Take the videos of a group as one in `intervals`. source: a file or an expression, as --groups."""
        ...

    def intervals(self) -> dict:
        """intervals: the 95 % interval over videos of some metrics of the result; groups: facts about them, or None."""
        ...

    def save(
        self, path: str | Path, list_path: str, list_sha256: str, weights_sha256: str = "", views: str = ""
    ) -> None:
        """Write the per-video results, scores.npz."""
        ...


class Task(Protocol):
    """What the program needs of a task. N clips of a batch, K classes."""

    name: str
    best_metric: str  # the metric of `metrics` by which a validation is better than another (higher is better)
    metrics: tuple[str, ...]  # keys of the meter's result, in percent, that validations log
    multi_label: bool  # a line of a list may name several classes, and scores are a sigmoid of each class

    def targets(self, batch) -> np.ndarray:
        """float32 [N, K], a row per clip of a `datareader.Batch`."""
        ...

    def loss(self, logits, targets) -> Any:
        """The loss to minimise, a Paddle scalar, of logits and targets float32 [N, K]."""
        ...

    def running_sums(self, logits: np.ndarray, batch, loss: float) -> np.ndarray:
        """What a training batch adds to the sums of an epoch, float64 [D]; sums of several ranks are added up."""
        ...

    def running(self, sums: np.ndarray) -> dict[str, float]:
        """Metrics of an epoch so far: loss, num_clips and any others."""
        ...

    def meter(self, items: Sequence, class_names: Sequence[str] | None = None) -> Meter:
        """A meter over the videos of a list (`datareader.VideoItem`), each expected exactly once."""
        ...

    def report(self, result: dict) -> str:
        """The meter's result as text tables."""
        ...

    def draw(self, meter: Any, folder: Path) -> list[Path]:
        """Write pictures of the results into `folder`; returns their paths."""
        ...

    def postprocess(self, scores: np.ndarray, class_names: Sequence[str], topk: int) -> list[dict]:
        """The `topk` answers for a video of scores [K], best first: class, index, probability."""
        ...


def build_task(config: Config) -> Task:
    """The task that MODEL.task names; where it names none, the one of MODEL.multi_label. Raises UserError."""
    model = config.MODEL
    name = model.task or ("multi_label" if model.multi_label else "classification")
    if name not in TASKS:
        raise UserError(f"MODEL.task: {name!r} is none of {', '.join(TASKS)}")
    module, _, class_name = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), class_name)(model.num_classes)
