"""Video files: recognising them, what their headers claim, and opening and demuxing them with FFmpeg.

Files are opened carefully: nothing but the file itself, and nothing larger than the limits. FFmpeg (av) is imported on
first use.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from datareader.decoding.base import Budget, Limits, VideoError
from datareader.decoding.storage import ffmpeg_input, open_file

if TYPE_CHECKING:
    import av

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".flv", ".wmv", ".asf",
    ".3gp", ".ogv", ".gif",
)  # fmt: skip
_FRAME_NAME = re.compile(r"(?:img|image|frame)?[_-]?([0-9]{1,9})\.jpe?g", re.IGNORECASE)
_PLANE_NAME = re.compile(r"(?:flow_)?([xy])_([0-9]{1,9})\.jpe?g", re.IGNORECASE)
_HEAD_BYTES = 1 << 16
# How containers of video begin, and what must follow in the head where they hold audio alone just as often.
_SIGNATURES: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (b"\x1a\x45\xdf\xa3", (b"V_",)),  # Matroska, WebM: the name of a video codec
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", (b"\xc0\xef\x19\xbc\x4d\x5b\xcf\x11",)),  # ASF: a video stream
    (b"OggS", (b"\x80theora", b"BBCD\x00", b"\x01video")),
    (b"FLV\x01", ()),
    (b"\x00\x00\x01\xba", ()),  # MPEG program stream
    (b"\x00\x00\x01\xb3", ()),  # MPEG video
    (b"GIF8", ()),
)
# Brands of an mp4's "ftyp" box that stand for audio or still images.
_BRANDS_WITHOUT_VIDEO = (b"M4A ", b"M4B ", b"M4P ", b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"crx ")
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_TOP_BOXES = (
    b"ftyp",
    b"moov",
    b"mdat",
    b"free",
    b"skip",
    b"wide",
    b"moof",
    b"mfra",
    b"uuid",
    b"sidx",
    b"styp",
    b"pnot",
)
_MAX_BOXES = 100_000
_MATROSKA, _MATROSKA_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
# Containers and raw streams; no playlists, scripts that name other files, or still images.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,h264,hevc,av1,obu,ivf,m4v,mxf,"
    "nut,rm,dv,yuv4mpegpipe,mjpeg,vc1,wtv,cavsvideo,dirac,swf,nsv,h263,h261,live_flv,mpjpeg,wtv,viv,bink,smk,roq,r3d,gxf"
)
MAX_STREAMS = 100
MAX_REPEATED_ERRORS = 64
INTRA_ONLY = 1  # FFmpeg's AV_CODEC_PROP_INTRA_ONLY


@contextmanager
def open_video(path: str, limits: Limits, budget: Budget, *, strict: bool) -> Iterator[tuple]:
    """(container, stream): the first video stream that has a decoder and is no cover picture, ready to decode with one
    thread. strict: the decoder reports damage as an error instead of concealing it.

    Raises VideoError when there is no such stream, or the header claims more than the limits allow.
    """
    import av

    samples = count_samples(path)
    if samples > limits.max_packets:
        raise VideoError(path, f"its header promises {samples} frames, the limit is {limits.max_packets}")
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": FORMATS,
        "max_pixels": str(limits.max_pixels),
        "max_streams": str(MAX_STREAMS),
    }
    # Options for probing decoders too; PyAV before 18 crashes on them where streams appear late (MPEG program streams).
    argument = "options" if int(av.__version__.split(".")[0]) >= 18 else "container_options"
    with ffmpeg_input(path) as source:
        try:
            container = av.open(source, metadata_errors="replace", timeout=budget.left(), **{argument: options})
        except (av.FFmpegError, OSError, ValueError, UnicodeError) as error:
            budget.check()
            raise VideoError(path, f"no video that can be opened ({_ffmpeg_message(error)})") from error
        with container:
            stream = _pick_stream(container)
            if stream is None:
                raise VideoError(path, "holds no video stream that can be decoded")
            context = stream.codec_context
            _check_size(path, context.width, context.height, limits)
            context.thread_count, context.thread_type = 1, "NONE"
            context.options = {"max_pixels": str(limits.max_pixels), "flags": "+unaligned"}
            if strict:
                context.options = {**context.options, "err_detect": "explode"}
            yield container, stream


def _pick_stream(container) -> av.VideoStream | None:
    import av

    for stream in container.streams.video:
        attached = av.stream.Disposition.attached_pic
        if stream.codec_context is not None and not stream.disposition & attached:
            return stream
    return None


def _check_size(path: str, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise VideoError(path, f"frames of {width}x{height} px, the limit is {limits.max_pixels} px")


def _ffmpeg_message(error: BaseException) -> str:
    """FFmpeg's message for an error, without the path."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()


class Demuxer:
    """The packets of one stream, in the file's order; continues after errors and counts them in `num_errors`."""

    def __init__(self, container, stream, budget: Budget):
        self.container, self.stream, self.budget = container, stream, budget
        self.num_errors = 0

    def __iter__(self) -> Iterator[av.Packet]:
        import av

        while True:
            before = self.num_errors
            try:
                for number, packet in enumerate(self.container.demux(self.stream)):
                    if not number % 64:
                        self.budget.check()
                    if packet.size or packet.pts is not None:
                        yield packet
                return
            except (av.FFmpegError, OSError, IndexError):
                self.num_errors += 1  # a generator that has raised is exhausted: create another
                self.budget.check()
            if before + 1 >= MAX_REPEATED_ERRORS:
                return


