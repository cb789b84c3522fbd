"""Features of clips out of the middle of a network: the output of res2, res3, res4 or res5, averaged over positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import paddle

from models.nonlocal_model.nonlocal_block import NonLocalBlock

STAGES = {"res2": 2, "res3": 3, "res4": 4, "res5": 5}


def pooled_features(model, clips: np.ndarray, stage: str) -> np.ndarray:
    """The mean over frames and positions of a stage's output, its non-local blocks included, before pool2 (res2).

    clips: float32 [N, 3, T, H, W]. stage: a key of STAGES. Returns float32 [N, C].
    """
    with recorded_outputs(model, stage) as outputs, paddle.no_grad():
        model(paddle.to_tensor(clips))
    x, num_frames = outputs[0]  # [N*T', C, H', W']
    return x.mean([2, 3]).reshape([-1, num_frames, x.shape[1]]).mean(1).numpy()


@contextmanager
def recorded_outputs(model, stage: str) -> Iterator[list]:
    """Within the context, every pass of the network appends (output [N*T', C, H', W'], T') of the stage to the list."""
    outputs: list = []
    last = list(getattr(model, f"stage{STAGES[stage]}").children())[-1]
    if not isinstance(last, NonLocalBlock):
        hook = last.register_forward_post_hook(lambda _, inputs, output: outputs.append((output, inputs[1])))
        try:
            yield outputs
        finally:
            hook.remove()
        return
    original = last.forward_frames  # the trunk calls it by name, which no hook sees

    def recording(x, num_frames: int):
        outputs.append((original(x, num_frames), num_frames))
        return outputs[-1][0]

    last.forward_frames = recording
    try:
        yield outputs
    finally:
        del last.forward_frames
