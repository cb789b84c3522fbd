"""Exports of a network: a static graph in Paddle's own format, its conversion to ONNX, and their comparison.

The graph's input is `frames` float32 [N*T, C, H, W], the T frames of a clip in a row (four axes, because oneDNN's
bfloat16 pass takes no more); its outputs are the class scores float32 [N, K] and the logits float32 [N, P, K]. Of a
detector there is a second input `boxes` float32 [M, 5], (clip, x1, y1, x2, y2) in pixels, M at least 1; its outputs are
the scores [M, K] of the boxes and their logits. Importing this module does not import Paddle.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.schema import Config
from models.options import MAX_ADAPTIVE_SAMPLES
from utils.boxes import checked_boxes
from utils.errors import RunError
from utils.runtime import import_paddle, paddle_build, release_memory, tensor_of

STEM = "net"
ONNX_FILE = f"{STEM}.onnx"
INT8_FILE = f"{STEM}.xml"
ONNX_OPSET = 17
DETECTOR_STRIDE = 16  # pixels for a position of the features of which a detector classifies boxes
CONVERT = """
import sys, paddle2onnx
graph, weights, target, opset = sys.argv[1:]
# the runtimes fold constants themselves; polygraphy's folding takes 300 MB more
paddle2onnx.export(graph, weights, target, opset_version=int(opset), optimize_tool="None")
"""
# Largest allowed difference from the eager network: of a class probability, and of the logits relative to the largest.
# Where one class has all the probability, wrong logits would not show in probabilities.
SCORE_TOLERANCES = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.05}
LOGIT_TOLERANCES = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.1}
SOURCE_FOLDERS = ("inference", "models", "weights")  # whose text an export depends on


# ------------------------------------------------------------------------------------------- the network


@dataclass(frozen=True)
class NetworkSource:
    """What the eager network is loaded from: the whole configuration, and a file of weights."""

    config: Config
    weights: str

    def load(self):
        """The network with its weights, in evaluation mode; prints a warning where the configuration's clips are not
        theirs. Raises UserError when the file does not fit."""
        model, origin = self.load_with_origin()
        self.warn_of_inputs(origin)
        return model

    def load_with_origin(self):
        """The network, and the `weights.naming.Origin` of its weights, None where it is not known."""
        import_paddle()
        from models import build_model
        from weights import load_weights

        model = build_model(self.config)
        report = load_weights(model, self.weights)
        print(report.summary())
        model.eval()
        return model, report.origin

    def warn_of_inputs(self, origin) -> None:
        """Print a warning where the configuration's clips are not those that weights of this origin were trained
        with."""
        from weights import input_warning

        warning = input_warning(origin, self.config)
        if warning:
            print(warning)

    def origin(self) -> dict[str, Any]:
        """Everything that the network's export follows from: weights, network, Paddle and this program's own text."""
        from models import model_options
        from weights.containers import stored_sha256

        root, sources = Path(__file__).resolve().parents[1], hashlib.sha256()
        for file in sorted(file for folder in SOURCE_FOLDERS for file in (root / folder).rglob("*.py")):
            sources.update(file.read_bytes())
        return {
            "weights": stored_sha256(self.weights),
            "family": self.config.MODEL.name,
            "network": dataclasses.asdict(model_options(self.config)),
            "paddle": paddle_build().version,
            "sources": sources.hexdigest(),
        }


# ------------------------------------------------------------------------------------------- recording, converting


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

    model: a Recognizer with its weights. num_frames: T. height, width, batch (clips): fixed, or None: free.
    volumes: compute with 3-D convolutions, in place of 2-D ones over frames.
    Raises RunError when Paddle cannot record the network.
    """
    import paddle

    sizes = [-1 if side is None else side for side in (height, width)]
    shape = [-1 if batch is None else batch * num_frames, model.in_channels, *sizes]
    specs = [paddle.static.InputSpec(shape, "float32", "frames")]
    if model.takes_boxes:
        specs.append(paddle.static.InputSpec([-1, 5], "float32", "boxes"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about recording; the result is compared
            layer = model.prepare_for_export(num_frames, volumes)
            network = paddle.jit.to_static(layer, input_spec=specs, full_graph=True)
            network.eval()
            paddle.jit.save(network, str(Path(folder) / STEM))
    except (RuntimeError, TypeError, ValueError, OSError) as error:
        raise RunError(f"Paddle {paddle.__version__} cannot export this network: {_last_line(str(error))}") from error


def convert_to_onnx(folder: Path, target: Path) -> None:
    """Write the ONNX form of the network that `export_paddle` wrote into `folder`. Raises RunError when it fails.

    paddle2onnx runs in a process of its own: it prints much, and a crash of its native part must not end this one.
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


@dataclass(frozen=True)
class PaddleExporter:
    """Makes a cache entry of a network in Paddle's format, and of its results for one clip of the given size.

    fixed: the export serves clips of this size only. batch: the only number of clips in a call; None: any.
    """

    network: NetworkSource
    num_frames: int
    height: int
    width: int
    fixed: bool
    volumes: bool
    batch: int | None = None

    def write(self, folder: Path) -> dict[str, Any]:
        model, origin = (
            self.network.load_with_origin()
        )  # not kept: only exporting needs it, and its memory is needed afterwards
        sizes = (self.height, self.width) if self.fixed else (None, None)
        export_paddle(model, folder, self.num_frames, *sizes, self.batch, self.volumes)
        clips = check_clips(self.network.config, self.num_frames, self.height, self.width)
        boxes = check_boxes(self.network.config, 1, self.height, self.width)
        expected = [array.tolist() for array in eager_outputs(model, clips, *boxes)]
        del model
        release_memory()  # a conversion that may follow needs it
        return {"expected": expected, "origin": origin and origin.stored()}


@dataclass(frozen=True)
class OnnxExporter:
    """Makes a cache entry of the ONNX form of an entry of a PaddleExporter, and of that entry's facts.

    fetch: gives that entry's folder and facts.
    """

    fetch: Callable[[], tuple[Path, dict[str, Any]]]

    def write(self, folder: Path) -> dict[str, Any]:
        paddle_folder, facts = self.fetch()
        convert_to_onnx(paddle_folder, folder / ONNX_FILE)
        return facts


# ------------------------------------------------------------------------------------------- comparing


class Difference(NamedTuple):
    """The largest differences in scores, and in logits relative to the largest logit; NaN for other shapes."""

    scores: float
    logits: float

    def is_within(self, precision: str) -> bool:
        """Whether a backend of that precision may differ so much; never for NaN."""
        return self.scores <= SCORE_TOLERANCES[precision] and self.logits <= LOGIT_TOLERANCES[precision]


def compare(
    session: Callable[..., list[np.ndarray]], clips: np.ndarray, expected: list[np.ndarray], *boxes: np.ndarray
) -> Difference:
    """A session's results for the clips, and of a detector boxes, against the network's (scores, logits); it also warms
    the session up."""
    frames = clips_to_frames(clips)
    del clips  # 150 MB of 250 frames of 224 x 224 pixels
    with quiet():
        found = session(frames, *boxes)
    if [array.shape for array in found] != [array.shape for array in expected]:
        return Difference(float("nan"), float("nan"))
    scores, logits = (float(np.abs(a - b).max()) for a, b in zip(found, expected))
    return Difference(scores, logits / max(float(np.abs(expected[1]).max()), 1e-6))


def eager_outputs(model, clips: np.ndarray, *boxes: np.ndarray) -> list[np.ndarray]:
    """Scores [N, K] and logits [N, P, K] of the network itself; of a detector [M, K], for boxes float32 [M, 5]."""
    import paddle

    with paddle.no_grad():
        logits = model(tensor_of(clips), *map(paddle.to_tensor, boxes))
        return [model.class_scores(logits).numpy(), logits.numpy()]


def check_clips(config: Config, num_frames: int, height: int, width: int) -> np.ndarray:
    """The random clip float32 [1, C, T, H, W] on which an export is compared with its network."""
    return np.random.default_rng(0).standard_normal((1, config.INPUT.channels, num_frames, height, width), np.float32)


def check_boxes(config: Config, num_clips: int, height: int, width: int) -> tuple[np.ndarray, ...]:
    """What an export is compared on beside clips: for a detector random boxes, float32 [7 * num_clips, 5]."""
    if config.MODEL.task != "detection":
        return ()
    num_boxes = 7 * num_clips
    corners = np.random.default_rng(0).uniform(size=(num_boxes, 4)) * ([width, height] * 2)
    return (checked_boxes(corners, np.arange(num_boxes) // 7, num_clips, height, width),)


def max_side_of_boxes(config: Config) -> float:
    """Pixels of the longest side that the frames of an exported detector may have.

    Without limit where the number of points in a cell is fixed; see `models.roi_matrices`.
    """
    section = config.DETECTION
    return math.inf if section.roi_sampling_ratio else MAX_ADAPTIVE_SAMPLES * section.roi_size * DETECTOR_STRIDE


def clips_to_frames(clips: np.ndarray) -> np.ndarray:
    """float32 [N, C, T, H, W] -> [N*T, C, H, W], contiguous."""
    return np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4)).reshape(-1, clips.shape[1], *clips.shape[3:])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what native libraries print past Python's streams; an exception still carries its message."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, copy in zip((1, 2), kept):
            os.dup2(copy, number)
        for descriptor in (nowhere, *kept):
            os.close(descriptor)


def one_line(error: BaseException) -> str:
    """The end of an error's message, on one line."""
    return " ".join(str(error).split())[-300:]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
