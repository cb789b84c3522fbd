"""Which piece of the list a free worker gets next. Pure bookkeeping: no files, no processes, no clock of its own."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from clusters.job import Piece

MAX_FAILURES = 3  # of a whole part, before it is cut, and of a single video, before it is given up
STRAGGLER_FACTOR = 3.0  # times the median of the pieces' times
NUM_TIMES = 1001  # of which the median is taken


@dataclass(frozen=True)
class Failed:
    """A failure of a piece. count: failures of its part so far; given_up: the piece is one video, and the cause."""

    piece: Piece
    count: int
    given_up: bool


class Scheduler:
    """Hands out every part until a worker has finished it.

    A part that fails three times is cut in halves, and so is a half that fails, until the video that causes it is
    alone; that one is given up after three failures. When all parts are handed out, the one that runs longest, and
    longer than three times the median, is given to one more worker; whoever is first counts.

    parts: what to do, in order. piece_of: the rows of a part. is_done: whether an earlier run has finished a piece of
    a cut part. failures: of parts, in earlier runs.
    complete: cut parts whose pieces are all done, as sets of pieces; the caller takes them out and joins them.
    """

    def __init__(
        self,
        parts: Sequence[int],
        piece_of: Callable[[int], Piece],
        is_done: Callable[[Piece], bool] = lambda piece: False,
        failures: Mapping[int, int] | None = None,
    ):
        self.complete: list[set[Piece]] = []
        self._parts, self._piece_of, self._is_done = parts, piece_of, is_done
        self._position = 0
        self._retries: deque[Piece] = deque()
        self._assigned: dict[int, Piece] = {}  # worker -> what it computes
        self._running: dict[Piece, tuple[float, set[int]]] = {}  # since when (its last copy), by whom; the oldest first
        self._times: list[float] = []  # a sample of all so far: towards the end, recent ones are those of stragglers
        self._num_times, self._rng = 0, random.Random(0)
        self._failures = Counter(failures or {})  # of parts
        self._failures_alone: Counter[Piece] = Counter()  # of single videos
        self._cut: dict[int, tuple[set[Piece], set[Piece]]] = {}  # part -> its pieces, those that are not done

    @property
    def is_finished(self) -> bool:
        waiting = self._position < len(self._parts) or self._retries or self._running or self.complete
        return not waiting

    def take(self, worker: int, now: float) -> Piece | None:
        """The next piece for a worker; None: nothing for now. now: seconds on any clock."""
        while not self._retries and self._position < len(self._parts):
            self._retry(self._piece_of(self._parts[self._position]))  # an earlier run may have cut it
            self._position += 1
        if not self._retries:
            return self._copy(worker, now)
        piece = self._retries.popleft()
        self._assigned[worker], self._running[piece] = piece, (now, {worker})
        return piece

    def _copy(self, worker: int, now: float) -> Piece | None:
        """A piece that the others have had for too long."""
        if not self._running or not self._times:
            return None
        piece, (since, workers) = next(iter(self._running.items()))
        if now - since <= STRAGGLER_FACTOR * median(self._times):
            return None
        del self._running[piece]  # it goes to the end: its copy may be slow, too
        self._assigned[worker], self._running[piece] = piece, (now, workers | {worker})
        return piece

    def finish(self, worker: int, now: float) -> bool:
        """A worker has written the file of its piece. Returns False when another one was faster."""
        piece = self._assigned.pop(worker)
        if piece not in self._running:
            return False
        self._sample(now - self._running.pop(piece)[0])
        self.settle(piece)
        return True

    def _sample(self, seconds: float) -> None:
        """Keep each of the times so far with the same probability (reservoir sampling, Vitter 1985)."""
        self._num_times += 1
        place = self._rng.randrange(self._num_times)
        if len(self._times) < NUM_TIMES:
            self._times.append(seconds)
        elif place < NUM_TIMES:
            self._times[place] = seconds

    def settle(self, piece: Piece) -> None:
        """A piece has its file: its part is complete when it was the last one."""
        if piece.part in self._cut:
            self._cut[piece.part][1].discard(piece)
            self._check(piece.part)

    def _check(self, part: int) -> None:
        if not self._cut[part][1]:
            self.complete.append(self._cut.pop(part)[0])

    def fail(self, worker: int) -> Failed | None:
        """A worker has died, or could not compute its piece; None when it had none or another one was faster.

        For a video that is given up, the caller writes an error and calls `settle`.
        """
        piece = self._assigned.pop(worker, None)
        if piece is None or piece not in self._running:
            return None
        self._failures[piece.part] += 1
        self._running[piece][1].discard(worker)
        given_up = False
        if not self._running[piece][1]:
            del self._running[piece]
            self._failures_alone[piece] += len(piece) == 1
            given_up = self._failures_alone[piece] >= MAX_FAILURES
            if not given_up:
                self._retry(piece)
        return Failed(piece, self._failures[piece.part], given_up)

    def _retry(self, piece: Piece) -> None:
        """Hand out a piece (again), or its halves."""
        part = piece.part
        if len(piece) == 1 or (part not in self._cut and self._failures[part] < MAX_FAILURES):
            self._retries.append(piece)
            return
        pieces, undone = self._cut.setdefault(part, ({piece}, {piece}))
        pieces.remove(piece)
        undone.remove(piece)
        for half in piece.halves():
            pieces.add(half)
            if not self._is_done(half):
                undone.add(half)
                self._retries.append(half)
        self._check(part)
