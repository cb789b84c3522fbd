"""Time one view with every backend and precision, against PyTorch: python tools/benchmark.py infer

C2D-R50 and I3D-R50 with five blocks, 8 frames, or networks of the S3D family (--arcs s3d s3d_g), 16 and 64 frames;
random weights, all sides in turn. The rate of multiplications and additions stands beside that of a bare matrix product
in the same precision and rounds (matrix.py); backends that cannot run here are named with the reason. On a machine that
others use, --processor_time counts the processor seconds of both sides in place of the clock's; use it with
OMP_NUM_THREADS=1.

The same networks in eager PyTorch (torch_networks.py) are the first side where PyTorch is installed, here or in
--torch_python; before the clock runs, its logits for our weights are compared with ours.
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
from typing import TYPE_CHECKING

import numpy as np

from configs import load_config
from tools.benchmarks.backends import add_backends_flag
from tools.benchmarks.harness import TorchNetwork, add_torch_flag, alternate, report
from tools.benchmarks.matrix import MATRIX, matrix_name, matrix_product, median_seconds, print_rates, rates_of
from utils.cli import positive_int
from utils.errors import RunError, UserError
from utils.runtime import prepare_environment

if TYPE_CHECKING:
    from inference.backends import OpenVinoSession

# Name -> configuration, overrides that make it, and the lengths of its clips, in frames.
RESNETS = {
    name: ("configs/nonlocal.yaml", (f"MODEL.video_arc_choice={number}", "MODEL.bn_init_gamma=0.2",
                                     "NONLOCAL.bn_init_gamma=0.5"), (8,))
    for name, number in (("c2d", 1), ("i3d", 2))
}  # fmt: skip
# symmetric padding is what costs PyTorch least; ours costs the same with both
TRUNKS = {
    name: ("configs/s3d.yaml", (f"MODEL.arch={name}", "S3D.padding=symmetric", "S3D.init_std=0"), (16, 64))
    for name in ("s3d", "s3d_g", "i3d_inception")
}
ARCS = {**RESNETS, **TRUNKS}
AGREEMENT = 1e-3  # largest difference of a logit from PyTorch's, by the largest
AGREEMENT_PX = 96  # clips of so many pixels are compared
PRECISIONS = ("float32", "bfloat16", "int8")
STREAMS = 2


def main(argv: list[str]) -> None:
    args = _parse(argv)
    prepare_environment()
    from models.counts import multiply_adds

    results: dict[str, dict[str, list[float]]] = {}
    rates: dict[str, dict[str, dict[str, float]]] = {}
    refused: dict[str, str] = {}
    differences: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for arc in args.arcs:
            network = random_network(arc, folder)
            if args.torch_python:
                differences[arc] = agreement(args.torch_python, arc, network[1])
            for size, num_frames in itertools.product(args.sizes, args.frames or ARCS[arc][2]):
                case = f"{arc} {size} px" if num_frames == 8 else f"{arc} {num_frames} x {size} px"
                sides, reasons = sides_of(args, arc, num_frames, size, network)
                refused.update(reasons)
                results[case] = alternate(sides, args.repeats)
                operations = 2.0 * multiply_adds(network[1], num_frames, size, size)
                rates[case] = rates_of(results[case], dict.fromkeys(results[case], operations))
    for name, reason in refused.items():
        print(f"not measured: {name}: {reason}")
    print_rates(rates)
    for arc, difference in differences.items():
        print(f"{arc}: PyTorch's logits differ from ours by {difference:.1e} of the largest")
    facts: dict[str, object] = {"threads": os.environ["OMP_NUM_THREADS"], "processor_time": args.processor_time}
    facts["differences_from_pytorch"] = differences
    report("infer", results, args.json, not_measured=refused, rates=rates, **facts)
    if args.png:
        draw(results, args.png)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py infer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arcs", nargs="+", choices=tuple(ARCS), default=list(RESNETS))
    parser.add_argument(
        "--sizes", nargs="+", type=positive_int, help="pixels (default: 224 and 256; of the S3D family 224)"
    )
    parser.add_argument("--frames", nargs="+", type=positive_int, help="of a clip (default: see above)")
    add_backends_flag(parser)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument("--processor_time", action="store_true", help="processor seconds in place of the clock's")
    parser.add_argument(
        "--streams", action="store_true", help=f"OpenVINO with {STREAMS} views side by side, too, in as many threads"
    )
    parser.add_argument("--repeats", type=positive_int, default=5, help="timed rounds (default: %(default)s)")
    add_torch_flag(parser)
    parser.add_argument("--json", help="write the results here")
    parser.add_argument("--png", help="draw the results here")
    args = parser.parse_args(argv)
    args.sizes = args.sizes or ([224] if set(args.arcs) <= set(TRUNKS) else [224, 256])
    return args


def agreement(python: str, arc: str, model) -> float:
    """The largest difference of PyTorch's logits from ours, by the largest. Raises RunError where it is no rounding."""
    num_frames = ARCS[arc][2][0]
    clips = np.random.default_rng(0).standard_normal((1, 3, num_frames, AGREEMENT_PX, AGREEMENT_PX), np.float32)
    difference = TorchNetwork(python, "infer").difference(arc, model, clips)
    if not difference <= AGREEMENT:
        raise RunError(f"{arc}: PyTorch's logits differ from ours by {difference:.1e} of the largest: not one network")
    return difference


