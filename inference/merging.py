"""Scores of overlapping windows -> segments of one class each, as the windows come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Segment:
    """From `start` to `end` seconds the same class is the most probable one.

    indices: int64 [topk], classes, the most probable first; probabilities: float64 [topk].
    """

    start: float
    end: float
    indices: np.ndarray
    probabilities: np.ndarray


class SegmentMerger:
    """Takes windows in order of their starts and keeps no more than overlap.

    At time t the scores are p(t) = mean over the windows with start <= t < end of their scores; between two windows
    that leave a gap, the nearer one's. A segment is a longest stretch [a, b) over which argmax p(t) stays the same; its
    scores are the mean over time, 1 / (b - a) * integral from a to b of p(t) dt. topk: classes kept of a segment.
    """

    def __init__(self, topk: int = 1):
        self.topk = topk
        self.windows: list[tuple[float, float, np.ndarray]] = []  # those that reach beyond `now`
        self.last: tuple[float, np.ndarray] | None = None  # end and scores of the window that reaches furthest
        self.now = 0.0
        self.segments: list[Segment] = []
        self.begin, self.best, self.total = 0.0, -1, np.zeros(0)

    def add(self, start: float, end: float, scores: np.ndarray) -> None:
        """A window, not before the last one's start. scores: [K]."""
        scores = np.asarray(scores, np.float64)
        if self.last is None:
            self.now = self.begin = start
        else:
            self._advance(start)
            if start > self.now:
                middle = (self.now + start) / 2
                self._extend(middle, self.last[1])
                self._extend(start, scores)
        self.windows.append((start, end, scores))
        if self.last is None or end >= self.last[0]:
            self.last = (end, scores)

    def finish(self) -> list[Segment]:
        """All segments, once no window follows; they touch each other and cover all windows."""
        if self.last is not None:
            self._advance(self.last[0])
            self._close()
        return self.segments

    def _advance(self, until: float) -> None:
        """No window that is to come covers the time before `until`."""
        for stop in sorted({end for _, end, _ in self.windows if self.now < end < until} | {until}):
            covering = [scores for _, end, scores in self.windows if end >= stop]
            if not covering:
                break
            self._extend(stop, np.mean(covering, 0))
        self.windows = [window for window in self.windows if window[1] > self.now]

    def _extend(self, until: float, scores: np.ndarray) -> None:
        """p(t) is `scores` from now until then."""
        if until <= self.now:
            return
        best = int(scores.argmax())
        if best != self.best:
            self._close()
            self.begin, self.best, self.total = self.now, best, np.zeros(len(scores))
        self.total = self.total + scores * (until - self.now)
        self.now = until

    def _close(self) -> None:
        if self.now <= self.begin or self.best < 0:
            return
        scores = self.total / (self.now - self.begin)
        order = (-scores).argsort(kind="stable")[: self.topk]
        self.segments.append(Segment(self.begin, self.now, order, scores[order]))
