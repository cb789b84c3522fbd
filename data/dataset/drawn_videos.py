"""What the generators of drawn data sets share: encoding, drawing in several processes, and keeping what is there."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils.errors import RunError, UserError
from utils.files import write_atomically, write_json

MANIFEST_FILE = "manifest.json"
FRAME_RATES = (Fraction(25), Fraction(30), Fraction(30000, 1001))
QUALITY_CRF = 24  # of x264: lower is better and larger


class Video(Protocol):
    """A file to be made, a picklable object. path: below the data set's folder."""

    @property
    def path(self) -> str: ...


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


def make_missing_videos(
    folder: Path,
    videos: Sequence[Video],
    sources: Sequence[str],
    draw: Callable[[Any], tuple[np.ndarray, Fraction]],
    write_lists: Callable[[], None],
    list_files: Sequence[str],
    num_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Draw the videos of a data set that are missing; those that the manifest of the same videos names are kept.

    Args:
        folder: of the data set.
        videos: all of them; with `sources` they decide what is drawn.
        sources: paths of the modules that draw.
        draw: function (video) -> (frames uint8 RGB [n, H, W, 3], frame rate), at a module's top level.
        write_lists: called when all videos are there; writes `list_files`.
        list_files: their paths below `folder`.
        num_workers: processes; as many as this process may use cores when None.
        progress: called with (videos done, videos in all) after each video.

    Returns:
        True when something was made, False when the data set was complete.

    Raises:
        UserError: PyAV is missing.
        RunError: a file cannot be written, or a drawing process died.
    """
    fingerprint = _fingerprint(videos, [*sources, __file__])
    sizes = _intact_files(folder, fingerprint)
    if len(sizes) == len(videos) and all((folder / name).is_file() for name in list_files):
        return False
    wanted = [video for video in videos if video.path not in sizes]
    for path, size in _make_all(folder, wanted, draw, num_workers or _num_cores()):
        sizes[path] = size
        if progress is not None:
            progress(len(sizes), len(videos))
    write_lists()
    manifest = {"fingerprint": fingerprint, "bytes": dict(sorted(sizes.items()))}
    write_json(folder / MANIFEST_FILE, manifest)  # last: it says all is there
    return True


def show_progress(done: int, total: int) -> None:
    """A line on a terminal that counts videos."""
    print(f"\rvideo {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _make_video(folder: str, video: Video, draw: Callable[[Any], tuple[np.ndarray, Fraction]]) -> int:
    """Draw, encode and write one video; return its size in bytes."""
    import cv2

    cv2.setNumThreads(1)  # the processes share the cores already
    data = encode_video(*draw(video))
    write_atomically(Path(folder) / video.path, lambda stream: stream.write(data))
    return len(data)


def _make_all(
    folder: Path, videos: list[Video], draw: Callable[[Any], tuple[np.ndarray, Fraction]], num_workers: int
) -> Iterator[tuple[str, int]]:
    """Yield path and size of each video as it is made."""
    if num_workers == 1:
        for video in videos:
            yield video.path, _make_video(str(folder), video, draw)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit the caller's threads and locks
    quiet_end = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends its workers
    with ProcessPoolExecutor(num_workers, context, signal.signal, quiet_end) as pool:
        try:
            sizes = pool.map(_make_video, [str(folder)] * len(videos), videos, [draw] * len(videos), chunksize=8)
            yield from zip([video.path for video in videos], sizes)
        except BrokenProcessPool as error:
            raise RunError("a process that draws videos was killed; is there memory left? --num_workers 1") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fingerprint(videos: Sequence[Video], sources: Sequence[str]) -> str:
    """Return a hash of what decides the videos: their plan and the code that draws them."""
    code = [Path(source).read_bytes() for source in sources]
    return hashlib.sha256(json.dumps(videos).encode() + b"".join(code)).hexdigest()


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
