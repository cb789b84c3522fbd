"""Write the network as a static graph for other programs, after comparing its scores with those of the network.

python export.py --weights=output/train/NONLOCAL.pdparams --config=output/train/config.yaml --save_dir=output/export
python export.py --format=onnx --crop_size=256 --batch_size=1 --video_path=clip.mp4 --weights=... --config=...
python export.py --precision=int8 --calibration=data/dataset/nonlocal/vallist.txt --weights=... --config=...

Writes net.json (Paddle 2.6: net.pdmodel) and net.pdiparams, or with --format=onnx net.onnx, and net.yaml: input and
outputs, class names, origin of the weights. Input: frames float32 [N*T, C, H, W], the T frames of a clip in a row, RGB,
(x - mean) / std; outputs: scores float32 [N, K] and logits [N, P, K]. N, H and W are free unless --batch_size or
--crop_size fixes them.

--precision=int8 quantises the network to 8 bits, for --precision=int8 of eval.py and predict.py; the files are in the
folder int8 beside the weights.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from configs import config_from_args
from models import FAMILIES
from utils.cli import build_parser, run
from utils.runtime import choose_device, prepare_environment


def parse_args() -> argparse.Namespace:
    unused = ("--use_gpu", "--log_interval")  # the files run anywhere; there are no steps to log
    parser = build_parser(
        __doc__, save_dir=os.path.join("data", "export"), log_interval=0, without_effect=unused, model_names=FAMILIES
    )
    parser.add_argument("--weights", help="file of weights (default: INFER.checkpoint_dir's, else the zoo's download)")
    parser.add_argument("--format", choices=("paddle", "onnx"), default="paddle", help="(default: %(default)s)")
    parser.add_argument("--crop_size", type=int, help="fixes height and width, pixels (default: free)")
    parser.add_argument("--video_length", type=int, help="frames of a clip (default: INFER.video_length)")
    parser.add_argument("--video_path", help="video or folder whose clips are compared (default: a drawn video)")
    parser.add_argument(
        "--precision", choices=("float32", "int8"), default="float32",
        help="int8: quantised on the videos of --calibration, for OpenVINO (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--calibration", default="", metavar="LIST", help="a list of videos, as --filelist of eval.py")
    args = parser.parse_args()
    if (args.precision == "int8") != bool(args.calibration):
        parser.error("--precision=int8 and --calibration=LIST go together")
    return args


def main() -> None:
    args = parse_args()
    config = config_from_args(args, ("INFER",))
    prepare_environment()
    choose_device(False)  # the files run anywhere; they are compared on the CPU
    if args.precision == "int8":
        from inference.quantization import quantize_network
        from weights import find_weights

        quantize_network(config, args.weights or find_weights(config, config.INFER.checkpoint_dir), args.calibration)
        return
    from inference.export_files import ExportOptions, export_network

    options = ExportOptions(
        folder=Path(args.save_dir),
        weights=args.weights,
        format=args.format,
        crop_px=args.crop_size,
        batch_size=args.batch_size,
        video_path=args.video_path or config.INFER.video_path,
    )
    export_network(config, options)


if __name__ == "__main__":
    run(main)
