"""Score the videos of a list with several views each and report the accuracy.

python eval.py --weights=output/train/NONLOCAL.pdparams --config=output/train/config.yaml
python eval.py --two_stream output/rgb/NONLOCAL.pdparams output/flow/NONLOCAL.pdparams      (and their fusion)
python -m paddle.distributed.launch --gpus=0,1 eval.py --weights=... --config=...      (several GPUs)
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from configs import config_from_args
from inference import BackendSpec, add_backend_flags
from models import FAMILIES
from utils.cli import build_parser, run
from utils.parallel import join_ranks
from utils.runtime import choose_device, set_variables


def parse_args() -> argparse.Namespace:
    parser = build_parser(
        __doc__, save_dir=os.path.join("data", "evaluate_results"), log_interval=1, model_names=FAMILIES
    )
    parser.add_argument("--weights", help="file of weights (default: TEST.checkpoint_dir's, else the zoo's download)")
    parser.add_argument(
        "--two_stream", nargs=2, metavar=("RGB", "FLOW"),
        help="the weights of an RGB and of a flow network, each beside its config.yaml: both and their fusion are "
        "evaluated; in place of --weights and --config",
    )  # fmt: skip
    parser.add_argument("--filelist", help="in place of TEST.filelist")
    parser.add_argument(
        "--views",
        help="clips x crops of a video, such as 10x3 (default: TEST.num_test_clips as Nx3); "
        "adaptive[:CONFIDENCE][:VIEWS]: as many of them as the answer needs",
    )
    parser.add_argument(
        "--reverse_frames", action="store_true", help="play each clip backwards, to see whether the network uses time"
    )
    parser.add_argument(
        "--save_views", action="store_true", help="keep the scores of each view in scores.npz, for accuracy by views"
    )
    parser.add_argument(
        "--groups",
        default="",
        metavar="FILE|REGEX",
        help="videos that are not independent are resampled together: a file with a line `path group` for each, or a "
        "regular expression whose parentheses find the group in the path, as v_(.+_g[0-9]+)_ for UCF101",
    )
    add_backend_flags(parser)
    args = parser.parse_args()
    if args.two_stream and (args.weights or args.config):
        parser.error("--two_stream names both networks; leave --weights and --config out")
    return args


def main() -> None:
    args = parse_args()
    config = None if args.two_stream else config_from_args(args, ("TEST",))
    set_variables()
    device = choose_device(args.use_gpu)
    ranks = join_ranks(device)
    print(f"evaluating on {device}" + (f", {ranks.world_size} processes" if ranks.world_size > 1 else ""))
    from inference.evaluate import EvalOptions, evaluate_videos

    options = EvalOptions(
        Path(args.save_dir),
        args.weights,
        args.views,
        args.reverse_frames,
        args.log_interval,
        args.save_views,
        args.groups,
    )
    if config is None:
        from inference.two_streams import evaluate_two_streams, two_streams

        evaluate_two_streams(two_streams(args, "TEST"), options, ranks)
        return
    backend = BackendSpec(
        config, args.weights, config.TEST.checkpoint_dir, backend=args.backend, precision=args.precision, section="TEST"
    )
    if config.MODEL.task == "detection":
        from inference.evaluate_boxes import evaluate_boxes

        evaluate_boxes(config, backend, options, ranks)
        return
    evaluate_videos(config, backend, options, ranks)


if __name__ == "__main__":
    run(main)
