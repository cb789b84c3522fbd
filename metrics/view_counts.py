"""How many views of a video are worth their time: accuracy with fewer clips and crops than were computed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metrics.comparison import SIGNIFICANCE, mcnemar_p
from metrics.intervals import wilson_interval

CLIPS, CROPS = (1, 2, 3, 5, 10), (1, 3)
VIDEOS_AT_ONCE = 512  # bounds memory: view scores are kept as float16


def accuracy_by_views(
    view_scores: np.ndarray, labels: np.ndarray, num_clips: int, num_videos: int, rows: np.ndarray | None = None
) -> list[dict]:
    """Top-1 with 1, 2, 3, 5, 10 and all clips x 1, 3 and all crops of those that there are.

    Clips are spread over the video ((j + 0.5) C / c, rounded down); one crop is the middle one of a clip's crops, three
    are the outer and the middle ones.

    Args:
        view_scores: float [M, V, K], probabilities; view v is crop v % (V / num_clips) of clip v // (V / num_clips).
        labels: int [M], or of the videos in `rows`.
        num_clips: C, a divisor of V.
        num_videos: expected ones, at least 1; those without scores are wrong.
        rows: int64, the videos that count, in the order of labels; None: all. Their scores are not copied at once.

    Returns:
        dicts, fewest views first: clips, crops, accuracy and its Wilson interval (0 to 1), p_value (McNemar's, against
        all views) and as_good_as_all (p_value of 0.05 or more: no difference to all views is shown).
    """
    num_crops = view_scores.shape[1] // num_clips
    choices = [(c, k) for c in _counts(CLIPS, num_clips) for k in _counts(CROPS, num_crops)]
    right = np.zeros((len(choices), len(labels)), bool)
    for part, clips_and_crops in _parts(view_scores, num_clips, rows):
        for row, (c, k) in enumerate(choices):
            seen = clips_and_crops[:, _spread(num_clips, c)][:, :, _spread(num_crops, k)]
            right[row, part] = seen.mean(axis=(1, 2)).argmax(axis=1) == labels[part]
    everything, table = right[choices.index((num_clips, num_crops))], []
    for (c, k), hits in zip(choices, right):
        p_value = mcnemar_p(int((hits & ~everything).sum()), int((everything & ~hits).sum()))
        table.append(
            {
                "clips": c,
                "crops": k,
                "accuracy": hits.sum() / num_videos,
                "interval": list(wilson_interval(int(hits.sum()), num_videos)),
                "p_value": p_value,
                "as_good_as_all": p_value >= SIGNIFICANCE,
            }
        )
    return sorted(table, key=lambda row: row["clips"] * row["crops"])


def agreement_of_views(view_scores: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """The fraction of each video's views whose best class is that of the mean over all, float64 [M]; arguments as in
    `accuracy_by_views`."""
    fractions = np.empty(len(view_scores if rows is None else rows))
    for part, scores in _parts(view_scores, 1, rows):
        views = scores[:, 0]  # [m, V, K]
        fractions[part] = (views.argmax(axis=2) == views.mean(axis=1).argmax(axis=1)[:, None]).mean(axis=1)
    return fractions


def _counts(wanted: tuple[int, ...], num_there: int) -> list[int]:
    return sorted({*(count for count in wanted if count < num_there), num_there})


def _spread(num_there: int, count: int) -> np.ndarray:
    """`count` of the numbers 0 .. num_there - 1, evenly spread."""
    return ((np.arange(count) + 0.5) * num_there / count).astype(np.int64)


def _parts(view_scores: np.ndarray, num_clips: int, rows: np.ndarray | None) -> Iterator[tuple[slice, np.ndarray]]:
    """Places of some videos and their scores, float32 [m, num_clips, crops, K]."""
    _, num_views, num_classes = view_scores.shape
    num_videos = len(view_scores if rows is None else rows)
    for first in range(0, num_videos, VIDEOS_AT_ONCE):
        part = slice(first, min(first + VIDEOS_AT_ONCE, num_videos))
        scores = view_scores[part if rows is None else rows[part]].astype(np.float32)
        yield part, scores.reshape(len(scores), num_clips, num_views // num_clips, num_classes)
