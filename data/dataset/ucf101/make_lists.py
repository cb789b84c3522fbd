"""Lists for UCF101: python data/dataset/ucf101/make_lists.py --video_dir UCF-101 --split_dir ucfTrainTestlist --split 1

--split_dir is the folder of the official splits: classInd.txt, trainlist01.txt, testlist01.txt and so on. Lines with
and without a label are understood; the class is the folder in front of the file's name, and a label must agree with it.
"""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.lists_writer import Entry, VideoIndex, build_parser, read_text_lines, write_lists
from datareader.lists import read_class_names
from utils.cli import run
from utils.errors import UserError


def read_split(path: Path, labels: dict[str, int]) -> list[Entry]:
    """Return the videos of an official list (lines `Class/name.avi`, with or without a label from 1)."""
    entries = []
    for number, line in read_text_lines(path):
        name, _, given = line.partition(" ")
        video = PurePosixPath(name.replace("\\", "/"))
        label = labels.get(video.parent.name)
        if label is None:
            raise UserError(f"{path}:{number}: no class {video.parent.name!r} in classInd.txt; expected Class/file.avi")
        if given.strip() and given.strip() != str(label + 1):
            raise UserError(f"{path}:{number}: label {given.strip()}, but {video.parent.name} is class {label + 1}")
        entries.append(Entry((video.stem,), str(label), video.parent.name))
    return entries


def main() -> None:
    """Read a split, find the files, write the lists."""
    parser = build_parser(__doc__, Path(__file__).parent)
    parser.add_argument("--video_dir", required=True, help="folder with the videos (UCF-101)")
    parser.add_argument("--split_dir", required=True, help="folder with the official splits (ucfTrainTestlist)")
    parser.add_argument("--split", type=int, choices=(1, 2, 3), default=1, help="which split (default: %(default)s)")
    options = parser.parse_args()
    split_dir = Path(options.split_dir)
    class_names = read_class_names(split_dir / "classInd.txt")
    labels = {name: label for label, name in enumerate(class_names)}
    parts = [read_split(split_dir / f"{part}list{options.split:02d}.txt", labels) for part in ("train", "test")]
    index, missing = VideoIndex(options.video_dir), []
    samples = [index.match(entries, missing) for entries in parts]
    write_lists(options.output_dir, *samples, class_names, missing)


if __name__ == "__main__":
    run(main)
