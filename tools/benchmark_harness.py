"""Fair timing: all sides in turn, several rounds, medians, ratios, and what machine it was."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from utils.files import write_json
from utils.runtime import available_cores

PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "numpy", "opencv-python-headless", "opencv-python", "av", "decord")


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
    whole = {"benchmark": name, "cases": cases, "machine": machine(), **facts}
    if out_json:
        write_json(Path(out_json), whole)
        print(f"written to {out_json}")
    return whole


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
        "vector_units": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags],
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
    }
