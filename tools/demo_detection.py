"""Action detection once, on videos drawn here: bash run.sh demo_detection

Draws videos of several actors, trains configs/demo_detection.yaml from scratch, and evaluates held-out videos with the
actors' own boxes, with inaccurate and false ones, with those of the region proposal network, with reversed frames and
with the boxes of two actors exchanged; writes output/demo_detection/results.json, and overlay.mp4: a held-out video
with the boxes and actions found in it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from data.dataset.action_boxes import LABEL_MAP, TRAIN_BOXES, VALID_BOXES  # noqa: E402 - the tool is started as a file
from data.dataset.demo_detection.draw_actors import CLASS_NAMES, REVERSED_CLASS  # noqa: E402
from datareader.box_lists import FrameIndex, read_detections, read_truth, write_boxes  # noqa: E402
from tools.demo import call, evaluate  # noqa: E402
from utils.cli import Parser, positive_int, run  # noqa: E402
from utils.files import write_json  # noqa: E402

JITTER = 0.15  # of a box's sides, by which its corners are off at most
FALSE_BOXES = 0.3  # for each true one
KEY_FRAME_SECONDS = 0.25  # from one key frame of the overlay video to the next


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--output_dir", default="output/demo_detection", help="where the results go (default: %(default)s)"
    )
    parser.add_argument(
        "--data_dir", default="data/dataset/demo_detection/videos", help="where the videos go (%(default)s)"
    )
    parser.add_argument(
        "--num_train", type=positive_int, default=218, help="scenes to train on, two videos each (%(default)s)"
    )
    parser.add_argument("--num_val", type=positive_int, default=64, help="held-out videos (%(default)s)")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.KEY=VALUE", help="passed on to train.py"
    )
    args = parser.parse_args()
    output, videos = Path(args.output_dir), Path(args.data_dir)
    started = time.perf_counter()
    call(
        "1/8 draw the videos", "data/dataset/demo_detection/make_videos.py", f"--output_dir={videos}",
        f"--num_train={args.num_train}", f"--num_val={args.num_val}",
    )  # fmt: skip
    train_started = time.perf_counter()
    call(
        "2/8 train a small I3D detector with its proposal network from scratch", "train.py",
        "--config=configs/demo_detection.yaml", f"--save_dir={output / 'train'}", "--fix_random_seed=True",
        "--valid_interval=0", "--overwrite", *file_overrides(videos, args),
    )  # fmt: skip
    train_seconds = time.perf_counter() - train_started

    write_jittered(ROOT / videos / VALID_BOXES, ROOT / output / "jittered_boxes.csv", np.random.default_rng(0))
    write_swapped(ROOT / videos / VALID_BOXES, ROOT / output / "swapped_boxes.csv")
    runs = {}
    for number, (name, (title, *flags)) in enumerate(evaluations(output).items(), 3):
        runs[name] = evaluate(
            f"{number}/8 {title}", output / name, f"--config={output / 'train/config.yaml'}",
            f"--weights={output / 'train/NONLOCAL.pdparams'}", *flags,
        )  # fmt: skip
    call(
        "8/8 draw the boxes and actions that are found in a held-out video", "predict.py", "--detect",
        f"--video_path={videos / 'val/val_0000.mp4'}", f"--config={output / 'train/config.yaml'}",
        f"--weights={output / 'train/NONLOCAL.pdparams'}", f"--save_dir={output / 'predict'}",
        f"--stride_seconds={KEY_FRAME_SECONDS}", f"--draw={output / 'overlay.mp4'}",
    )  # fmt: skip
    results = {
        **{f"frame_map_{name}": runs[name]["mAP"] for name in ("truth", "jittered", "rpn")},
        "reversed": direction_map(runs["reversed"]),
        "recall_rpn": runs["rpn"]["box_recall"],
        "swapped": percent_swapped(ROOT / output),
        "num_videos": runs["truth"]["num_videos"],
        "num_boxes": runs["truth"]["num_truth"],
        "train_seconds": round(train_seconds, 1),
        "total_seconds": round(time.perf_counter() - started, 1),
    }
    write_json(output / "results.json", results)
    show(results, output)


def evaluations(output: Path) -> dict[str, tuple[str, ...]]:
    """What the detector is evaluated with: folder -> title and flags of eval.py."""
    truth, jittered, swapped = "proposals=truth", output / "jittered_boxes.csv", output / "swapped_boxes.csv"
    keys = {
        "truth": ("evaluate held-out videos with the actors' boxes", truth),
        "jittered": ("with boxes off by 15 %, and false ones", "proposals=file", f"proposal_file={jittered}"),
        "rpn": ("with the boxes of the proposal network",),
        "reversed": ("with reversed frames: direction must turn over", truth),
        "swapped": ("with the boxes of two actors exchanged", truth, f"valid_boxes={swapped}"),
    }
    flags = {name: (title, *(f"--override=DETECTION.{key}" for key in own)) for name, (title, *own) in keys.items()}
    return {**flags, "reversed": (*flags["reversed"], "--reverse_frames")}


def file_overrides(videos: Path, args: argparse.Namespace) -> list[str]:
    """The flags that name the files of the drawn videos, then the others."""
    files = {
        "DETECTION.label_map": LABEL_MAP,
        "DETECTION.train_boxes": TRAIN_BOXES,
        "DETECTION.valid_boxes": VALID_BOXES,
        "TRAIN.filelist": "trainlist.txt",
        "VALID.filelist": "vallist.txt",
        "TEST.filelist": "vallist.txt",
    }
    return [f"--override={key}={videos / name}" for key, name in files.items()] + [
        f"--override={text}" for text in args.override
    ]


def write_jittered(truth_path: Path, path: Path, rng: np.random.Generator) -> None:
    """Write the annotated boxes as a weak detector would find them: each moved and resized by up to 15 % of its sides,
    and for 30 % of them a box of the same size anywhere in the frame."""
    index = FrameIndex()
    rows = read_truth(str(truth_path), index).rows
    rows["box"] = jittered(rows["box"], rng)
    false = rows[rng.random(len(rows)) < FALSE_BOXES].copy()
    sides = false["box"][:, 2:] - false["box"][:, :2]
    corner = rng.random(sides.shape) * (1 - sides)
    false["box"] = np.concatenate([corner, corner + sides], axis=1)
    rows = np.concatenate([rows, false])
    write_boxes(path, rows[np.argsort(rows["frame"], kind="stable")], index, "relative", "score")


def jittered(boxes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Boxes float [M, 4] in fractions of the frame, with each corner off by up to 15 % of the sides, clipped to it."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.clip(boxes + rng.uniform(-JITTER, JITTER, boxes.shape) * np.tile(sides, 2), 0, 1)


def write_swapped(truth_path: Path, path: Path) -> None:
    """Write the annotated boxes with those of two actors of different actions exchanged, in each frame that has such;
    other boxes are left out."""
    index = FrameIndex()
    rows = read_truth(str(truth_path), index).rows
    parts = []
    for frame in np.unique(rows["frame"]):
        own = rows[rows["frame"] == frame]
        others = own[own["label"] != own["label"][0]]
        if len(others):
            pair = np.array([own[0], others[0]], rows.dtype)
            pair["box"] = pair["box"][::-1].copy()
            parts.append(pair)
    write_boxes(path, np.concatenate([rows[:0], *parts]), index, "relative", "person")


def percent_swapped(output: Path) -> float:
    """The percentage of actors with another one's box whose highest-scored action is that of the other one."""
    index = FrameIndex()
    truth = read_truth(str(output / "swapped_boxes.csv"), index).rows
    found = read_detections(str(output / "swapped/detections.csv"), index).rows
    hits = []
    for frame in np.unique(truth["frame"]):
        pair, own = truth[truth["frame"] == frame], found[found["frame"] == frame]
        for row, other in zip(pair, pair[::-1]):
            here = own[np.abs(own["box"] - row["box"]).max(axis=1) < 1e-3]
            hits.append(here["label"][here["score"].argmax()] == other["label"])
    return 100.0 * float(np.mean(hits))


