"""python data/dataset/something_v1/make_lists.py --video_dir 20bn-something-something-v1 --annotation_dir labels

Lists for Something-Something V1. --video_dir holds a folder of JPEG frames for each video, <id>/00001.jpg and so on.
--annotation_dir holds something-something-v1-train.csv and -validation.csv (lines `id;label text`) and -labels.csv (a
label a line), or the same without `something-something-v1-` in front.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.lists_writer import Entry, Sample, build_parser, published_file, read_text_lines, write_lists
from datareader.decoding import is_frame_folder
from datareader.lists import class_key, read_class_names
from utils.cli import run
from utils.errors import UserError

PREFIX = "something-something-v1-"


def read_annotations(path: Path, labels: dict[str, int]) -> list[Entry]:
    """Return the videos of a csv with their classes; UserError, with its line, for what is not `id;label text`."""
    entries = []
    for number, line in read_text_lines(path):
        where = f"{path}:{number}"
        video, separator, text = (part.strip() for part in line.partition(";"))
        if not (separator and text) or not video or os.path.basename(video) != video:
            raise UserError(f"{where}: expected `id;label text`, found {line!r}")
        label = labels.get(class_key(text.strip('"')))
        if label is None:
            raise UserError(f"{where}: video {video} has the unknown class {text!r}")
        entries.append(Entry((video,), str(label)))
    return entries


def match_folders(folder: str, entries: Sequence[Entry], missing: list[str]) -> list[Sample]:
    """Return the entries that have a folder of frames, each once; the ids of the others are added to `missing`."""
    samples: dict[str, Sample] = {}
    for entry in entries:
        path = os.path.join(folder, entry.stems[0])
        if is_frame_folder(path):
            samples.setdefault(path, Sample(path, entry.label))
        else:
            missing.append(entry.stems[0])
    return list(samples.values())


def main() -> None:
    """Read the annotations, find the folders, write the lists."""
    parser = build_parser(__doc__, Path(__file__).parent)
    parser.add_argument("--video_dir", required=True, help="folder with a folder of JPEG frames a video")
    parser.add_argument("--annotation_dir", required=True, help="folder with the csv files")
    options = parser.parse_args()
    if not os.path.isdir(options.video_dir):
        raise UserError(f"there is no folder {options.video_dir}; give the one that holds the videos")
    class_names = read_class_names(published_file(options.annotation_dir, "labels.csv", PREFIX))
    labels = {class_key(name): label for label, name in enumerate(class_names)}
    missing: list[str] = []
    samples = []
    for name in ("train.csv", "validation.csv"):
        entries = read_annotations(published_file(options.annotation_dir, name, PREFIX), labels)
        samples.append(match_folders(options.video_dir, entries, missing))
    write_lists(options.output_dir, *samples, class_names, missing)
    print(f"{len(class_names)} classes")


if __name__ == "__main__":
    run(main)
