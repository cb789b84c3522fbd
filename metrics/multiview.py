"""Accuracy of videos that were seen in several views (clips over time x crops over space)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metrics.classes import confusion
from metrics.intervals import accuracy_interval, class_bootstrap, percentile_interval
from metrics.results import SEED, VideoMeter
from metrics.topk import checked_labels, topk_correct


class MultiViewMeter(VideoMeter):
    """Collects the view scores of each video once and gives the metrics of the multi-view protocol.

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

    def _row(self, video_id: int, view_scores: np.ndarray, clips: np.ndarray) -> np.ndarray:
        """Return mean scores [K], the fraction of single clips that are right, and whether the first clip is."""
        clips, clip_index = np.unique(clips, return_inverse=True)  # sorted: the first clip first
        clip_scores = np.zeros((len(clips), self.num_classes))
        np.add.at(clip_scores, clip_index.reshape(-1), view_scores)
        right = topk_correct(clip_scores, np.full(len(clips), self._label_of(video_id)), 1)
        return np.concatenate([view_scores.mean(axis=0), [right.mean(), float(right[0])]])

    def _scored_now(self, video_id: int, mean_scores: np.ndarray) -> None:
        label = np.array([self._label_of(video_id)])
        self._right += [topk_correct(mean_scores[None], label, k)[0] for k in (1, self.topk)]

    def running(self) -> dict[str, float]:
        """Return top1 and top5 in percent of the videos added or failed so far (merged ranks not counted); cheap."""
        top1, top5 = (100.0 * self._right / max(self.num_done(), 1)).tolist()
        return {"top1": top1, "top5": top5}

    def confusion_matrix(self) -> np.ndarray:
        """Return int64 [K, K]: scored videos by true class (row) and predicted class (column; ties to the lower)."""
        positions, rows = self._scored()
        return confusion(self._labels[positions], rows[:, : self.num_classes].argmax(axis=1), self.num_classes)

    def result(self) -> dict:
        """Return the metrics of the run, all accuracies in percent of the expected videos.

        top1 and top5 (the best `topk` guesses, min(5, K)); clip_top1, the mean fraction of a video's single clips that
        are right, the crops of a clip summed; first_clip_top1, the same of the first clip alone; mean_class_accuracy,
        the plain mean of per_class over the classes that have videos; per_class, a list of index, name, top1 (None
        for a class without videos), num_videos; videos_seen; videos_expected; videos_broken, a list of video_id, path
        and cause.
        """
        positions, rows = self._scored()
        labels, scores = self._labels[positions], rows[:, : self.num_classes]
        right1 = topk_correct(scores, labels, 1)
        expected = max(len(self._results), 1)
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
            **self._results.counts(),
        }

    def _intervals(self, groups: np.ndarray | None) -> dict[str, tuple[float, float]]:
        """Of top1 and top5: Wilson's; of mean_class_accuracy: bootstrap, the videos of each class resampled. With
        groups: bootstrap of groups for all three."""
        top1, top5 = self._right_at(1), self._right_at(self.topk)
        draws = class_bootstrap(top1, self._labels, self.num_classes, np.random.default_rng(SEED), groups)
        return {
            "top1": accuracy_interval(top1, groups, np.random.default_rng(SEED)),
            "top5": accuracy_interval(top5, groups, np.random.default_rng(SEED)),
            "mean_class_accuracy": percentile_interval(draws),
        }

    def _right_at(self, k: int) -> np.ndarray:
        """Which of the expected videos are right at k, bool [N]; broken ones are not."""
        positions, rows = self._scored()
        right = np.zeros(len(self._results), bool)
        right[positions] = topk_correct(rows[:, : self.num_classes], self._labels[positions], k)
        return right

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
        return int(self._labels[self._results.position(video_id)])
