"""The network as a static graph on disk: Paddle's own format, or ONNX made from it.

Input `frames` float32 [N*T, 3, H, W], the T frames of a clip in a row (four axes: oneDNN's bfloat16 pass stops at
five); outputs scores float32 [N, K], as `class_scores` gives them, and logits float32 [N, P, K].
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import paddle
from paddle import nn

from inference.folding import fold_norms
from models.nonlocal_model.layers import to_volumes
from models.nonlocal_model.nonlocal_model import head_pool_side
from models.nonlocal_model.resnet_video import res5_side
from utils.errors import RunError

STEM = "net"
ONNX_FILE = f"{STEM}.onnx"
ONNX_OPSET = 17
CONVERT = """
import sys, paddle2onnx
graph, weights, target, opset = sys.argv[1:]
# engines fold constants themselves; polygraphy's folding takes 300 MB more
paddle2onnx.export(graph, weights, target, opset_version=int(opset), optimize_tool="None")
"""
MAX_FREE_VALUES = 1_500_000  # T * H * W up to which attention maps are kept whole, as free sizes need it


class FramesToScores(nn.Layer):
    """The exported graph: frames [N*T, 3, H, W] -> scores [N, K], logits [N, P, K]."""

    def __init__(self, model, num_frames: int, volumes: bool):
        super().__init__()
        self.model, self.num_frames, self.volumes = fold_norms(model, volumes), num_frames, volumes

    def forward(self, frames):
        return self._traced(frames)

    @paddle.jit.not_to_static  # what follows branches on sizes only, which tracing keeps
    def _traced(self, frames):
        if self.volumes:
            logits = self.model.forward_volumes(to_volumes(frames, self.num_frames))
        else:
            logits = self.model.forward_frames(frames, self.num_frames)
        return self.model.class_scores(logits), logits


def export_paddle(
    model,
    folder: Path,
    num_frames: int,
    height: int | None = None,
    width: int | None = None,
    batch: int | None = None,
    volumes: bool = False,
) -> None:
    """Write net.json (Paddle 3) or net.pdmodel (2.6) and net.pdiparams into `folder`, norms folded.

    model: a NonLocalModel with its weights. num_frames: T. height, width, batch (clips): fixed, or None: free.
    volumes: computed by 3-D convolutions, in place of 2-D ones over frames.
    Raises RunError when Paddle cannot record the network.
    """
    sizes = [-1 if side is None else side for side in (height, width)]
    spec = paddle.static.InputSpec([-1 if batch is None else batch * num_frames, 3, *sizes], "float32", "frames")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of recording; the result is compared
            _record(FramesToScores(model, num_frames, volumes), Path(folder) / STEM, spec)
    except (RuntimeError, TypeError, ValueError, OSError) as error:
        raise RunError(f"Paddle {paddle.__version__} cannot export this network: {_last_line(str(error))}") from error


def _record(layer: nn.Layer, prefix: Path, spec) -> None:
    network = paddle.jit.to_static(layer, input_spec=[spec], full_graph=True)
    network.eval()
    paddle.jit.save(network, str(prefix))


def convert_to_onnx(folder: Path, target: Path) -> None:
    """Write the ONNX form of the network that `export_paddle` wrote into `folder`. Raises RunError when it fails.

    paddle2onnx runs in a process of its own: it talks much, and a crash of its native part must not end this one.
    """
    command = [sys.executable, "-c", CONVERT, str(graph_file(folder)), str(Path(folder) / f"{STEM}.pdiparams")]
    done = subprocess.run(
        [*command, str(target), str(ONNX_OPSET)], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode or not Path(target).is_file():
        cause = _last_line(done.stderr) or f"status {done.returncode}"
        raise RunError(f"paddle2onnx cannot convert this network: {cause}")


def graph_file(folder: Path) -> Path:
    """net.json or net.pdmodel, whichever is there."""
    json_file = Path(folder) / f"{STEM}.json"
    return json_file if json_file.is_file() else Path(folder) / f"{STEM}.pdmodel"


def needs_fixed_sizes(config, num_frames: int, height: int, width: int) -> bool:
    """Whether an export must know the sizes of these clips.

    That is so where attention maps are too large to be kept whole, and where the features are smaller than the pools
    of the head (which then shrink) and of the blocks (which a side of 1 passes by).
    """
    smallest = max(2, head_pool_side(config))
    sides = [res5_side(side, config.MODEL.stem_pool_padding) for side in (height, width)]
    return num_frames * height * width > MAX_FREE_VALUES or min(sides) < smallest


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
