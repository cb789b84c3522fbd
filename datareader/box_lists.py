"""Boxes of actions in csv files (AVA's form and ours), lists of frames, label maps.

A row is `video,second,x1,y1,x2,y2,action` and, as an eighth column, the number of the person in truth, the score in
detections. A row `video,second` says that the frame was annotated and nothing is there. AVA's files are read as they
are published: boxes in fractions of width and height, whole seconds (`902` or `0902`), no header. Beyond that

- a first line `# boxes: pixels` says that boxes are in pixels, `# boxes: relative` that they are fractions;
- the second may have decimals, or be a frame's number instead, `#17`, as its data set counts (JHMDB: from 1);
- a line of column names, a byte order mark, CRLF, spaces after commas and quoted fields are understood.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from utils.errors import UserError
from utils.files import write_atomically, write_text

BOX_ROW = np.dtype(
    [
        ("frame", np.int64),  # its number in a FrameIndex
        ("box", np.float64, 4),
        ("label", np.int64),  # the action, as the file numbers it: from 1
        ("score", np.float64),  # 1 where the file has none
        ("person", np.int64),  # -1 where the file has none
    ]
)
MARGIN = 0.01  # by which a relative box of truth may leave the picture
MAX_LABEL = 1_000_000
ROWS_AT_ONCE = 1 << 16  # written as Python objects
MAX_COORDINATE = 1e9  # areas of such boxes are still finite


class FrameIndex:
    """Numbers the frames (0, 1, ...) and videos of the files that are read with it, in the order they are met."""

    def __init__(self) -> None:
        self._frames: dict[tuple[int, float], int] = {}
        self._videos: dict[str, int] = {}
        self._texts: dict[tuple[str, str], int] = {}  # as the files spell them: most rows name a frame again
        self.counts_frames: bool | None = None  # True: `#frame`, False: seconds, None: no row was read

    def number(self, video: str, time: str) -> int:
        """The number of the frame of `video` at `time`: a second, to the millisecond, or `#frame`. Raises _BadRow."""
        spelt = video, time
        if spelt not in self._texts:
            self._texts[spelt] = self._new_number(video.strip(), time.strip())
        return self._texts[spelt]

    def _new_number(self, video: str, time: str) -> int:
        counts_frames = time.startswith("#")
        value = _whole(time[1:]) if counts_frames else round(_numbers([time])[0], 3)
        if not video:
            raise _BadRow("there is no name of a video")
        if not 0 <= value < np.inf:
            raise _BadRow("the second or #frame is not a number of 0 or more")
        if self.counts_frames not in (None, counts_frames):
            raise _BadRow("seconds and #frames are mixed")
        self.counts_frames = counts_frames
        key = (self._videos.setdefault(video, len(self._videos)), float(value))
        return self._frames.setdefault(key, len(self._frames))

    @property
    def videos(self) -> list[str]:
        """The names of the videos, by number."""
        return list(self._videos)

    @property
    def video(self) -> np.ndarray:
        """The number of the video of each frame, int64 [F]."""
        return np.array([video for video, _ in self._frames], np.int64)

    @property
    def time(self) -> np.ndarray:
        """Seconds, or the number of the frame in its video, of each frame: float64 [F]."""
        return np.array([time for _, time in self._frames])


@dataclass(frozen=True)
class BoxList:
    """What a csv file of boxes holds.

    rows: BOX_ROW [M]. frames: int64, ascending, all that the file names, with boxes or without. unit: "relative" or
    "pixels". notes: what was dropped or is missing, one line each.
    """

    path: str
    rows: np.ndarray
    frames: np.ndarray
    unit: str
    notes: tuple[str, ...] = ()


def read_truth(path: str, index: FrameIndex) -> BoxList:
    """Annotated boxes. A row that repeats an earlier one (but for the person) counts once, which is noted.

    Raises UserError, naming file and line, for a row that cannot be used: another number of columns than 2, 7 or 8, a
    field that is no number, an inverted or empty box, a relative box that leaves the picture by more than 0.01; for a
    file without boxes, and for one whose boxes are not of the declared unit.
    """

    def refuse(line: int, reason: str) -> None:
        raise UserError(f"{path}:{line}: {reason}")

    found = _read(path, index, "person", refuse)
    rows, box = found.rows, found.rows["box"]
    if not len(rows):
        raise UserError(f"{path} holds no box")
    _check_unit(path, rows, found.unit)
    is_inverted = np.greater if found.unit == "pixels" else np.greater_equal  # x1 = x2 is one pixel wide
    outside = ((box < -MARGIN) | (box > 1 + MARGIN)).any(axis=1) & (found.unit == "relative")
    for wrong, reason in (
        (~_is_usable(box), "a coordinate is not finite"),
        (is_inverted(box[:, :2], box[:, 2:]).any(axis=1), "the box is inverted or empty"),
        (outside, "the box leaves the picture (0 .. 1) by more than 0.01"),
    ):
        if wrong.any():
            refuse(found.lines[wrong][0], reason)
    keys = np.column_stack([rows["frame"], rows["label"], box])
    order = np.lexsort(keys.T)
    repeated = np.zeros(len(rows), bool)
    repeated[order[1:]] = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    notes = (f"{path}: {repeated.sum()} rows repeat an earlier one and count once",) if repeated.any() else ()
    return BoxList(path, rows[~repeated], found.frames, found.unit, notes)


def read_detections(path: str, index: FrameIndex, needs_action: bool = True) -> BoxList:
    """Detected boxes. Rows that cannot be used are dropped and noted: how many, the first line, why.

    needs_action: False also takes boxes without an action (empty, or -1).

    Inverted boxes and those that leave the picture are kept: what they count for is for the metric to say. Rows of 7
    columns have score 1, which is noted. Raises UserError for a file with rows of which none can be used, and for one
    whose boxes are not of the declared unit.
    """
    dropped: dict[str, list[int]] = {}
    found = _read(path, index, "score", lambda line, reason: dropped.setdefault(reason, []).append(line), needs_action)
    is_finite = _is_usable(found.rows["box"]) & np.isfinite(found.rows["score"])
    if not is_finite.all():
        dropped["a coordinate or score is not finite"] = found.lines[~is_finite].tolist()
    rows = found.rows[is_finite]
    notes = [
        f"{path}: {len(lines)} rows are dropped, the first in line {lines[0]}: {reason}"
        for reason, lines in dropped.items()
    ]
    if dropped and not len(rows):
        reason, lines = next(iter(dropped.items()))
        raise UserError(f"{path}: none of the rows can be used; line {lines[0]}: {reason}")
    _check_unit(path, rows, found.unit)
    if found.num_short:
        notes.append(f"{path}: {found.num_short} rows have no score; it is taken as 1")
    return BoxList(path, rows, found.frames, found.unit, tuple(notes))


def write_boxes(
    path: str | Path, rows: np.ndarray | Iterable[np.ndarray], index: FrameIndex, unit: str, last: str,
    empty: Iterable[int] = (),
) -> None:  # fmt: skip
    """Write BOX_ROWs [M] as a csv file in AVA's form, with a first line `# boxes: pixels` where `unit` says so.

    rows: all of them, or parts of them one after the other, which need not be in memory together. last: "score" or
    "person", the field of the eighth column. empty: numbers of frames that are written as annotated without boxes.
    Raises RunError when the file cannot be written.
    """
    parts = (rows,) if isinstance(rows, np.ndarray) else rows
    videos, video, time = index.videos, index.video, index.time

    def frame_fields(frame: int) -> tuple[str, str]:
        seconds = f"{time[frame]:.3f}".rstrip("0").rstrip(".")
        return videos[video[frame]], f"#{time[frame]:.0f}" if index.counts_frames else seconds

    def write(stream: BinaryIO) -> None:
        text = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="")
        text.write("# boxes: pixels\n" if unit == "pixels" else "")
        writer = csv.writer(text, lineterminator="\n")
        for part in parts:
            for first in range(0, len(part), ROWS_AT_ONCE):
                own = part[first : first + ROWS_AT_ONCE]
                columns = own["frame"], own["box"].tolist(), own["label"], own[last].tolist()
                for frame, box, label, value in zip(*columns):
                    writer.writerow([*frame_fields(frame), *(f"{corner:.9g}" for corner in box), label, f"{value:.9g}"])
        writer.writerows(frame_fields(frame) for frame in empty)
        text.flush()
        text.detach()  # the stream stays open

    write_atomically(path, write)


def read_frame_list(path: str, index: FrameIndex) -> np.ndarray:
    """The numbers of the frames of a list of rows `video,second`, int64. Raises UserError, naming file and line."""
    numbers = []
    for line, fields in _CsvFile(path).records():
        try:
            if len(fields) != 2:
                raise _BadRow("expected 2 columns: video,second")
            numbers.append(index.number(*fields))
        except _BadRow as error:
            raise UserError(f"{path}:{line}: {error}") from None
    return np.unique(np.array(numbers, np.int64))


_STRING = r"""(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
_ENTRY = re.compile(rf"\s*\w+\s*:?\s*\{{((?:\s*\w+\s*:\s*(?:{_STRING}|[\w.+-]+)(?=[\s,;}}])[,;]?)*)\s*\}}\s*")
_NAME = re.compile(rf"\bname\s*:\s*({_STRING})")
_ID = re.compile(r"\b(?:label_)?id\s*:\s*(-?\d{1,18})\b")


def read_label_map(path: str) -> dict[int, str]:
    """The classes {id: name} of a label map in text form (pbtxt), in order of ids.

    Entries are `item { name: "sit" id: 11 }`, or `label { name: "sit" label_id: 11 label_type: ... }` in AVA's later
    form. Ids are from 1 and may have gaps. Raises UserError, naming the line.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            text = stream.read()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text") from error
    text = re.sub(rf"({_STRING})|#.*", lambda match: match[1] or "", text)  # without comments
    names: dict[int, str] = {}
    end = 0
    while end < len(text) or not names:
        entry = _ENTRY.match(text, end)
        name, number = (pattern.search(entry[1]) if entry else None for pattern in (_NAME, _ID))
        line = text.count("\n", 0, entry.start(1) if entry else end) + 1
        if not name or not number:
            raise UserError(f'{path}:{line}: expected entries like `item {{ name: "sit" id: 11 }}`')
        label = int(number[1])
        if not 1 <= label <= MAX_LABEL or label in names:
            reason = "is there twice" if label in names else f"is not in 1 .. {MAX_LABEL}"
            raise UserError(f"{path}:{line}: id {label} {reason}")
        names[label] = re.sub(r"\\(.)", r"\1", name[1][1:-1])
        end = entry.end()
    return dict(sorted(names.items()))


def write_label_map(path: str | Path, names: Mapping[int, str]) -> None:
    """Write {id: name} in the form `item { name: "sit" id: 11 }`. Raises RunError when the file cannot be written."""
    write_text(
        path,
        "".join(
            f"item {{\n  name: {json.dumps(name, ensure_ascii=False)}\n  id: {n}\n}}\n" for n, name in names.items()
        ),
    )


class _BadRow(Exception):
    """Why a row of a csv file cannot be used."""


def _numbers(texts: list[str]) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise _BadRow("a field is not a number") from None


@functools.lru_cache(4096)
def _whole(text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?\d{1,15}\s*", text):
        raise _BadRow("an action, person or #frame is not a whole number")
    return int(text)


class _CsvFile:
    """The rows of a csv file; `unit` is what its line `# boxes:` says."""

    def __init__(self, path: str) -> None:
        self.path, self.unit = path, "relative"

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, fields) of each row that is neither blank, a comment, nor the names of columns."""
        is_first = True
        try:
            with open(self.path, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
                reader = csv.reader(stream, skipinitialspace=True)
                for fields in reader:
                    if fields and fields[0].startswith("#"):
                        self._read_comment(reader.line_num, fields[0].strip(), is_first)
                    elif any(fields):
                        if not is_first or not _are_names(fields):
                            yield reader.line_num, fields
                        is_first = False
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror or error}") from error
        except csv.Error as error:
            raise UserError(f"{self.path}:{reader.line_num}: not csv: {error}") from error

    def _read_comment(self, line: int, comment: str, before_rows: bool) -> None:
        unit = re.fullmatch(r"#\s*boxes\s*:\s*(.*)", comment)
        if unit is None:
            return
        if unit[1] not in ("relative", "pixels") or not before_rows:
            raise UserError(f"{self.path}:{line}: expected `# boxes: relative` or `# boxes: pixels`, before all rows")
        self.unit = unit[1]


def _are_names(fields: list[str]) -> bool:
    """Whether no field is a number or `#frame`."""
    return len(fields) > 1 and not any(re.match(r"[-+#.]?[\d.]|nan|inf", field, re.IGNORECASE) for field in fields[1:])


class _Read(NamedTuple):
    """rows: BOX_ROW [M]; lines: int64 [M]; frames, unit: as in BoxList; num_short: rows of 7 columns."""

    rows: np.ndarray
    lines: np.ndarray
    frames: np.ndarray
    unit: str
    num_short: int


def _read(
    path: str, index: FrameIndex, last: str, bad_row: Callable[[int, str], object], needs_action: bool = True
) -> _Read:
    """All rows of a file; `last` is what the eighth column means: the field "score" or "person".

    bad_row: called with the line and the reason for a row that cannot be used.
    """
    file = _CsvFile(path)
    lines, named, frames, labels, boxes, values = (array(code) for code in "qqqqdd")
    num_short = 0
    for line, fields in file.records():
        try:
            if len(fields) not in (2, 7, 8):
                raise _BadRow("expected 2, 7 or 8 columns: video,second,x1,y1,x2,y2,action,person or score")
            box = _numbers(fields[2:6])
            if box:
                label = _whole(fields[6] or "-1")
                if not 1 <= label <= MAX_LABEL and (needs_action or label != -1):
                    raise _BadRow("there is no action (a number from 1)")
                if len(fields) == 7:
                    value = 1.0 if last == "score" else -1
                else:
                    value = _numbers(fields[7:])[0] if last == "score" else _whole(fields[7])
            frame = index.number(fields[0], fields[1])
        except _BadRow as error:
            bad_row(line, str(error))
            continue
        named.append(frame)
        if box:
            lines.append(line)
            frames.append(frame)
            labels.append(label)
            values.append(value)
            boxes.extend(box)
            num_short += len(fields) == 7
    rows = np.empty(len(frames), BOX_ROW)
    rows["frame"], rows["label"], rows["box"] = frames, labels, np.array(boxes).reshape(-1, 4)
    rows["score"], rows["person"] = 1.0, -1
    rows[last] = values
    return _Read(rows, np.array(lines), np.unique(np.array(named)), file.unit, num_short)


def _is_usable(box: np.ndarray) -> np.ndarray:
    """bool [M]: finite, and not absurdly large."""
    return (np.abs(box) <= MAX_COORDINATE).all(axis=1)  # false for NaN


def _check_unit(path: str, rows: np.ndarray, unit: str) -> None:
    """UserError where all boxes contradict the declared unit."""
    corner = rows["box"][:, 2:]
    if len(rows) and unit == "relative" and (corner > 1.5).all():
        raise UserError(f"{path}: the boxes look like pixels; if they are, make `# boxes: pixels` the first line")
    if len(rows) and unit == "pixels" and (corner < 1.01).all():
        raise UserError(f"{path}: the boxes look like fractions, but the first line says `# boxes: pixels`")
