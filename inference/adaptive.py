"""Adaptive views: a video's views are scored in a spread order until its answer is settled.

After n of V views, m_j = mean over the n views of p_a - p_j says by how much the best class a is ahead of class j. The
n views are a sample, without replacement, of all V, so the lead that all V would show has the standard error

    e_j = s_j sqrt(1/n - 1/V),    s_j^2 = (c s_0^2 + sum of (p_a - p_j - m_j)^2 over the n views) / (c + n - 1)

where s_0 = PRIOR_DEVIATION with the weight of c = PRIOR_VIEWS views stands in while n is small. The answer is settled
when m_j / e_j is at least `threshold` for every other class j; with several labels a video, when
|mean p_j - 0.5| / e_j is, for every class j. The threshold is calibrated on videos of which all views were scored
(tools/calibrate_views.py); without that it is the normal quantile of the confidence, shared by all looks (Bonferroni).

Of two streams, p are the fused scores of each view, and a is the best class of the fused scores of the views so far.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from datareader import Failure, VideoViews
from datareader.loaders import ViewLoader
from datareader.two_streams import TwoStreamLoader
from inference.backends import Backend
from tasks.fusion import fuse_video, fuse_views, with_logits
from utils.errors import UserError
from weights.containers import stored_sha256

CONFIDENCE = 0.99
CALIBRATION_FILE = "adaptive_views.json"  # beside the weights
TWO_STREAM_FILE = "adaptive_views_two_stream.json"  # beside the RGB weights
PRIOR_DEVIATION = 0.3  # of p_a - p_j over the views of a video; on drawn videos 0.25 to 0.29 for the second class
PRIOR_VIEWS = 4
GROWTH = 1.25  # from one look to the next, once that is more than one view

Outputs = tuple[np.ndarray, np.ndarray]  # scores and logits of n views, float [n, K] each


# ------------------------------------------------------------------------------------------- the rule


@dataclass(frozen=True)
class AdaptiveViews:
    """What `--views=adaptive[:CONFIDENCE][:VIEWS]` asks for: views that may be scored, None: the configuration's; and
    the probability with which the answer of all of them is kept."""

    confidence: float = CONFIDENCE
    views: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> AdaptiveViews | None:
        """None for other views. Raises UserError for a confidence outside (0, 1)."""
        name, *parts = (text or "").split(":")
        if name != "adaptive":
            return None
        confidence = CONFIDENCE
        if parts and _is_number(parts[0]):
            confidence = float(parts.pop(0))
        if not 0 < confidence < 1 or len(parts) > 1 or parts == [""]:
            raise UserError(f"--views={text}: write adaptive, adaptive:0.99 (between 0 and 1) or adaptive:0.99:10x3")
        return cls(confidence, parts[0] if parts else None)


def looks(num_views: int) -> list[int]:
    """The numbers of views after which the answer is looked at: 1, 2, 3, 4, 5, 7, 9, 12 ... num_views."""
    numbers = [1]
    while numbers[-1] < num_views:
        numbers.append(min(num_views, max(numbers[-1] + 1, math.ceil(numbers[-1] * GROWTH))))
    return numbers


def lead(view_scores: np.ndarray, num_views: int, multi_label: bool = False, best: int | None = None) -> float:
    """The smallest m_j / e_j over the classes j: how many standard errors the answer is ahead; infinite for all views.

    view_scores: float [n, K] in 0..1, of n of the `num_views` views. multi_label: each class is an answer of its own.
    best: the class a that is answered, None: that of the largest mean.
    """
    num_seen = len(view_scores)
    if num_seen >= num_views:
        return math.inf
    scores = view_scores.astype(np.float64)
    if multi_label:
        margins = scores - 0.5
        margins *= np.where(margins.mean(axis=0) < 0, -1.0, 1.0)
    else:
        best = int(scores.mean(axis=0).argmax()) if best is None else best
        margins = scores[:, [best]] - np.delete(scores, best, axis=1)
    means = margins.mean(axis=0)
    squares = PRIOR_VIEWS * PRIOR_DEVIATION**2 + ((margins - means) ** 2).sum(axis=0)
    errors = np.sqrt(squares / (PRIOR_VIEWS + num_seen - 1) * (1 / num_seen - 1 / num_views))
    return float((means / errors).min(initial=math.inf))


def uncalibrated_threshold(confidence: float, num_views: int) -> float:
    """The normal quantile at which all looks together err with a probability of at most 1 - confidence."""
    return NormalDist().inv_cdf(1 - (1 - confidence) / max(1, len(looks(num_views)) - 1))


# ------------------------------------------------------------------------------------------- its calibration


def scores_seen(outputs: Sequence[Outputs], multi_label: bool) -> Outputs:
    """The scores of the views seen, [n, K], and of the video, [K]: of one network, or the fused ones of several."""
    if len(outputs) > 1:
        return fuse_views(outputs, multi_label), fuse_video(outputs, multi_label)
    ((scores, _),) = outputs
    return scores, scores.mean(axis=0)


def calibrate(
    runs: Sequence[np.ndarray], order: np.ndarray, multi_label: bool = False, labels: np.ndarray | None = None
) -> list[dict]:
    """What each threshold would do to videos of which all views were scored.

    runs: of each network the scores of all views, float [M, V, K]. order: int64 [V], of `ViewProtocol.spread_order`.
    labels: int [M], with one label a video.

    Returns rows by rising threshold: threshold; mean_views; kept, the fraction of videos with the answer of all views;
    with labels accuracy, the fraction with the right one; confidence, 1 - (c + 1) / (M + 1) with c the most videos that
    change at this threshold or any higher one: the probability that the answer of another video of the same kind is
    kept (conformal risk control, Angelopoulos et al. 2022).
    """
    num_videos, num_views, _ = runs[0].shape
    numbers = looks(num_views)
    leads = np.empty((num_videos, len(numbers)))
    kept, right = np.empty((2, num_videos, len(numbers)), bool)
    for place, video in enumerate(zip(*runs)):
        outputs = [with_logits(scores[order].astype(np.float64)) for scores in video]
        answer = _answer(scores_seen(outputs, multi_label)[1], multi_label)
        for look, number in enumerate(numbers):
            seen, mean = scores_seen([(scores[:number], logits[:number]) for scores, logits in outputs], multi_label)
            leads[place, look] = lead(seen, num_views, multi_label, int(mean.argmax()))
            early = _answer(mean, multi_label)
            kept[place, look] = np.array_equal(early, answer)
            right[place, look] = labels is not None and early == labels[place]
    rows: list[dict] = []
    most_changed = 0
    for threshold in np.arange(6.0, 0.0, -0.1).round(1).tolist():
        stop = (leads >= threshold).argmax(axis=1)
        unchanged = kept[np.arange(num_videos), stop]
        most_changed = max(most_changed, int((~unchanged).sum()))
        rows.append(
            {
                "threshold": threshold,
                "mean_views": float(np.array(numbers)[stop].mean()),
                "kept": float(unchanged.mean()),
                **({} if labels is None else {"accuracy": float(right[np.arange(num_videos), stop].mean())}),
                "confidence": 1 - (most_changed + 1) / (num_videos + 1),
            }
        )
    return rows[::-1]


def _answer(scores: np.ndarray, multi_label: bool) -> np.ndarray:
    """Of a video's scores [K]."""
    return scores >= 0.5 if multi_label else scores.argmax()


