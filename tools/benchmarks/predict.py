"""A whole video, file to top-5, against the old zoo's way: python tools/benchmark.py predict

ours    decode, cut the views, score them, name the best five; the backend is already built. --views in each of the
        --precisions; `whole` is the whole frame of as many clips
zoo     the old zoo's way with eager PyTorch, 30 views of 256 px, run whole in a process of its own (zoo_prediction.py;
        where PyTorch is installed, here or in --torch_python)

Without --video an H.264 file of 10 s, 340 x 256, is drawn. The network is C2D-R50 or I3D-R50 with random weights, which
settle no answer: `adaptive` scores as many views as --adaptive_views says, the mean over real videos, by weighting the
nearest numbers at which answers are looked at. int8 is made here (NNCF), from views of the file.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.benchmarks import infer
from tools.benchmarks.harness import ZOO_PREDICTION, add_torch_flag, alternate, call_other, report
from tools.benchmarks.matrix import MATRIX, matrix_name, matrix_product, print_rates, rates_of
from utils.cli import add_hidden_alias, positive_int
from utils.errors import RunError, UserError
from utils.runtime import prepare_environment

ZOO = "the zoo's way, float32"
ZOO_VIEWS, ZOO_PX, TOP = 30, 256, 5
PRECISIONS = ("float32", "bfloat16", "int8")
DEMO_VIEWS = 3.31  # of 30, which the demo's test videos need in the mean: docs/results.md


def main(argv: list[str]) -> None:
    args = _parse(argv)
    prepare_environment()
    results: dict[str, dict[str, list[float]]] = {}
    rates: dict[str, dict[str, dict[str, float]]] = {}
    parts: dict[str, dict[str, float]] = {}
    refused: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        video = args.video or draw_video(Path(folder))
        for arc in args.arcs:
            zoo = ZooPrediction(args.torch_python, arc, video)
            (Path(folder) / arc).mkdir()
            sides, operations, reasons = sides_of(args, arc, f"{folder}/{arc}", video)
            refused.update(reasons)
            results[arc] = alternate({ZOO: zoo, **sides} if args.torch_python else sides, args.repeats)
            rates[arc] = rates_of(results[arc], operations)
            parts[arc] = {name: statistics.median(seconds) for name, seconds in zoo.parts.items()}
    for name, reason in refused.items():
        print(f"not measured: {name}: {reason}")
    print_rates(rates)
    if args.torch_python:
        print_speed(results)
    facts = {"threads": os.environ["OMP_NUM_THREADS"], "adaptive_views": args.adaptive_views, "zoo_parts": parts}
    report("predict", results, args.json, not_measured=refused, rates=rates, **facts)
    if args.png:
        draw(results, args.png)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arcs", nargs="+", choices=tuple(infer.RESNETS), default=["c2d"])
    parser.add_argument("--views", nargs="+", default=["10x3", "10xwhole", "adaptive"])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument(
        "--adaptive_views", type=float, default=DEMO_VIEWS, metavar="MEAN",
        help="views that a video needs in the mean (default: %(default)s, the demo's)",
    )  # fmt: skip
    parser.add_argument("--video", help="the file (default: one that is drawn)")
    parser.add_argument("--backend", default="auto", help="as for predict.py (default: %(default)s)")
    add_hidden_alias(parser, "--engine", "--backend")
    parser.add_argument("--repeats", type=positive_int, default=3, help="timed rounds (default: %(default)s)")
    add_torch_flag(parser)
    parser.add_argument("--json", help="write the results here")
    parser.add_argument("--png", help="draw the results here")
    args = parser.parse_args(argv)
    if not args.adaptive_views >= 1:
        parser.error("--adaptive_views: at least 1")
    return args


def draw_video(folder: Path) -> str:
    """The reader's benchmark's first video."""
    from tools.benchmarks.reader import DRAWN, draw_scene

    return str(draw_scene(folder / "drawn.mp4", DRAWN["b_frames"]))


def sides_of(
    args: argparse.Namespace, arc: str, folder: str, video: str
) -> tuple[dict[str, Callable[[], object]], dict[str, float], dict[str, str]]:
    """Our sides, "views, precision" -> a call, and the matrix products; the operations of a call; and what cannot run
    here, with the reason."""
    from inference import build_backend
    from inference.backends import num_threads

    config, model, weights = infer.random_network(arc, folder)
    sides: dict[str, Callable[[], object]] = {}
    operations: dict[str, float] = {
        ZOO: ZOO_VIEWS * network_operations(model, config.INFER.video_length, ZOO_PX, ZOO_PX)
    }
    refused: dict[str, str] = {}
    for precision in args.precisions:
        try:
            if precision == "int8":
                make_int8(config, weights, video, Path(folder))
            backend = build_backend(config, weights, "", backend=args.backend, precision=precision)
        except (UserError, RunError) as error:
            refused[f"{arc}, {precision}"] = str(error)
            continue
        for views in args.views:
            side = f"{views}, {precision}"
            sides[side] = prediction = build_prediction(config, backend, video, views, args.adaptive_views)
            operations[side] = prediction.num_views * network_operations(model, *prediction.view_shape())
    for precision in args.precisions:
        try:
            sides[matrix_name(precision)] = matrix_product(precision, num_threads())
        except UserError as error:
            refused[matrix_name(precision)] = str(error)
    return sides, operations, refused


def network_operations(model, num_frames: int, height: int, width: int) -> float:
    """Multiplications and additions of a view."""
    from models.counts import multiply_adds

    return 2.0 * multiply_adds(model, num_frames, height, width)


def make_int8(config, weights: str, video: str, folder: Path) -> None:
    """Write the 8-bit network beside the weights, from one video: speed does not depend on which."""
    from inference.quantization import MIN_CLIPS, quantize_network

    calibration = folder / "calibration.txt"
    calibration.write_text(f"{video}\n" * MIN_CLIPS)
    quantize_network(config, weights, str(calibration))


def build_prediction(config, backend, video: str, views: str, mean_views: float) -> Prediction:
    """The side of --views, with the loader and backend as predict.py uses them."""
    from datareader import NO_LABEL, VideoItem, build_view_loader
    from inference.adaptive import AdaptiveViews

    adaptive = AdaptiveViews.parse(views)
    chosen = adaptive.views if adaptive else views
    loader = build_view_loader(config, [VideoItem(video, NO_LABEL, 1)], section="INFER", views=chosen)
    if adaptive:
        return AdaptivePrediction(loader, backend, config.INFER.batch_size, mean_views)
    return Prediction(loader, backend, config.INFER.batch_size, len(loader.protocol))


@dataclass
class Prediction:
    """A call names one video's best classes, from the file. num_views: that are scored, in the mean."""

    loader: Any
    backend: Any
    batch_size: int
    num_views: float

    def __call__(self) -> object:
        from inference import score_views

        for views in self.loader:
            self.best = best_classes(score_views(self.backend, views, self.batch_size))
        return None  # alternate takes the time

    def view_shape(self) -> tuple[int, int, int]:
        """Frames, height and width of a view."""
        views = next(iter(self.loader))
        crop = views.crops[0]
        return views.clip_indices.shape[1], crop.height, crop.width


