"""Which videos are predicted, and what their results are called."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datareader import NO_LABEL, VideoItem, read_list
from datareader.inputs import list_folder, skip_message
from datareader.video import printable
from utils.errors import UserError

MAX_NAME_BYTES = 180  # file systems take 255; suffixes come to it, and what a file is called while it is written


def find_videos(video_path: str, filelist: str) -> list[VideoItem]:
    """The videos to predict: one file, a folder's videos in order of name, or a list's. Raises UserError.

    Prints how many files of the folder are skipped because they are not videos.
    """
    if not video_path:
        if not os.path.exists(filelist):
            raise UserError(f"pass --video_path=VIDEO (a file or folder) or --filelist=LIST; {filelist} does not exist")
        return read_list(filelist, labels_required=False)
    if os.path.isdir(video_path):
        skipped: list[str] = []
        items = list_folder(video_path, skipped)
        if skipped:
            print(skip_message(skipped))
        return items
    if not os.path.lexists(video_path):
        raise UserError(f"{printable(video_path)}: no such file or directory")
    return [VideoItem(video_path, NO_LABEL, 1)]


def output_names(paths: Sequence[str]) -> list[Path]:
    """A relative path for each video's results, without a suffix: no two videos share one.

    It is the video's path from the folder that all of them have in common, without its extension; with it where
    another video would be called the same (also in letters of another case). A name too long for suffixes is cut and
    told apart by a checksum of the path.
    """
    absolute = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute])
    full = {path: os.path.relpath(path, root) for path in absolute}
    stems = {path: os.path.splitext(name)[0] for path, name in full.items()}
    used = Counter(name.casefold() for path in full for name in {full[path], stems[path]})
    chosen = [Path(stems[path] if used[stems[path].casefold()] == 1 else full[path]) for path in absolute]
    return [name if len(os.fsencode(name.name)) <= MAX_NAME_BYTES else _shortened(name) for name in chosen]


def _shortened(name: Path) -> Path:
    kept = os.fsencode(name.name)[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    return name.with_name(f"{kept}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}")
