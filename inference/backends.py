"""Backends: clips in, class scores out. The network itself, or an export of it in one of three runtimes.

    paddle             the eager network, on the CPU or a GPU
    paddle_inference   an export in Paddle Inference: oneDNN on CPUs, cuDNN on GPUs
    onnxruntime        an export in ONNX Runtime, on the CPU
    openvino           an export in OpenVINO, on the CPU

An exported backend computes one clip before it is used and is refused where its result is not the eager network's.
Of detectors, boxes and clips are in, scores of boxes out.
Importing this module imports neither Paddle nor a runtime.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from configs.schema import Config
from inference import cache
from inference.export import (
    INT8_FILE,
    ONNX_FILE,
    STEM,
    NetworkSource,
    OnnxExporter,
    PaddleExporter,
    check_boxes,
    check_clips,
    clips_to_frames,
    compare,
    graph_file,
    max_side_of_boxes,
    one_line,
    quiet,
)
from models import FAMILIES, needs_fixed_sizes
from utils.boxes import checked_boxes
from utils.cli import add_hidden_alias
from utils.errors import RunError, UserError
from utils.runtime import available_cores, current_device, import_paddle, paddle_build, tensor_of

if TYPE_CHECKING:
    from datareader import VideoItem
    from inference.auto_precision import PrecisionChoice

# backend -> packages that it needs beside Paddle
PACKAGES: dict[str, tuple[str, ...]] = {
    "paddle": (),
    "paddle_inference": (),
    "onnxruntime": ("onnxruntime", "paddle2onnx"),
    "openvino": ("openvino", "paddle2onnx"),
}
AUTO = "auto"
BACKENDS = (AUTO, *PACKAGES)
FORMER_NAMES = {"inference": "paddle_inference"}
PRECISIONS = ("float32", "bfloat16", "float16", "int8")
BFLOAT16_BACKENDS = ("paddle_inference", "openvino")  # on CPUs
FASTEST_FIRST = ("openvino", "onnxruntime", "paddle_inference", "paddle")  # on CPUs, as measured: docs/backends.md
BFLOAT16_UNITS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is ARM's name
INSTALL_HINT = 'pip install ".[fast]"'
CPU_VALUES_PER_CALL = 400_000  # T * H * W of the clips given to a CPU at once; bounds memory
COMPILED_FILE = f"{STEM}.blob"
LARGE_CLIP_BYTES = 100_000_000  # 64 frames of 224 x 224 pixels are 39 MB, 250 are 151
MAX_SESSIONS = 4  # open at once, for clips of different sizes: each holds the weights
GPU_MEMORY_MB = 1024  # Paddle Inference's initial pool; it grows


class Backend(Protocol):
    """What `build_backend` returns. name: a key of PACKAGES. precision: one of PRECISIONS; precision_choice: how
    --precision=auto came to it, None where it was asked for."""

    name: str
    precision: str
    precision_choice: PrecisionChoice | None

    def scores(self, clips: np.ndarray) -> np.ndarray:
        """Class scores of clips: float32 [N, C, T, H, W], normalised -> float32 [N, K]."""

    def outputs(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class scores of clips and their logits, the mean over output positions: float32 [N, K] each."""

    def box_scores(self, clips: np.ndarray, boxes: np.ndarray, box_clip: np.ndarray) -> np.ndarray:
        """Of a detector, as `models.detector.Detector.box_scores`: scores of boxes, float32 [M, K]."""

    def proposed_boxes(self, clips: np.ndarray, min_score: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a detector, as `models.detector.Detector.proposed_boxes`: boxes, their clips' indices, scores."""


# ------------------------------------------------------------------------------------------- choosing a backend


def backend_name(text: str) -> str:
    """The present name of a backend; earlier versions called paddle_inference `inference`."""
    return FORMER_NAMES.get(text, text)


def add_backend_flags(
    parser: argparse.ArgumentParser, precision: str = "float32", precisions: Sequence[str] = (AUTO, *PRECISIONS)
) -> None:
    """Add --backend and --precision, the arguments of `build_backend`; --engine is accepted for --backend.

    precision: the default. precisions: those that are offered, AUTO by programs that say what it is to be checked on
    (`BackendSpec.checked_on`).
    """
    parser.add_argument(
        "--backend",
        type=backend_name,
        choices=BACKENDS,
        default=AUTO,
        help="what runs the network: Paddle itself, or an export to Paddle Inference, ONNX Runtime or OpenVINO; auto "
        "uses the fastest one installed (default: %(default)s)",
    )
    add_hidden_alias(parser, "--engine", "--backend")
    parser.add_argument(
        "--precision",
        choices=precisions,
        default=precision,
        help="auto takes bfloat16 where the processor has it and clips of the videos show the same answers; bfloat16 "
        "needs a GPU, or a CPU with bfloat16 instructions (paddle_inference, openvino); float16 needs a GPU; int8 "
        "needs a network made by export.py --precision=int8 (openvino, on CPUs) (default: %(default)s)"
        if AUTO in precisions
        else "bfloat16 needs a GPU, or a CPU with bfloat16 instructions (paddle_inference, openvino); float16 needs a "
        "GPU; int8 needs a network made by export.py --precision=int8 (openvino, on CPUs) (default: %(default)s)",
    )


def missing_packages(backend: str) -> list[str]:
    """The packages that the backend needs and that are not installed."""
    return [package for package in PACKAGES[backend] if importlib.util.find_spec(package) is None]


def not_installed() -> list[str]:
    """The backends that lack a package."""
    return [name for name in FASTEST_FIRST if missing_packages(name)]


def check_backend(backend: str, precision: str, device: str) -> None:
    """Raise UserError, with the remedy, when the backend cannot run here: package, device or precision.

    device: "cpu" or "gpu".
    """
    missing = missing_packages(backend)
    if missing:
        raise UserError(f"--backend={backend} needs {' and '.join(missing)}: {INSTALL_HINT}")
    if precision == "int8" and (backend != "openvino" or device == "gpu"):
        raise UserError("--precision=int8 runs in OpenVINO on CPUs: --backend=openvino --use_gpu=False")
    if device == "gpu":
        if backend in ("onnxruntime", "openvino"):
            raise UserError(f"--backend={backend} runs on CPUs only; add --use_gpu=False or choose another backend")
        return
    if precision == "float16":
        raise UserError("--precision=float16 needs a GPU; leave --precision out on a CPU")
    if precision == "bfloat16":
        if backend not in BFLOAT16_BACKENDS:
            raise UserError(
                f"--backend={backend} has no bfloat16 on CPUs; choose --backend=paddle_inference or openvino"
            )
        if not processor_has_bfloat16():
            raise UserError(
                "--precision=bfloat16: this processor has no bfloat16 instructions (avx512_bf16, amx_bf16); leave "
                "--precision out"
            )


def candidates(backend: str, precision: str, device: str) -> list[str]:
    """The backends to try, in order; for `auto` all that fit, each of which may still fail when it is built.

    On a GPU `auto` is Paddle's own network. Raises UserError when none fits.
    """
    if backend != AUTO:
        check_backend(backend, precision, device)
        return [backend]
    if device == "gpu" and precision != "int8":
        return ["paddle"]
    refusals, fitting = [], []
    for name in FASTEST_FIRST:
        try:
            check_backend(name, precision, device)
            fitting.append(name)
        except UserError as error:
            refusals.append(error)
    if not fitting:
        raise next((error for error in refusals if "instructions" in str(error)), refusals[-1])
    return fitting


def computes_volumes(config: Config, backend: str, device: str) -> bool:
    """Whether a backend's export computes with 3-D convolutions: where that was faster, as `models.Family` says.

    On GPUs, where nothing was measured, it does not. Nor in Paddle Inference 2.6, whose 3-D convolutions are inexact.
    """
    inexact = backend == "paddle_inference" and paddle_build().version.startswith("2.")
    return device == "cpu" and not inexact and backend in FAMILIES[config.MODEL.name].volume_backends


def processor_has_bfloat16() -> bool:
    """Whether /proc/cpuinfo lists an instruction set that multiplies bfloat16; False where there is no such file."""
    return bool(BFLOAT16_UNITS.intersection(processor_flags()))


def processor_flags() -> list[str]:
    """The instruction sets that /proc/cpuinfo lists, sorted; none where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
    names_and_values = (line.partition(":") for line in lines)
    return next(
        (sorted(set(v.split())) for name, _, v in names_and_values if name.strip() in ("flags", "Features")), []
    )


def runtime_facts(name: str) -> dict[str, Any]:
    """What a backend's results depend on beside the network: versions and the processor."""
    versions = {package: importlib.metadata.version(package) for package in PACKAGES[name]}
    return {"backend": name, **versions, "processor": processor_flags()}


# ------------------------------------------------------------------------------------------- building it


def refuse_detector(config: Config) -> None:
    """Raise UserError for a network that classifies boxes, where clips are to be classified."""
    if config.MODEL.task == "detection":
        raise UserError(
            "MODEL.task: detection classifies boxes, not clips: predict with --detect, evaluate with eval.py"
        )


@dataclass(frozen=True)
class BackendSpec:
    """The arguments of `build_backend`, for code that builds the backend after its other checks."""

    config: Config
    weights: str | None
    checkpoint_dir: str
    backend: str = "auto"
    precision: str = "float32"
    section: str = "INFER"
    items: Sequence[VideoItem] = ()

    def checked_on(self, items: Sequence[VideoItem]) -> BackendSpec:
        """The same, where --precision=auto may look at these videos."""
        return replace(self, items=items)

    def weights_file(self) -> str:
        """The file of weights: the one given, else that of `find_weights`."""
        from weights import find_weights

        return self.weights or find_weights(self.config, self.checkpoint_dir)

    def build(self) -> Backend:
        return build_backend(
            self.config, self.weights_file(), self.checkpoint_dir,
            backend=self.backend, precision=self.precision, section=self.section, items=self.items,
        )  # fmt: skip

    def build_eager(self) -> EagerBackend:
        """The eager network, whichever backend is chosen: for code that reads more of it than scores."""
        built = replace(self, backend="paddle").build()
        assert isinstance(built, EagerBackend)
        return built


def build_backend(
    config: Config,
    weights: str | None,
    checkpoint_dir: str,
    *,
    backend: str = "paddle",
    precision: str = "float32",
    section: str = "INFER",
    items: Sequence[VideoItem] = (),
) -> Backend:
    """The network of a configuration with its weights, ready for `scores(clips)`.

    weights: a file, or None for `find_weights(config, checkpoint_dir)`. backend, precision: values of --backend and
    --precision. section: "INFER" or "TEST", whose clip size is prepared. items: videos on which the precision `auto` is
    checked.
    Raises UserError for a backend that cannot run here; `auto` prints the reason and tries the next one instead.
    """
    from inference.auto_precision import choose_precision
    from weights import find_weights

    if precision == "int8":
        refuse_8_bit_detector(config)
    device = current_device()
    names = candidates(backend_name(backend), "float32" if precision == AUTO else precision, device)
    network = NetworkSource(config, weights or find_weights(config, checkpoint_dir))
    clip = getattr(config, section)
    for name in names:
        try:
            choice = choose_precision(name, device, network, items, section) if precision == AUTO else None
            used = choice.precision if choice else precision
            built = _build(name, used, network, clip.video_length, clip.crop_size)
            break
        except RunError as error:
            if name == names[-1]:
                raise
            print(f"backend {name}: {error}; trying the next one")
    built.precision_choice = choice
    absent = not_installed() if backend == AUTO and len(names) > 1 else []
    hint = f" (faster, but not installed: {', '.join(absent)}; {INSTALL_HINT})" if absent else ""
    print(f"backend: {built.name}, {built.precision}{hint}" + (f"; {choice.reason}" if choice else ""))
    return built


def backend_facts(backend: Backend) -> dict[str, Any]:
    """For results: backend, precision, and where --precision=auto chose the latter, precision_choice."""
    choice = backend.precision_choice
    facts = {"backend": backend.name, "precision": backend.precision}
    return {**facts, "precision_choice": asdict(choice)} if choice else facts


def refuse_8_bit_detector(config: Config) -> None:
    """Raise UserError for a network that classifies boxes, where an 8-bit one is wanted."""
    if config.MODEL.task == "detection":
        raise UserError("MODEL.task: detection has no 8-bit form; leave --precision=int8 out")


def _build(name: str, precision: str, network: NetworkSource, num_frames: int, crop_px: int) -> Backend:
    if name == "paddle":
        return EagerBackend(network.load(), precision)
    try:
        open(network.weights, "rb").close()
    except OSError:
        network.load()  # raises with what is wrong with the file
    if precision == "int8":
        from inference.quantization import Int8Backend

        return Int8Backend(network.weights, network.config, num_frames)
    return ExportedBackend(name, precision, network, num_frames, crop_px)


def score_views(backend: Backend, views, batch_size: int) -> np.ndarray:
    """Scores float32 [V, K] of a video's VideoViews, `batch_size` views at a time."""
    return view_outputs(backend, views, batch_size)[0]


def view_outputs(backend: Backend, views, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and logits of a video's VideoViews, float32 [V, K] each, `batch_size` views at a time."""
    ids = np.arange(len(views))
    scores, logits = zip(*(backend.outputs(views.clips(ids[i : i + batch_size])) for i in ids[::batch_size]))
    return np.concatenate(scores), np.concatenate(logits)


# ------------------------------------------------------------------------------------------- the eager network


class EagerBackend:
    """The network itself, in evaluation mode.

    model: a Recognizer with its weights. precision: "float32", or on a GPU "bfloat16" or "float16".
    """

    name = "paddle"
    precision_choice: PrecisionChoice | None = None

    def __init__(self, model, precision: str = "float32"):
        self.model, self.precision = model, precision
        model.eval()

    def scores(self, clips: np.ndarray) -> np.ndarray:
        """float32 [N, C, T, H, W] -> float32 [N, K]."""
        return self.outputs(clips)[0]

    def outputs(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, C, T, H, W] -> scores and mean logits, float32 [N, K] each."""
        import paddle

        with paddle.no_grad(), self._narrow():
            logits = self.model(tensor_of(clips))  # [N, P, K]
        with paddle.no_grad():
            logits = logits.astype("float32")
            return self.model.class_scores(logits).numpy(), logits.mean(axis=1).numpy()

    def box_scores(self, clips: np.ndarray, boxes: np.ndarray, box_clip: np.ndarray) -> np.ndarray:
        """See `Backend`."""
        with self._narrow():
            return self.model.box_scores(clips, boxes, box_clip)

    def proposed_boxes(self, clips: np.ndarray, min_score: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Backend`; in float32."""
        return self.model.proposed_boxes(clips, min_score)

    def _narrow(self):
        """Where operations use the backend's precision."""
        import paddle

        narrow = self.precision != "float32"
        dtype: Any = self.precision if narrow else "float16"  # auto_cast demands a type even when disabled
        # O1, by Paddle's own lists: conv2d, matmul and linear in the narrow type; softmax and means in float32
        return paddle.amp.auto_cast(enable=narrow, dtype=dtype, level="O1")


# ------------------------------------------------------------------------------------------- exported networks

# frames float32 [N*T, C, H, W] -> [scores [N, K], logits [N, P, K]]; of a detector the second input is boxes, float32
# [M, 5], M at least 1, and M stands in the place of N
Session = Callable[..., list[np.ndarray]]
BOXES_PER_CALL = 256  # given to a session at once; bounds memory


class ExportedBackend:
    """An exported network, which is made when it is first needed and kept in the cache.

    name: "paddle_inference", "onnxruntime" or "openvino". network: loaded only when something must be exported.
    num_frames, crop_px: the clips to prepare for; other sizes are prepared when they come.

    Raises RunError when the export fails, or when its scores are not those of the eager network.
    """

    precision_choice: PrecisionChoice | None = None

    def __init__(self, name: str, precision: str, network: NetworkSource, num_frames: int, crop_px: int):
        self.name, self.precision = name, precision
        self.device = current_device()
        self._network, self._origin = network, network.origin()
        self._sessions: dict[tuple, Session] = {}
        self._eager: Any = None  # for proposals, which no export makes
        self._session(num_frames, crop_px, crop_px)

    def scores(self, clips: np.ndarray) -> np.ndarray:
        """float32 [N, C, T, H, W] -> float32 [N, K]."""
        return self.outputs(clips)[0]

    def outputs(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, C, T, H, W] -> scores and mean logits, float32 [N, K] each."""
        num_clips, _, num_frames, height, width = clips.shape
        session = self._session(num_frames, height, width)
        frames = clips_to_frames(clips)
        del clips  # the caller's only ones, often
        step = self._clips_per_call(num_frames, height, width) or num_clips
        parts = [frames[i * num_frames : (i + step) * num_frames] for i in range(0, num_clips, step)]
        scores, logits = zip(*(self._run(session, part) for part in parts))
        return np.concatenate(scores), np.concatenate(logits).mean(axis=1)

    def box_scores(self, clips: np.ndarray, boxes: np.ndarray, box_clip: np.ndarray) -> np.ndarray:
        """See `Backend`. Clips without boxes are not computed; Paddle Inference dies of a call without any."""
        num_clips, _, num_frames, height, width = clips.shape
        limit = max_side_of_boxes(self._network.config)
        if max(height, width) > limit:
            raise UserError(
                f"DETECTION.roi_sampling_ratio: 0 is exported for frames of up to {limit:g} pixels, these are "
                f"{width} x {height}; choose --backend=paddle or smaller ones"
            )
        boxes = checked_boxes(boxes, box_clip, num_clips, height, width)
        scores = [np.zeros((0, self._network.config.MODEL.num_classes), np.float32)]
        session = self._session(num_frames, height, width)
        step = self._clips_per_call(num_frames, height, width) or num_clips
        for first in range(0, num_clips, step):
            own = boxes[(boxes[:, 0] >= first) & (boxes[:, 0] < first + step)]
            if len(own):
                own[:, 0] -= first
                frames = clips_to_frames(clips[first : first + step])
                for part in np.split(own, range(BOXES_PER_CALL, len(own), BOXES_PER_CALL)):
                    scores.append(self._run(session, frames, part)[0])
        return np.concatenate(scores)

    def proposed_boxes(self, clips: np.ndarray, min_score: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Backend`; computed by the network itself, which is loaded for it."""
        if self._eager is None:
            self._eager = self._network.load()
        return self._eager.proposed_boxes(clips, min_score)

    def _run(self, session: Session, *inputs: np.ndarray) -> list[np.ndarray]:
        try:
            return session(*inputs)
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise RunError(f"--backend={self.name} failed: {one_line(error)}; choose --backend=paddle") from error

    def _clips_per_call(self, num_frames: int, height: int, width: int) -> int | None:
        """How many clips of that size are given to the session at once; None: all."""
        return max(1, CPU_VALUES_PER_CALL // (num_frames * height * width)) if self.device == "cpu" else None

    def _session(self, num_frames: int, height: int, width: int) -> Session:
        """The session for clips of a size; one serves all sizes that an export may leave free."""
        fixed = needs_fixed_sizes(self._network.config, num_frames, height, width)
        key = (num_frames, height, width) if fixed else (num_frames,)
        if key not in self._sessions:
            if len(self._sessions) >= MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]  # the one opened first
            self._sessions[key] = self._open(num_frames, height, width, fixed)
        return self._sessions[key]

    def _open(self, num_frames: int, height: int, width: int, fixed: bool) -> Session:
        from weights.naming import Origin

        volumes = computes_volumes(self._network.config, self.name, self.device)
        # one clip at a time, of one size: OpenVINO shares memory among activations whose sizes it knows beforehand
        batch = 1 if fixed and self._clips_per_call(num_frames, height, width) == 1 else None
        origin: dict[str, Any] = {
            **self._origin,
            "num_frames": num_frames,
            "sizes": (height, width) if fixed else (None, None),
            "check": (height, width),
            "batch": batch,
            "volumes": volumes,
        }
        exporter = PaddleExporter(self._network, num_frames, height, width, fixed, volumes, batch)
        fetch = partial(cache.fetch, cache.key_of(origin), exporter)
        if self.name != "paddle_inference":  # what is kept of the last stage needs none of those before
            origin["paddle2onnx"] = importlib.metadata.version("paddle2onnx")
            fetch = partial(cache.fetch, cache.key_of(origin), OnnxExporter(fetch))
        if self.name == "openvino":
            fetch = partial(fetch_compiled, origin, fetch, ONNX_FILE)
        folder, facts = fetch()
        if not self._sessions:  # once, not for each size
            self._network.warn_of_inputs(Origin.read(facts["origin"]))
        session = open_session(self.name, folder, self.precision, self.device)
        expected = [np.array(array, np.float32) for array in facts["expected"]]
        clips = check_clips(self._network.config, num_frames, height, width)
        found = compare(session, clips, expected, *check_boxes(self._network.config, 1, height, width))
        if not found.is_within(self.precision):
            raise RunError(
                f"--backend={self.name} --precision={self.precision} computes other scores than the network itself "
                f"(by {found.scores:.2g} of 1, its logits by {found.logits:.2g}); choose --backend=paddle"
            )
        return session


def open_session(name: str, folder: Path, precision: str, device: str) -> Session:
    """The session of the backend `name` for the export in `folder`. Raises RunError when it cannot be opened."""
    try:
        with quiet():
            return SESSIONS[name](Path(folder), precision, device, num_threads())
    except Exception as error:  # onnxruntime's errors share no class of their own
        raise RunError(f"--backend={name} cannot load the exported network: {one_line(error)}") from error


def num_threads() -> int:
    """OMP_NUM_THREADS, else the number of cores."""
    chosen = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(chosen) if chosen.isdecimal() and int(chosen) else available_cores()


class PaddleInferenceSession:
    """A Session in Paddle Inference."""

    def __init__(self, folder: Path, precision: str, device: str, threads: int):
        paddle = import_paddle()
        from paddle import inference
        from paddle.base import core

        config = inference.Config(str(graph_file(folder)), str(folder / f"{STEM}.pdiparams"))
        config.disable_glog_info()
        if device == "gpu":
            kind = {"float32": "Float32", "float16": "Half", "bfloat16": "Bfloat16"}[precision]
            config.enable_use_gpu(
                GPU_MEMORY_MB,
                int(paddle.device.get_device().partition(":")[2] or 0),
                getattr(inference.PrecisionType, kind),
            )
        else:
            config.disable_gpu()
            config.enable_mkldnn()
            config.set_cpu_math_library_num_threads(threads)
            if precision == "bfloat16":
                config.enable_mkldnn_bfloat16()
        self.predictor = inference.create_predictor(config)
        self.sources = [self.predictor.get_input_handle(name) for name in self.predictor.get_input_names()]
        self.results = [self.predictor.get_output_handle(name) for name in self.predictor.get_output_names()]
        self.threads, self.core = threads, core

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        for source, array in zip(self.sources, inputs):
            source.reshape(list(array.shape))
            source.copy_from_cpu(array)
        self.predictor.run()
        self.core.set_num_threads(self.threads)  # a run leaves Paddle's maths library with one thread
        return [np.asarray(result.copy_to_cpu(), np.float32) for result in self.results]


class OnnxRuntimeSession:
    """A Session in ONNX Runtime."""

    def __init__(self, folder: Path, precision: str, device: str, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self.session = onnxruntime.InferenceSession(
            str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"]
        )
        self.input_names = [each.name for each in self.session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return self.session.run(None, dict(zip(self.input_names, inputs)))


class OpenVinoSession:
    """A Session in OpenVINO, of a compiled network, of net.onnx, or of the 8-bit net.xml."""

    def __init__(self, folder: Path, precision: str, device: str, threads: int):
        import openvino

        # by default it takes bfloat16 where it can; of an 8-bit network it is the type of what is not quantised
        narrow = precision == "bfloat16" or precision == "int8" and processor_has_bfloat16()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if narrow else "f32",
            "ENABLE_CPU_PINNING": False,  # each process would choose the same cores
        }
        core, compiled = openvino.Core(), folder / COMPILED_FILE
        if compiled.is_file():
            self.bytes = np.memmap(compiled, np.uint8, "c")  # not copied; OpenVINO wants it writable
            self.compiled = core.import_model(openvino.Tensor(self.bytes, shared_memory=True), "CPU", settings)
        else:
            model = core.read_model(str(folder / (INT8_FILE if precision == "int8" else ONNX_FILE)))
            self.compiled = core.compile_model(model, "CPU", settings)
        self.request = self.compiled.create_infer_request()

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        results = self.request.infer(dict(enumerate(inputs)), share_inputs=True)  # not copied
        arrays = [np.array(results[output], np.float32) for output in self.compiled.outputs]
        if inputs[0].nbytes > LARGE_CLIP_BYTES:
            self.compiled.release_memory()  # of its activations, for the next clip to be prepared in
        return arrays


@dataclass(frozen=True)
class CompiledExporter:
    """Makes a cache entry of OpenVINO's compiled form of a network, and of the facts of the entry that it is made from.

    It serves every precision and number of threads. fetch: gives that entry's folder and facts. file: the network's.
    Raises RunError when OpenVINO cannot read or compile it.
    """

    fetch: Callable[[], tuple[Path, dict[str, Any]]]
    file: str

    def write(self, folder: Path) -> dict[str, Any]:
        import openvino

        source, facts = self.fetch()
        core, settings = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
        try:
            with quiet():
                compiled = core.compile_model(core.read_model(str(source / self.file)), "CPU", settings)
                data = compiled.export_model().getbuffer()
        except RuntimeError as error:
            raise RunError(f"--backend=openvino cannot load the exported network: {one_line(error)}") from error
        (folder / COMPILED_FILE).write_bytes(data)
        return facts


def fetch_compiled(
    origin: dict[str, Any], fetch: Callable[[], tuple[Path, dict[str, Any]]], file: str
) -> tuple[Path, dict[str, Any]]:
    """The cache entry of a CompiledExporter. origin: all that the network follows from."""
    return cache.fetch(cache.key_of({**origin, **runtime_facts("openvino")}), CompiledExporter(fetch, file))


SESSIONS: dict[str, Callable[[Path, str, str, int], Session]] = {
    "paddle_inference": PaddleInferenceSession,
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVinoSession,
}
