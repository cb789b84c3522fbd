"""All that export.py does: the network as files for other programs, compared with the network before they are kept."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.schema import Config
from datareader import NO_LABEL, Failure, VideoItem, build_view_loader
from datareader.flow.methods import FlowProvenance
from datareader.lists import class_names_of, list_folder
from inference.backends import check_backend, computes_volumes, open_session
from inference.detect import action_names
from inference.export import (
    LOGIT_TOLERANCES,
    ONNX_FILE,
    SCORE_TOLERANCES,
    STEM,
    NetworkSource,
    check_boxes,
    compare,
    convert_to_onnx,
    eager_outputs,
    export_paddle,
    max_side_of_boxes,
)
from models import needs_fixed_sizes, network_sections
from utils.errors import RunError, UserError
from weights import find_weights
from weights.containers import stored_sha256

BACKEND_OF_FORMAT = {"paddle": "paddle_inference", "onnx": "onnxruntime"}
NUM_REAL_CLIPS, NUM_RANDOM_CLIPS = 4, 2


@dataclass(frozen=True)
class ExportOptions:
    """folder: where the files go. weights: a file, or None for the default. format: "paddle" or "onnx". crop_px: fixes
    height and width, None: free. batch_size: fixes the number of clips, None: free. video_path: a video or folder whose
    clips are compared, "": a drawn one."""

    folder: Path
    weights: str | None = None
    format: str = "paddle"
    crop_px: int | None = None
    batch_size: int | None = None
    video_path: str = ""


def export_network(config: Config, options: ExportOptions) -> None:
    """Write the network of a configuration as net.json (or net.pdmodel) and net.pdiparams, or net.onnx; and net.yaml.

    Raises UserError for a missing package or file and for clips that need a fixed size, RunError when the network
    cannot be exported or the export computes something else; then no file is written.
    """
    backend = BACKEND_OF_FORMAT[options.format]
    check_backend(backend, "float32", "cpu")
    infer, is_detector = config.INFER, config.MODEL.task == "detection"
    names = action_names(config) if is_detector else class_names_of(config, "INFER")
    num_frames, side = infer.video_length, infer.crop_size
    if options.crop_px is None and needs_fixed_sizes(config, num_frames, side, side):
        raise UserError(f"clips of {num_frames} x {side} x {side} need a fixed size: add --crop_size={side}")
    weights = options.weights or find_weights(config, infer.checkpoint_dir)
    model = NetworkSource(config, weights).load()
    clips = {"random": random_clips(config, options.batch_size or NUM_RANDOM_CLIPS), **real_clips(config, options)}
    with tempfile.TemporaryDirectory(prefix=".export.", dir=_made_folder(options.folder)) as name:
        folder = Path(name)
        sizes = (options.crop_px, options.crop_px, options.batch_size)
        export_paddle(model, folder, num_frames, *sizes, volumes=computes_volumes(config, backend, "cpu"))
        if options.format == "onnx":
            convert_to_onnx(folder, folder / ONNX_FILE)
        differences = compare_all(model, config, folder, backend, clips)
        write_facts(folder, config, options, weights, names, differences)
        written = _move_files(folder, options.folder, options.format)
    print(f"{', '.join(written)} are in {options.folder}")


def random_clips(config: Config, num_clips: int) -> np.ndarray:
    """Noise of the size that the configuration predicts with: float32 [num_clips, C, T, S, S]."""
    infer = config.INFER
    shape = (num_clips, config.INPUT.channels, infer.video_length, infer.crop_size, infer.crop_size)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def real_clips(config: Config, options: ExportOptions) -> dict[str, np.ndarray]:
    """File name -> clips [n, C, T, S, S] of the first videos, n as batch_size fixes it. Raises UserError."""
    with tempfile.TemporaryDirectory() as folder:
        path = options.video_path or draw_video(Path(folder))
        items = list_folder(path) if os.path.isdir(path) else [VideoItem(path, NO_LABEL, 1)]
        clips = {}
        for views in build_view_loader(config, items[:NUM_REAL_CLIPS], section="INFER", num_workers=0, views="1x1"):
            if isinstance(views, Failure):
                raise UserError(f"--video_path: {views.path}: {views.reason}")
            name = os.path.basename(views.path)
            clips[name] = np.repeat(views.clips([0]), options.batch_size or 1, axis=0)
    return clips


def draw_video(folder: Path) -> str:
    """A video of the demo data set, for want of a real one."""
    from fractions import Fraction

    from data.dataset.demo.draw_motions import draw_frames
    from data.dataset.drawn_videos import encode_video

    path = folder / "drawn.mp4"
    path.write_bytes(encode_video(draw_frames("rise", np.random.default_rng(0)), Fraction(25)))
    return str(path)


def compare_all(model, config: Config, folder: Path, backend: str, clips: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Clips' name -> largest difference in probability from the eager network; RunError where it is too large."""
    from tabulate import tabulate

    session = open_session(backend, folder, "float32", "cpu")
    found, rows = {}, []
    for name, array in clips.items():
        boxes = check_boxes(config, len(array), *array.shape[3:])
        expected = eager_outputs(model, array, *boxes)
        found[name] = compare(session, array, expected, *boxes)
        rows.append((name, backend, float(expected[0].max()), *found[name]))
    headers = ("clips", "backend", "highest probability", "largest difference", "in logits, relative")
    print(tabulate(rows, headers, floatfmt=("", "", ".4f", ".1e", ".1e")))
    if not all(difference.is_within("float32") for difference in found.values()):
        limits = f"{SCORE_TOLERANCES['float32']}, in logits {LOGIT_TOLERANCES['float32']}"
        raise RunError(f"the exported network computes something else (allowed: {limits}); nothing is written")
    return {name: difference.scores for name, difference in found.items()}


