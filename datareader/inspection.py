"""Everything about one video that a data set's keeper wants to know: decodes all of it and keeps nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from datareader.clips import ReaderSettings
from datareader.video import VideoInfo, backend, check_file


@dataclass(frozen=True)
class Inspection:
    """info: what is true of the video; num_packets: the frames that the file holds data for; missing_bytes: by how much
    the file is shorter than it says; digest: of the decoded brightness, the same for copies in any container."""

    info: VideoInfo
    num_packets: int
    missing_bytes: int
    digest: str


@dataclass(frozen=True)
class InspectVideo:
    """A request for a reading process (datareader/workers.py)."""

    path: str
    reader: ReaderSettings = field(default_factory=ReaderSettings)

    def read(self) -> tuple[np.ndarray, Inspection]:
        """No frames, and the inspection."""
        return np.empty(0, np.uint8), inspect_video(self.path, self.reader)


def inspect_video(path: str, reader: ReaderSettings) -> Inspection:
    """Decode the whole video. Raises VideoError when less than a tenth of it decodes."""
    from datareader.decoding.file_header import missing_bytes

    check_file(path)
    digest = hashlib.blake2b(digest_size=16)

    def add(frame) -> None:
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height]
        digest.update(np.ascontiguousarray(rows[:, : frame.width]))

    info, num_packets = backend("pyav").decode_through(path, reader.limits, add)
    return Inspection(info, num_packets, missing_bytes(path), digest.hexdigest())
