"""What training on many GPUs should cost: calculated, not measured.

python tools/plan_training.py                                       # the table of docs/training.md
python tools/plan_training.py --step_seconds 0.31 --gbits 10 25     # with the time of a step that your GPU takes

Gradients are averaged after the backward pass, so their transfer is not hidden: a step takes t_compute + t_transfer.
A ring sends 2 (n - 1) / n times the gradients' bytes S through every link: t_transfer = 2 (n - 1) S / (n B) with
B bytes a second, each GPU counted as if it had a link of its own, latency left out. Efficiency is
t_compute / (t_compute + t_transfer). The clips of a GPU stay the same, so that the batch grows with n.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.cli import Parser, positive_int, positive_seconds, run  # noqa: E402 - the tool is started as a file

NUM_GPUS = (1, 2, 4, 8, 16, 32, 64)
BYTES = {"float32": 4, "bfloat16": 2}  # of a number of the gradients; this program sends float32
NUM_PARAMETERS = 35_400_000  # I3D-R50 with five blocks
DECODING_SECONDS = 0.04  # of a core for a clip: 8 frames at stride 8, short side 256
VIDEO_BYTES = 1e6  # 10 s of 340 x 256


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--parameters", type=positive_int, default=NUM_PARAMETERS, help="of the network (default: %(default)s)"
    )
    parser.add_argument(
        "--step_seconds", type=positive_seconds, default=0.5, help="of one GPU without transfer (default: %(default)s)"
    )
    parser.add_argument("--clips", type=positive_int, default=8, help="of a GPU in a step (default: %(default)s)")
    parser.add_argument(
        "--gbits", type=positive_seconds, nargs="+", default=[25.0, 100.0], help="a second, of a link (default: 25 100)"
    )
    parser.add_argument("--videos", type=positive_int, default=650_000, help="of an epoch (default: %(default)s)")
    parser.add_argument("--epochs", type=positive_int, default=107, help="of the recipe (default: %(default)s)")
    args = parser.parse_args()
    from tabulate import tabulate

    links = [(gbits, dtype) for gbits in args.gbits for dtype in BYTES]
    rows = []
    for num_gpus in NUM_GPUS:
        batch = num_gpus * args.clips
        iterations = args.videos * args.epochs // batch
        seconds = [transfer_seconds(num_gpus, args.parameters * BYTES[dtype], gbits) for gbits, dtype in links]
        cells = [f"{s:.3f} s, {100 * args.step_seconds / (args.step_seconds + s):.0f} %" for s in seconds]
        days = iterations * (args.step_seconds + seconds[0]) / 86400
        cores = decoding_cores(batch, args.step_seconds + seconds[0])
        rows.append((num_gpus, batch, *cells, f"{iterations:,}", f"{days:,.1f}", f"{cores:,.0f}"))
    first = f"{args.gbits[0]:g} Gbit/s, {next(iter(BYTES))}"
    headers = [
        "GPUs", "clips a step", *(f"{gbits:g} Gbit/s, {dtype}" for gbits, dtype in links), "iterations",
        f"days ({first})", "decoding cores",
    ]  # fmt: skip
    print(
        f"calculated, for {args.parameters * 4 / 1e6:.0f} MB of float32 gradients and {args.step_seconds:g} s of "
        "computing a step: time of transfer and efficiency by link"
    )
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    print(f"{args.videos:,} videos of 1 MB: {args.videos * VIDEO_BYTES / 1e12:.2f} TB; {args.epochs} epochs")


def transfer_seconds(num_gpus: int, num_bytes: float, gbits: float) -> float:
    """A ring's time to average so many bytes of gradients over links of `gbits` Gbit/s."""
    return 2 * (num_gpus - 1) / num_gpus * num_bytes / (gbits * 1e9 / 8)


def decoding_cores(num_clips: int, seconds: float) -> float:
    """Cores, over all machines, that decode the clips of a step in the time of a step."""
    return num_clips * DECODING_SECONDS / seconds


if __name__ == "__main__":
    run(main)
