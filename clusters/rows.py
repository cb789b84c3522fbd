"""The rows of a result: their columns, and what an error in one of them is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from utils.errors import UserError

# error_kind -> words of the reader's reason (datareader); any other reason is "unreadable"
ERROR_KINDS = {
    "missing": ("no such file", "link leads nowhere"),
    "damaged": ("damaged:",),
    "timeout": ("took longer than", "hung the decoder"),
    "crash": ("crashed the decoder", "its worker ("),
}
RETRIED_KINDS = ("missing", "timeout", "crash")  # by --retry_errors: another time they may succeed
COMMON_COLUMNS = [
    ("id", pa.int64()),  # the video's place in the list, from 0
    ("path", pa.string()),
    ("num_frames", pa.int32()),
    ("warning", pa.string()),
    ("error", pa.string()),  # null: the video was scored
    ("error_kind", pa.string()),
]
SEGMENT = pa.struct(
    [
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("class", pa.int16()),
        ("probability", pa.float32()),
    ]
)
BOX = pa.struct(
    [
        ("frame", pa.int32()),  # of the key frame, from 0
        ("seconds", pa.float64()),
        ("box", pa.list_(pa.float32())),  # x1, y1, x2, y2 as fractions of the frame
        ("score", pa.float32()),
        ("track", pa.int32()),
        ("top_index", pa.list_(pa.int16())),  # the best actions
        ("top_probability", pa.list_(pa.float32())),
    ]
)
COLUMNS = {
    "classes": [("class", pa.int16()), ("probability", pa.float32()), ("views", pa.string())],
    "segments": [("segments", pa.list_(SEGMENT))],
    "features": [("features", pa.list_(pa.float32()))],
    "detect": [("boxes", pa.list_(BOX))],
}


@dataclass(frozen=True)
class Keep:
    """What is kept of the scores of a video: of the `topk` best classes, or (0) of all as `dtype`."""

    topk: int
    dtype: str = "float32"

    @classmethod
    def parse(cls, text: str) -> Keep:
        """From "topk:10", "all:float16" or "all:float32". Raises UserError."""
        kind, _, value = text.partition(":")
        if kind == "topk" and value.isdecimal() and int(value) > 0:
            return cls(int(value))
        if kind == "all" and value in ("float16", "float32"):
            return cls(0, value)
        raise UserError(f"--keep={text}: write topk:N, all:float16 or all:float32")

    @property
    def columns(self) -> list[tuple[str, pa.DataType]]:
        if self.topk:
            return [("top_index", pa.list_(pa.int16())), ("top_probability", pa.list_(pa.float32()))]
        return [("scores", pa.list_(pa.float16() if self.dtype == "float16" else pa.float32()))]

    def values(self, top: Sequence[dict]) -> dict:
        """The columns' values of a video's `top`: index and probability of its best classes, or of all classes."""
        indices = [entry["index"] for entry in top]
        probabilities = np.array([entry["probability"] for entry in top], self.dtype)
        if self.topk:
            return {"top_index": indices, "top_probability": probabilities}
        scores = np.empty_like(probabilities)
        scores[indices] = probabilities
        return {"scores": scores}


def schema_of(task: str, keep: Keep) -> pa.Schema:
    """The columns of a task's results."""
    return pa.schema(COMMON_COLUMNS + COLUMNS[task] + (keep.columns if task == "classes" else []))


def table_of(schema: pa.Schema, rows: Sequence[dict]) -> pa.Table:
    """Rows as a table; what a row does not have is null."""
    return pa.Table.from_pylist([{**row, "path": _text(row["path"])} for row in rows], schema)


def failed_row(video_id: int, path: str, reason: str) -> dict:
    """The row of a video that could not be scored."""
    return {"id": video_id, "path": path, **error_columns(reason)}


def error_columns(reason: str) -> dict:
    """error and error_kind."""
    kinds = [kind for kind, words in ERROR_KINDS.items() if any(word in reason for word in words)]
    return {"error": _text(reason), "error_kind": kinds[0] if kinds else "unreadable"}


def _text(name: str) -> str:
    """Bytes of a file's name that are not UTF-8 as \\udc.., so that any reader of Parquet takes the column."""
    return name.encode("utf-8", "backslashreplace").decode()
