"""Clips the way the old Paddle zoo's reader made them: the whole video decoded and kept for each view.

python tools/benchmarks/zoo_reader.py VIDEO --views 30     # ten clips, three crops of each: thirty times the video
python tools/benchmarks/zoo_reader.py VIDEO --views 1      # one clip

The yardstick of `tools/benchmark.py reader` and `predict`. Prints {"seconds": ..., "processor_seconds": ...}.
"""

from __future__ import annotations

import argparse
import json
import time

import cv2
import numpy as np

CLIP_LENGTH, FRAME_STRIDE = 8, 8
SHORT_SIDE_PX = CROP_PX = 256
MEAN, DEVIATION = 114.75, 57.375


def all_frames(path: str) -> list[np.ndarray]:
    """Every frame, RGB uint8 [H, W, 3]."""
    capture, frames = cv2.VideoCapture(path), []
    while True:
        is_read, frame = capture.read()
        if not is_read:
            break
        frames.append(frame[:, :, ::-1])
    capture.release()
    return frames


def view(path: str, fraction: float, crop: int) -> np.ndarray:
    """A clip float32 [3, T, S, S] that starts at a fraction of the video; crop 0, 1, 2: one end, middle, other end."""
    frames = all_frames(path)
    start = int(fraction * len(frames))
    chosen = [frames[(start + i * FRAME_STRIDE) % len(frames)] for i in range(CLIP_LENGTH)]
    height, width = chosen[0].shape[:2]
    scale = SHORT_SIDE_PX / min(height, width)
    size = (max(CROP_PX, round(width * scale)), max(CROP_PX, round(height * scale)))
    clip = np.stack([cv2.resize(frame, size) for frame in chosen])
    top, left = ((side - CROP_PX) * crop // 2 for side in clip.shape[1:3])
    clip = clip[:, top : top + CROP_PX, left : left + CROP_PX]
    return (clip.transpose(3, 0, 1, 2).astype(np.float32) - MEAN) / DEVIATION


def views(path: str, num_views: int) -> list[np.ndarray]:
    """One clip, or ten clips with three crops each."""
    if num_views == 1:
        return [view(path, 0.5, 1)]
    return [view(path, clip / 10, crop) for clip in range(10) for crop in range(3)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--views", type=int, choices=(1, 30), default=30)
    args = parser.parse_args()
    started, processor_started = time.perf_counter(), time.process_time()
    views(args.video, args.views)
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - processor_started
    print(json.dumps({"views": args.views, "seconds": seconds, "processor_seconds": processor_seconds}))


if __name__ == "__main__":
    main()
