"""A video once more with the labels of its segments on it: H.264 in mp4, with the times and the sound that it had.

Non-square pixels are made square by scaling to the display size, so that players, browsers and programs that ignore the
sample aspect ratio show the right shape, and the label is not stretched.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from datareader import VideoWindows
from datareader.streaming import read_pixel_aspect, stream_frames
from datareader.video import display_size
from inference.audio_track import Sound
from inference.labels import draw_label, drawable_names
from inference.merging import Segment
from inference.progress import long_progress
from utils.errors import RunError, UserError
from utils.files import write_atomically
from utils.runtime import available_cores

TICKS = 90_000  # of a second: the unit of times in the film
HD_HEIGHT_PX = 720  # from here on players take a film's colours for BT.709, below for BT.601


def film_path(film: str, output: Path) -> Path:
    """Where the film of a video goes: `film` itself if it is an mp4 file, else a file in that folder."""
    return Path(film) if film.lower().endswith(".mp4") else Path(film) / output.with_name(output.name + ".mp4")


def write_film(
    target: Path, windows: VideoWindows, segments: Sequence[Segment], names: list[str], log_interval: int = 0
) -> str:
    """Write the video of `windows` with each segment's class and probability in the corner, whole or not at all.

    Returns what is to be told about it, "" for nothing. Raises VideoError when the video cannot be read to its end,
    RunError when the film cannot be written, UserError when it would replace the video itself.
    """
    if target.exists() and target.samefile(windows.path):
        raise UserError(f"--draw={target} is the video itself; choose another file")
    shown = drawable_names(names[segment.indices[0]] for segment in segments)
    said = ["; no font on this machine has the characters of some names (install a Noto Sans CJK font)"]
    said = [] if all(name == drawn for name, drawn in shown.items()) else said
    labels = [f"{shown[names[s.indices[0]]]}  {100 * s.probabilities[0]:.0f} %" for s in segments]

    def write(stream) -> None:
        try:
            with av.open(stream, "w", format="mp4") as output, Sound(windows, output) as sound:
                _encode(output, sound, windows, segments, labels, log_interval)
                said.append(sound.complaint)
        except av.FFmpegError as error:
            raise RunError(f"cannot encode {target}: {error.strerror or error}") from error

    write_atomically(target, write)
    return "".join(said)


def _encode(output, sound: Sound, windows: VideoWindows, segments: Sequence[Segment], labels: list[str], interval: int):
    timeline, loader = windows.timeline, windows.loader
    aspect = read_pixel_aspect(loader.pool, windows.path, loader.reader)
    ticks = np.rint(timeline.times * TICKS).astype(np.int64)
    lengths = np.diff(np.append(ticks, round(timeline.end_seconds * TICKS)))
    ends = np.array([segment.end for segment in segments])
    stream, lasting = None, {}
    counter = long_progress(timeline.num_frames, interval, "frame")
    everything = np.arange(timeline.num_frames)
    for numbers, frames, _ in stream_frames(loader.pool, windows.path, loader.reader, timeline, everything):
        for number, stored in zip(numbers.tolist(), frames):
            frame = _with_square_pixels(stored, aspect)
            if stream is None:
                stream = _add_video(output, frame.shape, timeline.fps)
                sound.begin()
            time = timeline.times[number]
            label = labels[min(int(np.searchsorted(ends, time, "right")), len(labels) - 1)]
            picture = _picture(draw_label(frame, label))
            picture.pts, picture.time_base = int(ticks[number]), Fraction(1, TICKS)
            lasting[picture.pts] = int(lengths[number])
            sound.copy_until(time)
            _mux(output, stream.encode(picture), lasting)
            counter.advance(f"frames drawn, {time:.1f} s")
    _mux(output, stream.encode(None), lasting)
    sound.copy_until(float("inf"))
    counter.close()


def _mux(output, packets, lasting: dict[int, int]) -> None:
    for packet in packets:
        packet.duration = lasting.pop(round(packet.pts * packet.time_base * TICKS), 0)
        output.mux(packet)


def _add_video(output, shape: tuple[int, ...], fps: float):
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    # no B-frames: mp4 keeps how long the last packet lasts, which then is the last frame
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
    """The frame in the encoder's colours, its last row and column doubled where there is an odd number of them."""
    height, width = frame.shape[:2]
    frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge") if height % 2 or width % 2 else frame
    colours = "ITU709" if height >= HD_HEIGHT_PX else "ITU601"
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    return rgb.reformat(format="yuv420p", dst_colorspace=colours)
