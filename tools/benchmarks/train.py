"""A training step against a peer's, its parts, and the time spent in waiting for data: python tools/benchmark.py train

steps   seconds a clip of forward, backward and optimiser, float32, of C2D-R50 and I3D-R50 with five blocks, 8 frames,
        or of networks of the S3D family (--arcs s3d s3d_g), 16 frames
parts   the same step taken apart
kernels its time by Paddle's kernels, and the rates of the convolutions beside a bare matrix product's
layers  the time of its convolutions, norms and pools by kinds, each layer alone, beside PyTorch's
wait    fraction of an epoch that a step waits for its clips, with 1, 2 and 4 reading processes (--filelist); of flow
        with -o READER.modality=flow -o READER.flow_method=dis, say

The same networks in eager PyTorch (torch_networks.py) are the first side of `steps` and `layers` where PyTorch is
installed, here or in --torch_python. On a machine that others use, --processor_time counts the processor seconds of
both sides in place of the clock's; use it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from configs import load_config
from tools.benchmarks.harness import TorchNetwork, add_torch_flag, alternate, report
from tools.benchmarks.infer import ARCS, RESNETS
from tools.benchmarks.layers import measure_layers
from tools.benchmarks.matrix import RUNS, matrix_product, matrix_rate, median_seconds
from utils.cli import positive_int
from utils.errors import RunError
from utils.runtime import prepare_environment


def main(argv: list[str]) -> None:
    args = _parse(argv)
    prepare_environment()
    results: dict[str, dict[str, list[float]]] = {}
    kernels: dict[str, dict[str, float]] = {}
    for arc in args.arcs:
        for size in args.sizes:
            num_frames = args.frames or ARCS[arc][2][0]
            name = f"{arc} {num_frames} x {size} px, batch {args.batch}"
            if "steps" in args.cases:
                sides: dict[str, Callable[[], object]] = {}
                if args.torch_python:
                    other = TorchNetwork(args.torch_python, "train", args.processor_time)
                    sides["PyTorch"] = lambda arc=arc, size=size, num_frames=num_frames, other=other: other.seconds(
                        arc, size, batch=args.batch, num_frames=num_frames
                    )
                for graph in args.graphs:
                    step = Step(arc, size, args.batch, num_frames, graph, args.override)
                    sides[f"ours, {graph} graph"] = lambda step=step: step.median_seconds(args.processor_time)
                results[f"step {name}, s a clip"] = alternate(sides, args.repeats)
            if "parts" in args.cases:
                step = Step(arc, size, args.batch, num_frames, "dynamic", args.override)
                results[f"parts {name}, s a clip"] = step.parts(args.processor_time)
            if "kernels" in args.cases:
                kernels[name] = print_kernels(name, Step(arc, size, args.batch, num_frames, "dynamic", args.override))
            if "layers" in args.cases:
                step = Step(arc, size, args.batch, num_frames, "dynamic", args.override)
                results.update(measure_layers(name, step, args.torch_python, args.repeats, args.processor_time))
    facts: dict[str, object] = {"threads": os.environ["OMP_NUM_THREADS"], "processor_time": args.processor_time}
    facts["kernels"] = kernels
    if "wait" in args.cases:
        facts["waiting_fraction"] = {n: waiting_fraction(args, n) for n in (1, 2, 4)}
        for workers, fraction in facts["waiting_fraction"].items():
            print(f"{workers} reading processes: {100 * fraction:.1f} % of the time is spent in waiting for clips")
    report("train", results, args.json, **facts)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cases", nargs="+", choices=("steps", "parts", "kernels", "layers", "wait"), default=["steps", "parts"]
    )
    parser.add_argument("--arcs", nargs="+", choices=tuple(ARCS), default=list(RESNETS))
    parser.add_argument("--sizes", nargs="+", type=positive_int, default=[112, 224])
    parser.add_argument("--frames", type=positive_int, help="of a clip (default: see above)")
    parser.add_argument("--graphs", nargs="+", choices=("dynamic", "static"), default=["dynamic"])
    parser.add_argument("--batch", type=positive_int, default=2, help="clips a step (default: %(default)s)")
    parser.add_argument("--repeats", type=positive_int, default=5, help="timed rounds (default: %(default)s)")
    add_torch_flag(parser)
    parser.add_argument("--filelist", help="training list for `wait`, `path label` a line")
    parser.add_argument("-o", "--override", action="append", default=[], help="SECTION.KEY=VALUE, of the configuration")
    parser.add_argument("--processor_time", action="store_true", help="processor seconds in place of the clock's")
    parser.add_argument("--json", help="write the results here")
    return parser.parse_args(argv)


class Step:
    """A training step of an arc on random clips, as training/trainer.py does it."""

    def __init__(self, arc: str, size: int, batch: int, num_frames: int, graph: str, more: Sequence[str]):
        import paddle

        from models import build_model
        from training.optimiser import build_optimizer
        from training.precision import build_network

        file, overrides, _ = ARCS[arc]
        config = load_config(file, [*overrides, f"TRAIN.crop_size={size}", f"TRAIN.graph={graph}", *more])
        paddle.seed(0)
        self.model = build_model(config)
        self.network = build_network(self.model, config.TRAIN)
        self.optimizer = build_optimizer(self.model, config.TRAIN)
        self.network.train()
        shape = batch, config.INPUT.channels, num_frames, size, size
        self.clips = np.random.default_rng(0).standard_normal(shape, np.float32)
        self.label = paddle.zeros([batch], "int64")

    def forward(self, clips: np.ndarray | None = None):
        """The loss of a batch."""
        import paddle

        logits = self.network(paddle.to_tensor(self.clips if clips is None else clips))
        loss = paddle.nn.functional.cross_entropy(logits.mean(1), self.label)
        loss.item()
        return loss

    def update(self) -> None:
        """The optimiser's part."""
        self.optimizer.step()
        self.optimizer.clear_grad()

    def __call__(self, clips: np.ndarray | None = None) -> None:
        self.forward(clips).backward()
        self.update()

    def median_seconds(self, processor_time: bool) -> float:
        """Seconds a clip, the median of RUNS steps."""
        clock = time.process_time if processor_time else time.perf_counter
        return median_seconds(self, clock) / len(self.clips)

    def parts(self, processor_time: bool) -> dict[str, list[float]]:
        """Seconds a clip of the parts of RUNS steps."""
        clock = time.process_time if processor_time else time.perf_counter
        parts: dict[str, list[float]] = {"forward": [], "backward": [], "optimiser": []}
        self()
        for _ in range(RUNS):
            times = [clock()]
            loss = self.forward()
            times.append(clock())
            loss.backward()
            times.append(clock())
            self.update()
            times.append(clock())
            for name, seconds in zip(parts, np.diff(times) / len(self.clips)):
                parts[name].append(float(seconds))
        return parts

    def kernels(self) -> dict[str, float]:
        """Seconds of a step by Paddle's kernels; the rest of the step is "between kernels"."""
        from paddle import profiler

        self()
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            with profiler.Profiler(
                targets=[profiler.ProfilerTarget.CPU], on_trace_ready=profiler.export_chrome_tracing(folder)
            ):
                self()
                whole = time.perf_counter() - started
            (file,) = Path(folder).iterdir()
            events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
        found: Counter[str] = Counter()
        for event in events:
            if event.get("cat") == "DygraphKernelLaunch" and event["ph"] == "X":
                found[event["name"].partition(" ")[0]] += event["dur"] / 1e6
        return {**dict(found.most_common()), "between kernels": whole - sum(found.values())}


