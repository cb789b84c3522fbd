"""What the generators for data sets with boxes share: the files they write, the pickles of JHMDB and UCF101-24."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.dataset.lists_writer import Entry, VideoIndex, build_parser, write_lists
from datareader.box_lists import BOX_ROW, FrameIndex, write_boxes, write_label_map
from utils.errors import UserError
from weights.safe_pickle import load_pickle

TRAIN_BOXES, VALID_BOXES, LABEL_MAP = "train_boxes.csv", "val_boxes.csv", "label_map.pbtxt"
KEYS = ("labels", "gttubes", "train_videos", "test_videos")


def video_lists(output_dir: str | Path, video_dir: str | None, train: Sequence[str], valid: Sequence[str]) -> None:
    """Write trainlist.txt, vallist.txt and testlist.txt with lines `path video`; nothing where `video_dir` is None.

    train, valid: names of videos; of a name `Class/video` the part behind the slash is that of the file.
    """
    if video_dir is None:
        return
    for name in (*train, *valid):
        if name.split() != [name]:
            raise UserError(f"a list cannot hold the name of the video {name!r}: it has spaces")
    index, missing = VideoIndex(video_dir), []
    parts = [
        index.match([Entry((Path(name).name,), name, Path(name).parent.name) for name in names], missing)
        for names in (train, valid)
    ]
    write_lists(output_dir, *parts, None, missing)


class TubeAnnotations(NamedTuple):
    """labels: the classes' names; gttubes: video -> {class from 0: [tube float [n, 5] = frame from 1, x1, y1, x2, y2 in
    pixels]}; train_videos, test_videos: names for each split."""

    labels: list[str]
    gttubes: dict[str, dict[int, list[np.ndarray]]]
    train_videos: list[list[str]]
    test_videos: list[list[str]]


def read_tube_pickle(path: str) -> TubeAnnotations:
    """The annotations in a pickle of ACT's authors (JHMDB-GT.pkl, UCF101v2-GT.pkl); nothing in it is run.

    Raises UserError for a file that is no such pickle.
    """
    content: Any = load_pickle(path)
    try:
        found = TubeAnnotations(*(content[key] for key in KEYS))
        tubes = [tube for classes in found.gttubes.values() for tubes in classes.values() for tube in tubes]
        fits = all(0 <= label < len(found.labels) for classes in found.gttubes.values() for label in classes)
        fits &= all(tube.ndim == 2 and tube.shape[1] == 5 and np.isfinite(tube).all() for tube in tubes)
        names = {name for part in (*found.train_videos, *found.test_videos) for name in part}
        if not fits or not names <= found.gttubes.keys():
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a pickle of annotated tubes; it needs {', '.join(KEYS)}") from None
    return found


def boxes_of(found: TubeAnnotations, videos: Sequence[str], index: FrameIndex) -> np.ndarray:
    """The boxes of the videos' tubes, BOX_ROW: labels from 1, the tubes of a video numbered in `person` from 0."""
    parts = [np.empty(0, BOX_ROW)]
    for video in videos:
        tubes = [(label, tube) for label, tubes in sorted(found.gttubes[video].items()) for tube in tubes]
        for number, (label, tube) in enumerate(tubes):
            rows = np.empty(len(tube), BOX_ROW)
            rows["frame"] = [index.number(video, f"#{frame:.0f}") for frame in tube[:, 0]]
            rows["box"], rows["label"], rows["score"], rows["person"] = tube[:, 1:], label + 1, 1.0, number
            parts.append(rows)
    return np.concatenate(parts)


def make_tube_lists(doc: str | None, output_dir: Path, num_splits: int) -> None:
    """The program of both data sets: read the pickle, write boxes, label map and, with --video_dir, lists of videos."""
    parser = build_parser(doc, output_dir)
    parser.add_argument("--pickle", required=True, help="the published annotations")
    parser.add_argument("--split", type=int, choices=range(1, num_splits + 1), default=1, help="(default: %(default)s)")
    parser.add_argument("--video_dir", help="folder with the videos; without it no lists of videos are written")
    options = parser.parse_args()
    found = read_tube_pickle(options.pickle)
    if options.split > min(len(found.train_videos), len(found.test_videos)):
        raise UserError(f"{options.pickle} has no split {options.split}")
    parts = found.train_videos[options.split - 1], found.test_videos[options.split - 1]
    folder = Path(options.output_dir)
    for name, videos in zip((TRAIN_BOXES, VALID_BOXES), parts):
        index = FrameIndex()
        rows = boxes_of(found, videos, index)
        write_boxes(folder / name, rows, index, "pixels", "person")
        print(f"{folder / name}: {len(videos)} videos, {len(index.time)} frames, {len(rows)} boxes")
    write_label_map(folder / LABEL_MAP, dict(enumerate(found.labels, 1)))
    video_lists(folder, options.video_dir, *parts)
