"""8-bit networks: post-training quantisation of an export by NNCF, kept beside the weights and run by OpenVINO.

Weights and activations of convolutions become 8-bit integers, with ranges from calibration clips. Matrix products and
what takes their results stay in floating point, since OpenVINO computes a quantised product in float32 (`_products`).
So do operations that hurt, found by measuring: NNCF quantises all, then gives back those that cost most until the
scores of the clips it is judged on are close enough to the float network's (MAX_DROP).

The folder `int8` beside the weights holds net.xml, net.bin, and facts.json: what they were made from and how they
differ. Importing this module imports neither Paddle, NNCF nor OpenVINO.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.schema import Config
from datareader import Failure, build_view_loader, read_list
from inference.backends import (
    ExportedBackend,
    Session,
    computes_volumes,
    fetch_compiled,
    open_session,
    processor_flags,
    refuse_8_bit_detector,
)
from inference.export import (
    INT8_FILE,
    ONNX_FILE,
    STEM,
    NetworkSource,
    check_clips,
    clips_to_frames,
    convert_to_onnx,
    export_paddle,
    one_line,
    quiet,
)
from models import needs_fixed_sizes
from utils.errors import RunError, UserError
from utils.files import file_sha256, write_together
from weights.containers import stored_sha256

FOLDER, FACTS_FILE = "int8", "facts.json"
NETWORK_FILES = (INT8_FILE, f"{STEM}.bin")
INT8_UNITS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}  # the last two are ARM's names
MAX_CLIPS = 300  # one a video; NNCF's own number
MIN_CLIPS = 10
MAX_DROP = 0.01  # the mean over clips of the largest difference of a score
CHECK_TOLERANCE = 0.05  # of a score, from processor to processor
INSTALL_HINT = 'pip install ".[fast,quantize]"'


@dataclass(frozen=True)
class JudgedClip:
    """frames: float32 [T, C, H, W], a view of a video. scores: the float network's, float32 [K]."""

    frames: np.ndarray
    scores: np.ndarray


def int8_folder(weights: str | Path) -> Path:
    """Where the 8-bit form of a file of weights lies."""
    return Path(weights).parent / FOLDER


# ------------------------------------------------------------------------------------------- making it


