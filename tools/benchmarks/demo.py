"""How far the demo's metrics spread: python tools/benchmark.py demo --runs 5

Runs the demo with seeds 0, 1, ... and prints each metric's smallest, median and largest value; the videos are drawn
once. Then trains REPEATED_STEPS steps with seed 0 twice and compares the losses: where they are equal bit for bit, runs
on one machine differ by the seed alone, and runs on two machines by the rounding of their instructions, which acts as
another seed does. One run takes some seven minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from tools.benchmarks.harness import machine, machine_line
from utils.cli import positive_int
from utils.errors import RunError
from utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]
REPEATED_STEPS = 100
METRICS = ("top1", "top5", "reversed_top1", "direction_top1", "reversed_direction_top1", "train_seconds")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmark.py demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=positive_int, default=5, help="(default: %(default)s)")
    parser.add_argument("--output_dir", default="output/demo_runs", help="(default: %(default)s)")
    parser.add_argument("--json", help="write the results here")
    parser.add_argument("-o", "--override", action="append", default=[], help="passed on to train.py")
    args = parser.parse_args(argv)
    from tabulate import tabulate

    results = []
    for number in range(args.runs):
        folder = Path(args.output_dir) / f"run{number}"
        overrides = [f"--override={override}" for override in (f"TRAIN.seed={number}", *args.override)]
        call("tools/demo.py", f"--output_dir={folder}", *overrides)
        results.append(json.loads((ROOT / folder / "results.json").read_text()))
        print(f"seed {number}: {json.dumps({name: round(results[-1][name], 1) for name in METRICS})}", flush=True)
    rows = []
    for name in METRICS:
        values = [result[name] for result in results]
        rows.append((name, min(values), statistics.median(values), max(values)))
    print(tabulate(rows, ("metric", "smallest", "median", "largest"), floatfmt=".1f"))
    config = Path(args.output_dir) / "run0/train/config.yaml"
    one, two = (repeated_losses(config, Path(args.output_dir) / name) for name in ("repeated", "repeated_again"))
    differing = [iteration for iteration in one if one[iteration] != two[iteration]]
    verdict = f"differ first at iteration {differing[0]}" if differing else "are equal bit for bit"
    print(f"twice {REPEATED_STEPS} steps with seed 0: the {len(one)} logged losses {verdict}")
    found = machine()
    print(f"machine: {machine_line(found)}")
    if args.json:
        write_json(args.json, {"benchmark": "demo", "results": results, "machine": found})


def call(script: str, *flags: str) -> None:
    """Run one of the project's scripts. Raises RunError when it fails."""
    done = subprocess.run([sys.executable, script, *flags], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"{script} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")


def repeated_losses(config: Path, save_dir: Path) -> dict[int, float]:
    """The losses of a short run with seed 0."""
    call("train.py", f"--config={config}", f"--save_dir={save_dir}", "--fix_random_seed=True", "--overwrite",
         "--valid_interval=0", "--log_interval=5", "-o", f"TRAIN.max_iter={REPEATED_STEPS}")  # fmt: skip
    return losses(ROOT / save_dir / "log.jsonl")


def losses(log: Path) -> dict[int, float]:
    """Iteration -> training loss of a run's log."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {row["iteration"]: row["loss"] for row in rows if row["kind"] == "train"}
