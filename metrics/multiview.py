"""Accuracy of videos that were seen in several views (clips over time x crops over space)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metrics.ledger import VideoMeter
from metrics.topk import checked_labels, topk_correct


class MultiViewMeter(VideoMeter):
    """Collects the view scores of each video once and gives the figures of the multi-view protocol.

    A video's score is the sum of its views' class probabilities, kept as their mean, which ranks the same. A broken
    video stays in every denominator as wrong, and is named.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        labels: Sequence[int],
        paths: Sequence[str] | None = None,
        video_ids: Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
        topk: int = 5,
    ) -> None:
        """Expect exactly these videos.

        Args:
            num_classes: K, at least 1.
            labels: the class 0 .. K-1 of each expected video.
            paths: their names in reports, in the same order.
            video_ids: unique integers by which they are added; 0, 1, 2 ... when left out.
            class_names: K names for the per-class table; the indices when left out.
            topk: the k of the second accuracy; fewer classes make it smaller.

        Raises:
            UserError: a label lies outside 0 .. K-1.
            ValueError: the sequences do not match.
        """
        known = checked_labels(labels, num_classes)
        super().__init__(num_classes, len(labels), paths, video_ids, class_names, known)
        self.topk = min(topk, num_classes)
        self._right = np.zeros(2, np.int64)  # videos added here that are right at 1 and at topk

    def add_video(self, video_id: int, label: int, view_scores: np.ndarray, clip_of_view: np.ndarray) -> None:
        """Record a video's views.

        Args:
            video_id: one of the expected ids; a second arrival changes nothing.
            label: its class, which must be the expected one.
            view_scores: float [V, K], class probabilities of each view.
            clip_of_view: int [V], the clip (place in time) each view is a crop of; the lowest is the first clip.

        Raises:
            ValueError: unknown id, another label than expected, or shapes that do not match.
        """
        view_scores, clip_of_view = self._checked_views(view_scores), np.asarray(clip_of_view)
        if clip_of_view.shape != view_scores.shape[:1]:
            raise ValueError(f"{len(view_scores)} views, but clip numbers of shape {list(clip_of_view.shape)}")
        expected = self._label_of(video_id)
        if int(label) != expected:
            raise ValueError(f"video {video_id} comes with label {label}, the list says {expected}")
        clips, clip_index = np.unique(clip_of_view, return_inverse=True)  # sorted: the first clip first
        clip_scores = np.zeros((len(clips), self.num_classes))
        np.add.at(clip_scores, clip_index.reshape(-1), view_scores)
        right = topk_correct(clip_scores, np.full(len(clips), expected), 1)
        mean_scores = view_scores.mean(axis=0)
        if self._ledger.add(video_id, np.concatenate([mean_scores, [right.mean(), float(right[0])]])):
            self._right += [topk_correct(mean_scores[None], [expected], k)[0] for k in (1, self.topk)]

    def add_failure(self, video_id: int, label: int, path: str, cause: str) -> None:
        """Record that a video could not be read or scored; `label` and `path` must be those of the list."""
        if int(label) != self._label_of(video_id):
            raise ValueError(f"video {video_id} ({path}) comes with label {label}, the list says otherwise")
        self._ledger.fail(video_id, cause)

    def running(self) -> dict[str, float]:
        """Return top1 and top5 in percent of the videos added or failed so far (merged ranks not counted); cheap."""
        top1, top5 = (100.0 * self._right / max(self.num_done(), 1)).tolist()
        return {"top1": top1, "top5": top5}

    def confusion_matrix(self) -> np.ndarray:
        """Return int64 [K, K]: scored videos by true class (row) and predicted class (column; ties to the lower)."""
        positions, rows = self._scored()
        matrix = np.zeros((self.num_classes, self.num_classes), np.int64)
        np.add.at(matrix, (self._labels[positions], rows[:, : self.num_classes].argmax(axis=1)), 1)
        return matrix

    def result(self) -> dict:
        """Return the figures of the run, all accuracies in percent of the expected videos.

        top1 and top5 (the best `topk` guesses, min(5, K)); clip_top1, the mean share of a video's single clips that are
        right, the crops of a clip summed; first_clip_top1, the same of the first clip alone; mean_class_accuracy, the
        plain mean of per_class over the classes that have videos; per_class, a list of index, name, top1, num_videos
        (top1 None for a class without videos); videos_seen; videos_expected; videos_broken, a list of video_id, path
        and cause.
        """
        positions, rows = self._scored()
        labels, scores = self._labels[positions], rows[:, : self.num_classes]
        right1 = topk_correct(scores, labels, 1)
        expected = max(len(self._ledger), 1)
        per_class = self._per_class(labels[right1])
        with_videos = [row["top1"] for row in per_class if row["num_videos"]]
        return {
            "top1": 100.0 * int(right1.sum()) / expected,
            "top5": 100.0 * int(topk_correct(scores, labels, self.topk).sum()) / expected,
            "topk": self.topk,
            "clip_top1": 100.0 * float(rows[:, self.num_classes].sum()) / expected,
            "first_clip_top1": 100.0 * float(rows[:, self.num_classes + 1].sum()) / expected,
            "mean_class_accuracy": float(np.mean(with_videos)) if with_videos else 0.0,
            "per_class": per_class,
            **self._ledger.counts(),
        }

    def _per_class(self, right_labels: np.ndarray) -> list[dict]:
        videos = np.bincount(self._labels, minlength=self.num_classes)
        right = np.bincount(right_labels, minlength=self.num_classes)
        return [
            {
                "index": index,
                "name": self.class_names[index],
                "top1": 100.0 * int(right[index]) / int(videos[index]) if videos[index] else None,
                "num_videos": int(videos[index]),
            }
            for index in range(self.num_classes)
        ]

    def _label_of(self, video_id: int) -> int:
        return int(self._labels[self._ledger.position(video_id)])
