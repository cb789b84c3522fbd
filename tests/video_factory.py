"""Tiny videos whose pixels say which frame they are; they survive lossy coding, resizing and mirroring.

    path = draw_video(tmp_path / "a.mp4", num_frames=40)
    frame_numbers(read_frames(path, [3, 17]))      # -> [3, 17]

The upper third of each frame is a bar code of 14 equal cells: white, the number's 12 bits (highest first), black.
Below it a texture moves by one pixel a frame, so that motion compensation and B-frames have work to do.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

NUM_BITS = 12
CELLS = NUM_BITS + 2


def draw_frame(number: int, height: int = 64, width: int = 84, hue: int = 0) -> np.ndarray:
    """One uint8 RGB frame [height, width, 3] that carries `number` (0..4095); `hue` (0..5) colours its texture."""
    bits = [1] + [(number >> shift) & 1 for shift in reversed(range(NUM_BITS))] + [0]
    y, x = np.mgrid[0:height, 0:width]
    texture = (((x + number) // 8 + y // 8) % 2 * 90 + (x * 2 + y + number * 3) % 64 + 40).astype(np.uint8)
    frame = np.stack([texture, np.roll(texture, 5, 1), 255 - texture], axis=-1)
    frame = np.roll(frame, hue % 3, axis=-1) if hue < 3 else 255 - np.roll(frame, hue % 3, axis=-1)
    cell = np.arange(width) * CELLS // width
    frame[: height // 3] = np.where(np.array(bits)[cell], 235, 20)[None, :, None]
    return np.ascontiguousarray(frame)


def draw_frames(num_frames: int, height: int = 64, width: int = 84, hue: int = 0) -> np.ndarray:
    """uint8 [num_frames, height, width, 3], numbered from 0."""
    return np.stack([draw_frame(number, height, width, hue) for number in range(num_frames)])


def frame_numbers(frames: np.ndarray) -> list[int]:
    """The numbers that frames [..., H, W, 3] (uint8, or floats of any scale) carry; a mirrored frame gives its number
    too. -1 where no bar code is found. Frames must be whole: resized, but not cropped in width."""
    return [_frame_number(frame) for frame in np.asarray(frames).reshape(-1, *np.shape(frames)[-3:])]


def _frame_number(frame: np.ndarray) -> int:
    rows = frame[max(1, frame.shape[0] // 12) : max(2, frame.shape[0] // 4)].astype(np.float64).mean(axis=(0, 2))
    centres = ((np.arange(CELLS) + 0.5) * frame.shape[1] / CELLS).astype(int)
    levels = rows[centres]
    bits = (levels > (rows.min() + rows.max()) / 2).astype(int)
    if bits[0] == bits[-1]:
        return -1
    return int("".join(map(str, bits[1:-1] if bits[0] else bits[-2:0:-1])), 2)


def write_video(
    path: str | os.PathLike,
    frames: np.ndarray,
    fps: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: str | None = None,
    sample_aspect_ratio: tuple[int, int] | None = None,
) -> Path:
    """Encode uint8 frames [T, H, W, 3]; the file's extension (or `container`, FFmpeg's name) picks the container.

    H.264 by default gets two B-frames and a key frame every 12, so that there is something to skip; `options` (FFmpeg's
    names) replaces that. Sizes must be even for yuv420p with H.264. sample_aspect_ratio: width and height of a pixel.
    """
    if options is None:
        options = {"preset": "veryfast", "crf": "18", "g": "12", "bf": "2"} if codec == "libx264" else {"g": "12"}
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=fps, options={"threads": "1", **options})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        stream.codec_context.time_base = Fraction(1, fps)
        if sample_aspect_ratio:
            stream.codec_context.sample_aspect_ratio = Fraction(*sample_aspect_ratio)
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return Path(path)


def draw_video(
    path: str | os.PathLike,
    num_frames: int = 40,
    height: int = 64,
    width: int = 84,
    fps: int = 25,
    hue: int = 0,
    **encoding,
) -> Path:
    """A numbered video at `path` (parents are made); `encoding` goes to `write_video`."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, draw_frames(num_frames, height, width, hue), fps, **encoding)


def set_rotation(path: str | os.PathLike, degrees: int) -> Path:
    """Write a display matrix into an mp4's header: players turn the picture clockwise by 0, 90, 180 or 270 degrees."""
    a, b, c, d = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    data = bytearray(Path(path).read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    Path(path).write_bytes(data)
    return Path(path)


def set_pixel_aspect(path: str | os.PathLike, ratio: tuple[int, int]) -> Path:
    """Change what the header of an mp4 that was drawn with a sample_aspect_ratio says of its pixels."""
    data = bytearray(Path(path).read_bytes())
    start = data.index(b"pasp") + 4
    data[start : start + 8] = struct.pack(">2I", *ratio)
    Path(path).write_bytes(data)
    return Path(path)


def truncate(path: str | os.PathLike, fraction: float) -> Path:
    """Cut the file to `fraction` of its bytes, in place."""
    os.truncate(path, int(os.path.getsize(path) * fraction))
    return Path(path)


def copy_video(source: Path, target: Path, change) -> Path:
    """Copy a video's packets into another file. change: is given all of them in decoding order, to set their times."""
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = add_stream_like(output, container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.size]
        change(packets)
        for packet in packets:
            packet.stream = stream
            output.mux(packet)
    return target


def add_stream_like(output, stream):
    """A stream of the same encoding in a file that is written."""
    if hasattr(output, "add_stream_from_template"):
        return output.add_stream_from_template(stream)
    return output.add_stream(template=stream)  # PyAV before 14


def ffmpeg_frames(path: str | os.PathLike) -> np.ndarray:
    """Every frame of the first real video stream, upright, by the ffmpeg program that imageio-ffmpeg brings (the
    independent truth): uint8 RGB [T, H, W, 3]."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "fatal", "-threads", "1", "-i"]
    command += ["file:" + os.path.abspath(path), "-map", "0:V:0", "-fps_mode", "passthrough", "-f", "image2pipe"]
    command += ["-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60).stdout
    frames, position = [], 0
    while position < len(data):
        header = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s").match(data, position)
        width, height = int(header[1]), int(header[2])
        size = width * height * 3
        frames.append(np.frombuffer(data, np.uint8, size, header.end()).reshape(height, width, 3))
        position = header.end() + size
    return np.stack(frames)
