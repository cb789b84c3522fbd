"""Write the network as a static graph for other programs, and compare its scores with the network's before saying so.

python export.py --weights=output/train/NONLOCAL.pdparams --config=output/train/config.yaml --save_dir=output/export
python export.py --format=onnx --crop_size=256 --batch_size=1 --video_path=clip.mp4 --weights=... --config=...

Writes net.json (Paddle 2.6: net.pdmodel) and net.pdiparams, or with --format=onnx net.onnx, and net.yaml: what goes in
and comes out, class names, where the weights came from. Input: frames float32 [N*T, 3, H, W], the T frames of a clip in
a row, RGB, (x - mean) / std; outputs: scores float32 [N, K] and logits [N, P, K]. N, H and W are free unless
--batch_size or --crop_size fixes them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from pathlib import Path

from configs import config_from_args
from utils.cli import build_parser, run
from utils.errors import RunError, UserError
from utils.runtime import choose_device, prepare_environment

NUM_REAL_CLIPS, NUM_RANDOM_CLIPS = 4, 2


def parse_args() -> argparse.Namespace:
    unused = ("--use_gpu", "--log_interval")  # what is written runs anywhere; there are no steps to log
    parser = build_parser(__doc__, save_dir=os.path.join("data", "export"), log_interval=0, without_effect=unused)
    parser.add_argument("--weights", help="file of weights (default: INFER.checkpoint_dir's, else the zoo's download)")
    parser.add_argument("--format", choices=("paddle", "onnx"), default="paddle", help="(default: %(default)s)")
    parser.add_argument("--crop_size", type=int, help="fixes height and width, pixels (default: free)")
    parser.add_argument("--video_length", type=int, help="frames of a clip (default: INFER.video_length)")
    parser.add_argument("--video_path", help="video or folder whose clips are compared; left out: a drawn one")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = config_from_args(args, ("INFER",))
    prepare_environment()
    choose_device(False)  # what is written runs anywhere; it is compared on the CPU
    from datareader.inputs import class_names_of
    from inference import find_weights, load_network
    from inference.choice import check_engine
    from inference.export import export_paddle, needs_fixed_sizes

    engine = {"paddle": "inference", "onnx": "onnxruntime"}[args.format]
    check_engine(engine, "float32", "cpu")
    infer, names = config.INFER, class_names_of(config, "INFER")
    side = infer.crop_size
    if args.crop_size is None and needs_fixed_sizes(config, infer.video_length, side, side):
        raise UserError(f"clips of {infer.video_length} x {side} x {side} need a fixed size: add --crop_size={side}")
    weights = args.weights or find_weights(config, infer.checkpoint_dir)
    model = load_network(config, weights)
    clips = {"random": random_clips(infer, args.batch_size or NUM_RANDOM_CLIPS), **real_clips(config, args)}
    with tempfile.TemporaryDirectory(prefix=".export.", dir=made_folder(args.save_dir)) as folder:
        export_paddle(model, Path(folder), infer.video_length, args.crop_size, args.crop_size, args.batch_size)
        if args.format == "onnx":
            from inference.export import ONNX_FILE, convert_to_onnx

            convert_to_onnx(Path(folder), Path(folder) / ONNX_FILE)
        differences = compare_all(model, Path(folder), engine, clips)
        write_facts(Path(folder), config, args, weights, names, differences)
        written = move_files(Path(folder), Path(args.save_dir), args.format)
    print(f"{', '.join(written)} are in {args.save_dir}")


def made_folder(path: str) -> str:
    """`path`, made where it is missing. Raises UserError when that cannot be."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f"--save_dir={path}: {error.strerror}; choose another folder") from error
    return path


