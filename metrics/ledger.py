"""Which of the expected videos were scored, which failed and why; what all meters over videos share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEVER_SCORED = "never scored: the run ended before this video"


class VideoLedger:
    """A record a video: a row of numbers once it is scored, or the cause of its failure.

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
        self._causes: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.video_ids)

    def position(self, video_id: int) -> int:
        """Return the place 0 .. num_videos-1 of a video among the expected; ValueError for an unexpected id."""
        try:
            return self._position[int(video_id)]
        except KeyError:
            raise ValueError(f"video id {video_id} is not among the {len(self)} expected videos") from None

    def add(self, video_id: int, row: np.ndarray) -> bool:
        """Record the numbers of a scored video, float [D]; not-finite ones make it a failed video.

        Returns whether it is a newly scored video.
        """
        position = self.position(video_id)
        if not np.isfinite(row).all():
            self.fail(video_id, "the network's scores for it are not finite numbers")
        elif position not in self._rows:
            self._rows[position] = np.asarray(row, np.float64)
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
        }

    def merge(self, state: dict[str, np.ndarray]) -> None:
        """Add the records of another ledger over the same videos."""
        for position, row in zip(state["positions"].tolist(), state["rows"]):
            self.add(self.video_ids[position], row)
        for position, cause in zip(state["failed_positions"].tolist(), state["causes"].tolist()):
            self.fail(self.video_ids[position], cause)


class VideoMeter:
    """A meter over a fixed list of videos that several ranks fill and one reports."""

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
        self._ledger = VideoLedger(num_videos, paths, video_ids)

    def num_done(self) -> int:
        """Return how many videos were scored or have failed so far."""
        return self._ledger.done()

    def state(self) -> dict[str, np.ndarray]:
        """Return what was recorded as plain arrays, to be merged by another rank."""
        return self._ledger.state()

    def merge(self, other: VideoMeter | dict[str, np.ndarray]) -> None:
        """Add the records of another rank's meter (or of its `state()`) made for the same list of videos."""
        self._ledger.merge(other.state() if isinstance(other, VideoMeter) else other)

    def video_scores(self) -> tuple[list[int], list[str], np.ndarray]:
        """Return ids, paths and mean view scores float64 [M, K] of the scored videos, in the list's order."""
        positions, rows = self._scored()
        ids = [self._ledger.video_ids[position] for position in positions]
        paths = [self._ledger.paths[position] for position in positions]
        return ids, paths, rows[:, : self.num_classes]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that is known of each video as plain arrays, as metrics/scores_file.py names them."""
        ids, paths, scores = self.video_scores()
        positions, _ = self._scored()
        broken = self._ledger.broken()
        broken_ids = np.array([video["video_id"] for video in broken], np.int64)
        broken_positions = np.array([self._ledger.position(video_id) for video_id in broken_ids], np.int64)
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
        }

    def _checked_views(self, view_scores: np.ndarray) -> np.ndarray:
        view_scores = np.asarray(view_scores, np.float64)
        if view_scores.ndim != 2 or view_scores.shape[1] != self.num_classes or not len(view_scores):
            raise ValueError(f"view scores must be [V, {self.num_classes}], not {list(view_scores.shape)}")
        return view_scores

    def _scored(self) -> tuple[np.ndarray, np.ndarray]:
        """Return positions int64 [M] and rows float64 [M, D] of the scored videos; the first K of D are mean scores."""
        positions, rows = self._ledger.scored()
        return positions, rows.reshape(len(positions), -1) if len(positions) else np.zeros((0, self.num_classes + 2))
