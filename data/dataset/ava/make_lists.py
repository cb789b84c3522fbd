"""Boxes and lists for AVA 2.1 and 2.2: the published csv files, checked, without the excluded frames.

python data/dataset/ava/make_lists.py --annotation_dir ava_v2.2 --version 2.2 --video_dir ava_videos_15min
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np

from data.dataset.action_boxes import TRAIN_BOXES, VALID_BOXES, video_lists
from data.dataset.lists_writer import build_parser
from datareader.box_lists import FrameIndex, read_frame_list, read_truth, write_boxes
from utils.cli import run


def main() -> None:
    """Read the annotations, write the boxes of the frames that are used and the lists of videos."""
    parser = build_parser(__doc__, Path(__file__).parent)
    parser.add_argument("--annotation_dir", required=True, help="folder with the csv files as published")
    parser.add_argument("--version", choices=("2.1", "2.2"), default="2.2", help="of AVA (default: %(default)s)")
    parser.add_argument("--video_dir", help="folder with the videos; without it no lists of videos are written")
    options = parser.parse_args()
    videos = []
    for part, name in (("train", TRAIN_BOXES), ("val", VALID_BOXES)):
        index, folder = FrameIndex(), Path(options.annotation_dir)
        truth = read_truth(str(folder / f"ava_{part}_v{options.version}.csv"), index)
        excluded = read_frame_list(str(folder / f"ava_{part}_excluded_timestamps_v{options.version}.csv"), index)
        rows = truth.rows[~np.isin(truth.rows["frame"], excluded)]
        frames = np.setdiff1d(truth.frames, excluded)
        path = Path(options.output_dir) / name
        write_boxes(path, rows, index, truth.unit, "person", np.setdiff1d(frames, rows["frame"]))
        numbers = np.unique(index.video[frames])
        videos.append([index.videos[number] for number in numbers])
        print(*truth.notes, f"{path}: {len(numbers)} videos, {len(frames)} frames, {len(rows)} rows", sep="\n")
    video_lists(options.output_dir, options.video_dir, *videos)


if __name__ == "__main__":
    run(main)
