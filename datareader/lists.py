"""What a run reads: lists of videos, folders of videos, names of classes.

A list has `path label` a line, or is the zoo's test list `path video_index clip crop`, 30 lines a video.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datareader.decoding import can_be_video, exists, is_frame_folder, is_url, open_list, printable
from utils.errors import RunError, UserError

if TYPE_CHECKING:
    from configs.schema import Config  # a reading process starts faster without

ROOT = Path(__file__).resolve().parents[1]
NO_LABEL = -1
_TWO_FIELDS = re.compile(r"(.*\S)[ \t]+(\S+)")
_FOUR_FIELDS = re.compile(r"(.*\S)[ \t]+(\d+)[ \t]+(\d+)[ \t]+(\d+)")


@dataclass(frozen=True)
class Sample:
    """One thing to learn from or to recognise; the loaders take any object with these attributes.

    sources: where each kind of input lies, {"rgb": path of a video, "flow": path}; target: what the task learns, a
    label, a tuple of labels, boxes; id: its name in results; seconds: the moment of the video that it is, None: all.
    """

    sources: Mapping[str, str]
    target: Any = ()
    id: str = ""
    seconds: float | None = None

    @property
    def labels(self) -> tuple[int, ...]:
        """The target as class numbers; () where it is none."""
        target = (self.target,) if isinstance(self.target, int) else self.target
        is_labels = isinstance(target, tuple) and all(isinstance(label, int) for label in target)
        return target if is_labels else ()

    @property
    def label(self) -> int:
        """The first class number, -1 without one."""
        return self.labels[0] if self.labels else NO_LABEL


@dataclass(frozen=True)
class VideoItem:
    """One video of a list: its path, its label (-1: none), its line in the file (from 1) and all its labels.

    It has the attributes of a Sample whose one source is the video.
    """

    path: str
    label: int
    line: int
    labels: tuple[int, ...] = ()

    @property
    def sources(self) -> Mapping[str, str]:
        return {"rgb": self.path}

    @property
    def target(self) -> tuple[int, ...]:
        return self.labels or (() if self.label == NO_LABEL else (self.label,))

    @property
    def id(self) -> str:
        return self.path

    @property
    def seconds(self) -> float | None:
        return None


def read_list(
    path: str | os.PathLike,
    num_classes: int | None = None,
    class_names: list[str] | None = None,
    *,
    labels_required: bool = True,
    multi_label: bool = False,
    filename_gt: str | os.PathLike | None = None,
    problems: list[tuple[int, str]] | None = None,
) -> list[VideoItem]:
    """The videos of a list, in order, one item a video; `path label` lines and the zoo's four columns are recognised.

    The label is the last field of a line: a number below `num_classes`, or a name of `class_names` with underscores
    for spaces; with `multi_label` several of them, joined by commas (`-`: none of the classes). Paths may hold spaces;
    relative ones are looked for beside the list, then in the working directory. Blank lines and lines that start with
    `#` are skipped. In the four-column form the label is found in the list `filename_gt`, by the video's index.

    problems: takes (line, message) of lines that cannot be understood, which are then left out.
    labels_required: False accepts lines without a label (prediction), their label is -1.
    Raises UserError, with file and line, for a missing list, an empty one, and a line that cannot be understood.
    """
    lines = _read_lines(path)
    if _has_four_columns(lines, path):
        return _collapse(lines, path, num_classes, class_names, labels_required, filename_gt)
    parse = _LabelParser(num_classes, class_names, multi_label)
    items = []
    for number, text in lines:
        try:
            items.append(_parse_line(number, text, path, parse, labels_required))
        except UserError as error:
            if problems is None:
                raise
            problems.append((number, str(error)))
    return items


def _parse_line(
    number: int, text: str, path: str | os.PathLike, parse: _LabelParser, labels_required: bool
) -> VideoItem:
    match = _TWO_FIELDS.fullmatch(text)
    if not labels_required and (match is None or not parse.understands(match[2]) or _exists(text, path)):
        return VideoItem(_resolve(text, path), NO_LABEL, number)
    where = f"{path}:{number}"
    if match is None:
        raise UserError(f"{where}: no label after the path; write `path label`")
    labels = parse(match[2], where)
    return VideoItem(_resolve(match[1], path), labels[0] if labels else NO_LABEL, number, labels)


def read_named_videos(path: str | os.PathLike) -> dict[str, str]:
    """The videos of a list with lines `path video`: {the video's name: its path}. Raises UserError."""
    videos: dict[str, str] = {}
    for number, text in _read_lines(path):
        match = _TWO_FIELDS.fullmatch(text)
        if match is None:
            raise UserError(f"{path}:{number}: no name after the path; write `path video`")
        if match[2] in videos:
            raise UserError(f"{path}:{number}: the video {match[2]} is listed twice")
        videos[match[2]] = _resolve(match[1], path)
    return videos


def iter_paths(path: str | os.PathLike) -> Iterator[str]:
    """The paths of `read_list(path, labels_required=False)` one by one, for a list that is too long for the memory.

    Raises UserError as read_list does, and at the end for the zoo's four columns, which name each video many times.
    """
    parse, first, four_columns = _LabelParser(None, None, False), "", True
    for number, text in _iter_lines(path):
        first = first or text
        four_columns = four_columns and _FOUR_FIELDS.fullmatch(text) is not None
        yield _parse_line(number, text, path, parse, labels_required=False).path
    if not first:
        raise UserError(f"the list {path} holds no video; write `path label` lines into it")
    if four_columns and _has_four_columns([(1, first)], path):
        raise UserError(f"{path} has the four columns `path video_index clip crop`; write one `path` line a video")


def _read_lines(path: str | os.PathLike) -> list[tuple[int, str]]:
    """(line number, text) of the lines that say something."""
    lines = list(_iter_lines(path))
    if not lines:
        raise UserError(f"the list {path} holds no video; write `path label` lines into it")
    return lines


def _iter_lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """The same one by one. File names of any bytes survive (surrogateescape)."""
    try:
        with open_list(path) as stream:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").strip(" \t\r\n")
                if not text or text.startswith("#"):
                    continue
                if "\0" in text:
                    raise UserError(f"{path}:{number}: a NUL byte; this is no text file")
                yield number, text
    except (OSError, RunError) as error:
        raise UserError(f"cannot read the list {path}: {getattr(error, 'strerror', None) or error}") from error


def _has_four_columns(lines: list[tuple[int, str]], list_path: str | os.PathLike) -> bool:
    """All lines end in three numbers, and the first is no `path label` whose path happens to end in two numbers."""
    if not all(_FOUR_FIELDS.fullmatch(text) for _, text in lines):
        return False
    return not _exists(_TWO_FIELDS.fullmatch(lines[0][1])[1], list_path)


def _collapse(lines, path, num_classes, class_names, labels_required, filename_gt) -> list[VideoItem]:
    """The zoo's four columns as one item a video, in the order of first appearance."""
    truth = None
    if filename_gt and (labels_required or os.path.exists(filename_gt)):
        truth = read_list(filename_gt, num_classes, class_names)
    elif labels_required:
        raise UserError(f"{path} has the four columns `path video_index clip crop`, which need a list of labels: set "
                        "TEST.filename_gt, or write `path label` lines")  # fmt: skip
    items: dict[int, VideoItem] = {}
    for number, text in lines:
        name, index = _FOUR_FIELDS.fullmatch(text).group(1, 2)
        index, name = int(index), _resolve(name, path)
        if index in items:
            if items[index].path != name:
                raise UserError(f"{path}:{number}: video {index} is {name} here and {items[index].path} above")
            continue
        label = NO_LABEL
        if truth is not None:
            label = _true_label(truth, index, name, f"{path}:{number}", filename_gt)
        items[index] = VideoItem(name, label, number, () if label == NO_LABEL else (label,))
    return list(items.values())


def _true_label(truth: list[VideoItem], index: int, name: str, where: str, filename_gt) -> int:
    if index >= len(truth):
        raise UserError(f"{where}: video {index}, but {filename_gt} holds {len(truth)} (counted from 0)")
    if Path(truth[index].path).stem != Path(name).stem:
        raise UserError(f"{where}: video {index} is {name}, but {filename_gt}:{truth[index].line} is "
                        f"{truth[index].path}; the two lists do not belong together")  # fmt: skip
    return truth[index].label


def _exists(name: str, list_path: str | os.PathLike) -> bool:
    return exists(os.path.join(os.path.dirname(list_path), name)) or exists(name)


def _resolve(name: str, list_path: str | os.PathLike) -> str:
    """`name` beside the list if it is there (or nowhere), in the working directory otherwise; URLs as they are."""
    if is_url(name):
        return name
    beside = os.path.join(os.path.dirname(list_path), name)
    return name if not exists(beside) and exists(name) else beside


class _LabelParser:
    """The last field of a line -> labels."""

    def __init__(self, num_classes: int | None, class_names: list[str] | None, multi_label: bool):
        self.num_classes = num_classes if num_classes is not None or class_names is None else len(class_names)
        self.by_name = {class_key(name): index for index, name in enumerate(class_names or [])}
        self.multi_label = multi_label

    def understands(self, field: str) -> bool:
        words = field.split(",") if self.multi_label else [field]
        return all(re.fullmatch(r"-?\d+", word) or class_key(word) in self.by_name for word in words)

    def __call__(self, field: str, where: str) -> tuple[int, ...]:
        if self.multi_label and field == "-":
            return ()
        return tuple(self._label(word, where) for word in (field.split(",") if self.multi_label else [field]))

    def _label(self, word: str, where: str) -> int:
        if class_key(word) in self.by_name:
            return self.by_name[class_key(word)]
        if not re.fullmatch(r"-?[0-9]{1,9}", word):
            raise UserError(f"{where}: the label {word!r} is no number"
                            f"{' and no class name' if self.by_name else ''}; write `path label`")  # fmt: skip
        label = int(word)
        if label < 0 or (self.num_classes is not None and label >= self.num_classes):
            last = "" if self.num_classes is None else f" to {self.num_classes - 1} (MODEL.num_classes)"
            raise UserError(f"{where}: label {label} is outside 0{last or ' and up'}")
        return label


def class_names_of(config: Config, section: str = "TEST") -> list[str]:
    """The K class names: INFER.kinetics_labels (prediction), else MODEL.class_names, else those of MODEL.dataset.

    A relative path is looked for in the working directory, then beside the program.
    Raises UserError when the file is missing or names another number of classes.
    """
    model = config.MODEL
    name = (config.INFER.kinetics_labels if section == "INFER" else "") or model.class_names
    path = Path(name or f"data/dataset/nonlocal/{model.dataset}_labels.txt")
    if not path.exists() and (ROOT / path).exists():
        path = ROOT / path
    if not path.exists():
        raise UserError(f"the class names {path} do not exist; set MODEL.class_names (-o MODEL.class_names=FILE)")
    return read_class_names(path, model.num_classes)


def list_folder(folder: str, skipped: list[str] | None = None) -> list[VideoItem]:
    """The videos of a folder and its sub-folders in order of name: every file that has a video's suffix or begins as a
    video does (`can_be_video`), and every folder of frames (`is_frame_folder`), which may be `folder` itself; hidden
    ones are left out. A broken one among them is named when it is read.

    skipped: receives the paths of the other files. Raises UserError for a folder without a video.
    """
    paths, others = [], []
    for parent, folders, files in os.walk(folder):
        if is_frame_folder(parent):
            paths.append(os.path.normpath(parent))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (os.path.join(parent, name) for name in sorted(files) if not name.startswith(".")):
            (paths if can_be_video(path) else others).append(path)
    if not paths:
        raise UserError(
            f"the folder {printable(folder)} holds no video" + (f"; {skip_message(others)}" if others else "")
        )
    if skipped is not None:
        skipped += others
    return [VideoItem(path, NO_LABEL, line) for line, path in enumerate(paths, 1)]


def skip_message(skipped: list[str]) -> str:
    """How many files of a folder were passed over, in words."""
    return f"skipped {len(skipped)} {'file that is not a video' if len(skipped) == 1 else 'files that are not videos'}"


def class_key(name: str) -> str:
    """Equal for two spellings of a class name: underscores are spaces, letter case does not matter."""
    return " ".join(name.replace("_", " ").split()).casefold()


def read_class_names(path: str | os.PathLike, num_classes: int | None = None) -> list[str]:
    """The names in the order of their labels.

    A json file holds {name: label}, {label: name} or a list; a text file holds one name a line, in the labels' order,
    with or without the label (counted from 0 or 1) in front. Quotes around a name are dropped.

    Raises UserError for an unreadable file, labels that are not 0 .. n - 1, repeated names, and a count other than
    `num_classes`.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the class names {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the class names {path} are not UTF-8 text") from error
    is_json = str(path).endswith(".json") or text.lstrip()[:1] in ("{", "[")
    names = _from_json(text, path) if is_json else _from_text(text)
    names = [name.strip().strip("\"'").strip() for name in names]
    seen: dict[str, int] = {}
    for label, name in enumerate(names):
        if not name:
            raise UserError(f"{path}: the name of class {label} is empty")
        if seen.setdefault(class_key(name), label) != label:
            raise UserError(f"{path}: classes {seen[class_key(name)]} and {label} are both called {name!r}")
    if num_classes is not None and len(names) != num_classes:
        raise UserError(f"{path} names {len(names)} classes, but MODEL.num_classes is {num_classes}")
    return names


def _from_text(text: str) -> list[str]:
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    numbered = [re.fullmatch(r"(\d+)[ \t]+(.+)", line) for line in lines]
    if lines and all(numbered):
        first = int(numbered[0][1])
        if first in (0, 1) and [int(match[1]) for match in numbered] == list(range(first, first + len(lines))):
            return [match[2] for match in numbered]
    return lines


def _from_json(text: str, path: str | os.PathLike) -> list[str]:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no json file: {error}") from error
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    pairs: list[tuple] = []
    if isinstance(content, dict) and all(isinstance(label, int) for label in content.values()):
        pairs = [(label, name) for name, label in content.items()]
    elif isinstance(content, dict) and all(isinstance(name, str) for name in content.values()):
        if all(re.fullmatch(r"\d{1,9}", label) for label in content):
            pairs = [(int(label), name) for label, name in content.items()]
        elif all(re.fullmatch(r"\d{1,9}", label) for label in content.values()):
            pairs = [(int(label), name) for name, label in content.items()]
    if not pairs:
        raise UserError(f"{path}: expected {{name: label}}, {{label: name}} or a list of names")
    labels = sorted(label for label, _ in pairs)
    if labels != list(range(len(pairs))):
        raise UserError(f"{path}: the labels are not 0 to {len(pairs) - 1}, each once")
    return [name for _, name in sorted(pairs)]
