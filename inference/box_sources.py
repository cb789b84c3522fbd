"""Where the boxes of persons come from when actions are detected: a csv file, or a detector."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from datareader.box_lists import FrameIndex, read_detections
from datareader.key_frames import nearest_frame
from datareader.key_windows import KeyFrameWindows, nearest_frames
from inference.export import one_line
from inference.person_detector import THRESHOLD, PersonDetector, detector_file
from utils.boxes import clip_boxes
from utils.errors import RunError, UserError


class BoxSource(Protocol):
    """What predictions need of it. description: for the output."""

    description: str
    notes: Sequence[str]  # what of a file is left out
    warnings: dict[str, str]  # path of a video -> what is left out of its boxes

    def key_frames(self, path: str, times: np.ndarray) -> np.ndarray:
        """The numbers of a video's key frames, int64, ascending. times: of its frames, seconds, float64 [F]."""
        ...

    def boxes(self, windows: KeyFrameWindows, place: int, frame: np.ndarray) -> np.ndarray:
        """Boxes float32 [M, 5] of the key frame at a place of `windows`: x1, y1, x2, y2 as fractions, score.

        frame: uint8 RGB [H, W, 3]."""
        ...


class DetectorBoxes:
    """Boxes by a function of a frame, on a key frame every `stride_seconds`."""

    def __init__(self, find: Callable[[np.ndarray], np.ndarray], stride_seconds: float, description: str):
        self.find, self.stride_seconds, self.description = find, stride_seconds, description
        self.notes, self.warnings = (), dict[str, str]()

    def key_frames(self, path: str, times: np.ndarray) -> np.ndarray:
        length = times[-1] - times[0]
        if self.stride_seconds * len(times) <= length:  # less than a frame
            return np.arange(len(times))
        return nearest_frames(times, np.arange(0.0, length + 1e-6, self.stride_seconds))

    def boxes(self, windows: KeyFrameWindows, place: int, frame: np.ndarray) -> np.ndarray:
        return self.find(frame)


class FileBoxes:
    """Boxes of a csv file in AVA's form, with or without actions; its frames are the key frames.

    A video's name in the file is its file's name, with or without the extension. Moments outside of a video are left
    out, with a warning. start_second: of the csv file at which videos begin. Raises UserError for a file that cannot be
    used.
    """

    def __init__(self, path: str, start_second: float = 0.0):
        self.path, self.start_second, self.index = path, start_second, FrameIndex()
        self.warnings: dict[str, str] = {}
        self.found = read_detections(path, self.index, needs_action=False)
        if self.found.unit == "pixels":
            raise UserError(f"--boxes={path} is in pixels; fractions of width and height are needed")
        self.description, self.notes = f"boxes of {path}", self.found.notes
        self.by_frame: dict[str, dict[int, np.ndarray]] = {}  # video -> number of its frame -> boxes

    def key_frames(self, path: str, times: np.ndarray) -> np.ndarray:
        rows, videos = self.found.rows, self.index.videos
        names = {os.path.basename(path), Path(path).stem}
        if names.isdisjoint(videos):
            self.warnings[path] = f"{self.path} has no frame of this video ({' or '.join(sorted(names))})"
        of_video = np.isin(self.index.video[rows["frame"]], [k for k, name in enumerate(videos) if name in names])
        own = rows[of_video]
        moments = self.index.time[own["frame"]]
        if self.index.counts_frames:
            frames, last = moments.astype(np.int64) - 1, len(times) - 1
            inside = (frames >= 0) & (frames <= last)
        else:
            seconds, frame_seconds = moments - self.start_second, np.diff(times[-2:]).sum()
            inside = (seconds >= 0) & (seconds <= times[-1] - times[0] + frame_seconds)
            frames = nearest_frame(times, seconds)
        if not inside.all():
            self.warnings[path] = f"{(~inside).sum()} rows of {self.path} are outside of the video"
        own, frames = own[inside], frames[inside]
        self.by_frame[path] = {int(frame): own[frames == frame] for frame in np.unique(frames)}
        return np.unique(frames)

    def boxes(self, windows: KeyFrameWindows, place: int, frame: np.ndarray) -> np.ndarray:
        rows = self.by_frame[windows.path][int(windows.key_frames[place])]
        corners, first = np.unique(rows["box"], axis=0, return_index=True)  # a box may have several actions
        return np.concatenate([corners, rows["score"][first, None]], axis=1).astype(np.float32)


class OnnxDetector:
    """A detector of the user's own, in ONNX Runtime.

    Its input is a picture float32 [1, 3, H, W], RGB in 0..255, of the size that the file fixes, else of the frame; its
    outputs are boxes [M, 4] (x1, y1, x2, y2 in pixels of the input) and scores [M] of persons, in this order.
    Raises UserError for a file that cannot be loaded or has other inputs and outputs.
    """

    def __init__(self, path: str):
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError('--detector=FILE.onnx needs onnxruntime: pip install ".[fast]"') from error
        try:
            self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise UserError(f"--detector={path} cannot be loaded: {one_line(error)}") from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or len(outputs) != 2:
            raise UserError(
                f"--detector={path}: one input [1, 3, H, W] and two outputs, boxes and scores, are expected"
            )
        self.path, self.name = path, inputs[0].name
        self.size = [side if isinstance(side, int) else None for side in inputs[0].shape[2:]]

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Frame uint8 RGB [H, W, 3] -> float32 [M, 5]."""
        import cv2

        height, width = (fixed or own for fixed, own in zip(self.size, frame.shape[:2]))
        picture = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        try:
            boxes, scores = self.session.run(None, {self.name: picture.transpose(2, 0, 1)[None]})
            boxes, scores = np.reshape(boxes, (-1, 4)), np.reshape(scores, -1)
            clipped = clip_boxes(boxes, height, width) / np.array([width, height, width, height], np.float32)
            return np.concatenate([clipped, scores[:, None]], axis=1).astype(np.float32)
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise RunError(f"--detector={self.path} failed: {one_line(error)}") from error


def choose_boxes(
    boxes: str, detector: str, stride_seconds: float, min_score: float, start_second: float = 0.0
) -> BoxSource:
    """What --boxes and --detector name: a csv file; an ONNX file; "persons" or "auto", the person detector.

    stride_seconds: from one key frame to the next. min_score: of boxes of an ONNX file. start_second: of a csv file.
    Raises UserError.
    """
    if boxes:
        return FileBoxes(boxes, start_second)
    if detector not in ("auto", "persons"):
        own = OnnxDetector(detector)

        def find(frame: np.ndarray) -> np.ndarray:
            found = own(frame)
            return found[found[:, 4] >= min_score]

        return DetectorBoxes(find, stride_seconds, f"persons by {detector}, from a score of {min_score:g}")
    if not detector_file().is_file():
        raise UserError(
            "there are no boxes of persons: pass --boxes=FILE.csv or --detector=FILE.onnx, or fetch the person "
            "detector once: python tools/fetch_person_detector.py"
        )
    return DetectorBoxes(
        PersonDetector(), stride_seconds,
        f"persons by the small person detector at threshold {THRESHOLD:g}, which misses some and finds some twice",
    )  # fmt: skip
