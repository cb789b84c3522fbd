"""The reader against decord, OpenCV, sequential PyAV and the zoo's way: python tools/benchmark.py reader [VIDEO ...]

clip    the 8 frames of a training clip (stride 8) from random starts, the same for all sides, at the video's own size
views   the 10 x 3 views of a video at 256 px: decode, resize, crop, normalise
loader  training samples a second with 1 and 2 reading processes, against this process alone
memory  resident memory of this process after every quarter of --memory_clips clips

Without videos, three H.264 files of 10 s, 340 x 256, are drawn: with B-frames, without, and with a key frame a second.
Clips and views are timed in processor seconds of all threads, so that other work on the machine does not blur them;
the loader in seconds of the clock. Before anything is timed every side's frames are compared with the ffmpeg program's
(imageio-ffmpeg). The zoo's way is that of zoo_reader.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np

from configs.schema import Config
from datareader import VideoItem, build_train_loader, build_view_loader, probe, read_frames, sampling
from datareader.requests import ClipSettings, ReaderSettings, TrainingClip
from tools.benchmarks import zoo_reader
from tools.benchmarks.harness import alternate, report

CLIP_LENGTH, FRAME_STRIDE = 8, 8
MEAN, STD = 114.75, 57.375
DRAWN = {
    "b_frames": {"preset": "medium", "crf": "23"},
    "no_b_frames": {"preset": "medium", "crf": "23", "bf": "0"},
    "key_a_second": {"preset": "medium", "crf": "23", "g": "30"},
}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--cases", nargs="+", default=["clip", "views", "loader", "memory"])
    parser.add_argument("--memory_clips", type=int, default=2000)
    parser.add_argument("--json", help="file for the result")
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        videos = arguments.videos or [str(draw_scene(Path(folder) / f"{name}.mp4", o)) for name, o in DRAWN.items()]
        results, facts = {}, {}
        if "clip" in arguments.cases or "views" in arguments.cases:
            facts["differences_from_ffmpeg"] = {os.path.basename(video): compare(video) for video in videos}
        for video in videos:
            name = os.path.basename(video)
            if "clip" in arguments.cases:
                sides = clip_sides(video)
                results[f"clip {name}"] = alternate(sides, 2 * arguments.repeats)
            if "views" in arguments.cases:
                sides = view_sides(video)
                results[f"views {name}"] = alternate(sides, max(3, arguments.repeats // 3))
        if "loader" in arguments.cases:
            results["loader, seconds for 32 clips"] = loader_seconds(videos, arguments.repeats)
        if "memory" in arguments.cases:
            facts["resident_mib_after_quarters"] = memory(videos, arguments.memory_clips)
            print("resident MiB after each quarter:", facts["resident_mib_after_quarters"])
        report("reader", results, arguments.json, **facts)


def draw_scene(path: Path, options: dict[str, str]) -> Path:
    """A textured scene that pans and zooms slowly, with some noise, as a hand-held camera sees it."""
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (512, 680, 3), dtype=np.uint8), (0, 0), 3).astype(np.float32)
    scene = np.clip((scene - scene.mean()) * 4 + 128, 0, 255).astype(np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30, options={"threads": "1", **options})
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        for t in range(300):
            zoom = 1 + 0.2 * np.sin(t / 60)
            turn = cv2.getRotationMatrix2D((340 + 60 * np.sin(t / 25), 256 + 40 * np.cos(t / 40)), t / 10, zoom)
            turn[:, 2] -= 170, 128
            frame = cv2.warpAffine(scene, turn, (340, 256), borderMode=cv2.BORDER_REFLECT).astype(np.int16)
            frame += rng.integers(-6, 7, frame.shape[:2], dtype=np.int16)[..., None]
            picture = av.VideoFrame.from_ndarray(np.clip(frame, 0, 255).astype(np.uint8), format="rgb24")
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def processor_seconds(work: Callable[[], object]) -> Callable[[], float]:
    """`work`, measuring itself."""

    def side() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return side


def clip_sides(video: str) -> dict[str, Callable[[], object]]:
    """Every side reads the same sequence of random clips, one a call."""
    num_frames = probe(video).num_frames
    readers = {"ours": read_frames, "decord": decord_frames, "sequential PyAV": pyav_frames,
               "sequential OpenCV": opencv_frames, "the zoo's way": zoo_frames}  # fmt: skip
    sides = {}
    for name, reader in readers.items():
        rng = np.random.default_rng(0)

        def side(reader=reader, rng=rng):
            start = sampling.random_start(num_frames, CLIP_LENGTH, FRAME_STRIDE, rng)
            return reader(video, sampling.clip_indices(start, CLIP_LENGTH, FRAME_STRIDE, num_frames))

        sides[name] = processor_seconds(side)
    return sides


def decord_frames(video: str, indices: np.ndarray) -> np.ndarray:
    import decord

    return decord.VideoReader(video, num_threads=1).get_batch(indices).asnumpy()


def pyav_frames(video: str, indices: np.ndarray) -> np.ndarray:
    """Decode from the start to the last wanted frame."""
    wanted, last = {int(i): None for i in indices}, int(max(indices))
    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                wanted[number] = frame.to_ndarray(format="rgb24")
            if number == last:
                break
    return np.stack([wanted[int(i)] for i in indices])


def opencv_frames(video: str, indices: np.ndarray) -> np.ndarray:
    """Open once, grab to the last wanted frame, retrieve the wanted ones."""
    wanted, last = {int(i): None for i in indices}, int(max(indices))
    capture = cv2.VideoCapture(video)
    for number in range(last + 1):
        if not capture.grab():
            break
        if number in wanted:
            wanted[number] = capture.retrieve()[1][:, :, ::-1]
    capture.release()
    return np.stack([wanted[int(i)] for i in indices])


def zoo_frames(video: str, indices: np.ndarray) -> np.ndarray:
    """Decode and keep the whole video, then pick."""
    frames = zoo_reader.all_frames(video)
    return np.stack([frames[i % len(frames)] for i in indices])


def view_sides(video: str) -> dict[str, Callable[[], object]]:
    config = Config()
    loader = build_view_loader(config, [VideoItem(video, 0, 1)], num_workers=0)

    def ours():
        views = next(iter(loader))
        for view in range(len(views)):
            views.clips([view])

    return {"ours": processor_seconds(ours), "the zoo's way": processor_seconds(lambda: zoo_reader.views(video, 30))}


def compare(video: str) -> dict[str, float]:
    """The largest mean absolute difference of a frame from the ffmpeg program's, for every side, over five clips."""
    import imageio_ffmpeg

    info = probe(video)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-i", "file:" + os.path.abspath(video)]
    command += ["-map", "0:V:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    truth = np.frombuffer(data, np.uint8).reshape(-1, info.height, info.width, 3)
    sides = {"ours": read_frames, "decord": decord_frames, "sequential PyAV": pyav_frames, "OpenCV": opencv_frames}
    worst = dict.fromkeys(sides, 0.0)
    for start in np.linspace(0, info.num_frames - 1, 5).astype(int):
        indices = sampling.clip_indices(int(start), CLIP_LENGTH, FRAME_STRIDE, info.num_frames)
        for name, reader in sides.items():
            difference = np.abs(reader(video, indices).astype(np.int16) - truth[indices]).mean(axis=(1, 2, 3)).max()
            worst[name] = max(worst[name], float(difference))
    print(os.path.basename(video), info, {name: round(value, 3) for name, value in worst.items()})
    return worst


def loader_seconds(videos: list[str], repeats: int) -> dict[str, list[float]]:
    config = Config()
    config.TRAIN.batch_size = 8
    items = [VideoItem(videos[i % len(videos)], 0, i + 1) for i in range(32)]
    loaders = {n: build_train_loader(config, items, seed=0, num_workers=n) for n in (0, 1, 2)}

    def epoch(loader) -> None:
        for _ in loader:
            pass

    sides = {f"{n} processes": (lambda loader=loader: epoch(loader)) for n, loader in loaders.items()}
    seconds = alternate(sides, max(3, repeats // 3))
    for loader in loaders.values():
        loader.close()
    return seconds


def memory(videos: list[str], num_clips: int) -> list[int]:
    settings = ClipSettings(CLIP_LENGTH, FRAME_STRIDE, (256, 320), 224)
    resident = []
    for i in range(num_clips):
        TrainingClip(videos[i % len(videos)], (0, 0, i), settings, ReaderSettings()).read()
        if (i + 1) % (num_clips // 4) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident.append(pages * os.sysconf("SC_PAGE_SIZE") >> 20)
    return resident
