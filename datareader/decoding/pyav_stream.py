"""Inside a reading process: the times of a video's frames, and its wanted frames in order from a stream kept open."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import av
import cv2
import numpy as np

from datareader.decoding.base import (
    Budget,
    Damage,
    FrameSelection,
    Limits,
    Prepare,
    Timeline,
    VideoError,
)
from datareader.decoding.colours import RgbConverter
from datareader.decoding.containers import Demuxer, open_video
from datareader.decoding.packet_index import PacketIndex, Span, plan, scan
from datareader.decoding.pyav_backend import (
    DECODE_ERRORS,
    SKIPPING_CODECS,
    NotSelective,
    Tally,
    and_flush,
    check_ratio,
    decode_in_order,
    identity_of,
    packets_of,
    wanted_frames,
)

FALLBACK_FPS = 25.0
Frames = Iterator["tuple[np.ndarray | None, bool]"]  # None: lost; True: in a damaged part of the file


@dataclass(frozen=True)
class _Scanned:
    index: PacketIndex
    time_base: float
    header_fps: float
    container_start: float | None


@dataclass
class _Stream:
    """What one request leaves for the next: the wanted frames that have not come yet."""

    frames: Iterator[tuple[np.ndarray, bool, bool]]
    budget: Budget
    place: int


# One of each at most: what the last request looked at.
_SCANNED: dict[tuple, _Scanned] = {}
_STREAMS: dict[tuple, _Stream] = {}


def timeline(path: str, limits: Limits, may_decode: bool) -> Timeline | int:
    """See datareader.decoding.timeline."""
    budget = Budget(path, limits.seconds)
    scanned = _scan(path, limits, budget)
    index, warning = scanned.index, ""
    if not index.sequential_reason:
        times = index.pts[index.shown] * scanned.time_base
    elif not may_decode:
        return len(index.pts)
    else:
        times, warning = _counted_times(path, limits, budget, scanned)
    begin = max(scanned.container_start or 0.0, 0.0)  # what lies before 0 is not played
    begin = min(begin, float(times[0]))
    step = index.last_duration * scanned.time_base
    if step <= 0 or index.sequential_reason:
        step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / (scanned.header_fps or FALLBACK_FPS)
    end = float(times[-1]) - begin + step
    fps = (len(times) - 1) / float(times[-1] - times[0]) if len(times) > 1 else 1 / step
    return Timeline(times - begin, end, fps, begin, warning, bool(index.sequential_reason))


def _scan(path: str, limits: Limits, budget: Budget) -> _Scanned:
    key = identity_of(path)
    if key not in _SCANNED:
        _SCANNED.clear()
        with open_video(path, limits, budget, strict=True) as (container, stream):
            index = scan(path, container, stream, Demuxer(container, stream, budget), limits, keeps_packets=False)
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            start = None if container.start_time is None else container.start_time / av.time_base
            _SCANNED[key] = _Scanned(index, float(stream.time_base or 0), rate, start)
    return _SCANNED[key]


def _counted_times(path: str, limits: Limits, budget: Budget, scanned: _Scanned) -> tuple[np.ndarray, str]:
    """The times of the frames that come when all is decoded, in seconds, and what is not whole."""
    tally, pts = Tally(), []
    for _, frame, _ in decode_in_order(path, limits, budget, tally):
        pts.append(frame.pts)
    check_ratio(path, tally.frames, scanned.index)
    warning = ""
    if scanned.index.damaged or tally.errors:
        warning = f"damaged or cut off: {tally.frames} frames of {scanned.index.num_frames} packets decode"
    if None not in pts:
        times = np.sort(np.array(pts, np.float64)) * scanned.time_base  # some containers tell times of decoding
        if (np.diff(times) > 0).all():
            return times, warning
    rate = scanned.header_fps or FALLBACK_FPS
    counted = f"its frames have no times of their own; they are counted at {rate:g} frames a second"
    return np.arange(len(pts)) / rate, "; ".join(filter(None, (warning, counted)))


def next_frames(
    path: str,
    limits: Limits,
    selection: FrameSelection,
    first: int,
    count: int,
    prepare: Prepare | None,
    size: tuple[int, int] | None,
) -> tuple[np.ndarray, Damage]:
    """See datareader.decoding.next_frames."""
    key = (identity_of(path), path, selection, prepare)
    stream = _STREAMS.pop(key, None)
    if stream is None or stream.place != first:
        _STREAMS.clear()
        budget = Budget(path, limits.seconds)
        scanned = _scan(path, limits, budget)
        frames = _wanted(path, scanned.index, selection.numbers()[first:], limits, budget)
        stream = _Stream(_filled(path, _prepared(frames, prepare, size)), budget, first)
    stream.budget.end = time.monotonic() + limits.seconds
    pieces, damage = [], Damage()
    for _ in range(count):
        frame, is_damaged, is_lost = next(stream.frames)
        pieces.append(frame)
        damage += Damage(is_damaged, is_lost)
    stream.place += count
    _STREAMS[key] = stream  # a stream that has raised is never gone on with
    return np.stack(pieces), damage


def _wanted(path: str, index: PacketIndex, numbers: np.ndarray, limits: Limits, budget: Budget) -> Frames:
    """Each wanted frame as RGB, upright."""
    if index.sequential_reason:
        return _matched(decode_in_order(path, limits, budget, Tally()), deque(numbers.tolist()))
    spans = plan(index, numbers)
    if spans is not None:
        return _selected(path, index, spans, limits, budget)
    every = decode_in_order(path, limits, budget, Tally())
    waiting = deque(index.pts[index.shown[numbers]].tolist())
    return _matched(((frame.pts, frame, convert) for _, frame, convert in every), waiting)


def _matched(every: Iterator[tuple], waiting: deque, is_damaged: bool = False) -> Frames:
    """Of (key, frame, converter) those whose keys wait, ascending; what has been passed over is lost."""
    for key, frame, convert in every:
        while waiting and key is not None and waiting[0] < key:
            waiting.popleft()
            yield None, True
        if waiting and key == waiting[0]:
            waiting.popleft()
            yield convert(frame), is_damaged
        if not waiting:
            return
    while waiting:
        waiting.popleft()
        yield None, True


def _selected(path: str, index: PacketIndex, spans: list[Span], limits: Limits, budget: Budget) -> Frames:
    with open_video(path, limits, budget, strict=True) as (_, stream):
        context = stream.codec_context
        skips = context.codec.canonical_name in SKIPPING_CODECS
        convert = RgbConverter(stream.time_base)
        for span, packets in packets_of(path, index, spans, limits, budget):
            waiting = deque(sorted(span.wanted))
            try:
                for frame in wanted_frames(context, span, packets, skips, budget):
                    if frame.pts != waiting[0]:
                        raise NotSelective
                    rgb = convert(frame)
                    waiting.popleft()
                    yield rgb, False
            except (NotSelective, *DECODE_ERRORS):
                yield from _matched(_lenient(path, index, span, limits, budget), waiting, True)
            context.flush_buffers()


def _lenient(path: str, index: PacketIndex, span: Span, limits: Limits, budget: Budget) -> Iterator[tuple]:
    """(pts, frame, converter) of whatever a damaged span gives."""
    with open_video(path, limits, budget, strict=False) as (_, stream):
        convert = RgbConverter(stream.time_base)
        for _, packets in packets_of(path, index, [span], limits, budget):
            for packet in and_flush(packets):
                budget.check()
                try:
                    frames = stream.codec_context.decode(packet)
                except DECODE_ERRORS:
                    continue
                yield from ((frame.pts, frame, convert) for frame in frames)


def _prepared(frames: Frames, prepare: Prepare | None, size: tuple[int, int] | None) -> Frames:
    """Frames of their own memory, all of one size."""
    for frame, is_damaged in frames:
        if frame is None:
            yield None, True
            continue
        prepared = frame if prepare is None else prepare(frame)
        if size is not None and prepared.shape[:2] != size:  # the size changes in mid-stream
            prepared = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)
        size = prepared.shape[:2]
        yield (prepared.copy() if prepared is frame else prepared), is_damaged


def _filled(path: str, frames: Frames) -> Iterator[tuple[np.ndarray, bool, bool]]:
    """(frame, is it damaged, is it lost): the frame before stands in for a lost one; the first that comes, for those
    before it."""
    last, num_early = None, 0
    for frame, is_damaged in frames:
        if frame is not None:
            yield from ((frame, True, True) for _ in range(num_early))
            num_early, last = 0, frame
            yield frame, is_damaged, False
        elif last is not None:
            yield last, True, True
        else:
            num_early += 1
    if last is None:
        raise VideoError(path, "damaged: none of its frames can be decoded")
