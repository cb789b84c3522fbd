"""The whole program once on videos drawn here: bash run.sh demo

Draws the data set, trains configs/demo.yaml from scratch, evaluates held-out videos with several views (also with their
frames reversed), predicts one, and writes output/demo/results.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.cli import Parser, positive_int, run  # noqa: E402 - the tool is started as a file
from utils.errors import RunError  # noqa: E402
from utils.files import write_json  # noqa: E402


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--output_dir", default="output/demo", help="where the results go (default: %(default)s)")
    parser.add_argument("--data_dir", default="data/dataset/demo/videos", help="where the videos go (%(default)s)")
    parser.add_argument("--num_train", type=positive_int, default=60, help="training videos a class (%(default)s)")
    parser.add_argument("--num_test", type=positive_int, default=15, help="held-out videos a class (%(default)s)")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.KEY=VALUE", help="passed on to train.py"
    )
    args = parser.parse_args()
    output, videos = Path(args.output_dir), Path(args.data_dir)
    started = time.perf_counter()
    call(
        "1/5 draw the videos", "data/dataset/demo/make_videos.py", f"--output_dir={videos}",
        f"--num_train={args.num_train}", f"--num_test={args.num_test}",
    )  # fmt: skip

    train_started = time.perf_counter()
    lists = {
        "TRAIN.filelist": "trainlist.txt",
        "VALID.filelist": "vallist.txt",
        "TEST.filelist": "testlist.txt",
        "MODEL.class_names": "class_names.txt",
    }
    overrides = [f"{key}={videos / name}" for key, name in lists.items()] + args.override
    call(
        "2/5 train a small I3D network with non-local blocks from scratch", "train.py", "--config=configs/demo.yaml",
        f"--save_dir={output / 'train'}", "--fix_random_seed=True", "--valid_interval=5", "--overwrite",
        *(f"--override={override}" for override in overrides),
    )  # fmt: skip
    train_seconds = time.perf_counter() - train_started

    trained = (f"--config={output / 'train/config.yaml'}", f"--weights={output / 'train/NONLOCAL.pdparams'}")
    forward = evaluate("3/5 evaluate held-out videos, 10 clips x 3 crops each", output / "eval", *trained)
    backward = evaluate(
        "4/5 the same with reversed frames: direction must turn over", output / "eval_reversed", *trained,
        "--reverse_frames",
    )  # fmt: skip
    call(
        "both orders of frames, class by class", "tools/analyse.py", "reversed", f"--forwards={output / 'eval'}",
        f"--reversed={output / 'eval_reversed'}", f"--save_dir={output}",
    )  # fmt: skip
    video = videos / (ROOT / videos / "testlist.txt").read_text().split()[0]
    call(
        "5/5 predict one video", "predict.py", f"--video_path={video}", f"--save_dir={output / 'predict'}",
        "--infer_topk=5", *trained,
    )  # fmt: skip
    results = {
        "top1": forward["top1"],
        "top5": forward["top5"],
        "num_videos": forward["videos_expected"],
        "num_classes": len(forward["per_class"]),
        "reversed_top1": backward["top1"],
        "direction_top1": direction_top1(forward),
        "reversed_direction_top1": direction_top1(backward),
        "train_seconds": round(train_seconds, 1),
        "total_seconds": round(time.perf_counter() - started, 1),
        "predict": json.loads((output / "predict/predictions.json").read_text())[0],
    }
    write_json(output / "results.json", results)
    show(results, output)


def call(title: str, script: str, *flags: str) -> None:
    """Run one of the project's scripts as a user would."""
    command = [sys.executable, script, *flags]
    print(f"\n== {title}\n$ python {script} {' '.join(flags)}", flush=True)
    status = subprocess.run(command, cwd=ROOT).returncode
    if status:
        raise RunError(f"{script} ended with status {status}; its message stands above")


def evaluate(title: str, save_dir: Path, *flags: str) -> dict:
    """Run eval.py and return its result."""
    call(title, "eval.py", f"--save_dir={save_dir}", "--log_interval=20", *flags)
    return json.loads((save_dir / "results.json").read_text())


def direction_top1(result: dict) -> float:
    """Mean accuracy, in percent, of the classes that turn into another one when the frames are reversed."""
    from data.dataset.demo.draw_motions import REVERSED_CLASS

    rows = [row["top1"] for row in result["per_class"] if REVERSED_CLASS[row["name"]] != row["name"]]
    return sum(rows) / len(rows)


def show(results: dict, output: Path) -> None:
    """Print the metrics and the paths of the pictures."""
    from tabulate import tabulate

    rows = [
        ("top-1, all classes", results["top1"], results["reversed_top1"]),
        ("top-1, direction classes", results["direction_top1"], results["reversed_direction_top1"]),
    ]
    print(f"\n{results['num_videos']} held-out videos of {results['num_classes']} classes, % right:")
    print(tabulate(rows, ("", "frames forwards", "frames reversed"), floatfmt=".1f"))
    best = results["predict"]["top"][0]
    print(f"\n{results['predict']['path']}: {best['class']} ({best['probability']:.3f})")
    print(f"trained in {results['train_seconds']:.0f} s; all steps {results['total_seconds']:.0f} s")
    print(f"pictures: {output}/train/curves.png, {output}/eval/confusion_matrix.png, {output}/reversed.png")
    print(f"metrics: {output}/results.json, {output}/eval/results.json")


if __name__ == "__main__":
    run(main)