def sides_of(
    args: argparse.Namespace, arc: str, num_frames: int, size: int, network: tuple
) -> tuple[dict, dict[str, str]]:
    """The timed sides: name -> seconds of a view; and the backends that cannot run here: name -> reason."""
    from inference.backends import EagerBackend, ExportedBackend, check_backend, num_threads
    from inference.export import NetworkSource

    config, model, weights = network
    clips = np.random.default_rng(0).standard_normal((1, 3, num_frames, size, size), np.float32)
    sides: dict[str, Callable[[], object]] = {}
    clock = time.process_time if args.processor_time else time.perf_counter
    refused: dict[str, str] = {}
    if args.torch_python:
        other = TorchNetwork(args.torch_python, "infer", args.processor_time)
        for precision in (name for name in args.precisions if name != "int8"):
            sides[f"PyTorch, {precision}"] = lambda precision=precision: other.seconds(
                arc, size, precision, num_frames=num_frames
            )
    for precision, name in itertools.product(args.precisions, args.backends):
        try:
            check_backend(name, precision, "cpu")
            if name == "paddle":
                backend = EagerBackend(model, precision)
            elif precision == "int8":
                backend = random_int8(config, weights, num_frames)
            else:
                backend = ExportedBackend(name, precision, NetworkSource(config, weights), num_frames, size)
            sides[f"{name}, {precision}"] = lambda backend=backend: median_seconds(lambda: backend.scores(clips), clock)
            if args.streams and name == "openvino" and precision != "int8":
                session = backend._session(num_frames, size, size)
                sides[f"{name}, {precision}, {STREAMS} streams"] = streams_side(session, clips, clock)
        except (UserError, RunError) as error:
            refused[f"{name}, {precision}"] = str(error)
    for precision in args.precisions:
        if any(side.endswith(precision) for side in sides):
            try:
                sides[matrix_name(precision)] = matrix_product(precision, num_threads(), clock)
            except UserError as error:
                refused[matrix_name(precision)] = str(error)
    return sides, refused


def streams_side(session: OpenVinoSession, clips: np.ndarray, clock: Callable[[], float]) -> Callable[[], float]:
    """A call returns the seconds of a view where OpenVINO computes STREAMS of them side by side, with as many threads
    in all as the session has."""
    import openvino

    from inference.export import clips_to_frames

    names = ("INFERENCE_NUM_THREADS", "INFERENCE_PRECISION_HINT", "ENABLE_CPU_PINNING")
    settings = {name: session.compiled.get_property(name) for name in names}
    network = openvino.Tensor(session.bytes, shared_memory=True)
    compiled = openvino.Core().import_model(network, "CPU", {**settings, "NUM_STREAMS": STREAMS})
    queue, frames = openvino.AsyncInferQueue(compiled, STREAMS), clips_to_frames(clips)

    def compute() -> None:
        for _ in range(STREAMS):
            queue.start_async({0: frames}, share_inputs=True)
        queue.wait_all()

    return lambda: median_seconds(compute, clock) / STREAMS


def random_int8(config, weights: str, num_frames: int):
    """The 8-bit backend of a network of `random_network`, which is made (NNCF) when it is not there yet."""
    from inference.quantization import Int8Backend
    from tools.benchmarks.predict import draw_video, make_int8

    try:
        return Int8Backend(weights, config, num_frames)
    except UserError:  # there is none, or another network's
        folder = Path(weights).parent
        make_int8(config, weights, draw_video(folder), folder)
        return Int8Backend(weights, config, num_frames)


def random_network(arc: str, folder: str) -> tuple:
    """Configuration, network and weight file (in `folder`) of an arc, with norms whose blocks and residual branches all
    contribute; temporal halves of separated convolutions, which start as the identity, get random weights."""
    import paddle

    from models import build_model
    from weights import save_weights

    file, overrides, _ = ARCS[arc]
    config = load_config(file, list(overrides))
    paddle.seed(0)
    model = build_model(config)
    model.eval()
    for name, weight in model.named_parameters():
        if name.endswith("temporal.weight"):
            paddle.nn.initializer.KaimingNormal()(weight)
    weights = Path(folder) / f"{arc}.pdparams"
    save_weights(weights, {name: tensor.numpy() for name, tensor in model.state_dict().items()})
    return config, model, str(weights)


def draw(results: dict[str, dict[str, list[float]]], path: str) -> None:
    """Bars of seconds a view: a group a case, a colour a side."""
    from utils.plots import draw_bars

    sides = [side for side in next(iter(results.values())) if not side.startswith(MATRIX)]
    series = {side: [statistics.median(case[side]) for case in results.values()] for side in sides}
    draw_bars(list(results), series, path, "One view", "seconds a view (less is better)")
    print(f"drawn in {path}")
