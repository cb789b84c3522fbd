"""Groups of videos that are not independent, as those cut from one recording."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np

from utils.errors import UserError


def video_groups(paths: Sequence[str], source: str) -> np.ndarray:
    """The group of each video, int64 [N], numbered 0 .. G-1 in order of their names.

    source: a file with a line `path group` for each video (a group has no spaces); or a regular expression that is
    searched in each path: a group is what its parentheses match, or all that it matches where it has none.
    Raises UserError for a video without a group, an expression that is none, and a file that cannot be read.
    """
    name_of = _listed(source) if os.path.isfile(source) else _matched(source)
    names = []
    for path in paths:
        name = name_of(path)
        if name is None:
            raise UserError(f"--groups={source}: no group for {path}")
        names.append(name)
    return np.unique(np.array(names), return_inverse=True)[1].reshape(-1).astype(np.int64)


def _listed(file: str):
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as stream:
            lines = [line.rstrip().rsplit(maxsplit=1) for line in stream if line.strip()]
    except OSError as error:
        raise UserError(f"cannot read --groups={file}: {error.strerror}") from error
    for number, fields in enumerate(lines, 1):
        if len(fields) != 2:
            raise UserError(f"--groups={file}: entry {number} is not `path group`")
    return dict(lines).get


def _matched(text: str):
    try:
        expression = re.compile(text)
    except re.error as error:
        raise UserError(f"--groups={text}: neither a file nor a regular expression ({error})") from error

    def name_of(path: str) -> str | None:
        match = expression.search(path)
        return None if match is None else "\n".join(part or "" for part in match.groups()) or match[0]

    return name_of
