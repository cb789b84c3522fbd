"""Whether all engines give the same answer: python tools/benchmark.py engines --weights FILE --config FILE

Scores every video of TEST.filelist with each engine that runs here, and compares each with the first: the largest
difference in the probability of a class, and the videos whose best class is another. The demo's network:

python tools/benchmark.py engines --config output/demo/train/config.yaml --weights output/demo/train/NONLOCAL.pdparams
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tools.benchmarks.harness import machine, machine_line
from utils.errors import RunError
from utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmark.py engines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--engines", nargs="+", default=["paddle", "inference", "onnxruntime", "openvino"])
    parser.add_argument("--views", default="10x3", help="of each video (default: %(default)s)")
    parser.add_argument("--json", help="write the results here")
    args = parser.parse_args(argv)
    from tabulate import tabulate

    rows, first = [], None
    for engine in args.engines:
        scores, top1 = evaluate(engine, args)
        first = scores if first is None else first
        changed = int((scores.argmax(1) != first.argmax(1)).sum())
        rows.append((engine, len(scores), top1, float(np.abs(scores - first).max()), changed))
    headers = ("engine", "videos", "top-1 %", f"largest difference from {args.engines[0]}", "best class changed")
    print(tabulate(rows, headers, floatfmt=("", "", ".2f", ".1e", "")))
    found = machine()
    print(f"machine: {machine_line(found)}")
    if args.json:
        write_json(
            args.json, {"benchmark": "engines", "rows": [dict(zip(headers, row)) for row in rows], "machine": found}
        )


def evaluate(engine: str, args: argparse.Namespace) -> tuple[np.ndarray, float]:
    """Scores float32 [videos, K] and top-1 in percent, by eval.py in a process of its own. Raises RunError."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "eval.py", f"--engine={engine}", f"--config={args.config}", f"--weights={args.weights}",
            f"--views={args.views}", f"--save_dir={folder}", "--log_interval=0",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RunError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
        with np.load(Path(folder) / "scores.npz", allow_pickle=False) as arrays:
            scores = arrays["scores"]
        return scores, json.loads((Path(folder) / "results.json").read_text())["top1"]
