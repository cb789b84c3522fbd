"""Runs of eval.py, read from their folders and laid over each other: the same videos in the same order."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from metrics.groups import video_groups
from metrics.joining import join_runs, with_labels
from metrics.results import VideoScores, load_scores
from utils.errors import UserError


@dataclass(frozen=True)
class Run:
    """One run over the N videos of a `Runs`; M of them were scored.

    name: short, unique. results: what results.json holds; config: what config.yaml holds, None without one.
    found: all of scores.npz; rows: int64 [N], the videos' rows in it, -1 without a score. labels: int64 [N], or bool
    [N, K] where a video may have several.
    """

    name: str
    folder: Path
    results: dict[str, Any]
    config: dict[str, Any] | None
    found: VideoScores
    rows: np.ndarray
    all_labels: np.ndarray

    @cached_property
    def scored(self) -> np.ndarray:
        """Places of the scored videos among all, int64 [M]."""
        return np.flatnonzero(self.rows >= 0)

    @cached_property
    def scores(self) -> np.ndarray:
        """float32 [M, K]."""
        return self.found.scores[self.rows[self.scored]]

    @cached_property
    def labels(self) -> np.ndarray:
        """Of the scored videos, int64 [M] or bool [M, K]."""
        return self.all_labels[self.scored]

    @cached_property
    def predicted(self) -> np.ndarray:
        """int64 [M]."""
        return self.scores.argmax(axis=1)

    @cached_property
    def confidence(self) -> np.ndarray:
        """The highest score of each scored video, float32 [M]."""
        return self.scores.max(axis=1)

    @cached_property
    def right(self) -> np.ndarray:
        """Which of all videos are right at 1, bool [N]; a broken one is wrong."""
        right = np.zeros(len(self.rows), bool)
        right[self.scored] = self.predicted == self.labels
        return right

    @property
    def is_fusion(self) -> bool:
        """Whether it was made of other runs (tools/fuse_scores.py, eval.py --two_stream)."""
        return isinstance(self.results.get("fusion"), dict)


@dataclass(frozen=True)
class Runs:
    """R runs over the same N videos, in order of their paths.

    labels: int64 [N] or bool [N, K]; class_names: K; groups: int64 [N], 0 .. G-1, or None: independent videos.
    """

    runs: list[Run]
    paths: list[str]
    labels: np.ndarray
    class_names: list[str]
    groups: np.ndarray | None

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several classes."""
        return self.labels.ndim == 2


def load_runs(
    folders: Sequence[str], filelist: str | None = None, groups: str | None = None, common: bool = False
) -> Runs:
    """Read RUN/scores.npz, results.json and config.yaml of each folder.

    filelist: the list, for runs of older versions, which hold no labels. groups: as `video_groups` takes it. common:
    keep only the videos that all runs expect.

    Raises UserError, in one line, for unreadable runs (all are named) and runs of other videos or classes.
    """
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise UserError("pass each run once")
    names = short_names(folders)
    found, problems = {}, []
    for name, folder in zip(names, folders):
        try:
            found[name] = (read_scores(Path(folder), filelist), *read_notes(Path(folder)))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))
    joined = join_runs({name: scores for name, (scores, _, _) in found.items()})
    kept = joined.expected.all(axis=0)
    if not kept.all() and not common:
        run, video = np.argwhere(~joined.expected)[0]
        raise UserError(
            f"the runs are of other lists: {joined.paths[video]} is not in {folders[run]}; --common compares the "
            f"{kept.sum()} videos that all runs have"
        )
    order = np.array([video for video in np.argsort(np.array(joined.paths)) if kept[video]], np.int64)
    paths, labels = [joined.paths[video] for video in order], joined.labels[order]
    runs = [
        Run(name, Path(folder), results, config, scores, rows[order], labels)
        for folder, rows, (name, (scores, results, config)) in zip(folders, joined.rows, found.items())
    ]
    for run in runs:
        check_scores(run)
    return Runs(runs, paths, labels, joined.class_names, video_groups(paths, groups) if groups else None)


def short_names(folders: Sequence[str]) -> list[str]:
    """Names of different folders: their last parts, as few as tell them apart, less the last ones that all share."""
    parts = [Path(folder).resolve().parts for folder in folders]
    count = next(count for count in itertools.count(1) if len({own[-count:] for own in parts}) == len(parts))
    own_parts = [own[-count:] for own in parts]
    common = itertools.takewhile(lambda place: len({*place}) == 1, zip(*(own[::-1] for own in own_parts)))
    tail = min(len(list(common)), min(map(len, own_parts)) - 1)
    return ["/".join(own[: len(own) - tail]) for own in own_parts]


def read_scores(folder: Path, filelist: str | None) -> VideoScores:
    """scores.npz, with the labels of the list where the file holds none and there is a list. Raises UserError."""
    scores = load_scores(folder / "scores.npz", filelist)
    if scores.labels is not None or filelist is None:
        return scores
    from datareader import read_list

    return with_labels(scores, read_list(filelist, scores.scores.shape[1]))


def read_notes(folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """results.json and, where there is one, config.yaml. Raises UserError."""
    config = folder / "config.yaml"
    return _read_dict(folder / "results.json", json.loads), _read_dict(
        config, yaml.safe_load
    ) if config.exists() else None


def _read_dict(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; a run is a folder of eval.py") from error
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is damaged; evaluate again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged; evaluate again")
    return found


def check_scores(run: Run) -> None:
    """Raise UserError unless the scores of one class a video are probabilities."""
    sums = run.scores.sum(axis=1, dtype=np.float64)
    if run.labels.ndim == 1 and len(sums) and (np.abs(sums - 1).max() > 1e-3 or run.scores.min() < 0):
        raise UserError(f"{run.folder / 'scores.npz'}: the scores of a video do not add up to 1; are they logits?")
