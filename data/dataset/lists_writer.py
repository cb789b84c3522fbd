"""What all list generators share: finding the video files, reading annotations, writing the lists."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from datareader.decoding import VIDEO_SUFFIXES, is_frame_folder
from utils.cli import Parser
from utils.errors import UserError
from utils.files import write_text

NO_ACTION = "-"  # the label field of a video with none of the classes


class Sample(NamedTuple):
    """One line of a list: a video file and its label field (a number, or several joined by commas)."""

    path: str
    label: str


def find_videos(folder: str | Path) -> list[str]:
    """Return the absolute paths of all video files and folders of JPEG frames below a folder, sorted; empty files and
    hidden ones are left out.

    Links to folders are followed, each folder is visited once. Raises UserError for a folder that is not there.
    """
    if not os.path.isdir(folder):
        raise UserError(f"there is no folder {folder}; give the one that holds the videos")
    found, visited = [], set()
    for parent, folders, files in os.walk(os.path.abspath(folder), followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if is_frame_folder(parent):
            found.append(parent)
            folders.clear()
            continue
        for name in files:
            path = os.path.join(parent, name)
            is_video = os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not name.startswith(".")
            if is_video and os.path.isfile(path) and os.path.getsize(path):
                found.append(path)
    return sorted(found)


class Entry(NamedTuple):
    """One annotated video: the names its file may have (without suffix, the likeliest first), its label field, and the
    name of its class folder, which decides between files of one name."""

    stems: tuple[str, ...]
    label: str
    class_folder: str = ""


class VideoIndex:
    """The video files below a folder by name without suffix, in whatever sub-folders and formats they were kept."""

    def __init__(self, folder: str | Path) -> None:
        """List the files once; UserError when there is none."""
        self.folder, self._paths = folder, {}
        for path in find_videos(folder):
            self._paths.setdefault(Path(path).stem, []).append(path)
        if not self._paths:
            raise UserError(f"there is no video file below {folder}; known are {', '.join(VIDEO_SUFFIXES)}")

    def find(self, stems: Sequence[str], class_folder: str = "") -> str | None:
        """Return the file of the first of `stems` that exists, or None.

        Of several files with one stem it is the one in a folder called `class_folder` (however spelt), else the first
        in order of paths.
        """
        for stem in stems:
            paths = self._paths.get(stem)
            if paths:
                fitting = [path for path in paths if folder_key(Path(path).parent.name) == folder_key(class_folder)]
                return (fitting or paths)[0]
        return None

    def match(self, entries: Sequence[Entry], missing: list[str]) -> list[Sample]:
        """Return the entries that have a file, each file once; the names of the others are added to `missing`."""
        samples: dict[str, Sample] = {}
        for entry in entries:
            path = self.find(entry.stems, entry.class_folder)
            if path is None:
                missing.append("/".join(filter(None, (entry.class_folder, entry.stems[0]))))
            else:
                samples.setdefault(path, Sample(path, entry.label))
        return list(samples.values())


def folder_key(name: str) -> str:
    """Return what the spellings of a class folder share: no quotes, underscores for spaces, small letters."""
    return name.replace(" ", "_").replace('"', "").replace("'", "").casefold()


def read_text_lines(path: str | Path) -> list[tuple[int, str]]:
    """Return (number from 1, stripped text) of the lines that are not blank; UserError when unreadable or empty."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UserError(f"{path} is empty")
    return lines


def read_table(path: str | Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield ("file:line", row) for the rows of a csv with a header; UserError when one of `columns` is missing."""
    read_text_lines(path)
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        absent = [name for name in columns if name not in (reader.fieldnames or ())]
        if absent:
            raise UserError(f"{path} has no column {absent[0]!r}; its header must name {', '.join(columns)}")
        try:
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if any(row[name] is None for name in columns):
                    raise UserError(f"{where}: fewer fields than the header has columns")
                yield where, row
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num}: no csv: {error}") from error


def published_file(folder: str | Path, name: str, prefix: str) -> Path:
    """Return the path of an annotation file, with `prefix` before its name or without; UserError for neither."""
    long_name = f"{prefix}{name}"
    for candidate in (Path(folder) / name, Path(folder) / long_name):
        if candidate.is_file():
            return candidate
    raise UserError(f"{folder} holds neither {name} nor {long_name}")


def build_parser(description: str | None, output_dir: Path) -> argparse.ArgumentParser:
    """Return a parser with the argument that all generators have, --output_dir, and its default."""
    parser = Parser(description=description, allow_abbrev=False)
    parser.add_argument("--output_dir", default=str(output_dir), help="where the lists go (default: %(default)s)")
    return parser


def write_lists(
    output_dir: str | Path,
    train: Sequence[Sample],
    valid: Sequence[Sample],
    class_names: Sequence[str] | None,
    missing: Sequence[str] = (),
) -> None:
    """Write trainlist.txt, vallist.txt, testlist.txt (the same as vallist.txt) and report what was left out.

    Args:
        output_dir: made if need be.
        train: samples to learn from.
        valid: samples to validate and to test on.
        class_names: written to class_names.txt in the order of the labels; None leaves that file alone.
        missing: annotated videos without a file: counted on the screen, listed in missing.txt.

    Raises:
        UserError: a list would be empty, or a path cannot stand in a list.
    """
    output_dir = Path(output_dir)
    for name, samples in (("training", train), ("validation", valid)):
        if not samples:
            hint = f"none of the annotated videos was found, for instance {missing[0]}" if missing else "there are none"
            raise UserError(f"no video for the {name} list: {hint}; check the folder of videos")
    texts = {"trainlist.txt": _list_text(train, output_dir), "vallist.txt": _list_text(valid, output_dir)}
    texts["testlist.txt"] = texts["vallist.txt"]
    if class_names is not None:
        texts["class_names.txt"] = "".join(f"{name}\n" for name in class_names)
    if missing:
        texts["missing.txt"] = "".join(f"{name}\n" for name in missing)
    else:
        (output_dir / "missing.txt").unlink(missing_ok=True)  # an earlier run's
    for name, text in texts.items():
        write_text(output_dir / name, text)
    print(f"{len(train)} training and {len(valid)} validation videos: {output_dir / 'trainlist.txt'}, vallist.txt")
    if missing:
        print(f"{len(missing)} annotated videos have no file, listed in {output_dir / 'missing.txt'}")


def _list_text(samples: Sequence[Sample], output_dir: Path) -> str:
    """Return the lines of a list; files below its folder get relative paths, so that the folder can be moved."""
    root, lines = os.path.abspath(output_dir) + os.sep, []
    for sample in samples:
        path = os.path.abspath(sample.path)
        path = path[len(root) :] if path.startswith(root) else path
        if any(sign in path for sign in "\n\r\0"):
            raise UserError(f"a list cannot hold the path {path!r}: rename the file")
        if path[0] in "# \t":  # would be a comment, or stripped
            path = os.path.join(".", path)
        lines.append(f"{path} {sample.label}\n")
    return "".join(lines)
