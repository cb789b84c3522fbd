"""Draw the demo's data set: python data/dataset/demo/make_videos.py --output_dir data/dataset/demo/videos

H.264 files in train/, valid/ and test/, with trainlist.txt, vallist.txt, testlist.txt (`path label`, paths relative to
the lists) and class_names.txt. The same arguments give the same data; a complete data set is kept as it is.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.demo import draw_motions
from utils.cli import Parser, positive_int, run
from utils.errors import RunError, UserError
from utils.files import write_atomically, write_json, write_text

SPLITS = {"train": "trainlist.txt", "valid": "vallist.txt", "test": "testlist.txt"}
CLASS_NAMES_FILE, MANIFEST_FILE = "class_names.txt", "manifest.json"
FRAME_RATES = (Fraction(25), Fraction(30), Fraction(30000, 1001))
QUALITY_CRF = 24  # of x264: lower is better and larger


class Video(NamedTuple):
    """One file to be made: where it goes, its class, and the numbers that decide all that is left to chance."""

    path: str
    class_name: str
    seed: tuple[int, ...]


def planned_videos(num_train: int, num_valid: int, num_test: int, seed: int) -> dict[str, list[Video]]:
    """Return the videos of each split, so many a class.

    In training the two classes of a pair share their scenes (the same background once with each direction), so that
    there is nothing but the motion to tell them apart; held-out videos all have scenes of their own.
    """
    plan: dict[str, list[Video]] = {split: [] for split in SPLITS}
    for split_number, (split, count) in enumerate(zip(SPLITS, (num_train, num_valid, num_test))):
        for number in range(count):
            for name, (motion, backwards) in draw_motions.CLASSES.items():
                scene = 2 * number + int(backwards and split != "train")
                video_seed = (seed, split_number, list(draw_motions.MOTIONS).index(motion), scene)
                plan[split].append(Video(f"{split}/{name}_{number:03d}.mp4", name, video_seed))
    return plan


def encode_video(frames: np.ndarray, frame_rate: Fraction) -> bytes:
    """Encode uint8 RGB [n, H, W, 3] as H.264 in mp4 (yuv420p, B-frames), the same bytes each time."""
    try:
        import av
    except ImportError:
        raise UserError("the demo's videos are written by PyAV: pip install av") from None
    target = io.BytesIO()
    # asm=0: with its AVX-512 code x264 gives other bytes from run to run
    options = {"preset": "veryfast", "crf": str(QUALITY_CRF), "bf": "3", "threads": "1", "x264-params": "asm=0"}
    try:
        with av.open(target, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=frame_rate, options=options)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for picture in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    except (ValueError, av.FFmpegError) as error:
        raise RunError(f"this PyAV cannot write H.264 ({error}); its wheel from PyPI can: pip install av") from error
    return target.getvalue()


def _make_video(folder: str, video: Video) -> int:
    """Draw, encode and write one video; return its size in bytes."""
    import cv2

    cv2.setNumThreads(1)  # the processes share the cores already
    rng = np.random.default_rng(video.seed)
    frames = draw_motions.draw_frames(video.class_name, rng)
    data = encode_video(frames, FRAME_RATES[video.seed[-1] % len(FRAME_RATES)])
    write_atomically(Path(folder) / video.path, lambda stream: stream.write(data))
    return len(data)


def make_dataset(
    folder: str | Path,
    num_train: int = 60,
    num_valid: int = 6,
    num_test: int = 12,
    seed: int = 0,
    num_workers: int | None = None,
    progress: Any = None,
) -> bool:
    """Make the data set in `folder`, or what of it is missing: what the manifest of the same arguments names is kept.

    Args:
        folder: gets the splits' folders, the lists, the class names and the manifest.
        num_train: videos a class to train on.
        num_valid: videos a class to validate on.
        num_test: videos a class to test on.
        seed: other seeds give other videos.
        num_workers: processes; as many as this process may use cores when None.
        progress: called with (videos done, videos in all) after each video.

    Returns:
        True when the videos were made, False when they were there.

    Raises:
        UserError: a number of videos is not positive, or PyAV is missing.
        RunError: a file cannot be written, or a drawing process died.
    """
    folder = Path(folder)
    if min(num_train, num_valid, num_test) < 1 or seed < 0:
        raise UserError("each split needs at least one video a class, and the seed must not be negative")
    plan = planned_videos(num_train, num_valid, num_test, seed)
    fingerprint = _fingerprint(plan)
    videos = [video for split in plan.values() for video in split]
    sizes = _intact_files(folder, fingerprint)
    if len(sizes) == len(videos) and all((folder / name).is_file() for name in (*SPLITS.values(), CLASS_NAMES_FILE)):
        return False
    wanted = [video for video in videos if video.path not in sizes]
    for path, size in _make_all(folder, wanted, num_workers or _num_cores()):
        sizes[path] = size
        if progress is not None:
            progress(len(sizes), len(videos))
    for split, list_name in SPLITS.items():
        lines = [f"{video.path} {draw_motions.CLASS_NAMES.index(video.class_name)}\n" for video in plan[split]]
        write_text(folder / list_name, "".join(lines))
    write_text(folder / CLASS_NAMES_FILE, "".join(f"{name}\n" for name in draw_motions.CLASS_NAMES))
    write_json(
        folder / MANIFEST_FILE, {"fingerprint": fingerprint, "bytes": dict(sorted(sizes.items()))}
    )  # last: it says all is there
    return True


def _make_all(folder: Path, videos: list[Video], num_workers: int):
    """Yield path and size of each video as it is made."""
    if num_workers == 1:
        for video in videos:
            yield video.path, _make_video(str(folder), video)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit the caller's threads and locks
    quiet_end = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends its workers
    with ProcessPoolExecutor(num_workers, context, signal.signal, quiet_end) as pool:
        try:
            sizes = pool.map(_make_video, [str(folder)] * len(videos), videos, chunksize=8)
            yield from zip([video.path for video in videos], sizes)
        except BrokenProcessPool as error:
            raise RunError("a process that draws videos was killed; is there memory left? --num_workers 1") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fingerprint(plan: dict[str, list[Video]]) -> str:
    """Return a hash of what decides the videos: the plan and the code that draws them."""
    code = [Path(source).read_bytes() for source in (draw_motions.__file__, __file__)]
    return hashlib.sha256(json.dumps(plan).encode() + b"".join(code)).hexdigest()


def _intact_files(folder: Path, fingerprint: str) -> dict[str, int]:
    """Return path and size of the videos that the manifest of the same data set names and that are there as it says."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        sizes = manifest["bytes"] if manifest["fingerprint"] == fingerprint else {}
        return {path: size for path, size in sizes.items() if _size_of(folder / path) == size}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def main() -> None:
    """Make the data set and say what was made."""
    parser = Parser(description=__doc__)
    parser.add_argument("--output_dir", required=True, help="folder of the data set")
    parser.add_argument("--num_train", type=positive_int, default=60, help="training videos a class (%(default)s)")
    parser.add_argument("--num_valid", type=positive_int, default=6, help="validation videos a class (%(default)s)")
    parser.add_argument("--num_test", type=positive_int, default=15, help="test videos a class (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other videos (%(default)s)")
    parser.add_argument("--num_workers", type=positive_int, help="processes (default: one a core)")
    options = parser.parse_args()
    counts = (options.num_train, options.num_valid, options.num_test)
    progress = _show_progress if sys.stderr.isatty() else None
    made = make_dataset(options.output_dir, *counts, options.seed, options.num_workers, progress)
    num_classes = len(draw_motions.CLASS_NAMES)
    done = "made in" if made else "are in"
    print(f"{sum(counts) * num_classes} videos of {num_classes} classes {done} {options.output_dir}")


def _show_progress(done: int, total: int) -> None:
    print(f"\rvideo {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run(main)
