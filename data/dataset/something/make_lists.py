"""python data/dataset/something/make_lists.py --video_dir 20bn-something-something-v2 --annotation_dir labels

Lists for Something-Something V2. --annotation_dir holds train.json, validation.json and labels.json as published, or
the same with `something-something-v2-` in front.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.lists_writer import Entry, VideoIndex, build_parser, published_file, write_lists
from datareader.lists import class_key, read_class_names
from utils.cli import run
from utils.errors import UserError

PREFIX = "something-something-v2-"


def read_annotations(path: Path, labels: dict[str, int]) -> list[Entry]:
    """Return the videos of the json; the class of each is its template without brackets."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(str(entry["id"]), entry["template"].replace("[", "").replace("]", "")) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: expected a json list of entries with id and template ({error!r})") from error
    for video, template in pairs:
        if class_key(template) not in labels:
            raise UserError(f"{path}: video {video} has the unknown class {template!r}")
    return [Entry((video,), str(labels[class_key(template)])) for video, template in pairs]


def main() -> None:
    """Read the annotations, find the files, write the lists."""
    parser = build_parser(__doc__, Path(__file__).parent)
    parser.add_argument("--video_dir", required=True, help="folder with the .webm files")
    parser.add_argument("--annotation_dir", required=True, help="folder with the json files")
    options = parser.parse_args()
    class_names = read_class_names(published_file(options.annotation_dir, "labels.json", PREFIX))
    labels = {class_key(name): label for label, name in enumerate(class_names)}
    names = ("train.json", "validation.json")
    parts = [read_annotations(published_file(options.annotation_dir, name, PREFIX), labels) for name in names]
    index, missing = VideoIndex(options.video_dir), []
    samples = [index.match(entries, missing) for entries in parts]
    write_lists(options.output_dir, *samples, class_names, missing)
    print(f"{len(class_names)} classes")


if __name__ == "__main__":
    run(main)
