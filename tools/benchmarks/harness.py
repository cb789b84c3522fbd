"""Fair timing: all sides in turn, several rounds, medians, ratios, and what machine it was."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from utils.errors import RunError
from utils.files import write_json
from utils.runtime import available_cores

TORCH_NETWORKS = str(Path(__file__).with_name("torch_networks.py"))
ZOO_PREDICTION = str(Path(__file__).with_name("zoo_prediction.py"))
VECTOR_UNITS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
PACKAGES = (
    "paddlepaddle", "paddlepaddle-gpu", "numpy", "opencv-python-headless", "opencv-python", "av", "decord",
    "onnxruntime", "openvino", "nncf", "paddle2onnx", "pyarrow", "torch",
)  # fmt: skip


def alternate(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of `repeats` calls of each side, in turn; one call of each before that is not counted.

    A side that returns a float is taken at its word: it measured itself (another process, say), in seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_number in range(repeats + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            measured = side()
            elapsed = measured if isinstance(measured, float) else time.perf_counter() - started
            if round_number:
                seconds[name].append(elapsed)
    return seconds


def report(name: str, results: dict[str, dict[str, list[float]]], out_json: str | None, **facts: object) -> dict:
    """Print the medians as ratios to each case's first side, and write them with machine and versions as JSON.

    results: case -> side -> seconds of each round. A ratio above 1 means that the side is slower than the first one.
    """
    from tabulate import tabulate

    rows, cases = [], {}
    for case, sides in results.items():
        medians = {side: statistics.median(seconds) for side, seconds in sides.items()}
        first = next(iter(medians.values()))
        cases[case] = {
            side: {"median_seconds": m, "times_first": m / first, "seconds": sides[side]} for side, m in medians.items()
        }
        rows += [(case, side, m, m / first) for side, m in medians.items()]
    print(tabulate(rows, ("case", "side", "median s", "times the first"), floatfmt=".3f"))
    whole = {"benchmark": name, "command": sys.argv, "cases": cases, "machine": machine(), **facts}
    print(f"machine: {machine_line(whole['machine'])}")
    if out_json:
        write_json(Path(out_json), whole)
        print(f"written to {out_json}")
    return whole


def add_torch_flag(parser: argparse.ArgumentParser) -> None:
    """--torch_python: what runs the networks in PyTorch."""
    parser.add_argument(
        "--torch_python",
        default=sys.executable if importlib.util.find_spec("torch") else None,
        help="a Python that has PyTorch (pip install torch), for the side it is compared with; default: this one, or "
        "none of that side where this one has no PyTorch",
    )


class TorchNetwork:
    """The same network in eager PyTorch, in a process of its own: torch_networks.py. what: "infer" or "train".

    Raises RunError, with what it said, when it fails.
    """

    runs = 3  # the median counts

    def __init__(self, python: str, what: str, processor_time: bool = False):
        self.python, self.what, self.processor_time = python, what, processor_time

    def seconds(self, arc: str, size: int, precision: str = "float32", batch: int = 1, num_frames: int = 8) -> float:
        """Seconds a clip: what it says, or its processor seconds for more runs."""
        numbers = {"arc": arc, "frames": num_frames, "size": size, "batch": batch}
        if not self.processor_time:
            return self._call(numbers, precision, self.runs)[0]
        few, many = (self._call(numbers, precision, runs)[1] for runs in (1, 1 + self.runs))
        return (many - few) / self.runs / batch

    def difference(self, arc: str, model, clips: np.ndarray) -> float:
        """The largest difference of its logits from a network's, by the largest, with the network's weights.

        model: our network in evaluation mode. clips: float32 [N, C, T, H, W].
        """
        from inference.export import eager_outputs

        arrays = {"clips": clips, "logits": eager_outputs(model, clips)[1]}
        for name, tensor in model.state_dict().items():
            is_linear = name.endswith(("head.weight", "gate.weight"))
            theirs = name.replace("._mean", ".running_mean").replace("._variance", ".running_var")
            arrays[theirs] = tensor.numpy().T if is_linear else tensor.numpy()
        with tempfile.TemporaryDirectory() as folder:
            np.savez(f"{folder}/agree.npz", **arrays)
            command = [self.python, TORCH_NETWORKS, "infer", "--arc", arc, "--agree", f"{folder}/agree.npz"]
            return float(call_other(command)[0]["difference"])

    def _call(self, numbers: dict[str, object], precision: str, runs: int) -> tuple[float, float]:
        threads = os.environ.get("OMP_NUM_THREADS", str(available_cores()))
        numbers = {**numbers, "runs": runs, "threads": threads}
        command = [self.python, TORCH_NETWORKS, self.what]
        command += [str(word) for name, value in numbers.items() for word in (f"--{name}", value)]
        command += {"float32": [], "bfloat16": ["--precision", "bf16", "--channels-last"]}[precision]
        printed, processor = call_other(command)
        return float(printed["seconds_per_clip"]), processor


def call_other(command: list[str]) -> tuple[dict, float]:
    """What another program prints as JSON in its last line, and its processor seconds. Raises RunError."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RunError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout.splitlines()[-1]), processor


def machine() -> dict:
    """Processor, cores, system and package versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": model,
        "cores": available_cores(),
        "vector_units": [flag for flag in VECTOR_UNITS if flag in flags],
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
    }


def machine_line(found: dict) -> str:
    """Processor, cores, vector units and versions in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    units = " ".join(found["vector_units"]) or "none of avx2, avx512f"
    return f"{found['processor']}, {found['cores']} cores, {units}; Python {found['python']}, {versions}"
