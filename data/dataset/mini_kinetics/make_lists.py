"""python data/dataset/mini_kinetics/make_lists.py --train_csv t.csv --train_dir t --valid_csv v.csv --valid_dir v

Lists for Mini-Kinetics-200 from Kinetics-400's own csv files and videos (data/dataset/nonlocal/make_kinetics_lists.py
says which). The classes are those of mini_kinetics200_labels.txt, labels 0 to 199. --train_ids and --valid_ids name the
authors' lists, one YouTube id a line; without them all videos of the classes are taken.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.kinetics_csv import KINETICS_400, entry_of, read_rows
from data.dataset.lists_writer import Entry, VideoIndex, build_parser, read_text_lines, write_lists
from datareader.lists import class_key, read_class_names
from utils.cli import run

CLASSES = Path(__file__).parent / "mini_kinetics200_labels.txt"


def entries_of(rows: Sequence[dict[str, str]], all_labels: dict[str, int], labels: dict[str, int]) -> list[Entry]:
    """Return the rows whose class is one of `labels`; UserError for a class that is not even one of `all_labels`."""
    entries = []
    for row in rows:
        entry, label = entry_of(row, all_labels), labels.get(class_key(row["label"]))
        if label is not None:
            entries.append(entry._replace(label=str(label)))
    return entries


def among_ids(entries: Sequence[Entry], path: str | None, csv: str) -> list[Entry]:
    """Return the entries whose id stands in a file, all without one; prints how many ids no entry has."""
    if path is None:
        return list(entries)
    ids = dict.fromkeys(line for _, line in read_text_lines(path))
    found = {entry.stems[-1] for entry in entries}
    absent = [video for video in ids if video not in found]
    if absent:
        where = f"no row of {csv} with one of the classes"
        print(f"{len(absent)} of {len(ids)} ids of {path} are in {where}, for instance {absent[0]}")
    return [entry for entry in entries if entry.stems[-1] in ids]


def main() -> None:
    """Read the annotations, choose the classes and ids, find the files, write the lists."""
    parser = build_parser(__doc__, Path(__file__).parent)
    parser.add_argument("--train_csv", required=True, help="Kinetics-400's annotations of the training set")
    parser.add_argument("--train_dir", required=True, help="folder with its videos")
    parser.add_argument("--valid_csv", required=True, help="Kinetics-400's annotations of the validation set")
    parser.add_argument("--valid_dir", required=True, help="folder with its videos")
    parser.add_argument("--train_ids", help="the authors' list of training ids")
    parser.add_argument("--valid_ids", help="the authors' list of validation ids")
    options = parser.parse_args()
    class_names = read_class_names(CLASSES)
    all_labels, labels = (
        {class_key(name): label for label, name in enumerate(names)}
        for names in (read_class_names(KINETICS_400), class_names)
    )
    missing: list[str] = []
    samples = []
    for split in ("train", "valid"):
        csv, folder, ids = (getattr(options, f"{split}_{kind}") for kind in ("csv", "dir", "ids"))
        entries = among_ids(entries_of(read_rows(csv, split), all_labels, labels), ids, csv)
        samples.append(VideoIndex(folder).match(entries, missing))
    write_lists(options.output_dir, *samples, class_names, missing)
    for name, videos in zip(("training", "validation"), samples):
        classes = len({video.label for video in videos})
        print(f"{classes} of {len(class_names)} classes have {name} videos")


if __name__ == "__main__":
    run(main)
