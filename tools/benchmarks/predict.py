"""A whole video, file to top-5, against the old zoo's way: python tools/benchmark.py predict

ours    decode once, cut the views, score them, name the best five; 10x3 and 10xwhole, the backend already built
zoo     the old zoo's way, run whole: zoo_reader.py reads the 30 views, one after the other, and eager PyTorch
        (torch_networks.py, where PyTorch is installed, here or in --torch_python) computes 30 clips of 256 px

Without --video an H.264 file of 10 s, 340 x 256, is drawn. The network is C2D-R50 or I3D-R50 with random weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.benchmarks import infer
from tools.benchmarks.harness import ZOO_READER, TorchNetwork, add_torch_flag, alternate, call_other, report
from utils.cli import add_hidden_alias, positive_int
from utils.runtime import prepare_environment

NUM_VIEWS, CROP_PX, TOP = 30, 256, 5


def main(argv: list[str]) -> None:
    args = _parse(argv)
    prepare_environment()
    from inference import build_backend

    results: dict[str, dict[str, list[float]]] = {}
    parts: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        video = args.video or draw_video(Path(folder))
        for arc in args.arcs:
            config, _, weights = infer.random_network(arc, folder)
            sides: dict[str, Callable[[], object]] = {}
            taken: dict[str, list[float]] = {"zoo, reading": [], "zoo, network": []}
            if args.torch_python:
                sides["the zoo's way"] = lambda arc=arc, taken=taken: zoo_seconds(args.torch_python, arc, video, taken)
            backend = build_backend(config, weights, "", backend=args.backend)
            for views in args.views:
                predict = Prediction(config, backend, video, views)
                sides[f"ours, {backend.name}, {views}"] = predict
            results[f"{arc}, 30 views"] = alternate(sides, args.repeats)
            parts[arc] = {name: statistics.median(seconds) for name, seconds in taken.items() if seconds}
    report("predict", results, args.json, threads=os.environ["OMP_NUM_THREADS"], parts=parts)
    if args.png:
        draw(results, args.png)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arcs", nargs="+", choices=tuple(infer.ARCS), default=["c2d"])
    parser.add_argument("--views", nargs="+", default=["10x3", "10xwhole"])
    parser.add_argument("--video", help="the file (default: one that is drawn)")
    parser.add_argument("--backend", default="auto", help="as for predict.py (default: %(default)s)")
    add_hidden_alias(parser, "--engine", "--backend")
    parser.add_argument("--repeats", type=positive_int, default=3, help="timed rounds (default: %(default)s)")
    add_torch_flag(parser)
    parser.add_argument("--json", help="write the results here")
    parser.add_argument("--png", help="draw the results here")
    return parser.parse_args(argv)


def draw_video(folder: Path) -> str:
    """The reader's benchmark's first video."""
    from tools.benchmarks.reader import DRAWN, draw_scene

    return str(draw_scene(folder / "drawn.mp4", DRAWN["b_frames"]))


class Prediction:
    """One video's best classes, from the file, with the loader and backend as predict.py uses them."""

    def __init__(self, config, backend, video: str, views: str):
        from datareader import NO_LABEL, VideoItem, build_view_loader

        self.backend, self.batch_size = backend, config.INFER.batch_size
        self.loader = build_view_loader(config, [VideoItem(video, NO_LABEL, 1)], section="INFER", views=views)

    def __call__(self) -> None:
        from inference import score_views

        for views in self.loader:
            scores = score_views(self.backend, views, self.batch_size).mean(0)
            self.best = (-scores).argsort(kind="stable")[:TOP]


def zoo_seconds(python: str, arc: str, video: str, taken: dict[str, list[float]]) -> float:
    """Seconds of a video the zoo's way: reading of 30 views, then 30 clips of them through the network, one by one."""
    reading = float(call_other([sys.executable, ZOO_READER, video, "--views", str(NUM_VIEWS)])[0]["seconds"])
    other = TorchNetwork(python, "infer")
    other.runs = NUM_VIEWS
    network = NUM_VIEWS * other.seconds(arc, CROP_PX)  # the median of 30 passes, 30 times
    taken["zoo, reading"].append(reading)
    taken["zoo, network"].append(network)
    return reading + network


def draw(results: dict[str, dict[str, list[float]]], path: str) -> None:
    """Bars of seconds a video."""
    from utils.plots import draw_bars

    series = {
        side: [statistics.median(case[side]) for case in results.values()] for side in next(iter(results.values()))
    }
    draw_bars(list(results), series, path, "A 10-second video, file to top-5", "seconds (less is better)")
    print(f"drawn in {path}")
