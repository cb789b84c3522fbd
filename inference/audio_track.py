"""The sound of a video, copied as it is beside new pictures."""

from __future__ import annotations

import av

from datareader import VideoError, VideoWindows
from datareader.decoding.containers import open_video
from datareader.video import Budget

MP4_SOUND = ("aac", "mp3", "ac3", "eac3", "opus", "alac", "flac")
FAILURES = (av.FFmpegError, VideoError, ValueError, IndexError, OSError)


class Sound:
    """The first sound track of a video, in pieces as the film proceeds. What cannot be copied is left out and told in
    `complaint`."""

    def __init__(self, windows: VideoWindows, output):
        self.windows, self.output = windows, output
        self.packets, self.waiting, self.target = None, None, None
        self.complaint = ""

    def __enter__(self) -> Sound:
        limits = self.windows.loader.reader.limits
        self.opened = open_video(self.windows.path, limits, Budget(self.windows.path, limits.seconds), strict=False)
        try:
            self.container, _ = self.opened.__enter__()
        except VideoError as error:
            self.opened, self.container, self.complaint = None, None, f"; without sound ({error.cause})"
        return self

    def __exit__(self, *error) -> None:
        if self.opened is not None:
            self.opened.__exit__(None, None, None)

    def begin(self) -> None:
        """Add the track to the film, after its pictures' track."""
        if self.container is None or not self.container.streams.audio:
            return
        source = self.container.streams.audio[0]
        name = source.codec_context.name if source.codec_context is not None else "unknown"
        if name not in MP4_SOUND:
            self.complaint = f"; without sound (mp4 does not hold {name})"
            return
        try:
            if hasattr(self.output, "add_stream_from_template"):
                self.target = self.output.add_stream_from_template(source)
            else:  # PyAV before 14
                self.target = self.output.add_stream(template=source)
        except FAILURES as error:
            self.complaint = f"; without sound ({error})"
            return
        self.packets = self.container.demux(source)

    def copy_until(self, seconds: float) -> None:
        """Copy what is heard before that time of the film."""
        while self.packets is not None:
            try:
                packet = self.waiting or next(self.packets, None)
                self.waiting = None
                if packet is None:
                    self.packets = None
                    return
                if packet.pts is None:
                    continue
                unit = float(packet.time_base)
                if packet.pts * unit - self.windows.timeline.start_seconds > seconds:
                    self.waiting = packet
                    return
                shift = round(self.windows.timeline.start_seconds / unit)
                packet.pts -= shift
                packet.dts = packet.pts if packet.dts is None else packet.dts - shift
                packet.stream = self.target
                self.output.mux(packet)
            except FAILURES as error:
                self.complaint = f"; without sound after {max(0.0, min(seconds, 1e6)):.1f} s ({error})"
                self.packets = None
