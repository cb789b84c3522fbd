"""Score the videos of a list with several views each and report the accuracy.

python eval.py --weights=output/train/NONLOCAL.pdparams --config=output/train/config.yaml
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from configs import config_from_args
from utils.cli import build_parser, run
from utils.runtime import choose_device, prepare_environment


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__, save_dir=os.path.join("data", "evaluate_results"), log_interval=1)
    parser.add_argument("--weights", help="file of weights; left out: TEST.checkpoint_dir's, else the zoo's download")
    parser.add_argument("--filelist", help="in place of TEST.filelist")
    parser.add_argument("--views", help="clips x crops of a video, such as 10x3 (default: TEST.num_test_clips as Nx3)")
    parser.add_argument(
        "--reverse_frames", action="store_true", help="play each clip backwards, to see whether the network uses time"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = config_from_args(args, ("TEST",))
    prepare_environment()
    print(f"evaluating on {choose_device(args.use_gpu)}")
    from datareader import Failure, build_view_loader, read_list
    from datareader.inputs import class_names_of
    import numpy as np

    from engines import build_engine, score_views
    from metrics import MultiViewMeter
    from utils.log import Progress

    test = config.TEST
    names = class_names_of(config)
    items = read_list(test.filelist, config.MODEL.num_classes, filename_gt=test.filename_gt)
    if test.dataset_size not in (None, len(items)):
        print(f"{test.filelist} has {len(items)} videos, TEST.dataset_size says {test.dataset_size}; the list counts")
    meter = MultiViewMeter(
        config.MODEL.num_classes,
        labels=[item.label for item in items],
        paths=[item.path for item in items],
        class_names=names,
    )
    engine = build_engine(config, args.weights, test.checkpoint_dir)
    loader = build_view_loader(config, items, section="TEST", views=args.views, reverse_frames=args.reverse_frames)
    progress = Progress(len(items), args.log_interval, "video")
    for views in loader:
        if isinstance(views, Failure):
            meter.add_failure(views.video_id, items[views.video_id].label, views.path, views.cause)
            progress.say(f"broken video, counted as wrong: {views.path}: {views.cause}")
        else:
            if views.complaint:
                progress.say(f"{views.path}: {views.complaint}")
            scores = score_views(engine, views, test.batch_size)
            meter.add_video(views.video_id, views.label, scores, views.clip_of(np.arange(len(views))))
        result = meter.result()
        seen = result["videos_expected"] / max(1, meter.num_done())
        progress.advance(f"top1 {result['top1'] * seen:.2f} top5 {result['top5'] * seen:.2f}")
    progress.close()
    write_report(meter, names, Path(args.save_dir), config, args)


def write_report(meter, names: list[str], save_dir: Path, config, args: argparse.Namespace) -> None:
    """results.json, results.txt, scores.npz, confusion_matrix.png and config.yaml in `save_dir`; the text to stdout."""
    import numpy as np

    from configs import save_config
    from utils.files import write_atomically, write_json, write_text
    from utils.plots import draw_confusion_matrix

    result = {**meter.result(), "weights": args.weights, "views": args.views, "reverse_frames": args.reverse_frames}
    text = report_text(result)
    print(text)
    ids, paths, scores = meter.video_scores()
    write_json(save_dir / "results.json", result)
    write_text(save_dir / "results.txt", text + "\n")
    write_text(save_dir / "config.yaml", save_config(config))
    write_atomically(
        save_dir / "scores.npz",
        lambda stream: np.savez(stream, video_id=ids, path=np.array(paths, np.str_), scores=scores.astype(np.float32)),
    )
    draw_confusion_matrix(meter.confusion_matrix(), names, save_dir / "confusion_matrix.png")
    print(f"results.json, results.txt, scores.npz and confusion_matrix.png are in {save_dir}")


def report_text(result: dict) -> str:
    """The result as tables."""
    from tabulate import tabulate

    k = result["topk"]
    figures = [
        ("top-1", result["top1"]),
        (f"top-{k}", result["top5"]),
        ("top-1 of single clips", result["clip_top1"]),
        ("top-1 of the first clip", result["first_clip_top1"]),
        ("mean class accuracy", result["mean_class_accuracy"]),
    ]
    classes = [(row["name"], row["num_videos"], row["top1"]) for row in result["per_class"] if row["num_videos"]]
    lines = [
        tabulate(classes, ("class", "videos", "top-1 %"), floatfmt=".2f"),
        "",
        tabulate(figures, ("accuracy", "%"), floatfmt=".2f"),
        "",
        f"{result['videos_seen']} of {result['videos_expected']} videos scored, {len(result['videos_broken'])} broken",
        *(f"broken, counted as wrong: {video['path']}: {video['cause']}" for video in result["videos_broken"]),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
