"""A report on evaluations as one HTML file: python tools/report.py RUN [RUN ...] --out report.html

A RUN is a folder of eval.py or of tools/fuse_scores.py. The first one is reported on: accuracy with intervals,
calibration, risk against coverage, classes, its worst mistakes with pictures; the others, on the same videos, are
compared and fused with it. The page opens offline and loads nothing; a .json beside it has every number.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.temperature import save_temperature  # noqa: E402 - the tool is started as a file
from tools.reporting.numbers import report_numbers  # noqa: E402
from tools.reporting.page import render  # noqa: E402
from tools.reporting.runs import load_runs  # noqa: E402
from tools.reporting.texts import LANGUAGES  # noqa: E402
from tools.reporting.thumbnails import Thumbnails, no_picture  # noqa: E402
from utils.cli import Parser, run  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import write_together  # noqa: E402

MAX_BYTES = 8_000_000  # of the page


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of eval.py or of tools/fuse_scores.py")
    parser.add_argument("--out", required=True, help="the page; its numbers are written beside it, as .json")
    parser.add_argument("--filelist", help="the list of the videos, for runs of older versions, which hold no labels")
    parser.add_argument("--common", action="store_true", help="compare the videos that all runs have")
    parser.add_argument(
        "--groups", help="file of `path group`, or regular expression of the group in a path: videos of one source"
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=5,
        help="on which thresholds and weights are judged (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of resampling and folds (default: %(default)s)")
    parser.add_argument("--mistakes", type=int, default=40, help="number of worst mistakes (default: %(default)s)")
    parser.add_argument("--lang", choices=LANGUAGES, default="en", help="language of the page (default: %(default)s)")
    parser.add_argument("--link", action="store_true", help="link the videos' files")
    parser.add_argument(
        "--write_temperature", metavar="FILE", help="write the first run's temperature, for predict.py --temperature"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.folds < 2 or args.seed < 0 or args.mistakes < 0:
        raise UserError("--folds must be 2 or more, --seed and --mistakes 0 or more")
    page, numbers = Path(args.out), Path(args.out).with_suffix(".json")
    if page == numbers:
        raise UserError(f"--out={args.out}: name the page, such as report.html; the numbers are the .json beside it")
    runs = load_runs(args.runs, args.filelist, args.groups, args.common)
    report = report_numbers(runs, args.folds, args.seed, args.mistakes)
    size_without_pictures = len(render(report, no_picture, args.lang, args.link).encode())
    with Thumbnails(MAX_BYTES - size_without_pictures) as thumbnails:
        html = render(report, thumbnails.of, args.lang, args.link)
    if args.write_temperature:
        write_temperature(args.write_temperature, report["runs"][0])
    write_together({
        page: lambda stream: stream.write(html.encode()),
        numbers: lambda stream: stream.write((json.dumps(report, indent=1, allow_nan=False) + "\n").encode()),
    })  # fmt: skip
    if thumbnails.num_left_out:
        print(f"{thumbnails.num_left_out} pictures are left out: the page is limited to {MAX_BYTES // 10**6} MB")
    print(f"{page}, {numbers}")


def write_temperature(path: str, run: dict) -> None:
    """temperature.json of a run. Raises UserError where it has none."""
    if not run.get("temperature"):
        raise UserError(f"--write_temperature: {run['name']} has too few videos, or videos of several classes")
    save_temperature(path, run["temperature"]["temperature"], run["num_scored"], run["list_sha256"])


if __name__ == "__main__":
    run(main)
