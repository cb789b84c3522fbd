"""The overlay video: a video with the labels of its segments drawn on it, H.264 in mp4, with its times and audio.

Non-square pixels are made square by scaling to the display size, so that players, browsers and programs that ignore the
sample aspect ratio show the right shape, and the label is not stretched.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from datareader import VideoError, VideoWindows
from datareader.decoding import Budget, display_size, open_video
from datareader.video import printable
from datareader.windows import read_pixel_aspect, stream_frames
from inference.classify import PredictOptions, progress_in_video
from utils.errors import RunError, UserError
from utils.files import write_atomically
from utils.log import Progress
from utils.runtime import available_cores

if TYPE_CHECKING:
    from inference.segment import Segment

TICKS = 90_000  # per second: the unit of times in the overlay video
HD_HEIGHT_PX = 720  # from this height on players assume BT.709 colours, below it BT.601
MP4_AUDIO = ("aac", "mp3", "ac3", "eac3", "opus", "alac", "flac")
AUDIO_ERRORS = (av.FFmpegError, VideoError, ValueError, IndexError, OSError)
# Fonts with Chinese, Japanese and Korean characters, by their names on the systems that have them.
WIDE_FONTS = (
    "Noto Sans CJK", "Noto Sans SC", "Source Han Sans", "WenQuanYi", "Microsoft YaHei", "SimHei", "SimSun", "PingFang",
    "Hiragino Sans", "Heiti", "Arial Unicode", "Droid Sans Fallback", "Unifont",
)  # fmt: skip
PLACEHOLDER_FONTS = ("Last Resort",)  # has a box for every character; matplotlib 3.11 brings it
MIN_TEXT_PX = 8
LINES_PER_FRAME = 22  # frame height / height of a line of text
BOX_OPACITY = 0.6
Annotate = Callable[[np.ndarray, float], np.ndarray]


def overlay_path(overlay_video: str, output: Path) -> Path:
    """The overlay video of a video: `overlay_video` itself if it names an mp4 file, else a file in that folder."""
    if overlay_video.lower().endswith(".mp4"):
        return Path(overlay_video)
    return Path(overlay_video) / output.with_name(output.name + ".mp4")


def draw_overlay(
    windows: VideoWindows, options: PredictOptions, output: Path, what: str, write: Callable[[Path], str],
    progress: Progress,
) -> dict:  # fmt: skip
    """Write the overlay video of a video, and say so; what a record has of it: overlay_video, or error.

    output: the video's name among the results. what: is drawn on it. write: target -> warnings, as `write_overlay`.
    """
    target = overlay_path(options.overlay_video, output)
    try:
        notes = write(target)
    except VideoError as error:
        progress.say(f"error: {printable(windows.path)}: {error.reason}; no overlay video is written")
        return {"error": error.reason}
    progress.say(f"{printable(target)}: the video with its {what}{notes}")
    return {"overlay_video": str(target)}


def write_overlay(
    target: Path, windows: VideoWindows, segments: Sequence[Segment], names: list[str], log_interval: int = 0
) -> str:
    """Write the video of `windows` with each segment's class and probability in the corner, whole or not at all.

    Returns warnings to append to a message, "" for none. Raises VideoError when the video cannot be read to its end,
    RunError when the overlay video cannot be written, UserError when it would replace the video itself.
    """
    shown = drawable_names(names[segment.indices[0]] for segment in segments)
    labels = [f"{shown[names[s.indices[0]]]}  {100 * s.probabilities[0]:.0f} %" for s in segments]
    ends = np.array([segment.end for segment in segments])

    def annotate(frame: np.ndarray, time: float) -> np.ndarray:
        draw_label(frame, labels[min(int(np.searchsorted(ends, time, "right")), len(labels) - 1)])
        return frame

    return missing_font_warning(shown) + write_annotated(target, windows, annotate, log_interval)


def write_annotated(target: Path, windows: VideoWindows, annotate: Annotate, log_interval: int = 0) -> str:
    """Write the video of `windows` with each frame passed through `annotate`; returns and raises as `write_overlay`.

    annotate: called with a frame of square pixels, uint8 RGB [H, W, 3], which it may change, and its time in seconds;
    returns the frame to write, of the same size for all.
    """
    if target.exists() and target.samefile(windows.path):
        raise UserError(f"--draw={target} is the video itself; choose another file")
    warnings = []

    def write(stream) -> None:
        try:
            with av.open(stream, "w", format="mp4") as output, AudioTrack(windows, output) as audio:
                _encode(output, audio, windows, annotate, log_interval)
                warnings.append(audio.warning)
        except av.FFmpegError as error:
            raise RunError(f"cannot encode {target}: {error.strerror or error}") from error

    write_atomically(target, write)
    return "".join(warnings)


def _encode(output, audio: AudioTrack, windows: VideoWindows, annotate: Annotate, interval: int) -> None:
    timeline, loader = windows.timeline, windows.loader
    aspect = read_pixel_aspect(loader.pool, windows.path, loader.reader)
    ticks = np.rint(timeline.times * TICKS).astype(np.int64)
    lengths = np.diff(np.append(ticks, round(timeline.end_seconds * TICKS)))
    stream: Any = None
    lasting: dict[int, int] = {}
    counter = progress_in_video(timeline.num_frames, interval, "frame")
    everything = np.arange(timeline.num_frames)
    for numbers, frames, _ in stream_frames(loader.pool, windows.path, loader.reader, timeline, everything):
        for number, stored in zip(numbers.tolist(), frames):
            time = timeline.times[number]
            frame = annotate(_with_square_pixels(stored, aspect), time)
            if stream is None:
                stream = _add_video(output, frame.shape, timeline.fps)
                audio.begin()
            picture = _picture(frame)
            picture.pts, picture.time_base = int(ticks[number]), Fraction(1, TICKS)
            lasting[picture.pts] = int(lengths[number])
            audio.copy_until(time)
            _mux(output, stream.encode(picture), lasting)
            counter.advance(f"frames drawn, {time:.1f} s")
    _mux(output, stream.encode(None), lasting)
    audio.copy_until(float("inf"))
    counter.close()


def _mux(output, packets, lasting: dict[int, int]) -> None:
    for packet in packets:
        packet.duration = lasting.pop(round(packet.pts * packet.time_base * TICKS), 0)
        output.mux(packet)


def _add_video(output, shape: tuple[int, ...], fps: float):
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    # without B-frames the last packet is the last frame, whose duration mp4 keeps
    options = {"preset": "veryfast", "crf": "20", "bf": "0"} if codec == "libx264" else {"qmin": "2", "qmax": "6"}
    stream = output.add_stream(codec, rate=Fraction(min(max(fps, 1), 240)).limit_denominator(1001), options=options)
    stream.height, stream.width, stream.pix_fmt = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2, "yuv420p"
    context = stream.codec_context
    context.time_base, context.thread_count = Fraction(1, TICKS), available_cores()
    context.colorspace = 1 if shape[0] >= HD_HEIGHT_PX else 5  # FFmpeg's AVCOL_SPC_BT709 and AVCOL_SPC_BT470BG
    return stream


def _with_square_pixels(frame: np.ndarray, aspect: tuple[int, int]) -> np.ndarray:
    height, width = display_size(*frame.shape[:2], aspect)
    return (
        frame
        if (height, width) == frame.shape[:2]
        else cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC)
    )


def _picture(frame: np.ndarray) -> av.VideoFrame:
    """The frame in the encoder's colours, its last row or column repeated where their number is odd."""
    height, width = frame.shape[:2]
    frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge") if height % 2 or width % 2 else frame
    colours = "ITU709" if height >= HD_HEIGHT_PX else "ITU601"
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    return rgb.reformat(format="yuv420p", dst_colorspace=colours)


