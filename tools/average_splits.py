"""The mean over splits, as UCF101 and HMDB51 are reported: python tools/average_splits.py SPLIT1 SPLIT2 SPLIT3

Each SPLIT is a folder of eval.py, eval.py --two_stream or tools/fuse_scores.py. Prints each metric of each split and
their mean; of fused runs also those of each stream. --out writes the numbers as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.cli import Parser, run  # noqa: E402 - the tool is started as a file
from utils.errors import UserError  # noqa: E402
from utils.files import write_json  # noqa: E402

METRICS = ("top1", "top5", "mean_class_accuracy", "mAP")


def main() -> None:
    from tabulate import tabulate

    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("splits", nargs="+", metavar="SPLIT", help="folders with a results.json, one a split")
    parser.add_argument("--out", help="JSON file for the numbers")
    args = parser.parse_args()
    rows = average([read_metrics(folder) for folder in args.splits], args.splits)
    table = [(row["name"], row["metric"], *row["splits"], row["mean"]) for row in rows]
    header = ("", "%", *(f"split {number}" for number in range(1, len(args.splits) + 1)), "mean")
    print(tabulate(table, header, floatfmt=".2f"))
    if args.out:
        write_json(args.out, {"splits": args.splits, "metrics": rows})


def read_metrics(folder: str) -> list[dict]:
    """The metrics of a folder's results.json: a dict for the run or, where runs were fused, for each and the fused one.

    Raises UserError where there is no such file.
    """
    path = Path(folder) / "results.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no results.json of an evaluation: {error}") from error
    if not isinstance(result, dict) or not any(metric in result for metric in METRICS):
        raise UserError(f"{path} is no results.json of an evaluation: it has none of {', '.join(METRICS)}")
    return result["fusion"]["metrics"] if "fusion" in result else [{"name": "", **result}]


def average(runs: list[list[dict]], folders: list[str]) -> list[dict]:
    """name, metric, its value in each split, and the mean, for the runs in the order of the first split.

    Raises UserError for splits whose runs are not the same.
    """
    rows = []
    for split, folder in zip(runs, folders):
        if [row.keys() & {*METRICS} for row in split] != [row.keys() & {*METRICS} for row in runs[0]]:
            raise UserError(f"{folder} holds other runs than {folders[0]}; evaluate all splits alike")
    for same in zip(*runs):
        for metric in METRICS:
            if metric in same[0]:
                values = [row[metric] for row in same]
                rows.append(
                    {"name": same[0]["name"], "metric": metric, "splits": values, "mean": sum(values) / len(values)}
                )
    return rows


if __name__ == "__main__":
    run(main)
