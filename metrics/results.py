"""Per-video results: which of the expected videos were scored, which failed and why, and scores.npz, which keeps them.

scores.npz is complete enough to compute the metrics again:

| array | |
|---|---|
| video_id int64 [M], path str [M], scores float32 [M, K] | the scored videos, as listed; means over views |
| label int64 [M], or labels bool [M, K] | their class, or their classes (MODEL.multi_label) |
| broken_video_id int64 [B], broken_path str [B], broken_reason str [B] | the videos without a score, and why |
| broken_label int64 [B], or broken_labels bool [B, K] | their class or classes |
| class_names str [K] | |
| logits float32 [M, K] | optional: means over views and output positions, before the softmax |
| view_scores float16 [M, V, K] | optional (eval.py --save_views): of each view, the crops of a clip one after another |
| num_views int64 [M] | optional (eval.py --views=adaptive): how many views were scored |
| list_path, list_sha256 str | the list, and the SHA-256 of its contents when the evaluation began |
| weights_sha256 str | the SHA-256 of the weights; "" for fused runs |
| views str | clips x crops, as 10x3; "" for fused runs |
| format_version int | 3; older files have none: they hold the first row alone, or end with the list |
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrics.groups import video_groups
from utils.errors import UserError
from utils.files import file_sha256, write_atomically

NEVER_SCORED = "never scored: the run ended before this video"
FORMAT_VERSION = 3
SEED = 0  # of resampling: the same results have the same intervals
KEPT = "kept_"  # before the names of arrays in `VideoResults.state`


class VideoResults:
    """A record per video: a row of numbers once it is scored, or the cause of its failure.

    The videos are fixed at the start, so the denominator is exact for any number of workers and ranks and whatever
    breaks. A video that arrives twice is recorded once (the first row stays); a scored video is not a failed one, in
    whatever order the two arrive.
    """

    def __init__(self, num_videos: int, paths: Sequence[str] | None, video_ids: Sequence[int] | None) -> None:
        """Expect `num_videos` videos; paths default to "video <id>", ids (unique integers) to 0 .. num_videos-1."""
        self.video_ids = [int(i) for i in video_ids] if video_ids is not None else list(range(num_videos))
        self.paths = [str(path) for path in paths] if paths is not None else [f"video {i}" for i in self.video_ids]
        if not len(self.video_ids) == len(self.paths) == num_videos:
            raise ValueError(f"{num_videos} labels, {len(self.paths)} paths and {len(self.video_ids)} ids do not match")
        self._position = {video_id: position for position, video_id in enumerate(self.video_ids)}
        if len(self._position) != num_videos:
            raise ValueError("video ids are not unique")
        self._rows: dict[int, np.ndarray] = {}
        self._kept: dict[int, Mapping[str, np.ndarray]] = {}
        self._causes: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.video_ids)

    def position(self, video_id: int) -> int:
        """Return the place 0 .. num_videos-1 of a video among the expected; ValueError for an unexpected id."""
        try:
            return self._position[int(video_id)]
        except KeyError:
            raise ValueError(f"video id {video_id} is not among the {len(self)} expected videos") from None

    def add(self, video_id: int, row: np.ndarray, kept: Mapping[str, np.ndarray] | None = None) -> bool:
        """Record the numbers of a scored video, float [D]; not-finite ones make it a failed video.

        kept: more arrays by name, which are kept as they are; those of all videos have the same names and shapes.
        Returns whether it is a newly scored video.
        """
        position, kept = self.position(video_id), kept or {}
        if not all(np.isfinite(array).all() for array in (row, *kept.values())):
            self.fail(video_id, "the network's scores for it are not finite numbers")
        elif position not in self._rows:
            self._rows[position] = np.asarray(row, np.float64)
            self._kept[position] = kept
            self._causes.pop(position, None)
            return True
        return False

    def fail(self, video_id: int, cause: str) -> None:
        """Record that a video could not be scored, in one line."""
        position = self.position(video_id)
        if position not in self._rows:
            self._causes.setdefault(position, " ".join(str(cause).split()))

    def done(self) -> int:
        """Return how many videos were scored or have failed so far."""
        return len(self._rows) + len(self._causes)

    def scored(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions int64 [M] of the scored videos in the list's order, and their rows float64 [M, D]."""
        positions = sorted(self._rows)
        rows = [self._rows[position] for position in positions]
        return np.array(positions, np.int64), np.stack(rows) if rows else np.zeros((0, 0))

    def kept(self) -> dict[str, np.ndarray]:
        """Return the arrays that were kept of the scored videos, each [M, ...] in the list's order, by name."""
        videos = [self._kept[position] for position in sorted(self._rows)]
        return {name: np.stack([video[name] for video in videos]) for name in (videos[0] if videos else ())}

    def broken(self) -> list[dict[str, int | str]]:
        """Return video_id, path and cause of every expected video without a score, in the list's order."""
        return [
            {"video_id": video_id, "path": self.paths[position], "cause": self._causes.get(position, NEVER_SCORED)}
            for position, video_id in enumerate(self.video_ids)
            if position not in self._rows
        ]

    def counts(self) -> dict[str, int | list]:
        """Return the part of a result that says how many videos it is about; seen + broken = expected, always."""
        return {
            "videos_seen": len(self._rows),
            "videos_expected": len(self),
            "videos_broken": self.broken(),
        }

    def state(self) -> dict[str, np.ndarray]:
        """Return all records as plain arrays (no objects: `np.savez` and `np.load` without pickle take them)."""
        positions, rows = self.scored()
        failed = sorted(self._causes)
        return {
            "positions": positions,
            "rows": rows,
            "failed_positions": np.array(failed, np.int64),
            "causes": np.array([self._causes[position] for position in failed], np.str_),
            **{KEPT + name: array for name, array in self.kept().items()},
        }

    def merge(self, state: dict[str, np.ndarray]) -> None:
        """Add the records of another one over the same videos."""
        kept = {name[len(KEPT) :]: array for name, array in state.items() if name.startswith(KEPT)}
        for place, (position, row) in enumerate(zip(state["positions"].tolist(), state["rows"])):
            self.add(self.video_ids[position], row, {name: array[place] for name, array in kept.items()})
        for position, cause in zip(state["failed_positions"].tolist(), state["causes"].tolist()):
            self.fail(self.video_ids[position], cause)


