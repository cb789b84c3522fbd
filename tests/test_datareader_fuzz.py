"""Mutated files: no crash, no hang, no wrong shape. A long run: python tests/test_datareader_fuzz.py --files 5000"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import av
import numpy as np
from video_factory import draw_video

from datareader.requests import ClipSettings, ReaderSettings, TrainingClip
from datareader.video import Limits, VideoError
from datareader.workers import ProcessReader

CLIP = ClipSettings(4, 4, (32, 40), 32)
SECONDS = 10.0
SEEDS = {
    "h264.mp4": {},
    "plain.mp4": {"options": {"preset": "ultrafast", "g": "8", "bf": "0"}},
    "h264.mkv": {},
    "h264.ts": {},
    "h264.flv": {},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "8", "bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "8", "bf": "2"}},
    "mpeg4.mov": {"codec": "mpeg4"},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "8", "deadline": "realtime", "cpu-used": "8"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "8", "deadline": "realtime", "cpu-used": "8"}},
    "hevc.mp4": {
        "codec": "libx265",
        "options": {"preset": "ultrafast", "x265-params": "log-level=none:keyint=8:pools=1"},
    },
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "g": "8", "svtav1-params": "lp=1"}},
    "anim.gif": {"codec": "gif", "pix_fmt": "rgb8", "options": {}},
    "flv1.flv": {"codec": "flv", "options": {"g": "8"}},
    "wmv2.wmv": {"codec": "wmv2", "options": {"g": "8"}},
}


def draw_seeds(folder: Path) -> dict[str, bytes]:
    """name -> bytes of small valid files of every container and codec that this FFmpeg can write."""
    seeds = {}
    for name, encoding in SEEDS.items():
        if encoding.get("codec", "libx264") in av.codecs_available:
            seeds[name] = draw_video(folder / name, num_frames=24, **encoding).read_bytes()
    return seeds


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip 1 to 64 bits, anywhere or in the header; sometimes cut, sometimes overwrite a stretch."""
    changed = bytearray(data)
    where = len(data) if rng.random() < 0.6 else min(len(data), 2048)
    offset = 0 if rng.random() < 0.7 else len(data) - where
    for _ in range(int(2 ** rng.uniform(0, 6))):
        changed[offset + int(rng.integers(where))] ^= 1 << int(rng.integers(8))
    kind = rng.random()
    if kind < 0.1:
        del changed[int(rng.integers(16, len(changed))) :]
    elif kind < 0.2:
        start = int(rng.integers(len(changed)))
        stop = min(len(changed), start + int(2 ** rng.uniform(0, 10)))
        changed[start:stop] = rng.bytes(stop - start) if rng.random() < 0.5 else bytes(stop - start)
    return bytes(changed)


def run(folder: Path, num_files: int, seed: int, keep: Path | None = None) -> dict:
    """Read a random clip of each of `num_files` mutated files in a reading process; returns what happened."""
    seeds = list(draw_seeds(folder).items())
    reader, settings = ProcessReader(), ReaderSettings(limits=Limits(seconds=SECONDS))
    counts, bad, slowest = collections.Counter(), [], 0.0
    for number in range(num_files):
        name, data = seeds[number % len(seeds)]
        mutated = mutate(data, np.random.default_rng((seed, number)))
        path = folder / f"mutated_{name}"
        path.write_bytes(mutated)
        started = time.monotonic()
        try:
            frames, _ = reader.run(TrainingClip(str(path), (seed, number), CLIP, settings))
            outcome = "read" if frames.shape == (4, 32, 32, 3) else "wrong shape"
        except VideoError as error:
            outcome = next((word for word in ("crashed", "hung", "took longer") if word in error.reason), "refused")
        slowest = max(slowest, time.monotonic() - started)
        counts[outcome] += 1
        if outcome not in ("read", "refused"):
            bad.append(f"{number} {name}: {outcome}")
            if keep:
                (keep / f"{number}_{name}").write_bytes(mutated)
    peak_mib = _peak_mib(reader)
    reader.close()
    return {"files": num_files, **counts, "bad": bad, "slowest_seconds": round(slowest, 2), "peak_mib": peak_mib}


def _peak_mib(reader: ProcessReader) -> int:
    status = Path(f"/proc/{reader.process.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM")), 0)


def test_mutated_files_are_read_or_refused(tmp_path):
    result = run(tmp_path, num_files=150, seed=1)
    assert result["bad"] == []
    assert result["read"] > 40 and result["refused"] > 5  # neither everything nor nothing was destroyed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that did harm")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(run(Path(temporary), arguments.files, arguments.seed, arguments.keep), indent=1))