class AdaptivePrediction(Prediction):
    """The same with adaptive views that stop at given numbers; a call returns its seconds for `num_views` of them."""

    def __call__(self) -> float:
        from inference.adaptive import looks

        numbers = looks(len(self.loader.protocol))
        below = max(number for number in numbers if number <= self.num_views)
        above = min((number for number in numbers if number >= self.num_views), default=numbers[-1])
        weight = (self.num_views - below) / (above - below) if above > below else 0.0
        return sum(share * self.seconds(number) for number, share in ((below, 1 - weight), (above, weight)) if share)

    def seconds(self, number: int) -> float:
        """Of best classes from so many views."""
        from inference.adaptive import AdaptiveScorer

        started = time.perf_counter()
        for (video,) in AdaptiveScorer(self.loader, [(self.backend, self.batch_size)], FixedNumber(number)):
            assert len(video.views) == number
            self.best = best_classes(video.scores)
        return time.perf_counter() - started


@dataclass(frozen=True)
class FixedNumber:
    """In place of a StoppingRule: settled by a number of views."""

    number: int

    def is_settled(self, outputs: Sequence[tuple[np.ndarray, np.ndarray]], num_views: int) -> bool:
        return len(outputs[0][0]) >= min(self.number, num_views)


def best_classes(view_scores: np.ndarray) -> np.ndarray:
    """The TOP classes by their mean over views, [V, K] -> int64 [TOP]."""
    return (-view_scores.mean(0)).argsort(kind="stable")[:TOP]


class ZooPrediction:
    """A call returns the seconds of a video the zoo's way. parts: what of them was spent where, of each call."""

    def __init__(self, python: str, arc: str, video: str):
        self.command = [python, ZOO_PREDICTION, video, "--arc", arc]
        self.parts: dict[str, list[float]] = {"reading_seconds": [], "network_seconds": []}

    def __call__(self) -> float:
        printed = call_other([*self.command, "--threads", os.environ["OMP_NUM_THREADS"]])[0]
        for name, seconds in self.parts.items():
            seconds.append(printed[name])
        return float(printed["seconds"])


def print_speed(results: dict[str, dict[str, list[float]]]) -> None:
    """How many times as fast as the zoo's way each side is, by the medians."""
    from tabulate import tabulate

    medians = {arc: {side: statistics.median(s) for side, s in sides.items()} for arc, sides in results.items()}
    rows = [
        (arc, side, sides[ZOO] / seconds)
        for arc, sides in medians.items()
        for side, seconds in sides.items()
        if side != ZOO and not side.startswith(MATRIX)
    ]
    print(tabulate(rows, ("network", "views, precision", "times as fast as the zoo's way"), floatfmt=".2f"))


def draw(results: dict[str, dict[str, list[float]]], path: str) -> None:
    """Bars of seconds a video: a group a network, a colour a side."""
    from utils.plots import draw_bars

    sides = dict.fromkeys(itertools.chain.from_iterable(results.values()))
    series = {
        side: [statistics.median(case.get(side, [math.nan])) for case in results.values()]
        for side in sides
        if not side.startswith(MATRIX)
    }
    draw_bars(list(results), series, path, "A 10-second video, file to top-5", "seconds (less is better)")
    print(f"drawn in {path}")