def write_facts(
    folder: Path, config: Config, options: ExportOptions, weights: str, names: list[str], differences: dict[str, float]
) -> None:
    """net.yaml: all that a program needs to use the network, and what it was made from."""
    import paddle
    import yaml

    infer, side = config.INFER, options.crop_px or "free"
    boxes: dict[str, Any] = {}
    outputs = [
        {"shape": "[clips, classes]", "meaning": "probabilities, the mean over output positions"},
        {"shape": "[clips, positions, classes]", "meaning": "logits of each output position"},
    ]
    if config.MODEL.task == "detection":
        max_side = max_side_of_boxes(config)
        background = "" if config.MODEL.multi_label else ", the background's last"
        outputs = [
            {"shape": "[boxes, classes]", "meaning": "probabilities"},
            {"shape": "[boxes, classes]", "meaning": f"logits{background}"},
        ]
        boxes["boxes"] = {
            "name": "boxes",
            "shape": "[boxes, 5], at least one",
            "values": "index of the clip, x1, y1, x2, y2 in pixels of the frames and inside of them, at least 1 wide "
            "and high; in order of clips",
            "max_frame_side_px": max_side if max_side < math.inf else "free",
        }
    facts = {
        "input": {
            "name": "frames",
            "shape": f"[clips * num_frames, {config.INPUT.channels}, height, width], the frames of a clip in a row",
            **described_values(config),
            "clips": options.batch_size or "free",
            "height": side,
            "width": side,
            "num_frames": infer.video_length,
            "frame_stride": infer.sample_rate,
            "short_side_px": infer.jitter_scales[0],
            "keep_aspect_ratio": config.INPUT.keep_aspect_ratio,
            "crop_px": infer.crop_size,
            "image_mean": config.INPUT.mean,
            "image_std": config.INPUT.std,
        },
        **boxes,
        "outputs": outputs,
        "class_names": names,
        "weights": {"file": os.path.basename(weights), "sha256": stored_sha256(weights)},
        "paddle": paddle.__version__,
        "largest_difference_from_network": differences,
        "config": {
            key: dataclasses.asdict(getattr(config, key)) for key in ("MODEL", *network_sections(config), "INFER")
        },
    }
    text = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
    (folder / f"{STEM}.yaml").write_text(text, encoding="utf-8")


def described_values(config: Config) -> dict[str, Any]:
    """What the numbers of a frame are, and of flow how it is computed."""
    modality = config.READER.modality
    if modality == "rgb":
        return {"modality": modality, "colours": "RGB, 0..255, then (x - image_mean) / image_std"}
    values = "optical flow in pixels, x to the right, then y downwards, cut to +-bound and divided by it"
    return {"modality": modality, "values": values, "flow": FlowProvenance.of(config.READER).as_dict()}


def _made_folder(path: Path) -> Path:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f"--save_dir={path}: {error.strerror}; choose another folder") from error
    return path


def _move_files(folder: Path, target: Path, wanted: str) -> list[str]:
    """Move the files of the wanted format into `target`, net.yaml last; returns their names."""
    names = sorted(file.name for file in folder.iterdir() if file.suffix != ".yaml")
    if wanted == "onnx":
        names = [name for name in names if name.endswith(".onnx")]
    names += [file.name for file in folder.iterdir() if file.suffix == ".yaml"]
    try:
        for name in names:
            os.replace(folder / name, target / name)
    except OSError as error:
        raise RunError(f"cannot write {target}: {error.strerror}; choose another folder") from error
    return names
