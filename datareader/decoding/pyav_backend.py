"""The PyAV back end (FFmpeg's libraries): chosen frames, frames in order from a stream kept open, times, properties.

Only the groups of pictures that hold a requested frame are decoded, and in them unrequested non-reference pictures are
skipped; streams that do not allow this are decoded from the start.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import av
import cv2
import numpy as np

from datareader.decoding.base import (
    MIN_DECODED_RATIO,
    SQUARE_PIXELS,
    Budget,
    ChooseIndices,
    Damage,
    FrameKeeper,
    FrameSelection,
    Inspection,
    Limits,
    Prepare,
    Reading,
    Timeline,
    VideoError,
    VideoInfo,
)
from datareader.decoding.colours import Converter, RgbConverter, clockwise_degrees, display_matrix
from datareader.decoding.containers import Demuxer, missing_bytes, open_video
from datareader.decoding.packet_index import PacketIndex, Span, plan, scan
from datareader.decoding.storage import identity_of

# Decoders in which skipping a non-reference picture changes no other one. HEVC hides damage, AV1 loses frames.
SKIPPING_CODECS = ("h264", "mpeg1video", "mpeg2video", "mpeg4")
MAX_COUNTED = 100_000
MAX_PIXEL_ASPECT = 10  # a larger ratio of a pixel's sides is taken for a damaged header
# Files that had to be decoded to the end to be counted: identity -> (frames, warning). Training reads them repeatedly.
_COUNTED: dict[tuple, tuple[int, str]] = {}
FALLBACK_FPS = 25.0
Frames = Iterator["tuple[np.ndarray | None, bool]"]  # None: lost; True: in a damaged part of the file
DECODE_ERRORS = (av.FFmpegError, ValueError, IndexError, OSError)


class NotSelective(Exception):
    """The requested frames cannot be decoded exactly without the others."""


def read(
    path: str, choose: ChooseIndices, limits: Limits, prepare: Prepare, converter: type[Converter] = RgbConverter
) -> Reading:
    """See datareader.decoding.read. converter: what makes arrays of decoded frames."""
    budget = Budget(path, limits.seconds)
    identity = identity_of(path)
    if identity in _COUNTED:
        count, warning = _COUNTED[identity]
        keeper = FrameKeeper(path, choose(count), limits, prepare)
        _decode_into(keeper, path, limits, budget, converter, to_the_end=False)
        if not keeper.missing:
            return keeper.reading(count, warning)
    with open_video(path, limits, budget, strict=True) as (container, stream):
        index = scan(path, container, stream, Demuxer(container, stream, budget), limits)
        if not index.sequential_reason:
            keeper = FrameKeeper(path, choose(index.num_frames), limits, prepare)
            try:
                _read_selected(path, stream, index, keeper, limits, budget, converter)
                return keeper.reading(index.num_frames)
            except NotSelective:
                pass
    reading = _read_all(path, choose, limits, prepare, index, budget, converter)
    if index.sequential_reason:  # later readings are sequential too, and may stop at the last requested frame
        if len(_COUNTED) >= MAX_COUNTED:
            _COUNTED.clear()
        _COUNTED[identity] = reading.num_frames, reading.warning
    return reading


def _read_selected(
    path: str,
    stream,
    index: PacketIndex,
    keeper: FrameKeeper,
    limits: Limits,
    budget: Budget,
    converter: type[Converter],
) -> None:
    """Decode the spans that hold wanted frames. Raises NotSelective when the stream contradicts the index."""
    spans = plan(index, keeper.numbers)
    if spans is None:
        raise NotSelective
    numbers = {int(index.pts[index.shown[number]]): int(number) for number in keeper.numbers}
    context = stream.codec_context
    first_size = context.width, context.height
    skips = context.codec.canonical_name in SKIPPING_CODECS
    convert = converter(stream.time_base)
    try:
        for span, packets in _packets_of(path, index, spans, limits, budget):
            _decode_span(context, span, packets, skips, numbers, keeper, convert, budget)
            if convert.size != first_size:  # the size may have changed before
                raise NotSelective
            context.flush_buffers()
    except DECODE_ERRORS as error:
        raise NotSelective from error
    if keeper.missing:
        raise NotSelective


def _decode_span(context, span: Span, packets, skips: bool, numbers: dict, keeper, convert, budget: Budget) -> None:
    for frame in _wanted_frames(context, span, packets, skips, budget):
        keeper.keep(numbers[frame.pts], convert(frame))


def _wanted_frames(context, span: Span, packets, skips: bool, budget: Budget) -> Iterator[av.VideoFrame]:
    """The wanted frames of a span as they come out of the decoder, which ends up drained unless all came before.

    skips: whether the decoder may leave out other pictures. Raises NotSelective for a corrupt or a missing one.
    """
    waiting = set(span.wanted)
    for packet in _and_flush(packets):
        budget.check()
        if skips and packet is not None:
            context.skip_frame = "DEFAULT" if packet.pts in span.wanted else "NONREF"
        for frame in context.decode(packet):
            if frame.pts in waiting:
                if frame.is_corrupt:
                    raise NotSelective
                yield frame
                waiting.discard(frame.pts)
        if not waiting:
            return
    raise NotSelective


def _packets_of(path: str, index: PacketIndex, spans: list[Span], limits: Limits, budget: Budget) -> Iterator[tuple]:
    """Each span with its packets, from memory, or from the file once more."""
    if index.packets is not None:
        for span in spans:
            yield span, index.packets[span.first : span.last + 1]
        return
    with open_video(path, limits, budget, strict=True) as (container, stream):
        numbered = enumerate(Demuxer(container, stream, budget))
        for span in spans:
            yield span, (packet for number, packet in _until(numbered, span.last) if number >= span.first)


def _until(numbered: Iterator[tuple], last: int) -> Iterator[tuple]:
    for number, packet in numbered:
        yield number, packet
        if number >= last:
            return


def _read_all(
    path: str,
    choose: ChooseIndices,
    limits: Limits,
    prepare: Prepare,
    index: PacketIndex,
    budget: Budget,
    converter: type[Converter],
) -> Reading:
    """Decode everything in order and count what comes; when there are more or fewer frames than was assumed, choose
    again and decode once more."""
    assumed = index.num_frames
    for _ in range(2):
        keeper = FrameKeeper(path, choose(assumed), limits, prepare)
        count, errors = _decode_into(keeper, path, limits, budget, converter, to_the_end=True)
        _check_ratio(path, count, index)
        if not keeper.missing and count == assumed:
            break
        assumed = count
    damaged = index.damaged or errors or not index.sequential_reason
    warning = f"damaged or cut off: {count} frames of {index.num_frames} packets decode" if damaged else ""
    return keeper.reading(count, warning)


def _check_ratio(path: str, count: int, index: PacketIndex) -> None:
    if count < max(1, MIN_DECODED_RATIO * index.num_frames):
        raise VideoError(path, f"damaged: {count} of {index.num_frames} frames can be decoded")


@dataclass
class Tally:
    """Frames decoded and errors met so far."""

    frames: int = 0
    errors: int = 0


def _decode_in_order(
    path: str,
    limits: Limits,
    budget: Budget,
    tally: Tally,
    strict: bool = False,
    converter: type[Converter] = RgbConverter,
) -> Iterator[tuple[int, av.VideoFrame, Converter]]:
    """(number, frame, converter) of every frame that decodes; packets that fail are skipped and counted as errors."""
    with open_video(path, limits, budget, strict=strict) as (container, stream):
        convert = converter(stream.time_base)
        demuxer = Demuxer(container, stream, budget)
        context = stream.codec_context
        failed = 0
        for packet in _and_flush(demuxer):
            budget.check()
            try:
                frames = context.decode(packet)
            except DECODE_ERRORS:
                failed += 1
                frames = []
            tally.errors = failed + demuxer.num_errors
            for frame in frames:
                tally.frames += 1
                convert.see(frame)
                yield tally.frames - 1, frame, convert


def _decode_into(
    keeper: FrameKeeper, path: str, limits: Limits, budget: Budget, converter: type[Converter], to_the_end: bool
) -> tuple[int, int]:
    """Decode up to the last requested frame, or to the end, and keep the requested ones; (frames decoded, errors)."""
    tally = Tally()
    for number, frame, convert in _decode_in_order(path, limits, budget, tally, converter=converter):
        if number in keeper.missing:
            keeper.keep(number, convert(frame))
        if not to_the_end and not keeper.missing:
            break
    return tally.frames, tally.errors


def _and_flush(demuxer: Demuxer) -> Iterator:
    yield from demuxer
    yield None


def probe(path: str, limits: Limits) -> VideoInfo:
    """See datareader.decoding.probe."""
    budget = Budget(path, limits.seconds)
    reading = read(path, _first_of, limits, lambda frame: frame)
    angle = _first_angle(path, limits, budget)
    shape = reading.frames.shape[1:3]
    return _describe(path, limits, budget, reading.num_frames, shape, angle, reading.warning)[0]


def _first_of(num_frames: int) -> np.ndarray:
    return np.zeros(1, np.int64)


def _first_angle(path: str, limits: Limits, budget: Budget) -> float:
    """By how many degrees the first frame is turned clockwise to be upright."""
    for _, frame, _ in _decode_in_order(path, limits, budget, Tally()):
        return clockwise_degrees(display_matrix(frame))
    return 0.0


def pixel_aspect(path: str, limits: Limits) -> tuple[int, int]:
    """The sample aspect ratio of the upright frames, as `VideoInfo` has it."""
    budget = Budget(path, limits.seconds)
    with open_video(path, limits, budget, strict=False) as (_, stream):
        if _stored_aspect(stream) == SQUARE_PIXELS:
            return SQUARE_PIXELS
    angle = _first_angle(path, limits, budget)
    with open_video(path, limits, budget, strict=False) as (_, stream):
        return _upright_aspect(stream, angle)


def _stored_aspect(stream) -> tuple[int, int]:
    """Width and height of a stored pixel: what the container says, else the codec. Square where neither says anything
    that can be true."""
    ratio = stream.sample_aspect_ratio
    if not ratio or not 1 / MAX_PIXEL_ASPECT <= ratio <= MAX_PIXEL_ASPECT:
        return SQUARE_PIXELS
    return ratio.numerator, ratio.denominator


def _upright_aspect(stream, angle: float) -> tuple[int, int]:
    across, down = _stored_aspect(stream)
    return (down, across) if abs(angle % 180 - 90) < 1 else (across, down)


def inspect(path: str, limits: Limits) -> Inspection:
    """See datareader.decoding.inspect."""
    budget, tally = Budget(path, limits.seconds), Tally()
    shape, angle, digest = (0, 0), 0.0, hashlib.blake2b(digest_size=16)
    for number, frame, convert in _decode_in_order(path, limits, budget, tally, strict=True):
        if not number:
            shape = convert(frame).shape[:2]
            angle = clockwise_degrees(display_matrix(frame))
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height]
        digest.update(np.ascontiguousarray(rows[:, : frame.width]))
    count, errors = tally.frames, tally.errors
    if errors:  # count as readers do, with damage concealed by the decoder
        count = sum(1 for _ in _decode_in_order(path, limits, budget, Tally()))
    warning = f"{errors} packets are damaged" if errors else ""
    info, index = _describe(path, limits, budget, count, shape, angle, warning)
    _check_ratio(path, count, index)
    if index.damaged and not warning:
        info = replace(info, warning="damaged or cut off: packets that are not whole")
    return Inspection(info, index.num_frames, missing_bytes(path), digest.hexdigest())


def _describe(
    path: str, limits: Limits, budget: Budget, num_frames: int, shape: tuple, angle: float, warning: str
) -> tuple[VideoInfo, PacketIndex]:
    with open_video(path, limits, budget, strict=True) as (container, stream):
        index = scan(path, container, stream, Demuxer(container, stream, budget), limits)
        time_base = float(stream.time_base or 0)
        header_rate = float(stream.average_rate or stream.guessed_rate or 0)
        steps = np.diff(index.pts[index.shown]) * time_base
        timed = len(steps) > 0 and (steps > 0).all()
        fps = round(1 / float(steps.mean()) if timed else header_rate, 6)
        info = VideoInfo(
            num_frames=num_frames,
            height=shape[0],
            width=shape[1],
            fps=fps,
            duration_seconds=round(num_frames / fps, 6) if fps else 0.0,
            codec=stream.codec_context.codec.canonical_name,
            container=container.format.name,
            rotated=bool(angle),
            variable_rate=bool(timed and steps.max() > 1.5 * steps.min() + 2 * time_base),
            warning=warning,
            sample_aspect_ratio=_upright_aspect(stream, angle),
        )
        return info, index


@dataclass(frozen=True)
class _Scanned:
    index: PacketIndex
    time_base: float
    header_fps: float
    container_start: float | None


@dataclass
class _Stream:
    """What one call leaves for the next: the requested frames that are not decoded yet."""

    frames: Iterator[tuple[np.ndarray, bool, bool]]
    budget: Budget
    place: int


# At most one entry each: that of the last call.
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
    begin = max(scanned.container_start or 0.0, 0.0)  # frames before 0 are not played
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
    """The times of all frames that decode, float64 [F] in seconds, and the warning."""
    tally, pts = Tally(), []
    for _, frame, _ in _decode_in_order(path, limits, budget, tally):
        pts.append(frame.pts)
    _check_ratio(path, tally.frames, scanned.index)
    warning = ""
    if scanned.index.damaged or tally.errors:
        warning = f"damaged or cut off: {tally.frames} frames of {scanned.index.num_frames} packets decode"
    if None not in pts:
        times = np.sort(np.array(pts, np.float64)) * scanned.time_base  # some containers store decoding times
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
    _STREAMS[key] = stream  # not reached after an error: a stream that failed is not continued
    return np.stack(pieces), damage


def _wanted(path: str, index: PacketIndex, numbers: np.ndarray, limits: Limits, budget: Budget) -> Frames:
    """Each requested frame as RGB, upright."""
    if index.sequential_reason:
        return _matched(_decode_in_order(path, limits, budget, Tally()), deque(numbers.tolist()))
    spans = plan(index, numbers)
    if spans is not None:
        return _selected(path, index, spans, limits, budget)
    every = _decode_in_order(path, limits, budget, Tally())
    waiting = deque(index.pts[index.shown[numbers]].tolist())
    return _matched(((frame.pts, frame, convert) for _, frame, convert in every), waiting)


def _matched(every: Iterator[tuple], waiting: deque, is_damaged: bool = False) -> Frames:
    """Of (key, frame, converter) those whose key is in `waiting` (ascending); a key that is passed over is lost."""
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
        for span, packets in _packets_of(path, index, spans, limits, budget):
            waiting = deque(sorted(span.wanted))
            try:
                for frame in _wanted_frames(context, span, packets, skips, budget):
                    if frame.pts != waiting[0]:
                        raise NotSelective
                    rgb = convert(frame)
                    waiting.popleft()
                    yield rgb, False
            except (NotSelective, *DECODE_ERRORS):
                yield from _matched(_lenient(path, index, span, limits, budget), waiting, True)
            context.flush_buffers()


def _lenient(path: str, index: PacketIndex, span: Span, limits: Limits, budget: Budget) -> Iterator[tuple]:
    """(pts, frame, converter) of the frames that a damaged span gives."""
    with open_video(path, limits, budget, strict=False) as (_, stream):
        convert = RgbConverter(stream.time_base)
        for _, packets in _packets_of(path, index, [span], limits, budget):
            for packet in _and_flush(packets):
                budget.check()
                try:
                    frames = stream.codec_context.decode(packet)
                except DECODE_ERRORS:
                    continue
                yield from ((frame.pts, frame, convert) for frame in frames)


def _prepared(frames: Frames, prepare: Prepare | None, size: tuple[int, int] | None) -> Frames:
    """Frames that own their memory, all of one size."""
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
    """(frame, is it damaged, is it lost): a lost frame is replaced by the one before, or by the first that decodes."""
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
