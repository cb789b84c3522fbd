"""Say what happens in a video, in the videos of a folder or of a list: its classes, its segments, or its features.

python predict.py --video_path=examples/clip.mp4          # the example network of this repository
python predict.py --video_path=clip.mp4 --weights=output/train/NONLOCAL.pdparams --config=output/train/config.yaml
python predict.py --video_path=match.mp4 --segments --draw=labelled.mp4 --weights=... --config=...
python predict.py --video_path=folder/ --features=res5 --weights=... --config=...
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from configs import config_from_args
from inference import add_engine_flags
from inference.example import choose_network
from utils.cli import build_parser, positive_int, run
from utils.errors import UserError
from utils.runtime import choose_device, prepare_environment


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__, save_dir=os.path.join("data", "predict_results"), log_interval=1)
    parser.add_argument(
        "--weights",
        help="file of weights (default: the one in INFER.checkpoint_dir, else the published one; "
        "with no --config either, the example network)",
    )
    parser.add_argument("--filelist", help="videos to predict, one a line, in place of INFER.filelist")
    parser.add_argument("--video_path", help="a video or a folder of videos; goes before --filelist")
    parser.add_argument("--infer_topk", type=positive_int, default=20, help="classes shown (default: %(default)s)")
    parser.add_argument(
        "--views",
        help="clips x crops of a video, as 10x3 (default: INFER.num_test_clips as Nx3), or whole: uncropped frames of "
        "as many clips. With sliding windows the crops of each: 1x1, 1x3 or whole (default)",
    )
    parser.add_argument("--segments", action="store_true", help="videos of any length: what happens when, as files")
    parser.add_argument("--hop", type=positive_seconds, help="seconds between two windows (default: half a window)")
    parser.add_argument("--draw", default="", metavar="MP4", help="segments drawn on the video; a folder for several")
    parser.add_argument("--features", choices=("res2", "res3", "res4", "res5"), help="a stage's mean output, as npz")
    parser.add_argument(
        "--feature_pooling", choices=("video", "clip", "window"), default="video",
        help="one row of features a video, a clip of --views, or a window that slides (default: %(default)s)",
    )  # fmt: skip
    add_engine_flags(parser)
    parser.set_defaults(config=None)  # tells "not given" from the zoo's
    args = parser.parse_args()
    choose_network(args)
    args.segments = args.segments or bool(args.draw)
    if args.segments and args.features:
        parser.error("--features and --segments (or --draw) are two runs; leave one out")
    if args.feature_pooling != "video" and not args.features:
        parser.error("--feature_pooling goes with --features")
    if args.hop and not args.segments and args.feature_pooling != "window":
        parser.error("--hop goes with --segments or --feature_pooling=window")
    return args


def positive_seconds(text: str) -> float:
    """A number above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if 0 < seconds < float("inf"):
        return seconds
    raise argparse.ArgumentTypeError(f"expected seconds above 0, found {text!r}")


def main() -> None:
    args = parse_args()
    config = config_from_args(args, ("INFER",))
    prepare_environment()
    print(f"predicting on {choose_device(args.use_gpu)}")
    from inference.videos import find_videos
    from utils.files import write_json
    from utils.log import Progress

    items = find_videos(args.video_path or config.INFER.video_path, args.filelist or config.INFER.filelist)
    progress = Progress(len(items), args.log_interval, "video")
    target, records, num_broken = Path(args.save_dir) / "predictions.json", [], 0
    try:
        for record in choose_job(args, config, items, progress):
            records.append(record)
            num_broken += "error" in record
            progress.advance(f"{num_broken} broken")
    finally:
        progress.close()
        if records:
            write_json(target, records)
    print(f"{len(items) - num_broken} of {len(items)} videos predicted; {target} holds them all")
    if num_broken:
        raise UserError(f"{num_broken} of {len(items)} videos could not be predicted; they are named above")


def choose_job(args: argparse.Namespace, config, items: list, progress):
    """The iterator over a record a video for what was asked: classes, segments or features."""
    from datareader.inputs import class_names_of
    from inference import build_engine

    def engine(name: str = args.engine):  # called once the flags have been checked: it may take a minute
        return build_engine(
            config, args.weights, config.INFER.checkpoint_dir, engine=name, precision=args.precision
        )  # fmt: skip

    if args.features:
        from inference.features import FeatureOptions, predict_features

        options = FeatureOptions(
            Path(args.save_dir), args.features, args.feature_pooling, args.views, args.hop, args.log_interval
        )
        return predict_features(config, items, lambda: engine("paddle").model, options, progress)
    names = class_names_of(config, "INFER")
    if args.segments:
        from inference.segment import SegmentOptions, predict_segments

        options = SegmentOptions(
            Path(args.save_dir), args.infer_topk, args.views, args.hop, args.draw, args.log_interval
        )
        return predict_segments(config, items, engine, names, options, progress)
    from inference.classify import predict_classes

    return predict_classes(config, items, engine, names, args.infer_topk, args.views, progress)


if __name__ == "__main__":
    run(main)
