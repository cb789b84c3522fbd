"""The parts of tools/classify_dataset.py as one file, and their accuracy where labels are known.

python tools/collect_results.py out/ --to results.parquet
python tools/collect_results.py out/ --to results.csv --labels list.txt
python tools/collect_results.py out/ --compact

A column class_name is added; in a CSV file lists are JSON. --labels is the list that was classified, with its labels:
prints top-1 and top-5 with 95 % intervals; a video with an error counts as wrong. Parts of a run that is not finished
are collected too, with a warning. --compact joins the parts in their folder to files of 256 MB and deletes them.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.intervals import wilson_interval  # noqa: E402 - the tool is started as a file
from utils.cli import Parser, run  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import write_atomically  # noqa: E402

if TYPE_CHECKING:
    from clusters.folder import Folder

TOP = 5


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", help="output folder of tools/classify_dataset.py")
    parser.add_argument(
        "--compact", action="store_true", help="join the parts of a finished run to few large files in results/"
    )
    parser.add_argument("--to", metavar="FILE", help="write the rows here: .parquet or .csv")
    parser.add_argument("--labels", metavar="LIST", help="the list that was classified, as `path label` lines")
    args = parser.parse_args()
    if not args.to and not args.labels and not args.compact:
        parser.error("pass --to, --labels or --compact")
    if args.to and not args.to.endswith((".parquet", ".csv")):
        parser.error("--to: name a .parquet or a .csv file")
    return args


def main() -> None:
    args = parse_args()
    try:
        from clusters.compact import compact, result_files
        from clusters.folder import open_folder
    except ModuleNotFoundError as error:
        raise UserError(f'this tool needs {error.name}: pip install ".[cluster]"') from error
    folder = open_folder(args.folder)
    names = read_class_names(folder)
    if args.compact:
        print(f"{compact(args.folder)} files in {args.folder}/results hold all rows")
    files = result_files(folder)
    if not files:
        raise UserError(f"{folder} holds no parts; run tools/classify_dataset.py")
    if not folder.exists("_SUCCESS"):
        print(f"warning: {folder} has no _SUCCESS: the run is not finished, parts are missing", file=sys.stderr)
    if args.to:
        num_rows = (write_parquet if args.to.endswith(".parquet") else write_csv)(args.to, folder, files, names)
        print(f"{num_rows} rows written to {args.to}")
    if args.labels:
        print(accuracy(folder, files, names, args.labels))


def read_class_names(folder: Folder) -> list[str]:
    """The names in run.json. Raises UserError."""
    from clusters.folder import read_json

    try:
        return (read_json(folder, "run.json") or {})["class_names"]
    except KeyError as error:
        raise UserError(f"{folder} is no output folder of tools/classify_dataset.py: no run.json") from error


def tables(folder: Folder, files: list[str], names: list[str]) -> Iterator[Any]:
    """A part's table after the other, with the column class_name. Raises UserError for a damaged file."""
    import pyarrow as pa

    from clusters.compact import read_tables

    for table in (table for file in files for table in read_tables(folder, file)):
        if "class" in table.column_names:
            found = [None if index is None else names[index] for index in table.column("class").to_pylist()]
            place = table.column_names.index("class") + 1
            table = table.add_column(place, "class_name", pa.array(found, pa.string()))
        yield table


def write_parquet(path: str, folder: Folder, files: list[str], names: list[str]) -> int:
    """All parts as one file, a row group a part; returns the number of rows."""
    import pyarrow.parquet as pq

    num_rows = 0

    def write(stream) -> None:
        nonlocal num_rows
        writer = None
        for table in tables(folder, files, names):
            writer = writer or pq.ParquetWriter(stream, table.schema, compression="zstd")
            writer.write_table(table)
            num_rows += table.num_rows
        writer.close()

    write_atomically(path, write)
    return num_rows


def write_csv(path: str, folder: Folder, files: list[str], names: list[str]) -> int:
    """All parts as one CSV file in UTF-8 with a header; returns the number of rows."""
    num_rows = 0

    def write(stream) -> None:
        nonlocal num_rows
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text)
        for table in tables(folder, files, names):
            if not num_rows:
                writer.writerow(table.column_names)
            for row in table.to_pylist():
                writer.writerow([json.dumps(value) if isinstance(value, list) else value for value in row.values()])
            num_rows += table.num_rows
        text.detach()

    write_atomically(path, write)
    return num_rows


def accuracy(folder: Folder, files: list[str], names: list[str], labels: str) -> str:
    """Top-1 and top-5 of the rows that are there, as text. Raises UserError for a list of other videos."""
    from datareader import read_list

    items, right, num_rows, num_errors = read_list(labels, len(names), names), {1: 0}, 0, 0
    for table in tables(folder, files, names):
        if "class" not in table.column_names:
            raise UserError("--labels: only --task classes has a class to compare with")
        for row in table.to_pylist():
            if row["id"] >= len(items) or Path(row["path"]).name != Path(items[row["id"]].path).name:
                raise UserError(f"{labels} is not the list that was classified: video {row['id']} is {row['path']}")
            label = items[row["id"]].label
            num_rows += 1
            num_errors += row["error"] is not None
            right[1] += row["class"] == label
            best = best_classes(row)
            if best is not None and len(best) >= TOP:
                right[TOP] = right.get(TOP, 0) + (label in best[:TOP])
    lines = []
    for top, count in right.items():
        low, high = wilson_interval(count, num_rows)
        lines.append(f"top-{top} {100 * count / num_rows:.2f} % ({100 * low:.2f} to {100 * high:.2f})")
    return "\n".join([*lines, f"of {num_rows} videos, {num_errors} of them with an error, counted as wrong"])


def best_classes(row: dict) -> list[int] | None:
    """The classes of a row, most probable first; None where it has none."""
    if row.get("scores") is not None:
        return sorted(range(len(row["scores"])), key=lambda index: -row["scores"][index])
    return row.get("top_index")


if __name__ == "__main__":
    run(main)