def can_be_video(path: str | os.PathLike) -> bool:
    """Whether a file is worth opening as a video: its suffix is one of VIDEO_SUFFIXES, or its content begins as a video
    container does. A file with such a suffix counts as a video whatever it holds, so that a broken one is reported."""
    if os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES:
        return True
    try:
        if not os.path.isfile(path):  # a FIFO would block
            return False
        with open(path, "rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return False
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    if head[4:8] in _TOP_BOXES:
        is_text = all(32 <= byte < 127 for byte in head[:4])  # "The free ..." begins as a box of 1.4 GB does
        return head[8:12] not in _BRANDS_WITHOUT_VIDEO if head[4:8] == b"ftyp" else not is_text
    for first, length in ((0, 188), (4, 192)):  # MPEG transport stream: a sync byte in front of every packet
        if len(head) > first + 4 * length and all(head[first + k * length] == 0x47 for k in range(5)):
            return True
    return any(
        head.startswith(signature) and (not marks or any(mark in head for mark in marks))
        for signature, marks in _SIGNATURES
    )


def frame_number(name: str) -> int | None:
    """The number in the name of a frame's file: 7 of 00007.jpg, img_00007.jpg or frame7.jpeg; None for other names."""
    match = _FRAME_NAME.fullmatch(name)
    return int(match[1]) if match else None


def plane_number(name: str, plane: str) -> int | None:
    """The number in the name of a file of flow's plane "x" or "y": 7 of x_00007.jpg or flow_x_00007.jpg for "x"."""
    match = _PLANE_NAME.fullmatch(name)
    return int(match[2]) if match and match[1].lower() == plane else None


def is_frame_folder(path: str | os.PathLike) -> bool:
    """Whether a folder is a video whose frames are files: it holds numbered JPEG files, and neither videos nor folders.
    Hidden entries do not count."""
    has_frames = False
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if frame_number(entry.name) is not None:
                    has_frames = True
                elif entry.is_dir() or can_be_video(entry.path):
                    return False
    except OSError:
        return False
    return has_frames


def is_pair_folder(path: str | os.PathLike) -> bool:
    """Whether a folder holds the JPEG planes of flow (`plane_number`), whatever else it holds."""
    try:
        with os.scandir(path) as entries:
            return any(plane_number(entry.name, "x") is not None for entry in entries)
    except OSError:
        return False


def count_samples(path: str) -> int:
    """The largest number of samples that any track of an mp4/mov file claims; 0 for other files and on any doubt.

    A table of equal-sized samples costs 12 bytes in the file and 24 bytes a sample in memory, so a small file can ask
    for a lot before its first frame is decoded.
    """
    try:
        with open_file(path) as stream:
            return _most_samples(stream, 0, stream.seek(0, os.SEEK_END), [_MAX_BOXES])
    except (OSError, struct.error):
        return 0


def missing_bytes(path: str) -> int:
    """How many bytes the file is shorter than its container says (mp4/mov, avi, mkv/webm); 0 if unknown."""
    try:
        with open_file(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            head = stream.read(64)
            if head[:4] == b"RIFF":
                return max(0, struct.unpack_from("<I", head, 4)[0] + 8 - size)
            if head[:4] == _MATROSKA:
                return max(0, _matroska_end(head) - size)
            if head[4:8] in _TOP_BOXES:
                ends = [stop for kind, _, stop in _boxes(stream, 0, size, [_MAX_BOXES]) if kind in _TOP_BOXES]
                return max(0, ends[-1] - size) if ends else 0
    except (OSError, struct.error):
        pass
    return 0


def _boxes(stream: BinaryIO, start: int, end: int, boxes_left: list[int]) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, end as claimed) of the boxes between two places of an mp4 file."""
    position = start
    while position + 8 <= end and boxes_left[0]:
        boxes_left[0] -= 1
        stream.seek(position)
        size, kind = struct.unpack(">I4s", stream.read(8))
        body = position + 8
        if size == 1:
            size, body = struct.unpack(">Q", stream.read(8))[0], position + 16
        stop = position + size if size else end
        if stop < body:
            return
        yield kind, body, stop
        position = stop


def _most_samples(stream: BinaryIO, start: int, end: int, boxes_left: list[int]) -> int:
    largest = 0
    for kind, body, stop in _boxes(stream, start, end, boxes_left):
        if start == 0 and not kind.isalnum():
            break
        if kind in _PARENTS:
            largest = max(largest, _most_samples(stream, body, min(stop, end), boxes_left))
        elif kind in (b"stsz", b"stz2") and stop >= body + 12:
            stream.seek(body + 8)
            largest = max(largest, struct.unpack(">I", stream.read(4))[0])
    return largest


def _matroska_end(head: bytes) -> int:
    """Where the segment ends, 0 if it does not say (live streams)."""
    place = head.find(_MATROSKA_SEGMENT)
    if place < 0 or place + 5 > len(head):
        return 0
    first = head[place + 4]
    length = 9 - first.bit_length()
    if not first or place + 4 + length > len(head):
        return 0
    value = int.from_bytes(head[place + 4 : place + 4 + length], "big") & ((1 << 7 * length) - 1)
    unknown = (1 << 7 * length) - 1
    return 0 if value == unknown else place + 4 + length + value
