"""Several runs on the same videos, joined by the videos' paths."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from metrics.multilabel import MultiLabelMeter
from metrics.multiview import MultiViewMeter
from metrics.results import VideoMeter, VideoScores
from metrics.topk import topk_correct
from utils.errors import UserError


@dataclass(frozen=True)
class JoinedRuns:
    """R runs by name, over the N videos that any of them expects, in the first one's order.

    labels: int64 [N], or bool [N, K]; causes: why a video has no score in some run, "" where it has one in all;
    scores, logits: R arrays [M, K] of the M videos that all runs scored; logits None where a run has none;
    expected: bool [R, N], the videos that each run knows; rows: int64 [R, N], their rows in its own scores, -1: none.
    """

    names: list[str]
    paths: list[str]
    labels: np.ndarray
    class_names: list[str]
    causes: list[str]
    scores: list[np.ndarray]
    logits: list[np.ndarray] | None
    expected: np.ndarray
    rows: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """Which videos all runs scored, bool [N]."""
        return np.array([not cause for cause in self.causes], bool)

    def right(self, scores: np.ndarray) -> np.ndarray:
        """Which videos one set of scores, float [M, K], has right at 1, bool [N]; for videos of one class each."""
        right = self.scored
        right[right] = topk_correct(scores, self.labels[right], 1)
        return right

    def meter(self, scores: np.ndarray) -> VideoMeter:
        """The meter of one set of scores, float [M, K]; the other videos count as broken."""
        meter: VideoMeter
        if self.labels.ndim == 2:
            classes = [np.flatnonzero(row).tolist() for row in self.labels]
            meter = MultiLabelMeter(
                self.labels.shape[1], labels=classes, paths=self.paths, class_names=self.class_names
            )
        else:
            meter = MultiViewMeter(
                len(self.class_names), labels=self.labels.tolist(), paths=self.paths, class_names=self.class_names
            )
        for row, video in zip(scores, np.flatnonzero(self.scored)):
            meter.add_video(int(video), row[None])
        for video in np.flatnonzero(~self.scored):
            meter.add_failure(int(video), self.causes[video])
        return meter


def join_runs(runs: Mapping[str, VideoScores]) -> JoinedRuns:
    """Join runs by path or, where they have no path in common, by file name. A video that some run did not score, or
    does not know, stays among the videos, with a cause.

    Raises UserError, naming the run and the first path or class that differs, for other classes or labels, no
    common video, and names that are not unique.
    """
    for name, run in runs.items():
        if run.labels is None:
            raise UserError(f"{name} holds no labels (an older version wrote it): pass --filelist")
    _check_classes(runs)
    tables = [dict(zip(keys, _videos(run))) for keys, run in zip(_keys(runs), runs.values())]
    first: dict[str, _Video] = {}
    for name, table in zip(runs, tables):
        for key, video in table.items():
            known = first.setdefault(key, video)
            if not np.array_equal(known.label, video.label):
                raise UserError(f"{name}: {video.path} has another label than in the runs before it")
    causes = [_cause(key, runs, tables) for key in first]
    rows = np.array([[table[key].row if key in table else -1 for key in first] for table in tables], np.int64)
    common = rows[:, [not cause for cause in causes]]
    logits = [run.logits[chosen] for run, chosen in zip(runs.values(), common) if run.logits is not None]
    return JoinedRuns(
        names=list(runs),
        paths=[video.path for video in first.values()],
        labels=np.array([video.label for video in first.values()]),
        class_names=_class_names(runs),
        causes=causes,
        scores=[run.scores[chosen] for run, chosen in zip(runs.values(), common)],
        logits=logits if len(logits) == len(runs) else None,
        expected=np.array([[key in table for key in first] for table in tables]),
        rows=rows,
    )


def with_labels(run: VideoScores, items: Sequence) -> VideoScores:
    """A run of an older version with the labels of its list, `datareader.VideoItem`s; videos without a score are
    broken. Raises UserError for a scored video that is not in the list."""
    labels = {item.path: item.label for item in items}
    unknown = next((path for path in run.paths if path not in labels), None)
    if unknown is not None:
        raise UserError(f"{unknown} was scored, but is not in the list")
    scored = set(run.paths)
    broken = [(number, item) for number, item in enumerate(items) if item.path not in scored]
    return replace(
        run,
        labels=np.array([labels[path] for path in run.paths], np.int64),
        broken_video_ids=np.array([number for number, _ in broken], np.int64),
        broken_paths=[item.path for _, item in broken],
        broken_reasons=["no score"] * len(broken),
        broken_labels=np.array([item.label for _, item in broken], np.int64),
    )


@dataclass(frozen=True)
class _Video:
    """A video of a run; row: of its scores, -1 with a cause for a broken one."""

    path: str
    label: np.ndarray
    row: int
    cause: str = ""


def _videos(run: VideoScores) -> list[_Video]:
    """All videos of a run in the order of its list."""
    assert run.labels is not None and run.broken_labels is not None and run.broken_video_ids is not None
    broken = zip(run.broken_paths or (), run.broken_labels, run.broken_reasons or ())
    videos = [_Video(path, label, row) for row, (path, label) in enumerate(zip(run.paths, run.labels))]
    videos += [_Video(path, label, -1, cause) for path, label, cause in broken]
    return [videos[place] for place in np.argsort([*run.video_ids, *run.broken_video_ids], kind="stable")]


def _keys(runs: Mapping[str, VideoScores]) -> list[list[str]]:
    """What the videos of each run are joined by: their paths, or their file names."""
    paths = [[video.path for video in _videos(run)] for run in runs.values()]
    names = [[os.path.basename(path) for path in own] for own in paths]
    for keys in (paths, names):
        if set.intersection(*map(set, keys)):
            for run, own in zip(runs, keys):
                twice = next((key for key in own if own.count(key) > 1), None) if len({*own}) < len(own) else None
                if twice is not None:
                    raise UserError(f"{run}: two videos are called {twice}; runs are joined by these names")
            return keys
    first, second = list(runs)[:2]
    raise UserError(f"{first} and {second} are of other videos: {paths[0][0]} is in the first only")


def _cause(key: str, runs: Mapping[str, VideoScores], tables: Sequence[Mapping[str, _Video]]) -> str:
    """Why a video is not scored in all runs, "" where it is."""
    causes = []
    for name, table in zip(runs, tables):
        if key not in table:
            causes.append(f"not in {name}")
        elif table[key].row < 0:
            causes.append(f"{name}: {table[key].cause}")
    return "; ".join(causes)


def _check_classes(runs: Mapping[str, VideoScores]) -> None:
    (first, known), *others = runs.items()
    for name, run in others:
        if run.scores.shape[1] != known.scores.shape[1] or run.multi_label != known.multi_label:
            kinds = [f"{r.scores.shape[1]} classes" + ", several a video" * r.multi_label for r in (known, run)]
            raise UserError(f"{first} is of {kinds[0]}, {name} of {kinds[1]}")
        for index, names in enumerate(zip(known.class_names or (), run.class_names or ())):
            if names[0] != names[1]:
                raise UserError(f"class {index} is {names[0]!r} in {first}, {names[1]!r} in {name}")


def _class_names(runs: Mapping[str, VideoScores]) -> list[str]:
    """Those of the first run that tells them, else the numbers."""
    num_classes = next(iter(runs.values())).scores.shape[1]
    named = (run.class_names for run in runs.values() if run.class_names)
    return next(named, [str(index) for index in range(num_classes)])
