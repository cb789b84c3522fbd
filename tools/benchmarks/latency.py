"""Seconds from the start of a process to its first answer: python tools/benchmark.py latency

predict.py in a process of its own, on a clip of this repository: with an empty cache of exports, where the network is
exported, compiled and its precision checked, and with what that left behind; beside a process that only imports
Paddle. The example network with its own views, C2D-R50 and I3D-R50 (five blocks, random weights) with one view.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tools.benchmarks.harness import alternate, report
from tools.benchmarks.infer import RESNETS, random_network
from utils.cli import positive_int
from utils.errors import RunError
from utils.runtime import prepare_environment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = "example"
CLIP = "examples/clip.mp4"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmark.py latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    networks = [EXAMPLE, *RESNETS]
    parser.add_argument("--networks", nargs="+", choices=networks, default=networks)
    parser.add_argument("--precision", default="auto", help="as for predict.py (default: %(default)s)")
    parser.add_argument("--repeats", type=positive_int, default=5, help="timed rounds (default: %(default)s)")
    parser.add_argument("--json", help="write the results here")
    args = parser.parse_args(argv)
    prepare_environment()
    results: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.networks:
            flags = [*network_flags(name, folder), f"--precision={args.precision}"]
            kept = Path(folder) / f"{name}_home"
            sides: dict[str, Callable[[], object]] = {
                "import Paddle": partial(run, [sys.executable, "-c", "import paddle"], kept),
                "cache kept": partial(predict, flags, folder, kept),
                "empty cache": partial(predict, flags, folder, None),
            }
            results[f"{name}, {args.precision}"] = alternate(sides, args.repeats)
    report("latency", results, args.json, threads=os.environ["OMP_NUM_THREADS"])


def network_flags(name: str, folder: str) -> list[str]:
    """The flags of predict.py for a network; its files are written into the folder."""
    from configs import save_config

    if name == EXAMPLE:
        config, weights = "examples/demo_network/config.yaml", "examples/demo_network/NONLOCAL.pdparams"
        return [f"--config={config}", f"--weights={weights}"]
    network, _, weights = random_network(name, folder)
    path = Path(folder) / f"{name}.yaml"
    path.write_text(save_config(network), encoding="utf-8")
    return [f"--config={path}", f"--weights={weights}", "--views=1x1"]


def predict(flags: list[str], folder: str, home: Path | None) -> None:
    """Predict the clip. home: of the cache of exports; None: a new one."""
    with tempfile.TemporaryDirectory(dir=folder) as new:
        command = [sys.executable, "predict.py", f"--video_path={CLIP}", f"--save_dir={new}/out", *flags]
        run(command, home or Path(new))


def run(command: list[str], home: Path) -> None:
    """Run a command in the repository's folder. Raises RunError when it fails."""
    env = {**os.environ, "PADDLE_NONLOCAL_HOME": str(home)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
