"""Frames through PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import os

import av
import numpy as np

from datareader.video import Budget, ChooseIndices, FrameKeeper, Limits, Prepare, Reading, VideoError, VideoInfo


def read(path: str, choose: ChooseIndices, limits: Limits, prepare: Prepare) -> Reading:
    budget = Budget(path, limits.seconds)
    assumed = _decode(path, None, limits, budget)
    keeper = FrameKeeper(path, choose(assumed), limits, prepare)
    _decode(path, keeper, limits, budget)
    return keeper.reading(assumed)


def probe(path: str, limits: Limits) -> VideoInfo:
    budget = Budget(path, limits.seconds)
    n = _decode(path, None, limits, budget)
    keeper = FrameKeeper(path, np.array([0]), limits, lambda f: f)
    _decode(path, keeper, limits, budget)
    with av.open(path) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate or 0)
        return VideoInfo(n, *keeper.frames.shape[1:3], fps, n / fps if fps else 0.0, stream.codec_context.name,
                         container.format.name)  # fmt: skip


def _decode(path: str, keeper: FrameKeeper | None, limits: Limits, budget: Budget) -> int:
    number = 0
    try:
        with av.open("file:" + os.path.abspath(path)) as container:
            for number, frame in enumerate(container.decode(video=0), 1):
                budget.check()
                if keeper is not None and number - 1 in keeper.missing:
                    keeper.keep(number - 1, np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
    except (av.FFmpegError, IndexError) as error:
        if not number:
            raise VideoError(path, f"cannot be decoded ({error})") from error
    if not number:
        raise VideoError(path, "holds no frame")
    return number
