"""Opens a local video file with FFmpeg, carefully: nothing but this file, nothing larger than the limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import av

from datareader.decoding.file_header import count_samples
from datareader.video import Budget, Limits, VideoError

# Real containers and raw streams; no playlist, no script that names other files, no still images.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,h264,hevc,av1,obu,ivf,m4v,mxf,"
    "nut,rm,dv,yuv4mpegpipe,mjpeg,vc1,wtv,cavsvideo,dirac,swf,nsv,h263,h261,live_flv,mpjpeg,wtv,viv,bink,smk,roq,r3d,gxf"
)
MAX_STREAMS = 100
MAX_REPEATED_ERRORS = 64
# Options for probing decoders too; PyAV before 18 crashes on them where streams appear late (MPEG program streams).
OPTIONS_ARGUMENT = "options" if int(av.__version__.split(".")[0]) >= 18 else "container_options"
INTRA_ONLY = 1  # FFmpeg's AV_CODEC_PROP_INTRA_ONLY


@contextmanager
def open_video(path: str, limits: Limits, budget: Budget, *, strict: bool) -> Iterator[tuple]:
    """(container, stream): the first video stream that has a decoder and is no cover picture, ready to decode with one
    thread. strict: the decoder reports damage as an error where it would otherwise paint over it.

    Raises VideoError when there is no such stream, or the header promises more than the limits.
    """
    samples = count_samples(path)
    if samples > limits.max_packets:
        raise VideoError(path, f"its header promises {samples} frames, the limit is {limits.max_packets}")
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": FORMATS,
        "max_pixels": str(limits.max_pixels),
        "max_streams": str(MAX_STREAMS),
    }
    try:
        container = av.open(
            "file:" + os.path.abspath(path),
            metadata_errors="replace",
            timeout=budget.left(),
            **{OPTIONS_ARGUMENT: options},
        )
    except (av.FFmpegError, OSError, ValueError, UnicodeError) as error:
        budget.check()
        raise VideoError(path, f"no video that can be opened ({reason(error)})") from error
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
    for stream in container.streams.video:
        attached = av.stream.Disposition.attached_pic
        if stream.codec_context is not None and not stream.disposition & attached:
            return stream
    return None


def _check_size(path: str, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise VideoError(path, f"frames of {width}x{height} px, the limit is {limits.max_pixels} px")


def reason(error: BaseException) -> str:
    """FFmpeg's words for an error, without the path."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()


class Demuxer:
    """The packets of one stream, in the file's order; goes on after errors and counts them."""

    def __init__(self, container, stream, budget: Budget):
        self.container, self.stream, self.budget = container, stream, budget
        self.num_errors = 0

    def __iter__(self) -> Iterator[av.Packet]:
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
                self.num_errors += 1  # the generator is dead once it has raised: take a new one
                self.budget.check()
            if before + 1 >= MAX_REPEATED_ERRORS:
                return