def direction_map(result: dict) -> float:
    """Mean average precision, in percent, of the classes that turn into another one when the frames are reversed."""
    rows = [row for row in result["per_class"] if REVERSED_CLASS[row["name"]] != row["name"]]
    return float(np.mean([row["average_precision"] for row in rows if row["num_truth"]]))


def show(results: dict, output: Path) -> None:
    """Print the metrics."""
    from tabulate import tabulate

    rows = [
        ("frame-mAP@0.5, the actors' boxes", results["frame_map_truth"]),
        ("frame-mAP@0.5, inaccurate and false boxes", results["frame_map_jittered"]),
        ("frame-mAP@0.5, boxes of the proposal network", results["frame_map_rpn"]),
        ("recall of the proposal network's boxes", results["recall_rpn"]),
        ("frame-mAP@0.5 of direction classes, reversed frames", results["reversed"]),
        ("exchanged boxes with the other actor's action", results["swapped"]),
    ]
    print(f"\n{results['num_videos']} held-out videos, {results['num_boxes']} boxes, {len(CLASS_NAMES)} classes, %:")
    print(tabulate(rows, floatfmt=".1f"))
    print(f"trained in {results['train_seconds']:.0f} s; all steps {results['total_seconds']:.0f} s")
    print(f"metrics: {output}/results.json, {output}/*/results.json; boxes: {output}/*/detections.csv")
    print(f"video: {output}/overlay.mp4")


if __name__ == "__main__":
    run(main)
