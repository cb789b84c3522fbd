"""Key frames a second of action detection, and its memory: python tools/benchmark.py detect

The network is that of configs/ava.yaml with random weights: I3D-R50 with five non-local blocks, 32 frames. A key frame
is a clip of whole frames, 256 x 340 pixels, and its boxes, by chance. The person detector, where its weights are there
(tools/fetch_person_detector.py), finds the boxes of one frame. Peak memory is of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from configs import load_config
from tools.benchmarks.backends import add_backends_flag
from tools.benchmarks.harness import alternate, report
from tools.benchmarks.memory import peak_mb
from utils.cli import positive_int
from utils.runtime import prepare_environment

CONFIG = "configs/ava.yaml"
HEIGHT, WIDTH = 256, 340


def main(argv: list[str]) -> None:
    args = _parse(argv)
    prepare_environment()
    from inference.person_detector import PersonDetector, detector_file

    config = load_config(CONFIG, args.override)
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights(config, Path(folder))
        memory = {}
        for backend in args.backends:
            for count in args.boxes:
                context = multiprocessing.get_context("spawn")  # a fork would have this process's memory
                with ProcessPoolExecutor(1, context) as alone:
                    done = alone.submit(peak_of_a_key_frame, config, weights, backend, count)
                    memory[name_of(backend, count)] = round(done.result())
        sides = {}
        for backend in args.backends:
            score = scorer(config, weights, backend)
            for count in args.boxes:
                sides[name_of(backend, count)] = lambda score=score, count=count: score(count)
        if detector_file().is_file():
            detector, frame = PersonDetector(), np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
            sides["person detector"] = lambda: detector(frame)
        results = alternate(sides, args.repeats)
    print("key frames a second:", {name: round(1 / statistics.median(times), 2) for name, times in results.items()})
    print("peak MB:", memory)
    report("detect", {"key frame": results}, args.json, peak_mb=memory, config=CONFIG)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py detect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_backends_flag(parser)
    parser.add_argument("--boxes", nargs="+", type=positive_int, default=[4, 64], help="of a key frame (4 64)")
    parser.add_argument("--repeats", type=positive_int, default=5, help="timed rounds (default: %(default)s)")
    parser.add_argument("--json", help="write the results here")
    parser.add_argument("-o", "--override", action="append", default=[], help="of a key of the configuration")
    return parser.parse_args(argv)


def name_of(backend: str, num_boxes: int) -> str:
    """What the table calls a key frame of so many boxes."""
    return f"{backend}, {num_boxes} boxes"


def random_weights(config, folder: Path) -> str:
    """The path of a weight file of the network."""
    from models import build_model
    from weights import save_weights

    path = folder / "detector.pdparams"
    save_weights(path, {name: tensor.numpy() for name, tensor in build_model(config).state_dict().items()})
    return str(path)


def scorer(config, weights: str, backend: str):
    """number of boxes -> their scores on a key frame."""
    from inference import BackendSpec

    built, rng = BackendSpec(config, weights, "", backend, "float32").build(), np.random.default_rng(0)
    clips = rng.standard_normal((1, 3, config.INPUT.num_frames, HEIGHT, WIDTH), np.float32)

    def score(num_boxes: int) -> np.ndarray:
        corners = rng.uniform(0, 1, (num_boxes, 2, 2)) * [WIDTH, HEIGHT]
        boxes = np.sort(corners, axis=1).reshape(-1, 4).astype(np.float32)
        return built.box_scores(clips, boxes, np.zeros(num_boxes, np.int64))

    return score


def peak_of_a_key_frame(config, weights: str, backend: str, num_boxes: int) -> float:
    """The largest resident set of this process, in 1e6 bytes, when two key frames have been scored."""
    prepare_environment()
    score = scorer(config, weights, backend)
    for _ in range(2):
        score(num_boxes)
    return peak_mb()
