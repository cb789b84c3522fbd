"""Small pictures of videos for a page: frames side by side as one JPEG in a `data:` address."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import numpy as np

from datareader import Reading, VideoError
from datareader.requests import ReaderSettings
from datareader.video import Limits, read_chosen
from datareader.workers import ProcessReader
from utils.errors import RunError

STRIP = (0.10, 0.37, 0.63, 0.90)  # places in a video, as fractions of its frames
MIDDLE = (0.50,)
HEIGHT_PX, MAX_WIDTH_PX, GAP_PX = 96, 224, 2
JPEG_QUALITY = 70
SECONDS_A_VIDEO = 20.0
MARKUP_BYTES = 1000  # around an address: the path as text, twice


@dataclass(frozen=True)
class Thumbnail:
    """address: `data:image/jpeg;base64,...`, or "" with the cause for which there is no picture."""

    address: str
    cause: str = ""


def no_picture(path: str, places: tuple[float, ...]) -> Thumbnail:
    """As `Thumbnails.of`, without reading anything."""
    return Thumbnail("")


class Thumbnails:
    """Reads the videos in a process of its own, which may crash or hang without harm; at most `max_bytes` of a page.

    Used as a context manager. Pictures beyond the limit are counted in `num_left_out`.
    """

    def __init__(self, max_bytes: int):
        self.bytes_left, self.num_left_out = max_bytes, 0
        self.reader = ProcessReader()
        self.made: dict[tuple[str, tuple[float, ...]], Thumbnail] = {}

    def __enter__(self) -> Thumbnails:
        return self

    def __exit__(self, *exception: object) -> None:
        self.reader.close()

    def of(self, path: str, places: tuple[float, ...]) -> Thumbnail:
        """The frames of a video at some places; they are read once, and counted each time that they are asked for."""
        if (path, places) not in self.made:
            self.made[path, places] = self._make(path, places)
        thumbnail = self.made[path, places]
        self.bytes_left -= len(thumbnail.address) + MARKUP_BYTES
        if not thumbnail.address or self.bytes_left >= 0:
            return thumbnail
        self.bytes_left += len(thumbnail.address)
        self.num_left_out += 1
        return Thumbnail("", "left out: the page has reached its size limit")

    def _make(self, path: str, places: tuple[float, ...]) -> Thumbnail:
        try:
            frames, _ = self.reader.run(ReadPlaces(path, places))
        except VideoError as error:
            return Thumbnail("", error.reason)
        except RunError as error:  # the reading process does not start, or has no memory
            return Thumbnail("", str(error))
        return Thumbnail("data:image/jpeg;base64," + base64.b64encode(strip_jpeg(frames)).decode())


@dataclass(frozen=True)
class ReadPlaces:
    """A request to a reading process: the frames at some places (0: first, 1: last), all HEIGHT_PX high."""

    path: str
    places: tuple[float, ...]
    reader: ReaderSettings = field(default_factory=lambda: ReaderSettings(limits=Limits(seconds=SECONDS_A_VIDEO)))

    def read(self) -> tuple[np.ndarray, None]:
        """uint8 RGB [len(places), HEIGHT_PX, w, 3]."""
        reading: Reading = read_chosen(self.path, self.indices, self.reader.decoder, self.reader.limits, _resize)
        return reading.taken(), None

    def indices(self, num_frames: int) -> np.ndarray:
        """int64 [len(places)]."""
        return np.round(np.array(self.places) * (num_frames - 1)).astype(np.int64)


def _resize(frame: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] -> [HEIGHT_PX, w, 3]; very wide frames lose their aspect ratio."""
    import cv2

    height, width = frame.shape[:2]
    size = (min(max(1, round(width * HEIGHT_PX / height)), MAX_WIDTH_PX), HEIGHT_PX)
    return cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA)


def strip_jpeg(frames: np.ndarray) -> bytes:
    """uint8 RGB [T, H, W, 3] -> the frames from left to right with white gaps, as JPEG."""
    import cv2

    num_frames, height, width, _ = frames.shape
    strip = np.full((height, num_frames * (width + GAP_PX) - GAP_PX, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        strip[:, number * (width + GAP_PX) :][:, :width] = frame
    return cv2.imencode(".jpg", strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