def random_clips(infer, num_clips: int):
    """Noise of the size that the configuration predicts with: float32 [num_clips, 3, T, S, S]."""
    import numpy as np

    shape = (num_clips, 3, infer.video_length, infer.crop_size, infer.crop_size)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def real_clips(config, args: argparse.Namespace) -> dict:
    """Name -> clips [n, 3, T, S, S] of the first readable videos, n as --batch_size fixes it."""
    import numpy as np

    from datareader import NO_LABEL, Failure, VideoItem, build_view_loader
    from datareader.inputs import list_folder

    path = args.video_path or config.INFER.video_path
    with tempfile.TemporaryDirectory() as folder:
        if not path:
            path = draw_video(Path(folder))
        items = list_folder(path) if os.path.isdir(path) else [VideoItem(path, NO_LABEL, 1)]
        clips = {}
        for views in build_view_loader(config, items[:NUM_REAL_CLIPS], section="INFER", num_workers=0, views="1x1"):
            if isinstance(views, Failure):
                raise UserError(f"--video_path: {views.path}: {views.cause}")
            name = os.path.basename(views.path)
            clips[name] = np.repeat(views.clips([0]), args.batch_size or 1, axis=0)
    return clips


def draw_video(folder: Path) -> str:
    """A video of the demo, for want of a real one."""
    from fractions import Fraction

    import numpy as np

    from data.dataset.demo.draw_motions import draw_frames
    from data.dataset.demo.make_videos import encode_video

    path = folder / "drawn.mp4"
    path.write_bytes(encode_video(draw_frames("rise", np.random.default_rng(0)), Fraction(25)))
    return str(path)


def compare_all(model, folder: Path, engine: str, clips: dict) -> dict[str, float]:
    """Clips' name -> largest difference in probability from the eager network; RunError where it is too large."""
    from tabulate import tabulate

    from inference.exported import LOGIT_TOLERANCES, SCORE_TOLERANCES, compare, eager_outputs, open_session

    session = open_session(engine, folder, "float32", "cpu")
    found, rows = {}, []
    for name, array in clips.items():
        expected = eager_outputs(model, array)
        found[name] = compare(session, array, expected)
        rows.append((name, engine, float(expected[0].max()), *found[name]))
    headers = ("clips", "computed by", "highest probability", "largest difference", "in logits, relative")
    print(tabulate(rows, headers, floatfmt=("", "", ".4f", ".1e", ".1e")))
    if not all(difference.is_within("float32") for difference in found.values()):
        limits = f"{SCORE_TOLERANCES['float32']}, in logits {LOGIT_TOLERANCES['float32']}"
        raise RunError(f"the exported network computes something else (allowed: {limits}); nothing is kept")
    return {name: difference.scores for name, difference in found.items()}


def write_facts(folder: Path, config, args: argparse.Namespace, weights: str, names: list[str], differences) -> None:
    """net.yaml: all that a program needs to use the network, and what it was made from."""
    import paddle
    import yaml

    from inference.cache import file_digest
    from inference.export import STEM

    infer, side = config.INFER, args.crop_size or "free"
    free = args.batch_size or "free"
    facts = {
        "input": {
            "name": "frames",
            "shape": "[clips * num_frames, 3, height, width], the frames of a clip in a row",
            "colours": "RGB, 0..255, then (x - image_mean) / image_std",
            "clips": free,
            "height": side,
            "width": side,
            "num_frames": infer.video_length,
            "frame_stride": infer.sample_rate,
            "short_side_px": infer.jitter_scales[0],
            "crop_px": infer.crop_size,
            "image_mean": config.INPUT.mean,
            "image_std": config.INPUT.std,
        },
        "outputs": [
            {"shape": "[clips, classes]", "meaning": "probabilities, the mean over output positions"},
            {"shape": "[clips, positions, classes]", "meaning": "logits of each output position"},
        ],
        "class_names": names,
        "weights": {"file": os.path.basename(weights), "sha256": file_digest(weights)},
        "paddle": paddle.__version__,
        "largest_difference_from_network": differences,
        "config": {key: dataclasses.asdict(getattr(config, key)) for key in ("MODEL", "RESNETS", "NONLOCAL", "INFER")},
    }
    text = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
    (folder / f"{STEM}.yaml").write_text(text, encoding="utf-8")


def move_files(folder: Path, target: Path, wanted: str) -> list[str]:
    """Move the files of the wanted format beside each other into `target`, the facts last; returns their names."""
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


if __name__ == "__main__":
    run(main)
