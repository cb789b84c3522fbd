"""python data/dataset/charades/make_lists.py --video_dir Charades_v1_480 --annotation_dir Charades

Lists for Charades, several actions a video: `path 12,40,153`, or `path -` for none. --annotation_dir holds
Charades_v1_train.csv, Charades_v1_test.csv and Charades_v1_classes.txt as published.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.lists_writer import (
    NO_ACTION,
    Entry,
    VideoIndex,
    build_parser,
    read_table,
    read_text_lines,
    write_lists,
)
from utils.cli import run
from utils.errors import UserError


def read_classes(path: Path) -> tuple[dict[str, int], list[str]]:
    """Return code (c000) -> label and the names in order, from lines `c000 Holding some clothes`."""
    labels, names = {}, []
    for number, line in read_text_lines(path):
        match = re.fullmatch(r"(c\d{3})\s+(.+)", line)
        if match is None or match[1] in labels:
            raise UserError(f"{path}:{number}: expected a new code and a name (`c000 Holding some clothes`)")
        labels[match[1]] = len(names)
        names.append(match[2])
    return labels, names


def read_annotations(path: Path, labels: dict[str, int]) -> list[Entry]:
    """Return the videos of the csv with their labels, each once; actions are `c092 11.90 21.20;c147 0.00 12.60`."""
    videos = []
    for where, row in read_table(path, ("id", "actions")):
        found = set()
        for action in filter(None, (part.strip() for part in row["actions"].split(";"))):
            code = action.split()[0]
            if code not in labels:
                raise UserError(f"{where}: {code!r} is no class of Charades_v1_classes.txt")
            found.add(labels[code])
        videos.append(Entry((row["id"].strip(),), ",".join(map(str, sorted(found))) or NO_ACTION))
    return videos


def main() -> None:
    """Read the annotations, find the files, write the lists."""
    parser = build_parser(__doc__, Path(__file__).parent)
    parser.add_argument("--video_dir", required=True, help="folder with the videos")
    parser.add_argument("--annotation_dir", required=True, help="folder with the csv files and the class file")
    options = parser.parse_args()
    folder = Path(options.annotation_dir)
    labels, class_names = read_classes(folder / "Charades_v1_classes.txt")
    parts = [read_annotations(folder / f"Charades_v1_{part}.csv", labels) for part in ("train", "test")]
    index, missing = VideoIndex(options.video_dir), []
    samples = [index.match(entries, missing) for entries in parts]
    write_lists(options.output_dir, *samples, class_names, missing)


if __name__ == "__main__":
    run(main)