# ------------------------------------------------------------------------------------------- audio track


class AudioTrack:
    """Copies the first audio track of a video into the overlay video, packet by packet as encoding proceeds.

    warning: why audio is missing, "" where it is not.
    """

    def __init__(self, windows: VideoWindows, output):
        self.windows, self.output = windows, output
        self.opened = contextlib.ExitStack()
        self.container: Any = None
        self.packets, self.waiting, self.target = None, None, None
        self.warning = ""

    def __enter__(self) -> AudioTrack:
        path, limits = self.windows.path, self.windows.loader.reader.limits
        if os.path.isdir(path):  # frames have no sound
            return self
        try:
            source = open_video(path, limits, Budget(path, limits.seconds), strict=False)
            self.container, _ = self.opened.enter_context(source)
        except VideoError as error:
            self.warning = f"; without audio ({error.reason})"
        return self

    def __exit__(self, *error) -> None:
        self.opened.close()

    def begin(self) -> None:
        """Add the track to the overlay video, after its video track."""
        if self.container is None or not self.container.streams.audio:
            return
        source = self.container.streams.audio[0]
        name = source.codec_context.name if source.codec_context is not None else "unknown"
        if name not in MP4_AUDIO:
            self.warning = f"; without audio (mp4 cannot hold {name})"
            return
        try:
            if hasattr(self.output, "add_stream_from_template"):
                self.target = self.output.add_stream_from_template(source)
            else:  # PyAV before 14
                self.target = self.output.add_stream(template=source)
        except AUDIO_ERRORS as error:
            self.warning = f"; without audio ({error})"
            return
        self.packets = self.container.demux(source)

    def copy_until(self, seconds: float) -> None:
        """Copy the packets before that time of the overlay video."""
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
            except AUDIO_ERRORS as error:
                self.warning = f"; without audio after {max(0.0, min(seconds, 1e6)):.1f} s ({error})"
                self.packets = None


