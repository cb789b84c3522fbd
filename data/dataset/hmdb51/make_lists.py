"""Lists for HMDB51: python data/dataset/hmdb51/make_lists.py --video_dir hmdb51 --split_dir testTrainMulti_7030_splits

--split_dir holds <class>_test_split<1, 2 or 3>.txt with lines `name.avi 1` (training), 2 (test) or 0 (not used). The
classes are those of the split's files, in alphabetical order.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.lists_writer import Entry, VideoIndex, build_parser, read_text_lines, write_lists
from utils.cli import run
from utils.errors import UserError

UNUSED, TRAINING, TEST = "0", "1", "2"


def split_files(split_dir: str, split: int) -> dict[str, Path]:
    """Return class name -> its file of the split, sorted by name; UserError when there is none."""
    ending = f"_test_split{split}.txt"
    files = {path.name[: -len(ending)]: path for path in sorted(Path(split_dir).glob(f"*{ending}"))}
    if not files:
        raise UserError(f"{split_dir} holds no <class>{ending}; give the folder of the official splits")
    return files


def read_split(path: Path) -> list[tuple[str, str]]:
    """Return (file name, mark) of each line; the mark is "0", "1" or "2"."""
    entries = []
    for number, line in read_text_lines(path):
        name, _, mark = line.rpartition(" ")
        if mark not in (UNUSED, TRAINING, TEST) or not name.strip():
            raise UserError(f"{path}:{number}: expected `file.avi` and 0, 1 or 2, found {line!r}")
        entries.append((name.strip(), mark))
    return entries


def main() -> None:
    """Read a split, find the files, write the lists."""
    parser = build_parser(__doc__, Path(__file__).parent)
    parser.add_argument("--video_dir", required=True, help="folder with the videos, a sub-folder a class")
    parser.add_argument("--split_dir", required=True, help="folder with the official splits")
    parser.add_argument("--split", type=int, choices=(1, 2, 3), default=1, help="which split (default: %(default)s)")
    options = parser.parse_args()
    files = split_files(options.split_dir, options.split)
    parts: dict[str, list[Entry]] = {UNUSED: [], TRAINING: [], TEST: []}
    for label, (class_name, path) in enumerate(files.items()):
        for name, mark in read_split(path):
            parts[mark].append(Entry((Path(name).stem,), str(label), class_name))
    index, missing = VideoIndex(options.video_dir), []
    samples = [index.match(parts[mark], missing) for mark in (TRAINING, TEST)]
    class_names = [name.replace("_", " ") for name in files]
    write_lists(options.output_dir, *samples, class_names, missing)


if __name__ == "__main__":
    run(main)