def quantize_network(config: Config, weights: str, calibration: str) -> None:
    """Quantise the network of a configuration on the videos of a list; write the folder `int8` beside the weights.

    Of at most MAX_CLIPS videos, spread over the list, one view is taken, the centre of the middle. Every other one
    gives ranges, the rest is what the quantised network is judged on.

    Raises UserError for a missing package and for a list without MIN_CLIPS readable videos, RunError when the network
    cannot be quantised.
    """
    refuse_8_bit_detector(config)
    missing = [name for name in ("nncf", "openvino", "paddle2onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--precision=int8 needs {' and '.join(missing)}: {INSTALL_HINT}")
    infer = config.INFER
    views = _read_views(config, calibration)
    with tempfile.TemporaryDirectory(prefix="nonlocal.int8.") as name:
        folder = Path(name)
        fixed = infer.crop_size if needs_fixed_sizes(config, infer.video_length, *views[0].shape[2:]) else None
        model = NetworkSource(config, weights).load()
        volumes = computes_volumes(config, "openvino", "cpu")
        export_paddle(model, folder, infer.video_length, fixed, fixed, volumes=volumes)
        del model
        convert_to_onnx(folder, folder / ONNX_FILE)
        print(
            f"quantising with {len(views)} clips; this takes minutes, as each operation's cost is measured", flush=True
        )
        float_session = open_session("openvino", folder, "float32", "cpu")
        clips = [JudgedClip(frames, float_session(frames)[0][0]) for frames in views]
        del float_session
        facts = _quantize(folder, clips)
        session = open_session("openvino", folder, "int8", "cpu")
        check = clips_to_frames(check_clips(config, infer.video_length, infer.crop_size, infer.crop_size))
        facts = {
            "weights_sha256": stored_sha256(weights),
            "num_frames": infer.video_length,
            "side_px": fixed,
            "calibration": calibration,
            **facts,
            **_differences(session, clips[1::2]),
            "check": session(check)[0].tolist(),
        }
        files = {name: (folder / name).read_bytes() for name in NETWORK_FILES}
        files[FACTS_FILE] = json.dumps(facts, indent=2).encode()
    target = int8_folder(weights)
    write_together({target / name: lambda stream, data=data: stream.write(data) for name, data in files.items()})
    kept = ", ".join(facts["floating_point"]) or "none"
    print(
        f"calibrated on {facts['num_calibration']} clips, judged on {facts['num_judged']}: top-1 differs on "
        f"{facts['top1_changed']}, the largest difference of a score is {facts['largest_difference']:.4f}, "
        f"in the mean {facts['mean_difference']:.4f}\n"
        f"operations given back to floating point, beside matrix products: {kept}\n"
        f"the 8-bit network is in {target}; it is used by --precision=int8"
    )


def _read_views(config: Config, calibration: str) -> list[np.ndarray]:
    """The frames float32 [T, C, H, W] of a view of each video."""
    items = read_list(calibration, config.MODEL.num_classes, labels_required=False)
    step = -(-len(items) // MAX_CLIPS)
    views, broken = [], 0
    for video in build_view_loader(config, items[::step], section="INFER", views="3x1"):
        if isinstance(video, Failure):
            broken += 1
            print(f"not used for calibration: {video.path}: {video.reason}")
        else:
            views.append(clips_to_frames(video.clips([1])))
    if len(views) < MIN_CLIPS:
        raise UserError(f"--calibration={calibration}: {len(views)} readable videos; at least {MIN_CLIPS} are needed")
    return views


def _quantize(folder: Path, clips: Sequence[JudgedClip]) -> dict[str, Any]:
    """Write the quantised form of the ONNX network in `folder` beside it. Returns facts about how."""
    import nncf
    import openvino

    notes, logger = _Notes(), logging.getLogger("nncf")
    handlers, logger.handlers = logger.handlers, [notes]  # in place of pages of progress
    calibration, judged = list(clips[::2]), list(clips[1::2])

    def closeness(network, items: Sequence[JudgedClip]) -> tuple[float, list[float]]:
        values = [float(1 - np.abs(network(clip.frames)[0][0] - clip.scores).max()) for clip in items]
        return float(np.mean(values)), values

    try:
        network = openvino.Core().read_model(str(folder / ONNX_FILE))
        with quiet():
            quantized = nncf.quantize_with_accuracy_control(
                network,
                nncf.Dataset(calibration, lambda clip: clip.frames),
                nncf.Dataset(judged, lambda clip: clip),
                closeness,
                max_drop=MAX_DROP,
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(names=_products(network)),
                subset_size=len(calibration),
            )
        openvino.save_model(quantized, str(folder / INT8_FILE), compress_to_fp16=False)
    except Exception as error:  # NNCF's and OpenVINO's errors share no class of their own
        raise RunError(f"NNCF cannot quantise this network: {one_line(error)}") from error
    finally:
        logger.handlers = handlers
    return {
        "nncf": nncf.__version__,
        "openvino": openvino.__version__,
        "max_drop": MAX_DROP,
        "num_calibration": len(calibration),
        "num_judged": len(judged),
        "floating_point": notes.floating_point,
    }


def _products(network) -> list[str]:
    """The names of an OpenVINO network's matrix products, and of the convolutions that take their results.

    Those are the products of non-local blocks with the blocks' last convolutions, and the classifier. A product whose
    operands or result are quantised is computed in float32, and what 8 bits save elsewhere is lost.
    """
    names = []
    for operation in network.get_ordered_ops():
        source = operation
        if operation.get_type_name() == "Convolution":
            source = operation.input_value(0).get_node()
            while source.get_type_name() in ("Reshape", "Transpose"):
                source = source.input_value(0).get_node()
        if source.get_type_name() == "MatMul":
            names.append(operation.get_friendly_name())
    return names


class _Notes(logging.Handler):
    """Reads in NNCF's log which operations it gave back; nothing else tells."""

    def __init__(self) -> None:
        super().__init__()
        self.floating_point: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        _, found, names = record.getMessage().partition("reverted back to the floating-point precision:")
        if found:
            self.floating_point = names.split()


def _differences(session: Session, clips: Sequence[JudgedClip]) -> dict[str, Any]:
    """How the scores of the quantised network differ from the float network's."""
    found = np.stack([session(clip.frames)[0][0] for clip in clips])
    expected = np.stack([clip.scores for clip in clips])
    largest = np.abs(found - expected).max(axis=1)
    return {
        "top1_changed": int((found.argmax(axis=1) != expected.argmax(axis=1)).sum()),
        "largest_difference": float(largest.max()),
        "mean_difference": float(largest.mean()),
    }


# ------------------------------------------------------------------------------------------- using it


class Int8Backend(ExportedBackend):
    """The 8-bit network beside a file of weights, in OpenVINO; prints a note where the processor makes it slow.

    Raises UserError where there is none, or one of other weights or frames; RunError where it does not compute here
    what it computed when it was made.
    """

    name, precision, device = "openvino", "int8", "cpu"

    def __init__(self, weights: str, config: Config, num_frames: int):
        folder = int8_folder(weights)
        make = f"make it: python export.py --precision=int8 --calibration=LIST --weights={weights}"
        try:
            facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
            made_for, check = (facts["weights_sha256"], facts["num_frames"]), np.array(facts["check"], np.float32)
            self.side_px = facts["side_px"]
            origin = {"int8": [file_sha256(folder / name) for name in NETWORK_FILES]}
        except FileNotFoundError as error:
            raise UserError(f"--precision=int8: there is no {folder / FACTS_FILE}; {make}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"--precision=int8: {folder / FACTS_FILE} is damaged ({error}); {make}") from error
        if made_for != (stored_sha256(weights), num_frames):
            raise UserError(f"--precision=int8: {folder} is of other weights or another number of frames; {make}")
        self.num_frames = num_frames
        if not INT8_UNITS.intersection(processor_flags()):
            print(
                "note: this processor has no instructions for 8-bit products (avx512_vnni, avx_vnni): an 8-bit network "
                "is slow here, perhaps slower than float32"
            )
        compiled, _ = fetch_compiled(origin, lambda: (folder, {}), INT8_FILE)
        self.session = open_session("openvino", compiled, "int8", "cpu")
        side = config.INFER.crop_size
        scores = self.session(clips_to_frames(check_clips(config, num_frames, side, side)))[0]
        if scores.shape != check.shape or not np.abs(scores - check).max() <= CHECK_TOLERANCE:
            raise RunError(f"--precision=int8: {folder} computes other scores here than when it was made; {make}")

    def _session(self, num_frames: int, height: int, width: int) -> Session:
        if num_frames != self.num_frames or self.side_px not in (None, height) or self.side_px not in (None, width):
            raise UserError(
                f"--precision=int8: the network is for clips of {self.num_frames} x {self.side_px or 'any'} px, not "
                f"{num_frames} x {height} x {width}; choose other views, or leave --precision out"
            )
        return self.session
