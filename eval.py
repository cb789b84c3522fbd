"""Score the videos of a list with several views each and report the accuracy.

python eval.py --weights=output/train/NONLOCAL.pdparams --config=output/train/config.yaml
python -m paddle.distributed.launch --gpus=0,1 eval.py --weights=... --config=...      (several processes)
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from configs import config_from_args
from inference import add_backend_flags
from utils.cli import build_parser, run
from utils.parallel import join_processes
from utils.runtime import available_cores, choose_device, prepare_environment


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__, save_dir=os.path.join("data", "evaluate_results"), log_interval=1)
    parser.add_argument("--weights", help="file of weights (default: TEST.checkpoint_dir's, else the zoo's download)")
    parser.add_argument("--filelist", help="in place of TEST.filelist")
    parser.add_argument("--views", help="clips x crops of a video, such as 10x3 (default: TEST.num_test_clips as Nx3)")
    parser.add_argument(
        "--reverse_frames", action="store_true", help="play each clip backwards, to see whether the network uses time"
    )
    add_backend_flags(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = config_from_args(args, ("TEST",))
    prepare_environment()
    device = choose_device(args.use_gpu)
    processes = join_processes(device)
    print(f"evaluating on {device}" + (f", {processes.count} processes" if processes.count > 1 else ""))
    from datareader import build_view_loader, read_list
    from datareader.lists import class_names_of
    from inference import build_backend
    from metrics.scores_file import list_checksum

    test, model = config.TEST, config.MODEL
    names = class_names_of(config)
    checksum = list_checksum(test.filelist)  # of the list as it is read now
    items = read_list(
        test.filelist, model.num_classes, filename_gt=test.filename_gt, multi_label=model.multi_label
    )  # fmt: skip
    if test.dataset_size not in (None, len(items)):
        print(f"{test.filelist} has {len(items)} videos, TEST.dataset_size says {test.dataset_size}; the list counts")
    meter = build_meter(model, items, names)
    loader = build_view_loader(
        config, items, section="TEST", views=args.views, reverse_frames=args.reverse_frames,
        num_workers=min(test.num_reader_threads, available_cores()), rank=processes.rank, world_size=processes.count,
    )  # fmt: skip
    backend = build_backend(
        config, args.weights, test.checkpoint_dir, backend=args.backend, precision=args.precision, section="TEST"
    )
    score_all(backend, loader, items, meter, test.batch_size, args.log_interval)
    for state in processes.gather(meter.state()):  # a process scores its share, each video once
        meter.merge(state)
    if processes.is_first:
        write_report(meter, names, Path(args.save_dir), config, args, backend, checksum)


def build_meter(model, items, names: list[str]):
    """The meter for one class a video, or for several (MODEL.multi_label)."""
    from metrics import MultiViewMeter
    from metrics.multilabel import MultiLabelMeter

    shared = {"paths": [item.path for item in items], "class_names": names}
    if model.multi_label:
        return MultiLabelMeter(model.num_classes, labels=[item.labels for item in items], **shared)
    return MultiViewMeter(model.num_classes, labels=[item.label for item in items], **shared)


def score_all(backend, loader, items, meter, batch_size: int, log_interval: int) -> None:
    """Give the meter the scores of every video of the loader, or the cause of its failure."""
    import numpy as np

    from datareader import Failure
    from inference import score_views
    from metrics import MultiViewMeter
    from utils.log import Progress

    is_single = isinstance(meter, MultiViewMeter)
    progress = Progress(len(loader), log_interval, "video")
    for views in loader:
        if isinstance(views, Failure):
            label_and_path = (items[views.video_id].label, views.path) if is_single else ()
            meter.add_failure(views.video_id, *label_and_path, views.reason)
            progress.say(f"broken video, counted as wrong: {views.path}: {views.reason}")
        else:
            if views.warning:
                progress.say(f"{views.path}: {views.warning}")
            scores = score_views(backend, views, batch_size)
            if is_single:
                meter.add_video(views.video_id, views.label, scores, views.clip_of(np.arange(len(views))))
            else:
                meter.add_video(views.video_id, scores)
        running = meter.running() if is_single else {}
        progress.advance(" ".join(f"{name} {value:.2f}" for name, value in running.items()))
    progress.close()


def write_report(meter, names: list[str], save_dir: Path, config, args, backend, list_sha256: str) -> None:
    """results.json, results.txt, scores.npz, confusion_matrix.png and config.yaml in `save_dir`; the text to stdout."""
    from configs import save_config
    from metrics import save_scores
    from utils.files import write_json, write_text
    from utils.plots import draw_confusion_matrix

    result = {**meter.result(), "weights": args.weights, "views": args.views, "reverse_frames": args.reverse_frames}
    result.update(backend=backend.name, precision=backend.precision)
    text = report_text(result)
    print(text)
    write_json(save_dir / "results.json", result)
    write_text(save_dir / "results.txt", text + "\n")
    write_text(save_dir / "config.yaml", save_config(config))
    save_scores(save_dir / "scores.npz", meter, config.TEST.filelist, list_sha256)
    if not config.MODEL.multi_label:
        draw_confusion_matrix(meter.confusion_matrix(), names, save_dir / "confusion_matrix.png")
    print(f"results.json, results.txt, scores.npz and pictures are in {save_dir}")


def report_text(result: dict) -> str:
    """The result as tables."""
    from tabulate import tabulate

    figure = "average_precision" if "mAP" in result else "top1"
    if "mAP" in result:
        figures = [("mean average precision", result["mAP"])]
    else:
        figures = [
            ("top-1", result["top1"]),
            (f"top-{result['topk']}", result["top5"]),
            ("top-1 of single clips", result["clip_top1"]),
            ("top-1 of the first clip", result["first_clip_top1"]),
            ("mean class accuracy", result["mean_class_accuracy"]),
        ]
    classes = [(row["name"], row["num_videos"], row[figure]) for row in result["per_class"] if row["num_videos"]]
    lines = [
        tabulate(classes, ("class", "videos", f"{figure.replace('_', ' ')} %"), floatfmt=".2f"),
        "",
        tabulate(figures, ("accuracy", "%"), floatfmt=".2f"),
        "",
        f"{result['videos_seen']} of {result['videos_expected']} videos scored, {len(result['videos_broken'])} broken",
        *(f"broken, counted as wrong: {video['path']}: {video['cause']}" for video in result["videos_broken"]),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
