"""Adaptive sliding windows: those between two that agree strongly are not scored, those around a change all are.

Every n-th window is scored, so that the next one begins where two windows of time have passed. Two scored neighbours
agree strongly when they have the same best class, ahead of each other class by AGREEMENT or more; else the window in
the middle between them is scored, and so on (bisection), until neighbours agree or are adjacent. A window that is left
out is assumed to have the best class of its neighbours; where it overlaps a window of another best class it is scored
after all, because p(t) of inference/segment.py depends on its scores there.

Where the assumption holds, p(t) has the same best class as with all windows scored, at all times: either all windows
that cover t have the same best class, and so has their mean, or all of them were scored. Segments have the same times
and classes; their probabilities come from scores that are interpolated linearly for the windows left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from datareader import VideoViews, VideoWindows
from datareader.video import VideoError
from inference.backends import Backend, score_views

AGREEMENT = 0.7  # of probability, between the best class and any other
SPACING_WINDOWS = 2  # from the start of a window that is always scored to the next one's


class AdaptiveWindows:
    """Scores of a video's windows. num_scored: how many went through the network so far.

    Iterating gives some windows at a time, in order: which ones, and their scores, float32 [n, K], those of windows
    left out interpolated. All frames are read; those of windows that may still be scored are kept. Raises VideoError
    where the reading ends early, after all windows that were read.
    """

    def __init__(self, windows: VideoWindows, backend: Backend, batch_size: int):
        self.windows, self.backend, self.batch_size = windows, backend, batch_size
        self.views: dict[int, VideoViews] = {}  # of windows that were not yielded yet
        self.scores: dict[int, np.ndarray] = {}  # of scored windows, from the last one before those on
        self.num_scored = self.num_yielded = 0

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        windows, spacing = self.windows, spacing_of(self.windows)
        starts, ends, num_read = windows.start_seconds, windows.end_seconds, 0
        try:
            for part, views in windows.batches(1):
                self.views[part.start], num_read = views, part.stop
                if num_read == len(windows):
                    self._refine(num_read)
                    yield self._take(num_read)
                elif part.start % spacing == 0:
                    self._refine(num_read)
                    # a window that no later one overlaps
                    done = min(num_read, int(np.searchsorted(ends, starts[num_read], side="right")))
                    if done > self.num_yielded:
                        yield self._take(done)
        except VideoError:
            if num_read > self.num_yielded:
                self._refine(num_read)
                yield self._take(num_read)
            raise

    def _refine(self, stop: int) -> None:
        """Score, of the windows before `stop` that were not yielded, those that must be."""
        self._score(stop - 1)
        starts, ends = self.windows.start_seconds, self.windows.end_seconds
        while wanted := windows_to_score(self.scores, starts, ends, self.num_yielded):
            for number in wanted:
                self._score(number)

    def _score(self, number: int) -> None:
        if number not in self.scores:
            self.scores[number] = score_views(self.backend, self.views[number], self.batch_size).mean(0)
            self.num_scored += 1

    def _take(self, stop: int) -> tuple[slice, np.ndarray]:
        """The windows before `stop` that were not yielded; forgets what is not needed after them."""
        first, self.num_yielded = self.num_yielded, stop
        numbers = sorted(self.scores)
        times, known = self.windows.start_seconds, np.stack([self.scores[number] for number in numbers])
        rows = [interpolate(times[number], times[numbers], known) for number in range(first, stop)]
        last = max(number for number in numbers if number < stop)
        self.scores = {number: row for number, row in self.scores.items() if number >= last}
        self.views = {number: views for number, views in self.views.items() if number >= stop}
        return slice(first, stop), np.stack(rows)


def spacing_of(windows: VideoWindows) -> int:
    """From one window that is always scored to the next, in windows."""
    if len(windows) == 1:
        return 1
    starts = windows.start_seconds
    stride = (starts[-1] - starts[0]) / (len(starts) - 1)
    return max(1, int(SPACING_WINDOWS * (windows.end_seconds[0] - starts[0]) / stride + 1e-6))


def agree(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two windows, scores [K] each, agree strongly."""
    best = int(first.argmax())
    others = np.delete(np.maximum(first - first[best], second - second[best]), best)
    return bool((others <= -AGREEMENT).all())


def windows_to_score(
    scores: Mapping[int, np.ndarray], starts: np.ndarray, ends: np.ndarray, first_open: int = 0
) -> list[int]:
    """Which windows must be scored next; none: the others may be left out.

    scores: number of a window -> [K], of those that were scored; the first and the last one are. starts, ends:
    float64 [W], ascending, of all windows. first_open: windows before it cannot be scored any more.
    """
    numbers = sorted(scores)
    gaps = [(max(a, first_open - 1), b) for a, b in zip(numbers, numbers[1:]) if not agree(scores[a], scores[b])]
    middles = [(a + b) // 2 for a, b in gaps if b - a > 1]
    if middles:
        return middles
    # the best class of each, also of those left out, from the first on
    place = np.arange(numbers[0], numbers[-1] + 1)
    scored = np.isin(place, numbers)
    best = np.array([int(scores[number].argmax()) for number in numbers])[scored.cumsum() - 1]
    start, end = starts[place], ends[place]
    needed = np.zeros(len(place), bool)
    for change in np.flatnonzero(np.diff(best)) + 1:
        needed[:change] |= end[:change] > start[change]
        needed[change:] |= start[change:] < end[change - 1]
    return place[needed & ~scored & (place >= first_open)].tolist()


def interpolate(time: float, times: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores [K] at a time between times [n], ascending, at which they are scores [n, K]."""
    right = int(np.searchsorted(times, time))
    if times[right] == time:
        return scores[right]
    weight = (time - times[right - 1]) / (times[right] - times[right - 1])
    return (1 - weight) * scores[right - 1] + weight * scores[right]
