"""Frames through OpenCV's VideoCapture, read from the start (its seeking is not exact)."""

from __future__ import annotations

import os

import cv2

from datareader.decoding.base import (
    Budget,
    ChooseIndices,
    FrameKeeper,
    Limits,
    Prepare,
    Reading,
    VideoError,
)
from datareader.decoding.storage import check_no_script, local_file

MAX_TRIES = 3


def read(path: str, choose: ChooseIndices, limits: Limits, prepare: Prepare) -> Reading:
    """See datareader.decoding.read."""
    check_no_script(path)
    with local_file(path) as file:
        return _read_file(path, os.path.abspath(file), choose, limits, prepare)


def _read_file(path: str, file: str, choose: ChooseIndices, limits: Limits, prepare: Prepare) -> Reading:
    budget = Budget(path, limits.seconds)
    capture = cv2.VideoCapture(file, cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise VideoError(path, "opencv: cannot be opened")
        num_frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    if num_frames < 1:
        num_frames = _walk(path, file, None, budget)
    for _ in range(MAX_TRIES):
        keeper = FrameKeeper(path, choose(num_frames), limits, prepare)
        seen = _walk(path, file, keeper, budget)
        if not keeper.missing:
            return keeper.reading(num_frames)
        num_frames = seen
    raise VideoError(path, "opencv: gives another number of frames each time")


def _walk(path: str, file: str, keeper: FrameKeeper | None, budget: Budget) -> int:
    """Grab frames up to the last wanted one (None: to the end), convert the wanted ones; returns the frames seen."""
    capture = cv2.VideoCapture(file, cv2.CAP_FFMPEG)
    number = 0
    try:
        while (keeper is None or keeper.missing) and capture.grab():
            budget.check()
            if keeper is not None and number in keeper.missing:
                retrieved, frame = capture.retrieve()
                if not retrieved:
                    break
                keeper.keep(number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            number += 1
    finally:
        capture.release()
    if not number:
        raise VideoError(path, "opencv: holds no frame")
    return number
