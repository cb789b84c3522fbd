"""The whole program once on videos drawn here: bash run.sh demo

Draws the data set, trains configs/demo.yaml from scratch, evaluates held-out videos with several views (also with their
frames reversed), predicts one, and writes output/demo/results.json.

bash run.sh demo --two_stream then trains configs/demo_flow.yaml on the optical flow of the same videos, evaluates both
streams and their fusion, forwards and reversed, and writes output/demo/two_stream/results.json and report.html. Without
an RGB network in output/demo it takes the one in examples/.
"""

from __future__ import annotations

import argparse
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

WEIGHTS = "NONLOCAL.pdparams"
FLOW_FLAGS = ("--method=dis_fast", "--short_side=112")  # as in configs/demo_flow.yaml
STREAMS = {"rgb": "rgb", "flow": "flow", "fused": ""}  # name -> folder of eval.py --two_stream
BRIGHTNESS_CLASSES = ("brighten", "darken", "flicker")


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--output_dir", default="output/demo", help="where the results go (default: %(default)s)")
    parser.add_argument("--data_dir", default="data/dataset/demo/videos", help="where the videos go (%(default)s)")
    parser.add_argument("--num_train", type=positive_int, default=60, help="training videos a class (%(default)s)")
    parser.add_argument("--num_test", type=positive_int, default=15, help="held-out videos a class (%(default)s)")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.KEY=VALUE", help="passed on to train.py"
    )
    parser.add_argument("--two_stream", action="store_true", help="the flow stream, and its fusion with the RGB stream")
    args = parser.parse_args()
    (two_streams if args.two_stream else rgb_stream)(args, Path(args.output_dir), Path(args.data_dir))


def rgb_stream(args: argparse.Namespace, output: Path, videos: Path) -> None:
    """Train, evaluate and predict with RGB frames."""
    started = time.perf_counter()
    draw_videos("1/5", args, videos)

    train_started = time.perf_counter()
    call(
        "2/5 train a small I3D network with non-local blocks from scratch", "train.py", "--config=configs/demo.yaml",
        f"--save_dir={output / 'train'}", "--fix_random_seed=True", "--valid_interval=5", "--overwrite",
        *list_overrides(videos, args.override),
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


def two_streams(args: argparse.Namespace, output: Path, videos: Path) -> None:
    """Train the flow stream, evaluate both streams and their fusion, report."""
    rgb = next(
        folder for folder in (output / "train", Path("examples/demo_network")) if (ROOT / folder / WEIGHTS).is_file()
    )
    output = output / "two_stream"
    started = time.perf_counter()
    draw_videos("1/6", args, videos)
    for name in ("trainlist.txt", "vallist.txt"):
        call(
            f"2/6 compute the flow of {name} once, for all epochs", "tools/extract_flow.py",
            f"--filelist={videos / name}", f"--save_dir={output / 'flow_cache'}", *FLOW_FLAGS,
        )  # fmt: skip
    train_started = time.perf_counter()
    call(
        "3/6 train the same network on flow", "train.py", "--config=configs/demo_flow.yaml",
        f"--save_dir={output / 'train'}", "--fix_random_seed=True", "--valid_interval=5", "--overwrite",
        *list_overrides(videos, [f"READER.flow_cache={output / 'flow_cache'}", *args.override]),
    )  # fmt: skip
    train_seconds = time.perf_counter() - train_started

    both = ("--two_stream", f"{rgb / WEIGHTS}", f"{output / 'train' / WEIGHTS}", "--override=READER.flow_cache=''")
    both += tuple(list_overrides(videos, args.override))
    evaluate("4/6 evaluate both streams and their fusion, each video decoded once", output / "eval", *both)
    evaluate("5/6 the same with reversed frames", output / "eval_reversed", *both, "--reverse_frames")
    runs = [output / "eval/rgb", output / "eval/flow", output / "eval"]
    call("6/6 report", "tools/report.py", *map(str, runs), f"--out={output / 'report.html'}")
    results = {
        **{name: group_top1(output / "eval" / folder) for name, folder in STREAMS.items()},
        "reversed": {name: group_top1(output / "eval_reversed" / folder) for name, folder in STREAMS.items()},
        "train_seconds": round(train_seconds, 1),
        "total_seconds": round(time.perf_counter() - started, 1),
    }
    write_json(output / "results.json", results)
    show_streams(results, output)


def draw_videos(step: str, args: argparse.Namespace, videos: Path) -> None:
    """Draw the data set; a complete one is left as it is."""
    call(
        f"{step} draw the videos", "data/dataset/demo/make_videos.py", f"--output_dir={videos}",
        f"--num_train={args.num_train}", f"--num_test={args.num_test}",
    )  # fmt: skip


def list_overrides(videos: Path, others: list[str]) -> list[str]:
    """The flags that name the lists and classes of the drawn videos, then the others."""
    lists = {
        "TRAIN.filelist": "trainlist.txt",
        "VALID.filelist": "vallist.txt",
        "TEST.filelist": "testlist.txt",
        "MODEL.class_names": "class_names.txt",
    }
    return [f"--override={key}={videos / name}" for key, name in lists.items()] + [f"--override={o}" for o in others]


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


def group_top1(folder: Path) -> dict[str, float]:
    """Top-1 in percent of a run: of all videos, of the classes that move and of those whose brightness changes."""
    result = json.loads((folder / "results.json").read_text())
    rows = {row["name"]: row["top1"] for row in result["per_class"]}
    light = [rows.pop(name) for name in BRIGHTNESS_CLASSES]
    return {"all": result["top1"], "motion": sum(rows.values()) / len(rows), "brightness": sum(light) / len(light)}


def show_streams(results: dict, output: Path) -> None:
    """Print the accuracy of each stream, forwards and reversed."""
    from tabulate import tabulate

    rows = [(name, *results[name].values(), results["reversed"][name]["all"]) for name in STREAMS]
    print("\nheld-out videos, % right:")
    print(tabulate(rows, ("", "all", "motion classes", "brightness classes", "all, frames reversed"), floatfmt=".1f"))
    print(f"trained the flow stream in {results['train_seconds']:.0f} s; all steps {results['total_seconds']:.0f} s")
    print(f"report: {output}/report.html; metrics: {output}/results.json, {output}/eval/results.json")


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
