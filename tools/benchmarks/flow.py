"""Optical flow into a cache and out of it: python tools/benchmark.py flow [VIDEO ...]

extract  flows a second of tools/extract_flow.py with 1 and 2 processes, a method each
size     bytes a flow of the cache's forms, and their distance from the computed flow in pixels
clip     a training clip (8 flows or frames, stride 8, 224 px) of RGB, of each method while reading, and from the cache

Without videos, four of 10 s, 340 x 256, are drawn. Extraction is timed by the clock, after the processes have started;
clips in processor seconds, so that other work on the machine does not blur them.
How long a training step waits for flow is told by `benchmark.py train --cases wait -o READER.modality=flow`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from configs.schema import Config
from datareader import Limits
from datareader.flow.cache import CachedFlow, cache_file
from datareader.flow.extraction import ExtractFlow
from datareader.flow.methods import METHODS, FlowProvenance
from datareader.flow.source import ComputedFlow
from datareader.requests import RGB, ClipSettings, ReaderSettings, ReadPixelAspect, Source, TrainingClip
from datareader.workers import ReaderPool
from tools.benchmarks.harness import alternate, report
from tools.benchmarks.reader import DRAWN, draw_scene, processor_seconds
from utils.cli import positive_int
from utils.runtime import prepare_environment

FORMS = {"h264 crf 0": 0, "h264 crf 10": 10, "npz": None}
READER = ReaderSettings(limits=Limits(seconds=3600.0))


def main(argv: list[str]) -> None:
    arguments = _parse(argv)
    prepare_environment()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = [Path(video) for video in arguments.videos] or draw_videos(folder)
        results, facts = {}, {}
        if "extract" in arguments.cases:
            for method in arguments.methods:
                sides = {f"{n} processes": partial(extract, videos, method, n, folder) for n in (1, 2)}
                results[f"extract, {method}, s a flow"] = alternate(sides, arguments.repeats)
        if "size" in arguments.cases:
            facts["size"] = {method: sizes(videos[0], method, folder) for method in arguments.methods}
            for method, forms in facts["size"].items():
                print(method, *(f"{name}: {values}" for name, values in forms.items()), sep="\n")
        if "clip" in arguments.cases:
            results["clip"] = alternate(clip_sides(videos[0], arguments.methods, folder), 10 * arguments.repeats)
        report("flow", results, arguments.json, **facts)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py flow", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="*")
    cases = ("extract", "size", "clip")
    parser.add_argument("--cases", nargs="+", choices=cases, default=cases)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["dis", "dis_fast"])
    parser.add_argument("--repeats", type=positive_int, default=3, help="timed rounds (%(default)s)")
    parser.add_argument("--json", help="file for the result")
    return parser.parse_args(argv)


def draw_videos(folder: Path) -> list[Path]:
    """Four files of one scene."""
    first = draw_scene(folder / "0.mp4", DRAWN["b_frames"])
    return [first, *(Path(shutil.copy(first, folder / f"{i}.mp4")) for i in (1, 2, 3))]


def job(video: Path, method: str, crf: int | None, cache: Path) -> ExtractFlow:
    """The extraction of a video with the program's defaults."""
    file = cache_file(cache, video.name, method, "npz" if crf is None else "h264")
    return ExtractFlow(str(video), video.name, str(file), computed(method), crf, READER)


def computed(method: str) -> ComputedFlow:
    """Flow with the defaults of READER."""
    return ComputedFlow(FlowProvenance.of(replace(Config().READER, flow_method=method)))


def extract(videos: list[Path], method: str, num_workers: int, folder: Path) -> float:
    """Seconds a flow of all videos, by processes that have started."""
    pool = ReaderPool(num_workers)
    try:
        start = ReadPixelAspect(str(videos[0]), READER)
        for future in [pool.submit(lambda process: process.run(start)) for _ in range(num_workers)]:
            future.result()
        jobs = [job(video, method, 10, folder / "extract") for video in videos]
        started = time.perf_counter()
        futures = [pool.submit(lambda process, job=job: process.run(job)[1]) for job in jobs]
        num_flows = sum(future.result().num_flows for future in futures)
        return (time.perf_counter() - started) / num_flows
    finally:
        pool.close()


def sizes(video: Path, method: str, folder: Path) -> dict[str, dict[str, float]]:
    """Bytes a flow, and the mean and largest distance from the computed flow in pixels, of each form."""
    source = computed(method)
    found = {}
    for name, crf in FORMS.items():
        cache = folder / name
        manifest = job(video, method, crf, cache).read()[1]
        flow, cached = (
            each.read(str(video), np.arange, READER, lambda field: field).taken()
            for each in (source, CachedFlow(str(cache), source.provenance))
        )
        error = np.abs(flow - cached) * manifest.provenance["bound"]
        found[name] = {
            "bytes_a_flow": round(manifest.file_bytes / manifest.num_flows),
            "mean_error_px": float(error.mean()),
            "largest_error_px": float(error.max()),
        }
    return found


def clip_sides(video: Path, methods: list[str], folder: Path) -> dict[str, Callable[[], float]]:
    """Every side reads the same sequence of random clips, one a call."""
    sources: dict[str, Source] = {"rgb": RGB, **{method: computed(method) for method in methods}}
    for name, crf in FORMS.items():
        extraction = job(video, methods[0], crf, folder / name)
        extraction.read()
        sources[f"{methods[0]}, {name}"] = CachedFlow(str(folder / name), extraction.source.provenance)
    clip = ClipSettings(clip_length=8, frame_stride=8, scales=(256, 320), crop_px=224)

    def side(source: Source) -> Callable[[], float]:
        keys = count()
        return processor_seconds(lambda: TrainingClip(str(video), (next(keys),), clip, READER, source).read())

    return {name: side(source) for name, source in sources.items()}
