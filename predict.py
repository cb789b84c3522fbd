"""Say what happens in a video, in the videos of a folder or of a list.

python predict.py --video_path=clip.mp4 --weights=output/train/NONLOCAL.pdparams --config=output/train/config.yaml
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from configs import config_from_args
from utils.cli import build_parser, positive_int, run
from utils.errors import UserError
from utils.runtime import choose_device, prepare_environment


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__, save_dir=os.path.join("data", "predict_results"), log_interval=1)
    parser.add_argument("--weights", help="file of weights; left out: INFER.checkpoint_dir's, else the zoo's download")
    parser.add_argument("--filelist", help="videos to predict, one a line, in place of INFER.filelist")
    parser.add_argument("--video_path", help="a video or a folder of videos; goes before --filelist")
    parser.add_argument("--infer_topk", type=positive_int, default=20, help="classes shown (default: %(default)s)")
    parser.add_argument("--views", help="clips x crops of a video, such as 10x3 (default: INFER.num_test_clips as Nx3)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = config_from_args(args, ("INFER",))
    prepare_environment()
    print(f"predicting on {choose_device(args.use_gpu)}")
    from datareader import Failure, build_view_loader
    from datareader.inputs import class_names_of
    from engines import build_engine, score_views
    from utils.files import write_json
    from utils.log import Progress

    infer = config.INFER
    items = find_videos(args.video_path or infer.video_path, args.filelist or infer.filelist)
    names = class_names_of(config, "INFER")
    engine = build_engine(config, args.weights, infer.checkpoint_dir)
    progress = Progress(len(items), args.log_interval, "video")
    predictions, num_broken = [], 0
    for views in build_view_loader(config, items, section="INFER", views=args.views):
        if isinstance(views, Failure):
            num_broken += 1
            predictions.append({"path": views.path, "error": views.cause})
            progress.say(f"error: {views.path}: {views.cause}")
        else:
            if views.complaint:
                progress.say(f"{views.path}: {views.complaint}")
            scores = score_views(engine, views, infer.batch_size).mean(0)
            predictions.append(prediction(views.path, scores, names, args.infer_topk))
            progress.say(prediction_text(predictions[-1]))
        progress.advance(f"{num_broken} broken")
    progress.close()
    target = Path(args.save_dir) / "predictions.json"
    write_json(target, predictions)
    print(f"{len(items) - num_broken} of {len(items)} videos predicted; {target} holds them all")
    if num_broken:
        raise UserError(f"{num_broken} of {len(items)} videos could not be predicted; they are named above")


def find_videos(video_path: str, filelist: str) -> list:
    """The videos to predict as list items: one file, a folder's files in order of name, or a list's."""
    from datareader import NO_LABEL, VideoItem, read_list
    from datareader.inputs import list_folder

    if not video_path:
        if not os.path.exists(filelist):
            raise UserError(f"pass --video_path=VIDEO (a file or folder) or --filelist=LIST; {filelist} does not exist")
        return read_list(filelist, labels_required=False)
    if os.path.isdir(video_path):
        return list_folder(video_path)
    return [VideoItem(video_path, NO_LABEL, 1)]


def prediction(path: str, scores, names: list[str], topk: int) -> dict:
    """The `topk` most probable classes of a video, equal ones by index."""
    order = (-scores).argsort(kind="stable")[:topk]
    best = [{"class": names[i], "index": int(i), "probability": float(scores[i])} for i in order]
    return {"path": path, "top": best}


def prediction_text(result: dict) -> str:
    """The prediction as a table."""
    from tabulate import tabulate

    rows = [(rank, row["class"], row["probability"]) for rank, row in enumerate(result["top"], 1)]
    return f"\n{result['path']}\n{tabulate(rows, ('rank', 'class', 'probability'), floatfmt='.4f')}\n"


if __name__ == "__main__":
    run(main)
