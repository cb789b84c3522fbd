"""python data/dataset/nonlocal/make_kinetics_lists.py --train_csv t.csv --train_dir t --valid_csv v.csv --valid_dir v

Lists for Kinetics. The csv files are those of ActivityNet's crawler (label, youtube_id, time_start, time_end, split). A
video is found as <youtube_id>_<start, 6 digits>_<end, 6 digits> with any video suffix, in class sub-folders or without;
names without the leading zeros, and <youtube_id> alone, are found too.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.kinetics_csv import KINETICS_400, entry_of, read_rows
from data.dataset.lists_writer import VideoIndex, build_parser, write_lists
from datareader.lists import class_key, read_class_names
from utils.cli import run


def main() -> None:
    """Read the annotations, find the files, write the lists."""
    parser = build_parser(__doc__, Path(__file__).parent)
    parser.add_argument("--train_csv", required=True, help="annotations of the training set")
    parser.add_argument("--train_dir", required=True, help="folder with its videos")
    parser.add_argument("--valid_csv", required=True, help="annotations of the validation set")
    parser.add_argument("--valid_dir", required=True, help="folder with its videos")
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--class_names", default=str(KINETICS_400), help="names in order (default: %(default)s)")
    names.add_argument("--names_from_csv", action="store_true", help="the training csv's classes, alphabetically")
    options = parser.parse_args()
    train, valid = read_rows(options.train_csv, "train"), read_rows(options.valid_csv, "valid")
    if options.names_from_csv:
        class_names = sorted({row["label"].replace("_", " ") for row in train})
    else:
        class_names = read_class_names(options.class_names)
    labels = {class_key(name): label for label, name in enumerate(class_names)}
    missing: list[str] = []
    samples = [
        VideoIndex(folder).match([entry_of(row, labels) for row in rows], missing)
        for rows, folder in ((train, options.train_dir), (valid, options.valid_dir))
    ]
    write_lists(options.output_dir, *samples, class_names if options.names_from_csv else None, missing)
    print(f"{len(class_names)} classes")


if __name__ == "__main__":
    run(main)
