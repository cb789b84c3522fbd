"""Recognise what happens in a video, in the videos of a folder or of a list: classes, segments, actions, or features.

python predict.py --video_path=examples/clip.mp4          # the example network of this repository
python predict.py --video_path=clip.mp4 --weights=output/train/NONLOCAL.pdparams --config=output/train/config.yaml
python predict.py --video_path=match.mp4 --segments --draw=labelled.mp4 --weights=... --config=...
python predict.py --video_path=folder/ --features=res5 --weights=... --config=...
python predict.py --video_path=clip.mp4 --detect --draw=persons.mp4 --weights=... --config=...
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

from configs import config_from_args
from inference import BackendSpec, add_backend_flags
from inference.example import choose_network
from metrics.temperature import apply_temperature, parse_temperature
from models import FAMILIES
from tasks import build_task
from utils.cli import add_hidden_alias, build_parser, positive_int, positive_seconds, run
from utils.errors import UserError
from utils.runtime import choose_device, set_variables


def parse_args() -> argparse.Namespace:
    parser = build_parser(
        __doc__, save_dir=os.path.join("data", "predict_results"), log_interval=1, model_names=FAMILIES
    )
    parser.add_argument(
        "--weights",
        help="file of weights (default: the one in INFER.checkpoint_dir, else the published one; "
        "with no --config either, the example network)",
    )
    parser.add_argument(
        "--two_stream", nargs=2, metavar=("RGB", "FLOW"),
        help="the weights of an RGB and of a flow network, each beside its config.yaml, whose scores are fused; in "
        "place of --weights and --config",
    )  # fmt: skip
    parser.add_argument("--filelist", help="videos to predict, one per line; overrides INFER.filelist")
    parser.add_argument("--video_path", help="a video or a folder of videos; overrides --filelist")
    parser.add_argument("--infer_topk", type=positive_int, default=20, help="classes listed (default: %(default)s)")
    parser.add_argument(
        "--views",
        help="clips x crops of a video, as 10x3 (default: INFER.num_test_clips as Nx3), or whole: uncropped frames of "
        "as many clips; adaptive[:CONFIDENCE][:VIEWS]: as many of them as the answer needs. With sliding windows the "
        "crops of each: 1x1, 1x3 or whole (default)",
    )
    parser.add_argument(
        "--segments", nargs="?", const="all", default="", choices=("all", "adaptive"),
        help="what happens when, in videos of any length, as files; adaptive: windows between two that agree strongly "
        "are not scored",
    )  # fmt: skip
    parser.add_argument(
        "--detect",
        action="store_true",
        help="who does what: the actions of persons on key frames, as csv in AVA's form",
    )
    parser.add_argument("--boxes", default="", metavar="CSV", help="the persons, in AVA's form, for --detect")
    parser.add_argument(
        "--detector", default="auto", metavar="ONNX|persons",
        help="finds the persons, for --detect: an ONNX file, or persons, the one of tools/fetch_person_detector.py "
        "(default: the network's own proposals where it has them, else persons)",
    )  # fmt: skip
    parser.add_argument(
        "--stride_seconds",
        type=positive_seconds,
        help="from one sliding window to the next (default: half a window), or between key frames (default: 1)",
    )
    add_hidden_alias(parser, "--hop", "--stride_seconds")
    parser.add_argument(
        "--draw",
        default="",
        metavar="MP4",
        help="write the video with its segments, or its boxes and actions, drawn on it; a folder for several",
    )
    parser.add_argument("--features", default="", metavar="STAGE", help="mean output of a stage, as res5, as npz files")
    parser.add_argument(
        "--feature_pooling", choices=("video", "clip", "window"), default="video",
        help="one row of features per video, per clip of --views, or per sliding window (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--temperature",
        type=parse_temperature,
        metavar="NUMBER|FILE",
        help="calibrate the probabilities: below 1 sharpens, above 1 flattens, the order stays; a number, or a "
        "temperature.json of tools/report.py",
    )
    add_backend_flags(parser, precision="auto")
    args = parser.parse_args()
    if args.two_stream:
        if args.weights or args.config or args.segments or args.draw or args.features or args.detect:
            parser.error("--two_stream names both networks and predicts classes; leave the flags of others out")
    else:
        choose_network(args)
    if args.detect and (args.segments or args.features or args.views or args.temperature):
        parser.error(
            "--detect looks at whole frames and goes without --segments, --features, --views and --temperature"
        )
    if (args.boxes or args.detector != "auto") and not args.detect:
        parser.error("--boxes and --detector go with --detect")
    if args.boxes and (args.detector != "auto" or args.stride_seconds):
        parser.error("--boxes has the key frames and their boxes; leave --detector and --stride_seconds out")
    if args.draw and not args.detect:
        args.segments = args.segments or "all"
    if args.segments and args.features:
        parser.error("--features and --segments (or --draw) are two runs; leave one out")
    if args.temperature and (args.segments or args.features):
        parser.error(
            "--temperature goes with the classes of videos; leave it out with --segments, --draw or --features"
        )
    if args.feature_pooling != "video" and not args.features:
        parser.error("--feature_pooling goes with --features")
    if args.stride_seconds and not (args.segments or args.detect or args.feature_pooling == "window"):
        parser.error("--stride_seconds goes with --segments, --detect or --feature_pooling=window")
    return args


def main() -> None:
    args = parse_args()
    config = None if args.two_stream else config_from_args(args, ("INFER",))
    set_variables()
    print(f"predicting on {choose_device(args.use_gpu)}")
    from inference.classify import PredictOptions
    from inference.predict import predict_videos

    if config is None:
        from inference.two_streams import two_streams

        backend = two_streams(args, "INFER")
        config, job = backend.config, "two_streams"
    else:
        backend = BackendSpec(config, args.weights, config.INFER.checkpoint_dir, args.backend, args.precision)
        jobs = {"features": args.features, "segments": args.segments, "actions": args.detect}
        job = next((name for name, is_wanted in jobs.items() if is_wanted), "classes")
    if args.temperature and build_task(config).multi_label:
        raise UserError("--temperature is for one class per video (a softmax); this network has several: leave it out")
    options = PredictOptions(
        folder=Path(args.save_dir),
        topk=args.infer_topk,
        views=args.views,
        stride_seconds=args.stride_seconds,
        overlay_video=args.draw,
        features=args.features,
        feature_pooling=args.feature_pooling,
        log_interval=args.log_interval,
        boxes=args.boxes,
        detector=args.detector,
        segments=args.segments or "all",
        calibrate=partial(apply_temperature, temperature=args.temperature) if args.temperature else None,
    )
    predict_videos(
        config,
        backend,
        options,
        job=job,
        video_path=args.video_path or config.INFER.video_path,
        filelist=args.filelist or config.INFER.filelist,
    )


if __name__ == "__main__":
    run(main)
