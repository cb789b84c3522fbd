"""What the scripts ask for beside lists: the class names of a configuration, the videos of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from datareader.class_names import read_class_names
from datareader.decoding.file_header import can_be_video
from datareader.lists import NO_LABEL, VideoItem
from datareader.video import printable
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def class_names_of(config, section: str = "TEST") -> list[str]:
    """The K class names: INFER.kinetics_labels (prediction), else MODEL.class_names, else those of MODEL.dataset.

    A relative path is looked for in the working directory, then beside the program.
    Raises UserError when the file is missing or names another number of classes.
    """
    model = config.MODEL
    name = (config.INFER.kinetics_labels if section == "INFER" else "") or model.class_names
    path = Path(name or f"data/dataset/nonlocal/{model.dataset}_labels.txt")
    if not path.exists() and (ROOT / path).exists():
        path = ROOT / path
    if not path.exists():
        raise UserError(f"the class names {path} do not exist; set MODEL.class_names (-o MODEL.class_names=FILE)")
    return read_class_names(path, model.num_classes)


def list_folder(folder: str, skipped: list[str] | None = None) -> list[VideoItem]:
    """The videos of a folder and its sub-folders in order of name: every file that has a video's suffix or begins as a
    video does (`can_be_video`), hidden ones left out. A broken one among them is named when it is read.

    skipped: takes the paths of the other files. Raises UserError for a folder without a video.
    """
    paths, others = [], []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (os.path.join(parent, name) for name in sorted(files) if not name.startswith(".")):
            (paths if can_be_video(path) else others).append(path)
    if not paths:
        raise UserError(
            f"the folder {printable(folder)} holds no video" + (f"; {skip_message(others)}" if others else "")
        )
    if skipped is not None:
        skipped += others
    return [VideoItem(path, NO_LABEL, line) for line, path in enumerate(paths, 1)]


def skip_message(skipped: list[str]) -> str:
    """How many files of a folder were passed over, in words."""
    return f"skipped {len(skipped)} {'file that is not a video' if len(skipped) == 1 else 'files that are not videos'}"
