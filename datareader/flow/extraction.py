"""Computing the flow of a video into a file of the cache, in a reading process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import count
from pathlib import Path

import av
import numpy as np

from datareader.decoding import Limits, VideoError
from datareader.flow import codes
from datareader.flow.manifest import Manifest, manifest_path, source_bytes, source_mtime_ns, source_sha256
from datareader.flow.source import ComputedFlow
from datareader.requests import NO_FRAMES, ReaderSettings
from utils.files import write_together

CHUNK = 512  # flows in memory at once, 0.25 MB each at 340 x 256 px
FRAME_RATE = 25  # of the file; nothing depends on it
H264_OPTIONS = {"preset": "veryfast", "g": "12", "bf": "0", "threads": "1"}
FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG: codes are stored as they are


@dataclass(frozen=True)
class ExtractFlow:
    """Compute the flow of a video and write it with its manifest; both appear together, the manifest last.

    path: of the video; name: its path in the manifest; file: of the flow; source: computes the flow; crf: of H.264, 0
    is lossless, None: npz.
    """

    path: str
    name: str
    file: str
    source: ComputedFlow
    crf: int | None
    reader: ReaderSettings

    def read(self) -> tuple[np.ndarray, Manifest]:
        """No frames, and the manifest. Raises VideoError for a video without flow, RunError for a file that cannot be
        written."""
        content = io.BytesIO()
        manifest = self._write(content)
        file, description = Path(self.file), manifest_path(self.file)
        with contextlib.suppress(OSError):
            description.unlink()  # an old one would describe the new file
        write_together(
            {
                file: lambda stream: stream.write(content.getbuffer()),
                description: lambda stream: stream.write(manifest.to_bytes()),
            }
        )
        return NO_FRAMES, manifest

    def _write(self, stream: io.BytesIO) -> Manifest:
        size, sha256, mtime_ns = source_bytes(self.path), source_sha256(self.path), source_mtime_ns(self.path)
        flow = _Codes(self.path, self.source, self.reader)
        if self.crf is None:
            np.savez_compressed(stream, flow=_array(self.path, flow, self.reader.limits))
        else:
            _encode_h264(stream, flow, self.crf)
        return Manifest(
            source=self.name,
            source_bytes=size,
            source_mtime_ns=mtime_ns,
            source_sha256=sha256,
            provenance=self.source.provenance.as_dict(),
            num_flows=flow.num_flows,
            height=flow.height,
            width=flow.width,
            format="npz" if self.crf is None else "h264",
            crf=self.crf,
            file_bytes=len(stream.getbuffer()),
            warning=flow.warning,
        )


class _Codes:
    """The codes of a video's flows, uint8 [h, w, 2], one after the other; its attributes are right after the last."""

    def __init__(self, path: str, source: ComputedFlow, reader: ReaderSettings):
        self.path, self.source, self.reader = path, source, reader
        self.num_flows = self.height = self.width = 0
        self.warning = ""

    def __iter__(self) -> Iterator[np.ndarray]:
        for first in count(0, CHUNK):
            reading = self.source.read(self.path, partial(self._chunk, first), self.reader, codes.encode)
            size = reading.frames.shape[1:3]
            if first and size != (self.height, self.width):
                raise VideoError(self.path, f"its frames are of another size from flow {first} on")
            self.height, self.width = size
            self.num_flows += len(reading.frames)
            self.warning = self.warning or reading.warning
            yield from reading.frames
            if first + CHUNK >= reading.num_frames:
                return

    def _chunk(self, first: int, num_flows: int) -> np.ndarray:
        if num_flows <= first:
            raise VideoError(self.path, f"damaged: {num_flows} flows, after {first} were computed")
        return np.arange(first, min(first + CHUNK, num_flows))


def _array(path: str, flow: Iterable[np.ndarray], limits: Limits) -> np.ndarray:
    """uint8 [n, h, w, 2]."""
    fields, num_bytes = [], 0
    for field in flow:
        fields.append(field)
        num_bytes += field.nbytes
        if num_bytes > limits.max_bytes:
            raise VideoError(path, f"its flow takes more than {limits.max_bytes >> 20} MiB as npz; use --format h264")
    return np.stack(fields)


def _encode_h264(stream: io.BytesIO, flow: Iterable[np.ndarray], crf: int) -> None:
    """Grey frames of x above y."""
    with av.open(stream, "w", format="mp4") as output:
        video = None
        for number, field in enumerate(flow):
            planes = np.concatenate([field[..., 0], field[..., 1]])
            if video is None:
                video = output.add_stream("libx264", rate=FRAME_RATE, options={**H264_OPTIONS, "crf": str(crf)})
                video.height, video.width, video.pix_fmt = *planes.shape, "gray"
                video.codec_context.color_range = FULL_RANGE
            frame = av.VideoFrame.from_ndarray(planes, format="gray")
            frame.color_range, frame.pts, frame.time_base = FULL_RANGE, number, Fraction(1, FRAME_RATE)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