# ------------------------------------------------------------------------------------------- labels


@lru_cache(maxsize=1)
def _known_fonts() -> tuple[str, ...]:
    """Files of the fonts to try: the one that comes with matplotlib, the wide ones of the system, then all others."""
    from matplotlib import font_manager

    def rank(font) -> int:
        return 0 if any(font.name.startswith(name) for name in WIDE_FONTS) else 1

    fonts = [font for font in font_manager.fontManager.ttflist if not font.name.startswith(PLACEHOLDER_FONTS)]
    system = sorted(fonts, key=rank)
    own = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans"))
    return (own, *dict.fromkeys(font.fname for font in system if font.fname != own))


@lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[int]:
    from matplotlib import font_manager

    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def find_font(text: str) -> str:
    """The file of a font that has every character of `text`, "" if there is none."""
    needed = {ord(character) for character in text if not character.isspace()}
    return next((path for path in _known_fonts() if needed <= _characters(path)), "")


def drawable_names(names: Iterable[str]) -> dict[str, str]:
    """What is drawn for each name: the name itself, or with "?" for missing characters where no font has them all."""
    return {name: name if find_font(name) else _with_placeholders(name) for name in names}


def missing_font_warning(shown: dict[str, str]) -> str:
    """A warning where a name is not drawn as it is. shown: of `drawable_names`."""
    if all(name == drawn for name, drawn in shown.items()):
        return ""
    return "; no font on this machine has the characters of some names (install a Noto Sans CJK font)"


def _with_placeholders(name: str) -> str:
    has = _characters(_known_fonts()[0])
    return "".join(c if c.isspace() or ord(c) in has else "?" for c in name)


@lru_cache(maxsize=64)
def label_box(text: str, frame_height: int, frame_width: int) -> np.ndarray:
    """White text on a dark, half transparent box that fits into the frame: float32 [h, w, 2] of brightness (0..255) and
    opacity (0..1)."""
    from PIL import Image, ImageDraw, ImageFont

    size = max(MIN_TEXT_PX, frame_height // LINES_PER_FRAME)
    path = find_font(text) or _known_fonts()[0]
    left, top, right, bottom = ImageFont.truetype(path, size).getbbox(text)
    room = frame_width - size
    if right - left > room:
        size = max(MIN_TEXT_PX, int(size * room / (right - left)))
        left, top, right, bottom = ImageFont.truetype(path, size).getbbox(text)
    margin = max(2, size // 3)
    picture = Image.new("L", (right - left + 2 * margin, bottom - top + 2 * margin), 0)
    ImageDraw.Draw(picture).text((margin - left, margin - top), text, 255, ImageFont.truetype(path, size))
    ink = np.asarray(picture, np.float32)[:frame_height, :frame_width]
    return np.stack([ink, np.maximum(ink / 255, BOX_OPACITY)], -1)


def draw_label(frame: np.ndarray, text: str, place: tuple[int, int] | None = None) -> int:
    """Draw the text on a frame, uint8 RGB [H, W, 3], in place. Returns the height of its background.

    place: x and y of its upper left corner, moved so that all of it is on the frame; None: near the frame's.
    """
    height, width = frame.shape[:2]
    box = label_box(text, height, width)
    room = width - box.shape[1], height - box.shape[0]
    x, y = (min(height // 40, *room),) * 2 if place is None else (max(0, min(p, r)) for p, r in zip(place, room))
    part = frame[y : y + box.shape[0], x : x + box.shape[1]]
    ink, opacity = box[..., :1], box[..., 1:]
    part[:] = np.rint(part * (1 - opacity) + ink * opacity).astype(np.uint8)
    return box.shape[0]
