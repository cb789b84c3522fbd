"""Draw the detection demo's data set: python data/dataset/demo_detection/make_videos.py --output_dir data/dataset/demo_detection/videos

H.264 files in train/ and val/; train_boxes.csv and val_boxes.csv with the actors' boxes on key frames (docs/detection.md),
trainlist.txt and vallist.txt (`path video`, paths relative to the lists) and label_map.pbtxt. The same arguments give the
same data; a complete data set is kept as it is.
"""  # noqa: E501 - the first line is a command

from __future__ import annotations

import dataclasses
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.action_boxes import LABEL_MAP, TRAIN_BOXES, VALID_BOXES
from data.dataset.demo import draw_motions
from data.dataset.demo_detection import draw_actors
from data.dataset.demo_detection.draw_actors import CLASS_NAMES, Scene, key_frames, scene_by_chance
from data.dataset.drawn_videos import FRAME_RATES, make_missing_videos, show_progress
from datareader.box_lists import BOX_ROW, FrameIndex, write_boxes, write_label_map
from utils.cli import Parser, positive_int, run
from utils.errors import UserError
from utils.files import write_text

SPLITS = {"train": ("trainlist.txt", TRAIN_BOXES), "val": ("vallist.txt", VALID_BOXES)}


class Video(NamedTuple):
    """One file to be made: where it goes, the numbers that decide its scene, and whether it is played backwards."""

    path: str
    seed: tuple[int, ...]
    backwards: bool

    @property
    def name(self) -> str:
        """What lists and csv files call it."""
        return Path(self.path).stem

    def scene(self) -> Scene:
        """Its scene, not yet drawn."""
        return dataclasses.replace(scene_by_chance(np.random.default_rng(self.seed)), backwards=self.backwards)


def planned_videos(num_train: int, num_val: int, seed: int) -> dict[str, list[Video]]:
    """The videos of each split.

    In training each scene is there twice, forwards and backwards, so that there is nothing but the order of the frames
    to tell the classes of a pair apart; held-out videos all have scenes of their own.
    """
    train = [
        Video(f"train/train_{number:04d}{'_backwards' * backwards}.mp4", (seed, 0, number), backwards)
        for number in range(num_train)
        for backwards in (False, True)
    ]
    return {
        "train": train,
        "val": [Video(f"val/val_{number:04d}.mp4", (seed, 1, number), False) for number in range(num_val)],
    }


def annotated_boxes(videos: list[Video], index: FrameIndex) -> np.ndarray:
    """The boxes of the videos' key frames in fractions of the frame, BOX_ROW; frames are counted from 1, labels too."""
    parts = []
    for video in videos:
        scene = video.scene()
        boxes = scene.boxes() / [scene.width, scene.height, scene.width, scene.height]
        for frame in key_frames(scene.num_frames):
            rows = np.zeros(len(scene.actors), BOX_ROW)
            rows["frame"] = index.number(video.name, f"#{frame + 1}")
            rows["box"], rows["person"] = boxes[frame], np.arange(len(rows))
            rows["label"] = [CLASS_NAMES.index(name) + 1 for name in scene.classes]
            parts.append(rows)
    return np.concatenate(parts)


def make_dataset(
    folder: str | Path,
    num_train: int = 218,
    num_val: int = 64,
    seed: int = 0,
    num_workers: int | None = None,
    progress: Any = None,
) -> bool:
    """Make the data set in `folder`, or what of it is missing.

    Args:
        folder: gets the splits' folders, their lists and boxes, and the label map.
        num_train: scenes to train on, two videos each.
        num_val: held-out videos.
        seed: other seeds give other videos.
        num_workers, progress: as `make_missing_videos` takes them, which says what is raised.

    Returns:
        True when the videos were made, False when they were there.
    """
    folder = Path(folder)
    if min(num_train, num_val) < 1 or seed < 0:
        raise UserError("each split needs at least one scene, and the seed must not be negative")
    plan = planned_videos(num_train, num_val, seed)

    def write_lists() -> None:
        for split, (list_name, boxes_name) in SPLITS.items():
            write_text(folder / list_name, "".join(f"{video.path} {video.name}\n" for video in plan[split]))
            index = FrameIndex()
            write_boxes(folder / boxes_name, annotated_boxes(plan[split], index), index, "relative", "person")
        write_label_map(folder / LABEL_MAP, dict(enumerate(CLASS_NAMES, 1)))

    return make_missing_videos(
        folder, [*plan["train"], *plan["val"]], (draw_motions.__file__, draw_actors.__file__, __file__), _draw,
        write_lists, [LABEL_MAP, *(name for names in SPLITS.values() for name in names)], num_workers, progress,
    )  # fmt: skip


def _draw(video: Video) -> tuple[np.ndarray, Fraction]:
    """The frames and the frame rate of a video."""
    return video.scene().draw(), FRAME_RATES[video.seed[-1] % len(FRAME_RATES)]


def main() -> None:
    """Make the data set and say what was made."""
    parser = Parser(description=__doc__)
    parser.add_argument("--output_dir", required=True, help="folder of the data set")
    parser.add_argument(
        "--num_train", type=positive_int, default=218, help="scenes to train on, two videos each (%(default)s)"
    )
    parser.add_argument("--num_val", type=positive_int, default=64, help="held-out videos (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other videos (%(default)s)")
    parser.add_argument("--num_workers", type=positive_int, help="processes (default: one a core)")
    options = parser.parse_args()
    progress = show_progress if sys.stderr.isatty() else None
    made = make_dataset(
        options.output_dir, options.num_train, options.num_val, options.seed, options.num_workers, progress
    )
    done = "made in" if made else "are in"
    print(f"{2 * options.num_train + options.num_val} videos of several actors {done} {options.output_dir}")


if __name__ == "__main__":
    run(main)
