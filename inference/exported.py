"""The engines that compute an exported network: one class, three ways to run it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle

from inference import cache
from inference.export import ONNX_FILE, convert_to_onnx, export_paddle, needs_fixed_sizes
from utils.errors import RunError
from utils.runtime import available_cores, release_memory

MODULES = {"inference": "paddle_inference", "onnxruntime": "onnx_runtime", "openvino": "open_vino"}
VOLUME_ENGINES = ("openvino",)  # its 3-D convolutions are as fast as 2-D ones, and I3D needs no copies of frames
# Largest difference from the eager network in the probability of a class, and in logits as a share of the largest:
# where one class takes it all, wrong logits would not show in probabilities.
SCORE_TOLERANCES = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.05}
LOGIT_TOLERANCES = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.1}
CPU_VALUES_PER_CALL = 400_000  # T * H * W of the clips given to a CPU at once: it keeps memory small
SOURCES = ("inference", "models", "weights")

Session = Callable[[np.ndarray], list]


class ExportedEngine:
    """Scores by an exported network, which is made when it is first needed and kept in the cache.

    name: "inference", "onnxruntime" or "openvino". config: the whole configuration. weights: the file. build_model():
    the eager network with those weights; called only when something must be exported. num_frames, side: the clips to
    make ready for.

    Raises RunError when the export fails, or when its scores are not those of the eager network.
    """

    def __init__(self, name: str, precision: str, config, weights: str, build_model: Callable, num_frames: int, side):
        self.name, self.precision = name, precision
        self.device = paddle.device.get_device().partition(":")[0]
        self._config, self._build_model = config, build_model
        self._origin = origin(config, weights)
        self._sessions: dict[tuple, Session] = {}
        self._open(num_frames, side, side)

    def scores(self, clips: np.ndarray) -> np.ndarray:
        """clips float32 [N, 3, T, H, W] -> scores float32 [N, K]."""
        num_clips, _, num_frames, height, width = clips.shape
        session = self._open(num_frames, height, width)
        frames = np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4)).reshape(-1, 3, height, width)
        step = num_clips
        if self.device == "cpu":
            step = max(1, CPU_VALUES_PER_CALL // (num_frames * height * width))
        parts = [frames[i * num_frames : (i + step) * num_frames] for i in range(0, num_clips, step)]
        try:
            return np.concatenate([session(part)[0] for part in parts])
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise RunError(f"--engine={self.name} failed: {_one_line(error)}; choose --engine=paddle") from error

    def _open(self, num_frames: int, height: int, width: int) -> Session:
        """The session for clips of a size; those of free sizes are shared."""
        fixed = needs_fixed_sizes(self._config, num_frames, height, width)
        key = (num_frames, height, width) if fixed else (num_frames,)
        if key not in self._sessions:
            self._sessions[key] = self._make_session(num_frames, height, width, fixed)
        return self._sessions[key]

    def _make_session(self, num_frames: int, height: int, width: int, fixed: bool) -> Session:
        sizes = (height, width) if fixed else (None, None)
        volumes = self.name in VOLUME_ENGINES
        origin = {
            **self._origin,
            "num_frames": num_frames,
            "sizes": sizes,
            "check": (height, width),
            "volumes": volumes,
        }

        def build_paddle(folder: Path) -> dict[str, Any]:
            model = self._build_model()
            export_paddle(model, folder, num_frames, *sizes, volumes=volumes)
            clips = check_clips(num_frames, height, width)
            facts = {"expected": [array.tolist() for array in eager_outputs(model, clips)]}
            del model
            release_memory()  # the conversion that may follow needs it
            return facts

        folder, facts = cache.fetch(cache.key_of(origin), build_paddle)
        if self.name != "inference":

            def build_onnx(target: Path) -> dict[str, Any]:
                convert_to_onnx(folder, target / ONNX_FILE)
                return facts

            version = importlib.metadata.version("paddle2onnx")
            folder, _ = cache.fetch(cache.key_of({**origin, "paddle2onnx": version}), build_onnx)
        session = open_session(self.name, folder, self.precision, self.device)
        expected = [np.array(array, np.float32) for array in facts["expected"]]
        found = compare(session, check_clips(num_frames, height, width), expected)
        if not found.is_within(self.precision):
            raise RunError(
                f"--engine={self.name} --precision={self.precision} computes other scores than the network itself "
                f"(by {found.scores:.2g} of 1, its logits by {found.logits:.2g}); choose --engine=paddle"
            )
        return session


def open_session(name: str, folder: Path, precision: str, device: str) -> Session:
    """frames -> [scores, logits] by the engine `name`, from what is in `folder`. Raises RunError when that fails."""
    module = importlib.import_module(f"inference.{MODULES[name]}")
    try:
        with quiet():
            return module.open_session(folder, precision, device, num_threads())
    except Exception as error:  # onnxruntime's errors share no class of their own
        raise RunError(f"--engine={name} cannot load the exported network: {_one_line(error)}") from error


class Difference(NamedTuple):
    """The largest differences in scores, and in logits as a share of the largest logit; NaN for other shapes."""

    scores: float
    logits: float

    def is_within(self, precision: str) -> bool:
        """Whether an engine of that precision may differ so much; never for NaN."""
        return self.scores <= SCORE_TOLERANCES[precision] and self.logits <= LOGIT_TOLERANCES[precision]


def compare(session: Session, clips: np.ndarray, expected: list[np.ndarray]) -> Difference:
    """What the session makes of the clips against the network's (scores, logits); it also warms the session up."""
    frames = np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4)).reshape(-1, 3, *clips.shape[3:])
    with quiet():
        found = session(frames)
    if [array.shape for array in found] != [array.shape for array in expected]:
        return Difference(float("nan"), float("nan"))
    scores, logits = (float(np.abs(a - b).max()) for a, b in zip(found, expected))
    return Difference(scores, logits / max(float(np.abs(expected[1]).max()), 1e-6))


def eager_outputs(model, clips: np.ndarray) -> list[np.ndarray]:
    """Scores and logits of the network itself."""
    with paddle.no_grad():
        logits = model(paddle.to_tensor(clips))
        return [model.class_scores(logits).numpy(), logits.numpy()]


def check_clips(num_frames: int, height: int, width: int) -> np.ndarray:
    """The random clip float32 [1, 3, T, H, W] on which an export is compared with its network."""
    return np.random.default_rng(0).standard_normal((1, 3, num_frames, height, width), np.float32)


def origin(config, weights: str) -> dict[str, Any]:
    """Everything that an export follows from: weights, network, Paddle and this program's own text."""
    root, sources = Path(__file__).resolve().parents[1], hashlib.sha256()
    for file in sorted(file for folder in SOURCES for file in (root / folder).rglob("*.py")):
        sources.update(file.read_bytes())
    sections = {name: dataclasses.asdict(getattr(config, name)) for name in ("MODEL", "RESNETS", "NONLOCAL")}
    return {
        "weights": cache.file_digest(weights),
        "sections": sections,
        "crop_size": config.INPUT.crop_size,  # decides the head's pool where MODEL.head_pool_size is none
        "paddle": paddle.__version__,
        "sources": sources.hexdigest(),
    }


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[-300:]


def num_threads() -> int:
    """What OMP_NUM_THREADS says, else all cores."""
    chosen = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(chosen) if chosen.isdecimal() and int(chosen) else available_cores()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what native libraries print past Python's streams; an exception still says everything."""
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
