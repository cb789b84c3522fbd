"""The packets of a stream in the order in which their frames are shown, and which of them decode without the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datareader.decoding.base import Limits, VideoError
from datareader.decoding.containers import INTRA_ONLY, Demuxer

KNOWN_CODECS = ("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9", "av1")
START_CODE = b"\0\0\1"
KEPT_BYTES = 64 << 20  # compressed packets held in memory; a longer stream is read from the file again
PACKET_BYTES = 1 << 10  # memory of a packet beside its data


@dataclass(frozen=True)
class PacketIndex:
    """All packets, counted in decoding order.

    shown: int64 [F], the packet of each frame, in the order of display; pts: int64 [P], times (0 where there is none);
    clean: int64 [C], packets at which decoding may start, ascending; sequential_reason: why frames must be decoded one
    after the other, "" if they need not; packets: the packets themselves, None if they are not kept; last_duration: how
    long the last frame is shown, in the unit of pts (0: unknown).
    """

    shown: np.ndarray
    pts: np.ndarray
    clean: np.ndarray
    sequential_reason: str
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
            visible = visible and is_shown(self.codec, memoryview(packet))
        self.visible.append(visible)
        if visible and packet.pts is not None:
            shown = (packet.pts, packet.duration or 0)
            self.last = max(self.last or shown, shown)
        if size and self.checks_pictures:
            types = vop_types(memoryview(packet))
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
        if self.intra_only or is_clean_start(self.codec, data, self.length_size):
            return True
        return number == 0 and self.codec not in KNOWN_CODECS


def scan(
    path: str, container, stream, demuxer: Demuxer, limits: Limits, keeps_packets: bool = True
) -> PacketIndex:  # fmt: skip
    """Read every packet's header. Raises VideoError when there are too many packets, or none."""
    context = stream.codec_context
    codec = context.codec.canonical_name
    length_size = nal_length_size(codec, context.extradata)
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
    reason = _sequential_reason(container.format.name, context, seen, pts[order], timed, demuxer.num_errors)
    damaged = seen.corrupt or demuxer.num_errors > 0
    last_duration = seen.last[1] if seen.last else 0
    return PacketIndex(order, pts, np.array(seen.clean, np.int64), reason, damaged, seen.kept, last_duration)


def _sequential_reason(
    container: str, context, seen: _Scan, shown_pts: np.ndarray, timed: bool, num_errors: int
) -> str:
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
    """Packets first .. last, decoded together from a clean start, and the times (pts) of the requested frames."""

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


def nal_length_size(codec: str, extradata: bytes | None) -> int:
    """Bytes of the length in front of each NAL unit (mp4, mkv); 0: start codes (ts, avi, raw streams)."""
    data = extradata or b""
    if codec == "h264" and len(data) > 6 and data[0] == 1:
        return (data[4] & 3) + 1
    if codec == "hevc" and len(data) > 22 and (data[0] or data[1] or data[2] > 1):
        return (data[21] & 3) + 1
    return 0


def nal_headers(data: memoryview, length_size: int) -> Iterator[int]:
    """The first byte of each NAL unit of a packet, up to the end or the first inconsistency."""
    if length_size:
        position, end = 0, len(data)
        while position + length_size < end:
            size = int.from_bytes(data[position : position + length_size], "big")
            yield data[position + length_size]
            position += length_size + size
        return
    raw = bytes(data)
    position = raw.find(START_CODE)
    while 0 <= position < len(raw) - 3:
        yield raw[position + 3]
        position = raw.find(START_CODE, position + 3)


def is_clean_start(codec: str, data: memoryview, length_size: int) -> bool:
    """True if every frame whose time is not before this packet's decodes exactly when decoding starts here.

    data: a packet that the container flags as key; flags alone are not believed. False for codecs not known here.
    """
    if codec == "h264":  # the first slice is of an IDR picture; recovery points are no clean starts
        return next((kind == 5 for kind in (b & 31 for b in nal_headers(data, length_size)) if 1 <= kind <= 5), False)
    if codec == "hevc":
        kinds = ((b >> 1) & 63 for b in nal_headers(data, length_size))
        return next((16 <= kind <= 21 for kind in kinds if kind < 32), False)
    if codec in ("mpeg1video", "mpeg2video"):
        return _starts_closed_group(bytes(data))
    if codec == "mpeg4":
        return vop_types(data)[:1] == [0]
    if codec == "vp8":
        return len(data) > 3 and not data[0] & 1
    if codec == "vp9":
        return _vp9_header(data)[:2] == (False, True)
    if codec == "av1":
        return _av1_shows_key_frame(data)
    return False


def is_shown(codec: str, data: memoryview) -> bool:
    """False for a packet that holds nothing but a hidden reference picture (VP8, VP9)."""
    if codec == "vp8":
        return len(data) < 1 or bool(data[0] & 16)
    if codec == "vp9" and len(data) and data[len(data) - 1] & 0xE0 != 0xC0:  # a superframe always shows its last one
        existing, _, shown = _vp9_header(data)
        return existing or shown
    return True


def vop_types(data: memoryview) -> list[int]:
    """Types of the MPEG-4 part 2 pictures in a packet: 0 I, 1 P, 2 B, 3 S."""
    raw, types = bytes(data), []
    position = raw.find(b"\0\0\1\xb6")
    while 0 <= position < len(raw) - 4:
        types.append(raw[position + 4] >> 6)
        position = raw.find(b"\0\0\1\xb6", position + 4)
    return types


def _starts_closed_group(raw: bytes) -> bool:
    group, picture = raw.find(b"\0\0\1\xb8"), raw.find(b"\0\0\1\0")
    if not 0 <= group < picture or picture + 6 > len(raw):
        return False
    closed = bool(raw[group + 7] & 0x40)
    return closed and (raw[picture + 5] >> 3) & 7 == 1


def _vp9_header(data: memoryview) -> tuple[bool, bool, bool]:
    """(shows an existing frame, is a key frame, is shown) of a VP9 packet's first frame."""
    if not len(data) or data[0] >> 6 != 2:
        return False, False, True
    bits = data[0]
    top = 2 if (bits >> 4) & 3 == 3 else 3  # profile 3 has a reserved bit
    if bits >> top & 1:
        return True, False, True
    return False, not bits >> (top - 1) & 1, bool(bits >> (top - 2) & 1)


def _av1_shows_key_frame(data: memoryview) -> bool:
    """The packet's first frame header is of a key frame that is shown at once."""
    position = 0
    while position < len(data):
        header = data[position]
        kind, extension, has_size = (header >> 3) & 15, header & 4, header & 2
        position += 2 if extension else 1
        if not has_size:
            return False
        size, shift = 0, 0
        while position < len(data) and shift < 56:
            byte = data[position]
            position += 1
            size |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        if kind in (3, 6):  # frame header, frame: show_existing_frame, frame_type (2 bits), show_frame
            return position < len(data) and data[position] >> 4 == 0b0001
        position += size
    return False
