"""Decoded frames -> uint8 RGB, upright, pixel for pixel as the ffmpeg program converts them; or the luma as stored."""

from __future__ import annotations

from typing import Protocol

import av
import av.filter
import numpy as np

# Where FFmpeg's plain scaler and its filter give the same pixels the plain one is used, which costs less a frame.
MAX_PLAIN_BITS = 8
# PyAV 17 began to scale with all cores; the reading processes are the parallelism here.
SCALER_OPTIONS = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}

_UNKNOWN = object()


class Converter(Protocol):
    """Makes arrays of the frames of one stream. size: (width, height) of the first frame, once one was seen."""

    size: tuple[int, int] | None

    def __init__(self, time_base): ...

    def see(self, frame: av.VideoFrame) -> None: ...

    def __call__(self, frame: av.VideoFrame) -> np.ndarray: ...


class LumaPlane:
    """The luma of each frame as it is stored, of 8 bits: no colour range is applied, nothing is turned upright.

    PyAV's own conversion to grey scales the values from the range that the file names to another one.
    """

    def __init__(self, time_base=None):
        self.size: tuple[int, int] | None = None

    def see(self, frame: av.VideoFrame) -> None:
        """Take note of the size of the first picture."""
        self.size = self.size or (frame.width, frame.height)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """uint8 [H, W]: a view of the frame's memory with padded rows, which lives as long as it does."""
        self.see(frame)
        return _as_array(frame, 1)[:, :, 0]


class RgbConverter:
    """Callable on the frames of one stream; keeps the scaler between them.

    The colours follow each frame's own range and matrix. Pictures of more than 8 bits and interlaced ones go through
    FFmpeg's filter, which knows the place of the colour samples and of the fields; so do those of another size than the
    first one's, to which it scales them.
    """

    def __init__(self, time_base):
        self.time_base = time_base
        self.reformatter = av.video.reformatter.VideoReformatter()
        self.graph, self.graph_key = None, None
        self.rotation, self.matrix = _UNKNOWN, None
        self.size: tuple[int, int] | None = None

    def see(self, frame: av.VideoFrame) -> None:
        """Take note of the size of the first picture, whether or not it is converted."""
        self.size = self.size or (frame.width, frame.height)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """uint8 [H, W, 3]; perhaps a view of the frame's memory with padded rows, which lives as long as it does."""
        self.see(frame)
        matrix = self._matrix_of(frame)
        angle = clockwise_degrees(matrix)
        filters = ""
        if min(angle % 90, 90 - angle % 90) >= 1:
            filters = f"{angle:.6f}*PI/180"
        is_odd = frame.interlaced_frame or frame.format.components[0].bits > MAX_PLAIN_BITS
        if filters or is_odd or (frame.width, frame.height) != self.size:
            rgb = self._filtered(frame, filters)
        else:
            rgb = self.reformatter.reformat(frame, format="rgb24", **SCALER_OPTIONS)
        return _turn(_as_array(rgb, 3), angle, matrix)

    def _matrix_of(self, frame: av.VideoFrame) -> np.ndarray | None:
        """The frame's display matrix, looked up again when its angle is another one."""
        # PyAV ties a frame to its side data in a cycle, which keeps the picture until Python looks for cycles: for
        # hundreds of pictures. Its `rotation` does not (PyAV before 13 has none).
        rotation = getattr(frame, "rotation", _UNKNOWN)
        if rotation is _UNKNOWN or rotation != self.rotation:
            self.rotation, self.matrix = rotation, display_matrix(frame)
        return self.matrix

    def _filtered(self, frame: av.VideoFrame, rotation: str) -> av.VideoFrame:
        key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, rotation)
        if key != self.graph_key:
            self.graph, self.graph_key = self._build_graph(frame, rotation), key
        self.graph.push(frame)
        return self.graph.pull()

    def _build_graph(self, frame: av.VideoFrame, rotation: str) -> av.filter.Graph:
        graph = av.filter.Graph()
        if hasattr(graph, "threads"):
            graph.threads = 1
        source = {"width": frame.width, "height": frame.height, "format": frame.format, "time_base": self.time_base}
        nodes = [graph.add_buffer(**source)]
        if rotation:
            nodes.append(graph.add("rotate", rotation))
        scale = "{}:{}:flags=bicubic".format(*self.size)
        nodes += [graph.add("scale", scale), graph.add("format", "rgb24"), graph.add("buffersink")]
        graph.link_nodes(*nodes).configure()
        return graph


def _as_array(frame: av.VideoFrame, num_channels: int) -> np.ndarray:
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height]
    if not frame.width:
        return rows[:, :, None]
    return rows[:, : frame.width * num_channels].reshape(frame.height, frame.width, num_channels)


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """The container's nine numbers (a, b, u, c, d, v, x, y, w) that say how the picture is to be turned."""
    for side_data in frame.side_data:
        if side_data.type.name == "DISPLAYMATRIX":
            return np.frombuffer(bytes(side_data), np.int32, 9).astype(np.float64)
    return None


def clockwise_degrees(matrix: np.ndarray | None) -> float:
    """The angle in [0, 360) by which players turn the picture, whole degrees; 0 for an impossible matrix."""
    if matrix is None:
        return 0.0
    columns = np.hypot(matrix[0], matrix[3]), np.hypot(matrix[1], matrix[4])
    if not all(columns):
        return 0.0
    return float(np.round(np.degrees(np.arctan2(matrix[1] / columns[1], matrix[0] / columns[0]))) % 360)


def _turn(array: np.ndarray, angle: float, matrix: np.ndarray | None) -> np.ndarray:
    """Quarter turns and mirrorings of the matrix, distinguished by its signs as FFmpeg does."""
    if matrix is None:
        return array
    if abs(angle - 90) < 1:
        return np.rot90(array, -1) if matrix[3] <= 0 else np.rot90(array, 1)[::-1]
    if abs(angle - 270) < 1:
        return np.rot90(array, 1) if matrix[3] >= 0 else np.rot90(array, -1)[::-1]
    if abs(angle - 180) < 1:
        array = array[:, ::-1] if matrix[0] < 0 else array
        return array[::-1] if matrix[4] < 0 else array
    return array[::-1] if min(angle, 360 - angle) < 1 and matrix[4] < 0 else array