@dataclass(frozen=True)
class StoppingRule:
    """When a video's answer is settled. source: where the threshold is from, for results."""

    threshold: float
    multi_label: bool
    source: str

    @classmethod
    def choose(cls, wanted: AdaptiveViews, weights: Sequence[str], protocol: Any, multi_label: bool) -> StoppingRule:
        """The rule that was calibrated for these weights and views, else an uncalibrated one.

        weights: the file of the network, or of both streams. protocol: a ViewProtocol. Raises UserError for a
        calibration of other weights or views, and for one that does not reach the confidence.
        """
        path = calibration_file(weights)
        if not path.exists():
            threshold = uncalibrated_threshold(wanted.confidence, len(protocol))
            return cls(threshold, multi_label, f"not calibrated (no {path.name} beside the weights)")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            views, sha256, curve = found["views"], found["weights_sha256"], found["curve"]
            rows = sorted((float(row["threshold"]), float(row["confidence"])) for row in curve)
            source = f"calibrated on {int(found['num_videos'])} videos"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no calibration of tools/calibrate_views.py: {error}") from error
        for what, stored, own in (("views", views, str(protocol)), ("weights", sha256, weights_sha256(weights))):
            if stored != own:
                raise UserError(f"{path} was made for other {what}; make it again with tools/calibrate_views.py")
        reached = [threshold for threshold, confidence in rows if confidence >= wanted.confidence]
        if not reached:
            best = max((confidence for _, confidence in rows), default=0.0)
            raise UserError(
                f"--views=adaptive:{wanted.confidence:g}: {path} reaches {best:.4f}; ask for less, or calibrate with "
                "more videos"
            )
        return cls(min(reached), multi_label, source)

    def is_settled(self, outputs: Sequence[Outputs], num_views: int) -> bool:
        """Whether n of `num_views` views are enough. outputs: those of each network."""
        view_scores, scores = scores_seen(outputs, self.multi_label)
        return lead(view_scores, num_views, self.multi_label, int(scores.argmax())) >= self.threshold


def calibration_file(weights: Sequence[str]) -> Path:
    """Where the calibration of a network, or of both streams, is. weights: their files."""
    return Path(weights[0]).parent / (TWO_STREAM_FILE if len(weights) > 1 else CALIBRATION_FILE)


def weights_sha256(weights: Sequence[str]) -> str:
    """The SHA-256 of the weights, those of two files with a space between."""
    return " ".join(stored_sha256(file) for file in weights)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ------------------------------------------------------------------------------------------- scoring