class VideoMeter:
    """A meter over a fixed list of videos that several ranks fill and one reports.

    Subclasses turn a video's views into a row of numbers (`_row`) and the rows into metrics (`result`).
    """

    def __init__(
        self,
        num_classes: int,
        num_videos: int,
        paths: Sequence[str] | None,
        video_ids: Sequence[int] | None,
        class_names: Sequence[str] | None,
        labels: np.ndarray,
    ) -> None:
        """labels: of all expected videos, int64 [N] or, where a video may have several, bool [N, K]."""
        self.num_classes = num_classes
        self.class_names = [str(name) for name in class_names or range(num_classes)]
        if len(self.class_names) != num_classes:
            raise ValueError(f"{len(self.class_names)} class names for {num_classes} classes")
        self._labels = labels
        self._results = VideoResults(num_videos, paths, video_ids)
        self._groups: tuple[np.ndarray | None, dict | None] = None, None

    def add_video(
        self,
        video_id: int,
        view_scores: np.ndarray,
        clip_of_view: np.ndarray | None = None,
        labels: Sequence[int] | None = None,
        kept: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Record a video's views; a second arrival changes nothing.

        Args:
            video_id: one of the expected ids.
            view_scores: float [V, K], class scores of each view.
            clip_of_view: int [V], the clip (place in time) each view is a crop of, the lowest is the first clip; None:
                each view is a clip of its own.
            labels: its classes, which must be the expected ones; None: not compared.
            kept: arrays that scores.npz holds beside the scores, as logits [K] and view_scores [V, K], by name.

        Raises:
            ValueError: unknown id, other labels than expected, or shapes that do not match.
        """
        view_scores = np.asarray(view_scores, np.float64)
        if view_scores.ndim != 2 or view_scores.shape[1] != self.num_classes or not len(view_scores):
            raise ValueError(f"view scores must be [V, {self.num_classes}], not {list(view_scores.shape)}")
        clips = np.arange(len(view_scores)) if clip_of_view is None else np.asarray(clip_of_view)
        if clips.shape != view_scores.shape[:1]:
            raise ValueError(f"{len(view_scores)} views, but clip numbers of shape {list(clips.shape)}")
        self._check_labels(video_id, labels)
        if self._results.add(video_id, self._row(video_id, view_scores, clips), kept):
            self._scored_now(video_id, view_scores.mean(axis=0))

    def add_failure(self, video_id: int, cause: str, labels: Sequence[int] | None = None) -> None:
        """Record that a video could not be read or scored; ValueError as in `add_video`."""
        self._check_labels(video_id, labels)
        self._results.fail(video_id, cause)

    def running(self) -> dict[str, float]:
        """Return metrics in percent of the videos added so far, where they are cheap."""
        return {}

    def result(self) -> dict:
        """Return the metrics of the run and `VideoResults.counts`."""
        raise NotImplementedError

    def set_groups(self, source: str) -> None:
        """Take the videos of a group as one in `intervals`. source: as in `video_groups`, which raises UserError."""
        groups = video_groups(self._results.paths, source)
        self._groups = groups, {"source": source, "number": int(groups.max(initial=-1)) + 1}

    def intervals(self) -> dict[str, dict | None]:
        """Return intervals, the 95 % interval over videos [low, high] of some metrics of `result`, in percent, and
        groups, their source and number; None where videos were resampled one by one."""
        groups, facts = self._groups
        found = self._intervals(groups) if len(self._results) else {}
        return {"intervals": {name: [100 * bound for bound in ends] for name, ends in found.items()}, "groups": facts}

    def _intervals(self, groups: np.ndarray | None) -> dict[str, tuple[float, float]]:
        """Intervals by the metrics' names, from 0 to 1; groups: int64 [N], 0 .. G-1, of all expected videos."""
        return {}

    def _row(self, video_id: int, view_scores: np.ndarray, clips: np.ndarray) -> np.ndarray:
        """Return what is kept of a video, float [D]; the first K of D are its mean scores."""
        return view_scores.mean(axis=0)

    def _scored_now(self, video_id: int, mean_scores: np.ndarray) -> None:
        """Called for each newly scored video."""

    def _check_labels(self, video_id: int, labels: Sequence[int] | None) -> None:
        expected = self._labels[self._results.position(video_id)]
        expected = np.flatnonzero(expected) if expected.ndim else expected[None]
        if labels is not None and sorted(set(labels)) != expected.tolist():
            raise ValueError(f"video {video_id} comes with labels {list(labels)}, the list says {expected.tolist()}")

    def num_done(self) -> int:
        """Return how many videos were scored or have failed so far."""
        return self._results.done()

    def state(self) -> dict[str, np.ndarray]:
        """Return what was recorded as plain arrays, to be merged by another rank."""
        return self._results.state()

    def merge(self, other: VideoMeter | dict[str, np.ndarray]) -> None:
        """Add the records of another rank's meter (or of its `state()`) made for the same list of videos."""
        self._results.merge(other.state() if isinstance(other, VideoMeter) else other)

    def video_scores(self) -> tuple[list[int], list[str], np.ndarray]:
        """Return ids, paths and mean view scores float64 [M, K] of the scored videos, in the list's order."""
        positions, rows = self._scored()
        ids = [self._results.video_ids[position] for position in positions]
        paths = [self._results.paths[position] for position in positions]
        return ids, paths, rows[:, : self.num_classes]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that is known of each video as plain arrays, as they are named above."""
        ids, paths, scores = self.video_scores()
        positions, _ = self._scored()
        broken = self._results.broken()
        broken_ids = np.array([video["video_id"] for video in broken], np.int64)
        broken_positions = np.array([self._results.position(video_id) for video_id in broken_ids], np.int64)
        suffix = "labels" if self._labels.ndim == 2 else "label"
        return {
            "video_id": np.array(ids, np.int64),
            "path": np.array(paths, np.str_),
            "scores": scores.astype(np.float32),
            suffix: self._labels[positions],
            "class_names": np.array(self.class_names, np.str_),
            "broken_video_id": broken_ids,
            "broken_path": np.array([video["path"] for video in broken], np.str_),
            "broken_reason": np.array([video["cause"] for video in broken], np.str_),
            f"broken_{suffix}": self._labels[broken_positions],
            **self._results.kept(),
        }

    def save(
        self, path: str | Path, list_path: str, list_sha256: str, weights_sha256: str = "", views: str = ""
    ) -> None:
        """Write scores.npz, see `save_scores`."""
        save_scores(path, self, list_path, list_sha256, weights_sha256, views)

    def _scored(self) -> tuple[np.ndarray, np.ndarray]:
        """Return positions int64 [M] and rows float64 [M, D] of the scored videos; the first K of D are mean scores."""
        positions, rows = self._results.scored()
        return positions, rows.reshape(len(positions), -1) if len(positions) else np.zeros((0, self.num_classes + 2))


@dataclass(frozen=True)
class VideoScores:
    """The content of a scores.npz. M scored and B broken videos, K classes, V views.

    labels, broken_labels: int64 [M] and [B], or bool [M, K] and [B, K] where a video has several classes. What a file
    does not hold is None; a text is "" and an old file's format_version 0.
    """

    video_ids: np.ndarray
    paths: list[str]
    scores: np.ndarray
    labels: np.ndarray | None = None
    class_names: list[str] | None = None
    broken_video_ids: np.ndarray | None = None
    broken_paths: list[str] | None = None
    broken_reasons: list[str] | None = None
    broken_labels: np.ndarray | None = None
    list_path: str = ""
    list_sha256: str = ""
    logits: np.ndarray | None = None
    view_scores: np.ndarray | None = None
    weights_sha256: str = ""
    views: str = ""
    format_version: int = 0

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several classes."""
        return self.labels is not None and self.labels.ndim == 2

    @property
    def num_clips(self) -> int:
        """Clips of a video (places in time), of which `view_scores` has views."""
        return int(self.views.partition("x")[0])


def list_checksum(filelist: str | Path) -> str:
    """SHA-256 of the contents of a list, in hexadecimal. Raises UserError where it cannot be read."""
    try:
        return file_sha256(filelist)
    except OSError as error:
        raise UserError(f"cannot read the list {filelist}: {error.strerror or error}") from error


def save_scores(
    path: str | Path,
    meter: VideoMeter,
    list_path: str,
    list_sha256: str,
    weights_sha256: str = "",
    views: str = "",
) -> None:
    """Write what the meter holds of every video of the list, atomically. views: as 10x3. Raises RunError."""
    arrays = {
        **meter.arrays(),
        "list_path": np.array(str(list_path)),
        "list_sha256": np.array(list_sha256),
        "weights_sha256": np.array(weights_sha256),
        "views": np.array(views),
        "format_version": np.array(FORMAT_VERSION),
    }
    write_atomically(path, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]


def load_scores(path: str | Path, filelist: str | Path | None = None) -> VideoScores:
    """Read a scores.npz, of this version or an older one, without running anything that it may hold.

    filelist: the list as it is now; a warning is printed where it is not the one that was evaluated, or where an old
    file does not tell. Raises UserError, in one line, for a file that is missing, damaged or no scores.npz, and for a
    list that cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = _checked({name: archive[name] for name in archive.files})
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # a damaged archive makes zipfile and numpy raise errors of ten kinds
        raise UserError(f"{path} is damaged, or no scores.npz: {' '.join(str(error).split())[:200]}") from error
    if filelist is not None:
        current = list_checksum(filelist)
        if not found.list_sha256:
            print(f"warning: {path} does not tell which list it was made with; is it {filelist}?", file=sys.stderr)
        elif current != found.list_sha256:
            print(f"warning: {filelist} is not the list that {path} was made with (another SHA-256)", file=sys.stderr)
    return found


def _checked(arrays: dict[str, np.ndarray]) -> VideoScores:
    """The arrays by their names; ValueError where they do not fit together."""
    version = int(_array(arrays, "format_version", "iu", 0)) if "format_version" in arrays else 0
    if version > FORMAT_VERSION:
        raise ValueError(f"format_version {version} is newer than this program's {FORMAT_VERSION}")
    scores = _array(arrays, "scores", "f", 2)
    num_videos, num_classes = scores.shape
    found = {
        "video_ids": _array(arrays, "video_id", "iu", 1, num_videos).astype(np.int64),
        "paths": _array(arrays, "path", "U", 1, num_videos).tolist(),
        "scores": scores.astype(np.float32),
    }
    not_finite = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(not_finite):
        raise ValueError(f"the scores of {found['paths'][not_finite[0]]} are not finite numbers")
    if "list_sha256" not in arrays:
        _check_unique(found["video_ids"])
        return VideoScores(**found)
    ids = _array(arrays, "broken_video_id", "iu", 1).astype(np.int64)
    _check_unique(np.concatenate([found["video_ids"], ids]))
    return VideoScores(
        **found,
        labels=_labels(arrays, "label", num_videos, num_classes),
        class_names=_array(arrays, "class_names", "U", 1, num_classes).tolist(),
        broken_video_ids=ids,
        broken_paths=_array(arrays, "broken_path", "U", 1, len(ids)).tolist(),
        broken_reasons=_array(arrays, "broken_reason", "U", 1, len(ids)).tolist(),
        broken_labels=_labels(arrays, "broken_label", len(ids), num_classes),
        list_path=str(_array(arrays, "list_path", "U", 0)),
        list_sha256=str(_array(arrays, "list_sha256", "U", 0)),
        logits=_optional(arrays, "logits", 2, num_videos, num_classes),
        view_scores=_optional(arrays, "view_scores", 3, num_videos, num_classes) if version else None,
        weights_sha256=str(_array(arrays, "weights_sha256", "U", 0)) if version else "",
        views=_views(arrays) if version else "",
        format_version=version,
    )


def _views(arrays: dict[str, np.ndarray]) -> str:
    """The text of views, whose number of clips fits the scores of views."""
    text = str(_array(arrays, "views", "U", 0))
    clips = text.partition("x")[0]
    if "view_scores" in arrays and not (
        clips.isdecimal() and int(clips) and arrays["view_scores"].shape[1] % int(clips) == 0
    ):
        raise ValueError(f"view_scores of {arrays['view_scores'].shape[1]} views do not fit views {text!r}")
    return text


def _check_unique(video_ids: np.ndarray) -> None:
    if len(np.unique(video_ids)) < len(video_ids):
        raise ValueError("video_id is not unique")


def _optional(
    arrays: dict[str, np.ndarray], name: str, ndim: int, num_videos: int, num_classes: int
) -> np.ndarray | None:
    """The array of that name, finite float [M, ..., K]; None where there is none."""
    if name not in arrays:
        return None
    array = _array(arrays, name, "f", ndim, num_videos)
    ends = [array.min(), array.max()] if array.size else []  # NaN, if there is one; needs no array as large as this one
    if array.shape[-1] != num_classes or not np.isfinite(ends).all():
        raise ValueError(f"{name} is not of {num_classes} classes, or not finite")
    return array


def _labels(arrays: dict[str, np.ndarray], name: str, num_videos: int, num_classes: int) -> np.ndarray:
    if f"{name}s" in arrays:
        labels = _array(arrays, f"{name}s", "b", 2, num_videos)
        if labels.shape[1] != num_classes:
            raise ValueError(f"{name}s of {labels.shape[1]} classes, scores of {num_classes}")
        return labels
    labels = _array(arrays, name, "iu", 1, num_videos).astype(np.int64)
    if ((labels < 0) | (labels >= num_classes)).any():
        raise ValueError(f"{name} outside 0 to {num_classes - 1}")
    return labels


def _array(arrays: dict[str, np.ndarray], name: str, kinds: str, ndim: int, length: int | None = None) -> np.ndarray:
    """The array of that name, of one of those kinds (numpy's letters) and of that shape."""
    if name not in arrays:
        raise ValueError(f"it holds no {name}")
    array = arrays[name]
    if array.dtype.kind not in kinds or array.ndim != ndim or (length is not None and len(array) != length):
        raise ValueError(f"{name} is {array.dtype} of shape {list(array.shape)}")
    return array
