"""scores.npz: what an evaluation leaves of every video, whole enough to compute its metrics again.

| array | |
|---|---|
| video_id int64 [M], path str [M], scores float32 [M, K] | the scored videos, as listed; means over views |
| label int64 [M], or labels bool [M, K] | their class, or their classes (MODEL.multi_label) |
| broken_video_id int64 [B], broken_path str [B], broken_reason str [B] | the videos without a score, and why |
| broken_label int64 [B], or broken_labels bool [B, K] | their class or classes |
| class_names str [K] | |
| list_path, list_sha256 str | the list, and the SHA-256 of its contents when the evaluation began |

Older files hold the first row alone.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrics.ledger import VideoMeter
from utils.errors import UserError
from utils.files import file_sha256, write_atomically


@dataclass(frozen=True)
class VideoScores:
    """The content of a scores.npz. M scored and B broken videos, K classes.

    labels, broken_labels: int64 [M] and [B], or bool [M, K] and [B, K] where a video has several classes. What an old
    file does not hold is None, and "" for the checksum.
    """

    video_ids: np.ndarray
    paths: list[str]
    scores: np.ndarray
    labels: np.ndarray | None = None
    class_names: list[str] | None = None
    broken_video_ids: np.ndarray | None = None
    broken_paths: list[str] | None = None
    broken_reasons: list[str] | None = None
    broken_labels: np.ndarray | None = None
    list_path: str = ""
    list_sha256: str = ""

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several classes."""
        return self.labels is not None and self.labels.ndim == 2


def list_checksum(filelist: str | Path) -> str:
    """SHA-256 of the contents of a list, in hexadecimal. Raises UserError where it cannot be read."""
    try:
        return file_sha256(filelist)
    except OSError as error:
        raise UserError(f"cannot read the list {filelist}: {error.strerror or error}") from error


def save_scores(path: str | Path, meter: VideoMeter, list_path: str, list_sha256: str) -> None:
    """Write what the meter holds of every video of the list, atomically. Raises RunError."""
    arrays = {**meter.arrays(), "list_path": np.array(str(list_path)), "list_sha256": np.array(list_sha256)}
    write_atomically(path, lambda stream: np.savez(stream, **arrays))


def load_scores(path: str | Path, filelist: str | Path | None = None) -> VideoScores:
    """Read a scores.npz, of this version or an older one, without running anything that it may hold.

    filelist: the list as it is now; a warning is printed where it is not the one that was evaluated, or where an old
    file does not tell. Raises UserError, in one line, for a file that is missing, damaged or no scores.npz, and for a
    list that cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = _checked({name: archive[name] for name in archive.files})
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # a damaged archive makes zipfile and numpy raise errors of ten kinds
        raise UserError(f"{path} is damaged, or no scores.npz: {' '.join(str(error).split())[:200]}") from error
    if filelist is not None:
        current = list_checksum(filelist)
        if not found.list_sha256:
            print(f"warning: {path} does not tell which list it was made with; is it {filelist}?", file=sys.stderr)
        elif current != found.list_sha256:
            print(f"warning: {filelist} is not the list that {path} was made with (another SHA-256)", file=sys.stderr)
    return found


def _checked(arrays: dict[str, np.ndarray]) -> VideoScores:
    """The arrays by their names; ValueError where they do not fit together."""
    scores = _array(arrays, "scores", "f", 2)
    num_videos, num_classes = scores.shape
    found = {
        "video_ids": _array(arrays, "video_id", "iu", 1, num_videos).astype(np.int64),
        "paths": _array(arrays, "path", "U", 1, num_videos).tolist(),
        "scores": scores.astype(np.float32),
    }
    if "list_sha256" not in arrays:
        return VideoScores(**found)
    ids = _array(arrays, "broken_video_id", "iu", 1).astype(np.int64)
    return VideoScores(
        **found,
        labels=_labels(arrays, "label", num_videos, num_classes),
        class_names=_array(arrays, "class_names", "U", 1, num_classes).tolist(),
        broken_video_ids=ids,
        broken_paths=_array(arrays, "broken_path", "U", 1, len(ids)).tolist(),
        broken_reasons=_array(arrays, "broken_reason", "U", 1, len(ids)).tolist(),
        broken_labels=_labels(arrays, "broken_label", len(ids), num_classes),
        list_path=str(_array(arrays, "list_path", "U", 0)),
        list_sha256=str(_array(arrays, "list_sha256", "U", 0)),
    )


def _labels(arrays: dict[str, np.ndarray], name: str, num_videos: int, num_classes: int) -> np.ndarray:
    if f"{name}s" in arrays:
        labels = _array(arrays, f"{name}s", "b", 2, num_videos)
        if labels.shape[1] != num_classes:
            raise ValueError(f"{name}s of {labels.shape[1]} classes, scores of {num_classes}")
        return labels
    labels = _array(arrays, name, "iu", 1, num_videos).astype(np.int64)
    if ((labels < 0) | (labels >= num_classes)).any():
        raise ValueError(f"{name} outside 0 to {num_classes - 1}")
    return labels


def _array(arrays: dict[str, np.ndarray], name: str, kinds: str, ndim: int, length: int | None = None) -> np.ndarray:
    """The array of that name, of one of those kinds (numpy's letters) and of that shape."""
    if name not in arrays:
        raise ValueError(f"it holds no {name}")
    array = arrays[name]
    if array.dtype.kind not in kinds or array.ndim != ndim or (length is not None and len(array) != length):
        raise ValueError(f"{name} is {array.dtype} of shape {list(array.shape)}")
    return array
