"""A video's frames beside its classes, also played backwards: python tools/visualize.py answer --video_path=V

The scores are those of predict.py, the mean over all views of INFER; without --config and --weights the example network
computes them. A class that changes when the frames are reversed was recognised by the order of the frames.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from utils.cli import build_parser, positive_int
from utils.errors import UserError
from utils.runtime import choose_device, prepare_environment


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    from configs import config_from_args
    from datareader import NO_LABEL, Failure, VideoItem, build_view_loader
    from datareader.lists import class_names_of
    from inference import build_backend, score_views
    from utils.plots import draw_answers

    config = config_from_args(args, ("INFER",))
    prepare_environment()
    choose_device(args.use_gpu)
    names, item = class_names_of(config, "INFER"), VideoItem(args.video_path, NO_LABEL, 1)
    network = build_backend(config, args.weights, config.INFER.checkpoint_dir)
    frames, rows = middle_clip(args.video_path, config.INFER, args.num_frames), {}
    for title, shown, backwards in (("frames forwards", frames, False), ("frames reversed", frames[::-1], True)):
        (views,) = build_view_loader(config, [item], section="INFER", num_workers=0, reverse_frames=backwards)
        if isinstance(views, Failure):
            raise UserError(f"{views.path}: {views.reason}")
        scores = score_views(network, views, config.INFER.batch_size).mean(0)
        best = (-scores).argsort(kind="stable")[: args.infer_topk]
        rows[title] = (shown, {names[i]: float(scores[i]) for i in best})
        print(f"{title}: {names[best[0]]} ({scores[best[0]]:.4f})")
    path = Path(args.save_dir) / f"{Path(args.video_path).stem}_answer.png"
    draw_answers(rows, path)
    print(f"{path}: the picture")


def parse_args(argv: list[str]) -> argparse.Namespace:
    from inference.example import EXAMPLES, choose_network

    parser = build_parser(__doc__, save_dir="output/answer", log_interval=1, without_effect=("--log_interval",))
    parser.prog = "visualize.py answer"
    parser.add_argument(
        "--video_path", default=str(EXAMPLES / "clip.mp4"), help="the video (default: the example clip)"
    )
    parser.add_argument("--filelist", help=argparse.SUPPRESS)
    parser.add_argument("--weights", help="file of weights (default: as predict.py)")
    parser.add_argument("--num_frames", type=positive_int, default=5, help="frames shown (default: %(default)s)")
    parser.add_argument("--infer_topk", type=positive_int, default=5, help="classes shown (default: %(default)s)")
    args = parser.parse_args(argv)
    choose_network(args)
    return args


def middle_clip(path: str, clip, count: int) -> list[np.ndarray]:
    """`count` frames, uint8 RGB [H, W, 3], spread over a clip's length in the middle of a video."""
    from datareader import probe, read_frames

    length, num_frames = clip.video_length * clip.sample_rate, probe(path).num_frames
    first = max(0, (num_frames - length) // 2)
    last = min(num_frames, first + length) - 1
    return list(read_frames(path, np.linspace(first, last, count).round().astype(np.int64)))
