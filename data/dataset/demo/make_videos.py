"""Draw the demo's data set: python data/dataset/demo/make_videos.py --output_dir data/dataset/demo/videos

H.264 files in train/, valid/ and test/, with trainlist.txt, vallist.txt, testlist.txt (`path label`, paths relative to
the lists) and class_names.txt. The same arguments give the same data; a complete data set is kept as it is.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.demo import draw_motions
from data.dataset.drawn_videos import FRAME_RATES, make_missing_videos, show_progress
from utils.cli import Parser, positive_int, run
from utils.errors import UserError
from utils.files import write_text

SPLITS = {"train": "trainlist.txt", "valid": "vallist.txt", "test": "testlist.txt"}
CLASS_NAMES_FILE = "class_names.txt"


class Video(NamedTuple):
    """One file to be made: where it goes, its class, and the numbers that decide all that is left to chance."""

    path: str
    class_name: str
    seed: tuple[int, ...]


def planned_videos(num_train: int, num_valid: int, num_test: int, seed: int) -> dict[str, list[Video]]:
    """Return the videos of each split, so many a class.

    In training the two classes of a pair share their scenes (the same background once with each direction), so that
    there is nothing but the motion to tell them apart; held-out videos all have scenes of their own.
    """
    plan: dict[str, list[Video]] = {split: [] for split in SPLITS}
    for split_number, (split, count) in enumerate(zip(SPLITS, (num_train, num_valid, num_test))):
        for number in range(count):
            for name, (motion, backwards) in draw_motions.CLASSES.items():
                scene = 2 * number + int(backwards and split != "train")
                video_seed = (seed, split_number, list(draw_motions.MOTIONS).index(motion), scene)
                plan[split].append(Video(f"{split}/{name}_{number:03d}.mp4", name, video_seed))
    return plan


def _draw(video: Video) -> tuple[np.ndarray, Fraction]:
    """The frames and the frame rate of a video."""
    frames = draw_motions.draw_frames(video.class_name, np.random.default_rng(video.seed))
    return frames, FRAME_RATES[video.seed[-1] % len(FRAME_RATES)]


def make_dataset(
    folder: str | Path,
    num_train: int = 60,
    num_valid: int = 6,
    num_test: int = 12,
    seed: int = 0,
    num_workers: int | None = None,
    progress: Any = None,
) -> bool:
    """Make the data set in `folder`, or what of it is missing: what the manifest of the same arguments names is kept.

    Args:
        folder: gets the splits' folders, the lists, the class names and the manifest.
        num_train: videos a class to train on.
        num_valid: videos a class to validate on.
        num_test: videos a class to test on.
        seed: other seeds give other videos.
        num_workers: processes; as many as this process may use cores when None.
        progress: called with (videos done, videos in all) after each video.

    Returns:
        True when the videos were made, False when they were there.

    Raises:
        UserError: a number of videos is not positive, or PyAV is missing.
        RunError: a file cannot be written, or a drawing process died.
    """
    folder = Path(folder)
    if min(num_train, num_valid, num_test) < 1 or seed < 0:
        raise UserError("each split needs at least one video a class, and the seed must not be negative")
    plan = planned_videos(num_train, num_valid, num_test, seed)

    def write_lists() -> None:
        for split, list_name in SPLITS.items():
            lines = [f"{video.path} {draw_motions.CLASS_NAMES.index(video.class_name)}\n" for video in plan[split]]
            write_text(folder / list_name, "".join(lines))
        write_text(folder / CLASS_NAMES_FILE, "".join(f"{name}\n" for name in draw_motions.CLASS_NAMES))

    videos = [video for split in plan.values() for video in split]
    return make_missing_videos(
        folder, videos, (draw_motions.__file__, __file__), _draw, write_lists, (*SPLITS.values(), CLASS_NAMES_FILE),
        num_workers, progress,
    )  # fmt: skip


def main() -> None:
    """Make the data set and say what was made."""
    parser = Parser(description=__doc__)
    parser.add_argument("--output_dir", required=True, help="folder of the data set")
    parser.add_argument("--num_train", type=positive_int, default=60, help="training videos a class (%(default)s)")
    parser.add_argument("--num_valid", type=positive_int, default=6, help="validation videos a class (%(default)s)")
    parser.add_argument("--num_test", type=positive_int, default=15, help="test videos a class (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other videos (%(default)s)")
    parser.add_argument("--num_workers", type=positive_int, help="processes (default: one a core)")
    options = parser.parse_args()
    counts = (options.num_train, options.num_valid, options.num_test)
    progress = show_progress if sys.stderr.isatty() else None
    made = make_dataset(options.output_dir, *counts, options.seed, options.num_workers, progress)
    num_classes = len(draw_motions.CLASS_NAMES)
    done = "made in" if made else "are in"
    print(f"{sum(counts) * num_classes} videos of {num_classes} classes {done} {options.output_dir}")


if __name__ == "__main__":
    run(main)
