"""Frames through decord."""

from __future__ import annotations

import decord
import numpy as np

from datareader.video import ChooseIndices, FrameKeeper, Limits, Prepare, Reading, VideoError


def read(path: str, choose: ChooseIndices, limits: Limits, prepare: Prepare) -> Reading:
    """See datareader.video.read_chosen."""
    try:
        reader = decord.VideoReader(path, num_threads=1)
        num_frames = len(reader)
        if not num_frames:
            raise VideoError(path, "holds no frame")
        keeper = FrameKeeper(path, choose(num_frames), limits, prepare)
        for number in keeper.numbers:
            keeper.keep(int(number), reader[int(number)].asnumpy())
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        raise VideoError(path, f"decord: {str(error).splitlines()[0][:200]}") from error
    return keeper.reading(num_frames)
