"""Adaptive sliding windows against all windows: python tools/benchmark.py segments --weights FILE --config FILE

A video of --seconds is made of drawn scenes of the demo's classes (data/dataset/demo), each of a random length; all
windows and `adaptive` ones (inference/adaptive_segments.py) are scored in turn by the same network. Told are the
windows scored, the seconds from the file to the segments, for how much of the time both name the same class, and for
how much of it each names the scene's. The demo's network:

python tools/benchmark.py segments --config output/demo/train/config.yaml --weights output/demo/train/NONLOCAL.pdparams
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from configs import load_config
from tools.benchmarks.harness import alternate, report
from utils.cli import positive_int
from utils.runtime import prepare_environment

FPS = 25
SCENE_CLIPS = (2, 8)  # of a class, one after the other
Stretch = tuple[float, float, int]  # start and end, seconds, and the class
SIZE = (128, 112)  # px, width and height


def main(argv: list[str]) -> None:
    args = _parse(argv)
    prepare_environment()
    from inference import BackendSpec

    config = load_config(args.config, [])
    backend = BackendSpec(config, args.weights, "", args.backend, args.precision).build()
    with tempfile.TemporaryDirectory() as folder:
        scenes = draw_scenes(Path(folder) / "scenes.mp4", args.seconds, args.seed)
        sides = {kind: Run(config, backend, f"{folder}/scenes.mp4", kind) for kind in ("all", "adaptive")}
        results = {"windows": alternate(sides, args.repeats)}
    whole, adaptive = sides.values()
    facts = {
        "windows": whole.num_scored,
        "windows scored by adaptive": adaptive.num_scored,
        "segments": len(whole.segments),
        "segments of adaptive": len(adaptive.segments),
        "% of the time the same class": 100 * alike(whole.segments, adaptive.segments),
        "% of the time the scene's class": 100 * alike(whole.segments, scenes),
        "% of the time the scene's class, adaptive": 100 * alike(adaptive.segments, scenes),
    }
    for name, value in facts.items():
        print(f"{name}: {value}")
    one, other = (statistics.median(seconds) for seconds in results["windows"].values())
    print(f"adaptive is {one / other:.2f} times as fast")
    report("segments", results, args.json, threads=os.environ["OMP_NUM_THREADS"], found=facts)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py segments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--seconds", type=positive_int, default=300, help="of the drawn video (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn video (default: %(default)s)")
    parser.add_argument("--backend", default="auto", help="as for predict.py (default: %(default)s)")
    parser.add_argument("--precision", default="float32", help="as for predict.py (default: %(default)s)")
    parser.add_argument("--repeats", type=positive_int, default=3, help="timed rounds (default: %(default)s)")
    parser.add_argument("--json", help="write the results here")
    return parser.parse_args(argv)


class Run:
    """A call computes the segments of a video. kind: as --segments."""

    def __init__(self, config, backend, video: str, kind: str):
        from inference.classify import PredictOptions

        self.config, self.backend, self.video = config, backend, video
        self.options = PredictOptions(Path(), 1, log_interval=0, segments=kind)

    def __call__(self) -> None:
        from datareader import VideoItem, build_window_loader
        from inference.segment import score_windows

        (windows,) = build_window_loader(self.config, [VideoItem(self.video, -1, 1)])
        found, error, self.num_scored = score_windows(self.config, windows, self.backend, self.options)
        assert not error, error
        self.segments = [(segment.start, segment.end, int(segment.indices[0])) for segment in found]


def alike(one: Sequence[Stretch], other: Sequence[Stretch]) -> float:
    """The fraction of the time of both in which they name the same class."""
    common, total = (
        sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in one for b in other if not same or a[2] == b[2])
        for same in (True, False)
    )
    return common / total


def draw_scenes(path: Path, seconds: int, seed: int) -> list[Stretch]:
    """Write scenes of random classes, of several drawn motions of the class each; returns when they are shown."""
    import cv2

    from data.dataset.demo.draw_motions import CLASS_NAMES, draw_frames
    from data.dataset.drawn_videos import encode_video

    rng, chosen = np.random.default_rng(seed), -1
    frames: list[np.ndarray] = []
    scenes: list[Stretch] = []
    while len(frames) < seconds * FPS:
        start = len(frames) / FPS
        chosen = int(rng.choice([label for label in range(len(CLASS_NAMES)) if label != chosen]))
        for _ in range(int(rng.integers(*SCENE_CLIPS, endpoint=True))):
            frames += [cv2.resize(frame, SIZE) for frame in draw_frames(CLASS_NAMES[chosen], rng)]
        scenes.append((start, min(len(frames) / FPS, seconds), chosen))
    path.write_bytes(encode_video(np.stack(frames[: seconds * FPS]), Fraction(FPS)))
    return scenes
