"""What the first bytes of a packet say: may decoding start here, is the picture shown, is it an I or P picture."""

from __future__ import annotations

from collections.abc import Iterator

KNOWN_CODECS = ("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9", "av1")
START_CODE = b"\0\0\1"


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
