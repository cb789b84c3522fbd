"""A video, file to top-5, as the old Paddle zoo did it, with eager PyTorch for the network.

python tools/benchmarks/zoo_prediction.py VIDEO --arc c2d

Each of the 30 views is read by zoo_reader.py, which decodes the whole video for it, and goes through the network of
torch_networks.py by itself; scores are averaged, the best five named. The yardstick of `tools/benchmark.py predict`.
Prints {"seconds": ..., "reading_seconds": ..., "network_seconds": ...}: a whole video, once the network is built and
has computed a first clip, and what of it was spent where.
Needs PyTorch and OpenCV: pip install torch opencv-python-headless
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.benchmarks import torch_networks, zoo_reader  # noqa: E402 - this is started as a file

torch = torch_networks.torch
NUM_CLIPS, NUM_CROPS, TOP = 10, 3, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--arc", choices=("c2d", "i3d"), default="c2d")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network = torch_networks.build(args.arc)
    network.eval()
    side = zoo_reader.CROP_PX

    def scores(clip: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.softmax(network(clip[None]), -1).mean(1)[0]

    scores(torch.zeros(3, zoo_reader.CLIP_LENGTH, side, side))
    started, network_seconds, total = time.perf_counter(), 0.0, 0.0
    for clip in range(NUM_CLIPS):
        for crop in range(NUM_CROPS):
            view = torch.from_numpy(zoo_reader.view(args.video, clip / NUM_CLIPS, crop))
            begin = time.perf_counter()
            total = total + scores(view)
            network_seconds += time.perf_counter() - begin
    top = torch.topk(total, TOP).indices.tolist()
    seconds = time.perf_counter() - started
    parts = {"seconds": seconds, "reading_seconds": seconds - network_seconds, "network_seconds": network_seconds}
    print(json.dumps({**parts, "torch": torch.__version__, "top": top}))


if __name__ == "__main__":
    main()
