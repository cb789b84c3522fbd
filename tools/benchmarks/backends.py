"""Whether all backends give the same answer: python tools/benchmark.py backends --weights FILE --config FILE

Scores every video of TEST.filelist with each backend that runs here, and compares each with the first one: the largest
difference in the probability of a class, and the videos whose best class changes. The demo's network:

python tools/benchmark.py backends --config output/demo/train/config.yaml --weights output/demo/train/NONLOCAL.pdparams
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from inference.backends import PACKAGES, backend_name
from tools.benchmarks.harness import machine, machine_line
from utils.cli import add_hidden_alias
from utils.errors import RunError
from utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]


def add_backends_flag(parser: argparse.ArgumentParser) -> None:
    """Add --backends; --engines is accepted for it."""
    names = list(PACKAGES)
    parser.add_argument(
        "--backends", nargs="+", type=backend_name, choices=names, default=names, help="in this order (default: all)"
    )
    add_hidden_alias(parser, "--engines", "--backends")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmark.py backends", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--weights", required=True)
    add_backends_flag(parser)
    parser.add_argument("--views", default="10x3", help="of each video (default: %(default)s)")
    parser.add_argument("--json", help="write the results here")
    args = parser.parse_args(argv)
    from tabulate import tabulate

    rows, first = [], None
    for backend in args.backends:
        scores, top1 = evaluate(backend, args)
        first = scores if first is None else first
        changed = int((scores.argmax(1) != first.argmax(1)).sum())
        rows.append((backend, len(scores), top1, float(np.abs(scores - first).max()), changed))
    headers = ("backend", "videos", "top-1 %", f"largest difference from {args.backends[0]}", "best class changed")
    print(tabulate(rows, headers, floatfmt=("", "", ".2f", ".1e", "")))
    found = machine()
    print(f"machine: {machine_line(found)}")
    if args.json:
        write_json(
            args.json, {"benchmark": "backends", "rows": [dict(zip(headers, row)) for row in rows], "machine": found}
        )


def evaluate(backend: str, args: argparse.Namespace) -> tuple[np.ndarray, float]:
    """Scores float32 [videos, K] and top-1 in percent, by eval.py in a process of its own. Raises RunError."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "eval.py", f"--backend={backend}", f"--config={args.config}", f"--weights={args.weights}",
            f"--views={args.views}", f"--save_dir={folder}", "--log_interval=0",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RunError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
        with np.load(Path(folder) / "scores.npz", allow_pickle=False) as arrays:
            scores = arrays["scores"]
        return scores, json.loads((Path(folder) / "results.json").read_text())["top1"]
