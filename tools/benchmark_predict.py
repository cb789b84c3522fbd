"""A whole video, file to top-5, against the old zoo's way: python tools/benchmark.py predict

ours    decode once, cut the views, score them, name the best five; 10x3 and 10xwhole, the engine already loaded
peer    --peer_reader SCRIPT VIDEO --views 30 prints {"seconds": ...}, the reading; plus 30 times a view of --peer (as
        in benchmark.py infer, 256 px); reading and network one after the other, as the zoo did

Without --video an H.264 file of 10 s, 340 x 256, is drawn. The network is C2D-R50 or I3D-R50 with random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import benchmark_infer
from benchmark_harness import alternate, report

from utils.cli import positive_int
from utils.errors import RunError
from utils.runtime import prepare_environment

NUM_VIEWS, CROP_PX, TOP = 30, 256, 5


def main(argv: list[str]) -> None:
    args = _parse(argv)
    prepare_environment()
    from engines import build_engine

    results: dict[str, dict[str, list[float]]] = {}
    parts: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        video = args.video or draw_video(Path(folder))
        for arc in args.arcs:
            config, _, weights = benchmark_infer.random_network(arc, folder)
            sides: dict[str, Callable[[], object]] = {}
            taken: dict[str, list[float]] = {"peer, reading": [], "peer, one view": []}
            if args.peer and args.peer_reader:
                sides["peer"] = lambda arc=arc, taken=taken: peer_seconds(args, arc, video, taken)
            engine = build_engine(config, weights, "", engine=args.engine)
            for views in args.views:
                predict = Prediction(config, engine, video, views)
                sides[f"ours, {engine.name}, {views}"] = predict
            results[f"{arc}, 30 views"] = alternate(sides, args.repeats)
            parts[arc] = {name: statistics.median(seconds) for name, seconds in taken.items() if seconds}
    report("predict", results, args.json, threads=os.environ["OMP_NUM_THREADS"], parts=parts)
    if args.png:
        draw(results, args.png)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arcs", nargs="+", choices=tuple(benchmark_infer.ARCS), default=["c2d"])
    parser.add_argument("--views", nargs="+", default=["10x3", "10xwhole"])
    parser.add_argument("--video", help="the file (default: one that is drawn)")
    parser.add_argument("--engine", default="auto", help="as predict.py takes it (default: %(default)s)")
    parser.add_argument("--repeats", type=positive_int, default=3, help="timed rounds (default: %(default)s)")
    parser.add_argument("--peer", help="script of the other network")
    parser.add_argument("--peer_reader", help="script of the other reader")
    parser.add_argument("--peer_python", default=sys.executable, help="what runs --peer (default: this Python)")
    parser.add_argument(
        "--reader_python", default=sys.executable, help="what runs --peer_reader (default: this Python)"
    )
    parser.add_argument("--json", help="write the results here")
    parser.add_argument("--png", help="draw the results here")
    args = parser.parse_args(argv)
    args.processor_time = False
    return args


def draw_video(folder: Path) -> str:
    """The reader's benchmark's first video."""
    from benchmark_reader import DRAWN
    from benchmark_reader import draw as draw_frames

    return str(draw_frames(folder / "drawn.mp4", DRAWN["b_frames"]))


class Prediction:
    """One video's best classes, from the file, with the loader and engine as predict.py uses them."""

    def __init__(self, config, engine, video: str, views: str):
        from datareader import NO_LABEL, VideoItem, build_view_loader

        self.engine, self.batch_size = engine, config.INFER.batch_size
        self.loader = build_view_loader(config, [VideoItem(video, NO_LABEL, 1)], section="INFER", views=views)

    def __call__(self) -> None:
        from engines import score_views

        for views in self.loader:
            scores = score_views(self.engine, views, self.batch_size).mean(0)
            self.best = (-scores).argsort(kind="stable")[:TOP]


def peer_seconds(args: argparse.Namespace, arc: str, video: str, taken: dict[str, list[float]]) -> float:
    """Seconds of a video the zoo's way: its reading of 30 views, and 30 times a view of the peer's network."""
    command = [args.reader_python, args.peer_reader, video, "--views", str(NUM_VIEWS)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-300:]}")
    reading = float(json.loads(done.stdout.splitlines()[-1])["seconds"])
    view = benchmark_infer.peer_seconds(args, arc, CROP_PX, "float32")
    taken["peer, reading"].append(reading)
    taken["peer, one view"].append(view)
    return reading + NUM_VIEWS * view


def draw(results: dict[str, dict[str, list[float]]], path: str) -> None:
    """Bars of seconds a video."""
    from utils.plots import draw_bars

    series = {
        side: [statistics.median(case[side]) for case in results.values()] for side in next(iter(results.values()))
    }
    draw_bars(list(results), series, path, "A 10-second video, file to top-5", "seconds (less is better)")
    print(f"drawn in {path}")
