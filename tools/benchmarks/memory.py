"""Peak memory of a view, each network and backend in a process of its own: python tools/benchmark.py memory

S3D and S3D-G, 250 frames of 224 pixels, random weights; or other networks of `benchmark.py infer`. A process imports,
builds the network, exports it for the backend (nothing comes from a cache), opens it and computes the clip twice; its
peak is the largest resident set since its start. The conversion to ONNX, a process of its own, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tools.benchmarks import infer
from tools.benchmarks.backends import add_backends_flag
from tools.benchmarks.harness import machine, machine_line
from utils.cli import positive_int
from utils.errors import RunError
from utils.files import write_json
from utils.runtime import prepare_environment

ROOT = Path(__file__).resolve().parents[2]
BENCHMARK = ROOT / "tools" / "benchmark.py"


def main(argv: list[str]) -> None:
    args = _parse(argv)
    if args.alone:
        print(json.dumps(peaks_mb(args.arcs[0], args.backends[0], args.precisions[0], args.frames, args.size)))
        return
    from tabulate import tabulate

    rows = [
        {"network": arc, "backend": backend, "precision": precision, **measured(arc, backend, precision, args)}
        for arc in args.arcs
        for backend in args.backends
        for precision in args.precisions
    ]
    print(tabulate(rows, headers="keys", floatfmt=".0f"))
    found = machine()
    print(f"machine: {machine_line(found)}")
    if args.json:
        facts = {"frames": args.frames, "size": args.size, "command": sys.argv, "machine": found}
        write_json(Path(args.json), {"benchmark": "memory", "rows": rows, **facts})
        print(f"written to {args.json}")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arcs", nargs="+", choices=tuple(infer.ARCS), default=["s3d", "s3d_g"])
    parser.add_argument("--frames", type=positive_int, default=250, help="of the clip (default: %(default)s)")
    parser.add_argument("--size", type=positive_int, default=224, help="pixels (default: %(default)s)")
    add_backends_flag(parser)
    parser.add_argument("--precisions", nargs="+", choices=infer.PRECISIONS, default=["float32"])
    parser.add_argument("--json", help="write the results here")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # this is the process of its own
    return parser.parse_args(argv)


def measured(arc: str, backend: str, precision: str, args: argparse.Namespace) -> dict[str, float]:
    """What `peaks_mb` finds in a process of its own. Raises RunError with what it said when it fails."""
    command = [sys.executable, str(BENCHMARK), "memory", "--alone", "--arcs", arc, "--backends", backend]
    command += ["--precisions", precision, "--frames", str(args.frames), "--size", str(args.size)]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PADDLE_NONLOCAL_HOME": home}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peaks_mb(arc: str, backend: str, precision: str, num_frames: int, size: int) -> dict[str, float]:
    """Largest resident sets of this process so far, in 1e6 bytes: before the export, behind it, at the end."""
    prepare_environment()
    from inference.backends import EagerBackend, ExportedBackend
    from inference.export import NetworkSource

    with tempfile.TemporaryDirectory() as folder:
        config, model, weights = infer.random_network(arc, folder)
        before = peak_mb()
        if backend == "paddle":
            built = EagerBackend(model, precision)
        else:
            del model
            built = ExportedBackend(backend, precision, NetworkSource(config, weights), num_frames, size)
        exported = peak_mb()
        for seed in range(2):  # clips that nobody keeps, as those of `score_views`
            built.outputs(np.random.default_rng(seed).standard_normal((1, 3, num_frames, size, size), np.float32))
    return {"before MB": before, "with export MB": exported, "peak MB": peak_mb()}


def peak_mb() -> float:
    """macOS counts bytes, Linux 1024 of them."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
