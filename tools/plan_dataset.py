"""What a run of tools/classify_dataset.py over N videos will take: time, parts, bytes and cost.

python tools/plan_dataset.py --videos 1e6 --seconds_per_video 0.6 --workers 64
python tools/plan_dataset.py --videos 1e9 --seconds_per_video 0.6 --workers 3200 --price_per_hour 0.04 --simulate

Measure the seconds first: `progress.json` of a run over some thousand videos has videos_per_second; the seconds are the
workers divided by it. Times are calculated: T = N s / (0.95 w). --simulate runs the scheduler itself in virtual time,
with slow and failing workers; no video is read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.cli import Parser, positive_int, positive_seconds, ratio, run  # noqa: E402 - the tool is started as a file
from utils.errors import UserError  # noqa: E402
from utils.log import remaining  # noqa: E402

EFFICIENCY = 0.95
PART_SECONDS = 300.0  # of work in a part: between two and ten minutes
PARTS_PER_WORKER = 50  # at least, so that the last ones do not count
MAX_ROWS = 10_000
# bytes of a row, measured: 400 classes, parts of 1,000 rows, paths of 70 characters (docs/cluster.md)
ROW_BYTES = {"topk:10": 77, "all:float16": 704, "all:float32": 1515}


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--videos", type=whole_number, required=True, help="number of videos; 1e6 is a million")
    parser.add_argument("--seconds_per_video", type=positive_seconds, required=True, help="of one worker, measured")
    parser.add_argument("--workers", type=positive_int, required=True, help="number of workers")
    parser.add_argument("--part", type=positive_int, help="videos in a part (default: five minutes of work)")
    parser.add_argument(
        "--keep", choices=tuple(ROW_BYTES), default="topk:10", help="what is kept of the scores (default: %(default)s)"
    )
    parser.add_argument("--price_per_hour", type=positive_seconds, help="of a worker, in any currency")
    parser.add_argument("--simulate", action="store_true", help="run the scheduler in virtual time")
    parser.add_argument(
        "--straggler_ratio", type=ratio, default=0.01,
        help="parts that take 20 times as long, in the simulation (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--hours_to_failure", type=positive_seconds, default=720.0,
        help="of a worker on average, in the simulation (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args()


def whole_number(text: str) -> int:
    """A whole number above 0, also as 1e6."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if value.is_integer() and 0 < value <= 1e12:
        return int(value)
    raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")


def part_size(num_videos: int, seconds_per_video: float, num_workers: int) -> int:
    """Videos in a part: five minutes of work, and at least 50 parts a worker."""
    rows = min(PART_SECONDS / seconds_per_video, num_videos / (PARTS_PER_WORKER * num_workers), MAX_ROWS)
    return max(1, int(rows))


def main() -> None:
    args = parse_args()
    rows = args.part or part_size(args.videos, args.seconds_per_video, args.workers)
    work = args.videos * args.seconds_per_video
    seconds = work / (EFFICIENCY * args.workers)
    num_parts = -(-args.videos // rows)
    part_seconds = rows * args.seconds_per_video
    lines = [
        ("time, calculated", duration(seconds)),
        ("work of all workers", f"{work / 3600:,.1f} hours"),
        ("--part", f"{rows:,} videos, {part_seconds:,.1f} s: what a killed worker loses"),
        ("parts", f"{num_parts:,}, {num_parts / args.workers:,.1f} a worker"),
        ("output", f"{args.videos * ROW_BYTES[args.keep] / 1e9:,.3g} GB ({args.keep}, 400 classes)"),
    ]
    if args.price_per_hour:
        lines.append(("cost", f"{seconds / 3600 * args.workers * args.price_per_hour:,.2f}"))
    if args.simulate:
        try:
            from clusters.simulation import Machines, simulate
        except ModuleNotFoundError as error:
            raise UserError(f'this tool needs {error.name}: pip install ".[cluster]"') from error
        machines = Machines(
            args.workers, args.seconds_per_video, args.straggler_ratio, mean_hours_to_failure=args.hours_to_failure
        )
        found = simulate(args.videos, rows, machines)
        lines += [
            ("time, simulated", duration(found.seconds)),
            ("simulated against even work", f"{found.seconds / found.ideal_seconds:.3f} times as long"),
            ("simulated failures", f"{found.num_failures:,}, a part each"),
        ]
    width = max(len(name) for name, _ in lines)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in lines))


def duration(seconds: float) -> str:
    """As 3 days 04:10:00."""
    days, rest = divmod(seconds, 86400)
    return f"{int(days):,} days {remaining(rest)}" if days else remaining(rest)


if __name__ == "__main__":
    run(main)