def print_kernels(name: str, step: Step) -> dict[str, float]:
    """Print and return a step's kernels of 1 % and more; and the convolutions' rates, G operations a second."""
    from tabulate import tabulate

    from models.counts import multiply_adds

    seconds = step.kernels()
    whole = sum(seconds.values())
    rows = [(kernel, each, 100 * each / whole) for kernel, each in seconds.items() if each >= 0.01 * whole]
    print(tabulate(rows, (name, "seconds", "% of the step"), floatfmt=".3f"))
    step.model.eval()
    operations = 2 * multiply_adds(step.model, *step.clips.shape[2:]) * len(step.clips) / 1e9
    product = matrix_rate(matrix_product("float32")())
    rates = [f"{kernel} {n * operations / seconds[kernel]:.0f}" for kernel, n in (("conv2d", 1), ("conv2d_grad", 2))]
    print(f"1e9 operations a second: {', '.join(rates)}, a matrix product {product:.0f}")
    return seconds


def waiting_fraction(args: argparse.Namespace, num_workers: int) -> float:
    """Fraction of wall time that steps of the first arc and the largest size wait for the clips of --filelist."""
    from datareader import build_train_loader, read_list

    if not args.filelist:
        raise RunError("`wait` reads clips: give a training list, --filelist=LIST")
    arc, size = args.arcs[0], max(args.sizes)
    num_frames = args.frames or ARCS[arc][2][0]
    overrides = [f"TRAIN.crop_size={size}", f"TRAIN.batch_size={args.batch}", f"TRAIN.video_length={num_frames}"]
    config = load_config(ARCS[arc][0], [*overrides, *args.override])
    items = read_list(args.filelist)
    items = [items[i % len(items)] for i in range(8 * args.batch)]
    loader = build_train_loader(config, items, seed=0, num_workers=num_workers)
    step, waited = Step(arc, size, args.batch, num_frames, "dynamic", args.override), 0.0
    try:
        step()
        started = since = None
        for number, batch in enumerate(loader):
            now = time.perf_counter()
            if number == 0:  # the first batch has nothing to hide behind
                started = now
            else:
                waited += now - since
            step(batch.clips)
            since = time.perf_counter()
    finally:
        loader.close()
    return waited / (time.perf_counter() - started)
