"""All numbers of a report at the size of Kinetics, on one core: python tools/benchmark.py report

Scores are simulated (--videos x --classes, --views of each video or none) and written as eval.py writes them. Then the
runs are read and `report_numbers` computes report.json, on one core; told are wall and processor seconds and the peak
of resident memory, Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from metrics.probabilities import softmax
from metrics.results import FORMAT_VERSION
from tools.benchmarks.block import peak_starts_anew, resident_megabytes
from tools.benchmarks.harness import machine, machine_line
from tools.reporting.numbers import report_numbers
from tools.reporting.runs import load_runs
from utils.cli import positive_int
from utils.files import write_json, write_text


def main(argv: list[str]) -> None:
    arguments = _parse(argv)
    with on_one_core(), tempfile.TemporaryDirectory() as name:
        folders = [str(Path(name) / f"run {number}") for number in range(arguments.runs)]
        for number, folder in enumerate(folders):
            simulate_run(Path(folder), arguments.videos, arguments.classes, arguments.views, number)
        is_counted = peak_starts_anew()
        wall, processor = time.perf_counter(), time.process_time()
        runs = load_runs(folders, None, None, False)
        loaded = time.perf_counter() - wall
        numbers = report_numbers(runs, folds=5, seed=0, num_mistakes=40)
        facts = {
            "seconds": time.perf_counter() - wall,
            "seconds_of_reading": loaded,
            "processor_seconds": time.process_time() - processor,
            "peak_megabytes": resident_megabytes("VmHWM") if is_counted else None,
            "report_json_bytes": len(json.dumps(numbers)),
        }
    sizes = {name: getattr(arguments, name) for name in ("runs", "videos", "classes", "views")}
    print(*(f"{name}: {value}" for name, value in {**sizes, **facts}.items()), sep="\n")
    print(f"machine: {machine_line(machine())}")
    if arguments.json:
        write_json(arguments.json, {"benchmark": "report", **sizes, **facts, "machine": machine()})


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmark.py report", description=__doc__)
    parser.add_argument("--videos", type=positive_int, default=19_761, help="(default: %(default)s)")
    parser.add_argument("--classes", type=positive_int, default=400, help="(default: %(default)s)")
    parser.add_argument("--views", type=int, default=0, help="clips x 3 crops of which scores are kept; 0: none")
    parser.add_argument("--runs", type=positive_int, default=1, help="runs that are judged (default: %(default)s)")
    parser.add_argument("--json", help="write the results here")
    return parser.parse_args(argv)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this process on one of its cores (Linux)."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def simulate_run(folder: Path, num_videos: int, num_classes: int, num_views: int, seed: int) -> None:
    """A folder of eval.py: about four in five videos right, too confident; the first hundredth of them broken."""
    rng = np.random.default_rng((seed, num_videos))
    labels = np.random.default_rng(num_videos).integers(0, num_classes, num_videos)
    logits = rng.normal(size=(num_videos, num_classes)).astype(np.float32)
    logits[np.arange(num_videos), labels] += rng.normal(5, 2, num_videos)
    scores, num_broken = softmax(logits), num_videos // 100
    ids, paths = np.arange(num_videos), np.array([f"videos/{number:06d}.mp4" for number in range(num_videos)])
    broken, scored = slice(num_broken), slice(num_broken, None)
    arrays = {
        "video_id": ids[scored], "path": paths[scored], "scores": scores[scored], "label": labels[scored],
        "logits": logits[scored], "class_names": np.array([f"class {k}" for k in range(num_classes)]),
        "broken_video_id": ids[broken], "broken_path": paths[broken], "broken_label": labels[broken],
        "broken_reason": np.full(num_broken, "simulated"), "list_path": np.array("list.txt"),
        "list_sha256": np.array("0" * 64), "weights_sha256": np.array("0" * 64),
        "views": np.array(f"{max(1, num_views // 3)}x3"), "format_version": np.array(FORMAT_VERSION),
    }  # fmt: skip
    if num_views:
        views = np.empty((num_videos - num_broken, num_views, num_classes), np.float16)
        for view in range(num_views):
            noise = rng.normal(size=views.shape[::2]).astype(np.float32)
            views[:, view] = softmax(logits[scored] + noise)
        arrays["view_scores"] = views
    folder.mkdir(parents=True)
    np.savez(folder / "scores.npz", **arrays)
    write_json(folder / "results.json", {"views": str(arrays["views"])})
    write_text(folder / "config.yaml", f"TRAIN:\n  seed: {seed}\n")
