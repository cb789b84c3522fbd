"""Time one view with every backend and precision, against PyTorch: python tools/benchmark.py infer

C2D-R50 and I3D-R50 with five blocks, 8 frames, random weights, all sides in turn. The rate of multiplications and
additions stands beside that of a bare matrix product in the same rounds; backends that cannot run here are named
with the reason. On a machine that others use, --processor_time counts the processor seconds of both sides in place of
the clock's; use it with OMP_NUM_THREADS=1.

The same networks in eager PyTorch (torch_networks.py) are the first side where PyTorch is installed, here or in
--torch_python.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from configs import load_config
from tools.benchmarks.backends import add_backends_flag
from tools.benchmarks.harness import TorchNetwork, add_torch_flag, alternate, report
from utils.cli import positive_int
from utils.errors import RunError, UserError
from utils.runtime import prepare_environment

ARCS = {"c2d": 1, "i3d": 2}
RUNS = 3  # of each side in a round; the median counts
MATRIX_SIDE = 2048
MATRIX = "matrix product"
PRECISIONS = ("float32", "bfloat16")


def main(argv: list[str]) -> None:
    args = _parse(argv)
    prepare_environment()
    from models.counts import multiply_adds

    results: dict[str, dict[str, list[float]]] = {}
    rates: dict[str, dict[str, float]] = {}
    refused: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for arc in args.arcs:
            network = random_network(arc, folder)
            for size in args.sizes:
                case = f"{arc} {size} px"
                sides, reasons = sides_of(args, arc, size, network)
                refused.update(reasons)
                results[case] = alternate(sides, args.repeats)
                rates[case] = rates_of(results[case], 2 * multiply_adds(network[1], 8, size, size))
    for name, reason in refused.items():
        print(f"not measured: {name}: {reason}")
    print_rates(rates)
    facts: dict[str, object] = {"threads": os.environ["OMP_NUM_THREADS"], "processor_time": args.processor_time}
    report("infer", results, args.json, not_measured=refused, rates=rates, **facts)
    if args.png:
        draw(results, args.png)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py infer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arcs", nargs="+", choices=tuple(ARCS), default=list(ARCS))
    parser.add_argument("--sizes", nargs="+", type=positive_int, default=[224, 256])
    add_backends_flag(parser)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument("--processor_time", action="store_true", help="processor seconds in place of the clock's")
    parser.add_argument("--repeats", type=positive_int, default=5, help="timed rounds (default: %(default)s)")
    add_torch_flag(parser)
    parser.add_argument("--json", help="write the results here")
    parser.add_argument("--png", help="draw the results here")
    return parser.parse_args(argv)


def sides_of(args: argparse.Namespace, arc: str, size: int, network: tuple) -> tuple[dict, dict[str, str]]:
    """The timed sides: name -> seconds of a view; and the backends that cannot run here: name -> reason."""
    from inference.backends import EagerBackend, ExportedBackend, check_backend
    from inference.export import NetworkSource

    config, model, weights = network
    clips = np.random.default_rng(0).standard_normal((1, 3, 8, size, size), np.float32)
    sides: dict[str, Callable[[], object]] = {}
    clock = time.process_time if args.processor_time else time.perf_counter
    refused: dict[str, str] = {}
    if args.torch_python:
        other = TorchNetwork(args.torch_python, "infer", args.processor_time)
        for precision in args.precisions:
            sides[f"PyTorch, {precision}"] = lambda precision=precision: other.seconds(arc, size, precision)
    for precision, name in itertools.product(args.precisions, args.backends):
        try:
            check_backend(name, precision, "cpu")
            if name == "paddle":
                backend = EagerBackend(model, precision)
            else:
                backend = ExportedBackend(name, precision, NetworkSource(config, weights), 8, size)
            sides[f"{name}, {precision}"] = lambda backend=backend: median_seconds(lambda: backend.scores(clips), clock)
        except (UserError, RunError) as error:
            refused[f"{name}, {precision}"] = str(error)
    sides[MATRIX] = matrix_product(clock)
    return sides, refused


def random_network(arc: str, folder: str) -> tuple:
    """Configuration, network and weight file (in `folder`) of an arc, with norms whose blocks and residual branches all
    contribute."""
    import paddle

    from models import build_model
    from weights import save_weights

    overrides = [f"MODEL.video_arc_choice={ARCS[arc]}", "MODEL.bn_init_gamma=0.2", "NONLOCAL.bn_init_gamma=0.5"]
    config = load_config("configs/nonlocal.yaml", overrides)
    paddle.seed(0)
    model = build_model(config)
    model.eval()
    weights = Path(folder) / f"{arc}.pdparams"
    save_weights(weights, {name: tensor.numpy() for name, tensor in model.state_dict().items()})
    return config, model, str(weights)


def median_seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of a call, the median of RUNS."""
    seconds = []
    for _ in range(RUNS):
        started = clock()
        call()
        seconds.append(clock() - started)
    return statistics.median(seconds)


def matrix_product(clock: Callable[[], float]) -> Callable[[], float]:
    """Seconds of a float32 product of two square matrices by Paddle's maths library."""
    import paddle

    left, right = paddle.randn([2, MATRIX_SIDE, MATRIX_SIDE])
    return lambda: median_seconds(lambda: paddle.matmul(left, right).numpy(), clock)


def rates_of(sides: dict[str, list[float]], num_operations: float) -> dict[str, float]:
    """Side -> 1e9 operations a second; the matrix product's own."""
    rates = {name: num_operations / statistics.median(seconds) / 1e9 for name, seconds in sides.items()}
    rates[MATRIX] = 2 * MATRIX_SIDE**3 / statistics.median(sides[MATRIX]) / 1e9
    return rates


def print_rates(rates: dict[str, dict[str, float]]) -> None:
    """The rates, and their fractions of the matrix product's rate."""
    from tabulate import tabulate

    rows = [
        (case, side, rate, 100 * rate / sides[MATRIX]) for case, sides in rates.items() for side, rate in sides.items()
    ]
    print(tabulate(rows, ("case", "side", "1e9 operations / s", "% of the matrix product"), floatfmt=".0f"))


def draw(results: dict[str, dict[str, list[float]]], path: str) -> None:
    """Bars of seconds a view: a group a case, a colour a side."""
    from utils.plots import draw_bars

    sides = [side for side in next(iter(results.values())) if side != MATRIX]
    series = {side: [statistics.median(case[side]) for case in results.values()] for side in sides}
    draw_bars(
        list(results), series, path, "One view, 8 frames, five non-local blocks", "seconds a view (less is better)"
    )
    print(f"drawn in {path}")
