"""Lists from one sub-folder a class: python data/dataset/nonlocal/make_folder_lists.py --video_dir my_videos

The sub-folders of --video_dir, in alphabetical order, are the classes; videos may lie in folders below them. A seeded
fraction of each class is kept for validation, or --valid_dir names a folder of the same form.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.lists_writer import Sample, build_parser, find_videos, write_lists
from utils.cli import add_hidden_alias, run
from utils.errors import UserError


def class_folders(folder: str) -> list[str]:
    """Return the names of the visible sub-folders, sorted; UserError for fewer than two."""
    if not os.path.isdir(folder):
        raise UserError(f"there is no folder {folder}; give the one that holds a sub-folder a class")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        raise UserError(f"{folder} has {len(names)} sub-folders; at least two are needed, one a class")
    if any(not name.isprintable() for name in names):
        raise UserError(f"{folder}: a sub-folder's name cannot be printed and cannot name a class; rename it")
    return names


def samples_of(folder: str, class_names: list[str]) -> list[list[Sample]]:
    """Return the videos of each class; UserError for a class without one."""
    samples = []
    for label, name in enumerate(class_names):
        paths = find_videos(os.path.join(folder, name))
        if not paths:
            raise UserError(f"{os.path.join(folder, name)} holds no video; add some or remove the folder")
        samples.append([Sample(path, str(label)) for path in paths])
    return samples


def split_samples(samples: list[list[Sample]], valid_fraction: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Return training and validation videos: of each class the fraction, at least one, but never all."""
    train, valid = [], []
    for label, videos in enumerate(samples):
        if len(videos) < 2:
            raise UserError(f"{videos[0].path} is the only video of its class; two are needed, or pass --valid_dir")
        count = min(max(round(valid_fraction * len(videos)), 1), len(videos) - 1)
        held_out = set(np.random.default_rng((seed, label)).permutation(len(videos))[:count].tolist())
        train += [video for place, video in enumerate(videos) if place not in held_out]
        valid += [video for place, video in enumerate(videos) if place in held_out]
    return train, valid


def main() -> None:
    """Find the videos, split them, write the lists."""
    parser = build_parser(__doc__, Path(__file__).parent)
    parser.add_argument("--video_dir", required=True, help="folder with one sub-folder a class")
    parser.add_argument("--valid_dir", help="folder of the same form for validation, instead of a fraction")
    parser.add_argument(
        "--valid_fraction", type=float, default=0.2, help="fraction to validate on (default: %(default)s)"
    )
    add_hidden_alias(parser, "--valid_share", "--valid_fraction")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: %(default)s)")
    options = parser.parse_args()
    if not 0 < options.valid_fraction < 1:
        raise UserError(f"--valid_fraction must lie between 0 and 1, not {options.valid_fraction}")
    if options.seed < 0:
        raise UserError(f"--seed must not be negative, it is {options.seed}")
    class_names = class_folders(options.video_dir)
    samples = samples_of(options.video_dir, class_names)
    if options.valid_dir is None:
        train, valid = split_samples(samples, options.valid_fraction, options.seed)
    else:
        others = class_folders(options.valid_dir)
        if others != class_names:
            odd = sorted(set(others) ^ set(class_names))[0]
            raise UserError(f"{options.video_dir} and {options.valid_dir} must hold the same classes; not so {odd!r}")
        train = [sample for videos in samples for sample in videos]
        valid = [sample for videos in samples_of(options.valid_dir, class_names) for sample in videos]
    write_lists(options.output_dir, train, valid, class_names)
    print(f"{len(class_names)} classes: pass -o MODEL.num_classes={len(class_names)}")


if __name__ == "__main__":
    run(main)