@dataclass(frozen=True)
class ScoredViews:
    """The views of a video that were scored.

    views: their numbers, ascending, int64 [n]; scores, logits: float32 [n, K]; the rest as in VideoViews.
    """

    video_id: int
    path: str
    num_frames: int
    labels: tuple[int, ...]
    warning: str
    views: np.ndarray
    scores: np.ndarray
    logits: np.ndarray


class AdaptiveScorer:
    """Scores each video of a loader in as many views as its answer needs.

    networks: a backend for each stream of the loader, and how many views it takes at a time. Iterating gives, in the
    loader's order, a ScoredViews of the same views for each network, or a Failure for each where a stream cannot be
    read. Only clips whose views are scored are read; while a video's next clips are read, those of the videos after it
    are scored.
    """

    def __init__(
        self, loader: ViewLoader | TwoStreamLoader, networks: Sequence[tuple[Backend, int]], rule: StoppingRule
    ):
        self.loader, self.networks, self.rule = loader, networks, rule
        self.order = loader.protocol.spread_order()
        self.looks = looks(len(self.order))

    def __iter__(self) -> Iterator[tuple[ScoredViews | Failure, ...]]:
        waiting = iter(self.loader.ids.tolist())
        active: deque[_Video] = deque()
        try:
            while True:
                while len(active) <= self.loader.pool.num_workers and (video_id := next(waiting, None)) is not None:
                    active.append(_Video(video_id))
                    self._advance(active[-1])
                if not active:
                    return
                unfinished = [video for video in active if video.result is None]
                self._advance(next((video for video in unfinished if video.future.done()), unfinished[0]))
                while active and (result := active[0].result) is not None:
                    active.popleft()
                    yield result
        finally:
            for video in active:
                if video.future is not None:
                    video.future.cancel()

    def _advance(self, video: _Video) -> None:
        """Take the clips that were asked for; score views until the answer is settled or more clips are needed."""
        video.receive()
        per_clip = self.loader.protocol.views_per_clip
        while video.result is None:
            num_seen = len(video.views)
            views = self.order[num_seen : next(look for look in self.looks if look > num_seen)]
            missing = sorted(set((views // per_clip).tolist()) - set(video.clips))
            if missing:
                read = partial(self.loader.read, video.video_id, clips=tuple(missing))
                video.asked, video.future = missing, self.loader.pool.submit(read)
                return
            video.add(views, per_clip, self.networks)
            if self.rule.is_settled(video.outputs, len(self.order)):
                video.finish()


class _Video:
    """A video in work. asked: the clips that `future` reads; clips: number of a clip -> its reading in each stream and
    its place there; outputs: of the views so far, by each network; result: once there is one."""

    def __init__(self, video_id: int):
        self.video_id = video_id
        self.asked: list[int] = []
        self.future: Future | None = None
        self.clips: dict[int, tuple[tuple[VideoViews, ...], int]] = {}
        self.views = np.empty(0, np.int64)
        self.outputs: list[Outputs] = []
        self.result: tuple[ScoredViews | Failure, ...] | None = None

    def receive(self) -> None:
        if self.future is None:
            return
        found = self.future.result()
        streams = found if isinstance(found, tuple) else (found,)
        failure = next((stream for stream in streams if isinstance(stream, Failure)), None)
        if failure is not None:
            self.result = (failure,) * len(streams)
        else:
            self.clips.update({clip: (streams, place) for place, clip in enumerate(self.asked)})
        self.future = None

    def add(self, views: np.ndarray, per_clip: int, networks: Sequence[tuple[Backend, int]]) -> None:
        """Score views, int64 [n], whose clips were read."""
        for stream, (backend, batch_size) in enumerate(networks):
            parts = self.outputs[stream : stream + 1]
            for start in range(0, len(views), batch_size):
                clips = []
                for clip, crop in zip(*divmod(views[start : start + batch_size], per_clip)):
                    readings, place = self.clips[int(clip)]
                    clips.append(readings[stream].clips([place * per_clip + crop]))
                parts.append(backend.outputs(np.concatenate(clips)))
            scores, logits = zip(*parts)
            self.outputs[stream : stream + 1] = [(np.concatenate(scores), np.concatenate(logits))]
        self.views = np.concatenate([self.views, views])

    def finish(self) -> None:
        order = self.views.argsort()  # so that the mean over all views is that of the whole protocol, bit for bit
        self.result = tuple(
            self._scored(order, [readings[stream] for readings, _ in self.clips.values()], *outputs)
            for stream, outputs in enumerate(self.outputs)
        )
        self.clips.clear()  # their frames

    def _scored(
        self, order: np.ndarray, readings: Sequence[VideoViews], scores: np.ndarray, logits: np.ndarray
    ) -> ScoredViews:
        warning, last = next((reading.warning for reading in readings if reading.warning), ""), readings[-1]
        return ScoredViews(
            self.video_id, last.path, last.num_frames, last.labels, warning, self.views[order], scores[order],
            logits[order],
        )  # fmt: skip
