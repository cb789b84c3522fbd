"""The packets of a stream in the order in which their frames are shown, and which of them decode without the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datareader.decoding import bitstream
from datareader.decoding.containers import INTRA_ONLY, Demuxer
from datareader.video import Limits, VideoError

KEPT_BYTES = 64 << 20  # compressed packets held in memory; a longer stream is read from the file a second time
PACKET_BYTES = 1 << 10  # what a packet takes beside its data


@dataclass(frozen=True)
class PacketIndex:
    """All packets, counted in decoding order.

    shown: int64 [F], the packet of each frame, in the order of display; pts: int64 [P], times (0 where there is none);
    clean: int64 [C], packets at which decoding may start, ascending; trouble: why frames must be decoded one after the
    other, "" if they need not; packets: the packets themselves, None if they are not kept; last_duration: how
    long the last frame is shown, in the unit of pts (0: not said).
    """

    shown: np.ndarray
    pts: np.ndarray
    clean: np.ndarray
    trouble: str
    damaged: bool
    packets: list | None
    last_duration: int = 0

    @property
    def num_frames(self) -> int:
        return len(self.shown)


class _Scan:
    """One pass over the packets, without decoding."""

    def __init__(self, codec: str, length_size: int, intra_only: bool, checks_pictures: bool, keeps_packets: bool):
        self.codec, self.length_size, self.intra_only = codec, length_size, intra_only
        self.checks_pictures = checks_pictures
        self.times: list[int | None] = []
        self.dts_differs = self.corrupt = False
        self.visible: list[bool] = []
        self.clean: list[int] = []
        self.odd_pictures = self.has_b_pictures = False
        self.kept: list | None = [] if keeps_packets else None
        self.kept_bytes = 0
        self.last: tuple[int, int] | None = None

    def add(self, packet) -> None:
        number, size = len(self.times), packet.size
        self.times.append(packet.pts)
        self.dts_differs |= packet.pts != packet.dts
        self.corrupt |= packet.is_corrupt
        visible = bool(size) and not packet.is_discard
        if size and self.codec in ("vp8", "vp9"):
            visible = visible and bitstream.is_shown(self.codec, memoryview(packet))
        self.visible.append(visible)
        if visible and packet.pts is not None:
            shown = (packet.pts, packet.duration or 0)
            self.last = max(self.last or shown, shown)
        if size and self.checks_pictures:
            types = bitstream.vop_types(memoryview(packet))
            self.odd_pictures |= len(types) != 1 or types[0] == 3
            self.has_b_pictures |= types[:1] == [2]
        if packet.is_keyframe and size and self._is_clean(memoryview(packet), number):
            self.clean.append(number)
        self.kept_bytes += size + PACKET_BYTES
        if self.kept is not None:
            self.kept.append(packet)
            if self.kept_bytes > KEPT_BYTES:
                self.kept = None

    def _is_clean(self, data: memoryview, number: int) -> bool:
        if self.intra_only or bitstream.is_clean_start(self.codec, data, self.length_size):
            return True
        return number == 0 and self.codec not in bitstream.KNOWN_CODECS


def scan(
    path: str, container, stream, demuxer: Demuxer, limits: Limits, keeps_packets: bool = True
) -> PacketIndex:  # fmt: skip
    """Read every packet's header. Raises VideoError when there are too many packets, or none."""
    context = stream.codec_context
    codec = context.codec.canonical_name
    length_size = bitstream.nal_length_size(codec, context.extradata)
    seen = _Scan(codec, length_size, bool(context.codec.properties & INTRA_ONLY), codec == "mpeg4", keeps_packets)
    for packet in demuxer:
        seen.add(packet)
        if len(seen.times) > limits.max_packets:
            raise VideoError(path, f"more than {limits.max_packets} packets")
    visible = np.flatnonzero(seen.visible)
    if not len(visible):
        raise VideoError(path, "holds no frame")
    timed = all(seen.times[number] is not None for number in visible)
    pts = np.array([time or 0 for time in seen.times], np.int64)
    order = visible[np.argsort(pts[visible], kind="stable")] if timed else visible
    trouble = _trouble(container.format.name, context, seen, pts[order], timed, demuxer.num_errors)
    damaged = seen.corrupt or demuxer.num_errors > 0
    last_duration = seen.last[1] if seen.last else 0
    return PacketIndex(order, pts, np.array(seen.clean, np.int64), trouble, damaged, seen.kept, last_duration)


def _trouble(container: str, context, seen: _Scan, shown_pts: np.ndarray, timed: bool, num_errors: int) -> str:
    """Why this stream must be decoded from its start to its end, or ""."""
    if num_errors or seen.corrupt:
        return "damaged"
    if not timed:
        return "frames without a time"
    if len(shown_pts) > 1 and not (np.diff(shown_pts) > 0).all():
        return "frames with the same time"
    if context.has_b_frames and not seen.dts_differs:
        return "times of decoding in place of times of display"
    if seen.odd_pictures:
        return "packets that do not hold one picture each"
    if "avi" in container.split(",") and not seen.intra_only and (seen.codec != "mpeg4" or seen.has_b_pictures):
        return "AVI with B-frames"
    if seen.clean[:1] != [0]:
        return "does not begin with a clean key frame"
    return ""


@dataclass(frozen=True)
class Span:
    """Packets first .. last, to be decoded in one go from a clean start, and the times of the wanted frames in it."""

    first: int
    last: int
    wanted: frozenset


def plan(index: PacketIndex, numbers: np.ndarray) -> list[Span] | None:
    """The fewest packets that give the frames `numbers` (ascending); None if one has no clean start before it."""
    spans: list[list] = []
    clean_pts = index.pts[index.clean]
    for packet in index.shown[numbers]:
        pts = index.pts[packet]
        place = int(np.searchsorted(index.clean, packet, "right")) - 1
        while place >= 0 and clean_pts[place] > pts:  # a leading picture of an open group
            place -= 1
        if place < 0:
            return None
        spans.append([int(index.clean[place]), int(packet), {int(pts)}])
    merged: list[list] = []
    for span in sorted(spans, key=lambda span: span[:2]):
        if merged and span[0] <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], span[1])
            merged[-1][2] |= span[2]
        else:
            merged.append(span)
    return [Span(first, last, frozenset(wanted)) for first, last, wanted in merged]
