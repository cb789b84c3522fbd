"""The S3D paper's tables beside what was measured here: python tools/analyse.py tables [NAME ...]

For each row: the accuracy as published, who published it and how that is known here, and the accuracy measured here
where RUNS/<run>/results.json of eval.py exists (for reversed frames RUNS/<run>/reversed.json of `analyse.py reversed`),
else a dash. The table `cost` has published parameters and FLOPs beside those counted here at 64 x 224 x 224, 400
classes. The published ones could not be reproduced by any reading of the paper; neither stands for the other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tools.s3d_tables import COSTS, TABLES, Cost, Row
from utils.cli import Parser
from utils.errors import RunError, UserError
from utils.files import write_json
from utils.runtime import prepare_environment

COLUMNS = (
    "table", "name", "published_top1", "published_top5", "source", "known", "run", "measured_top1", "measured_top5",
    "published_parameters", "counted_parameters", "published_flops", "counted_multiply_adds",
)  # fmt: skip
COST = "cost"


def main(argv: list[str]) -> None:
    args = _parse(argv)
    unknown = [name for name in args.tables if name not in (*TABLES, COST)]
    if unknown:
        raise UserError(f"no table {unknown[0]!r}; there are {', '.join((*TABLES, COST))}")
    from tools.analyses.numbers import write_csv

    rows: list[dict[str, Any]] = []
    for name in args.tables or (*TABLES, COST):
        if name == COST:
            prepare_environment()
            found = [cost_row(cost) for cost in COSTS]
            print_costs(found)
        else:
            title, published = TABLES[name]
            found = [accuracy_row(name, row, Path(args.runs)) for row in published]
            print_accuracies(name, title, found)
        rows += found
    print("Nothing in the columns of published values was measured here.")
    folder = Path(args.save_dir)
    draw(rows, folder / "tables.png")
    write_csv(folder / "tables.csv", COLUMNS, rows)
    write_json(folder / "tables.json", rows)
    print(f"{folder}/tables.png, tables.csv, tables.json")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="analyse.py tables", description=__doc__, allow_abbrev=False)
    parser.add_argument("tables", nargs="*", metavar="NAME", help=f"{', '.join((*TABLES, COST))}; none: all")
    parser.add_argument("--runs", default="output/s3d", help="evaluated runs (default: %(default)s)")
    parser.add_argument("--save_dir", default="output/s3d_tables", help="output folder (default: %(default)s)")
    return parser.parse_args(argv)


def accuracy_row(table: str, row: Row, runs: Path) -> dict[str, Any]:
    """A row of COLUMNS of a published accuracy."""
    return {
        "table": table,
        "name": row.name,
        "published_top1": row.top1,
        "published_top5": row.top5,
        "source": row.source,
        "known": row.known,
        "run": row.run,
        **(measured(table, row, runs) if row.run else {}),
    }


def measured(table: str, row: Row, runs: Path) -> dict[str, float]:
    """measured_top1 and measured_top5 of a run, as far as there are any."""
    is_pair = table == "reversed"
    path = runs / str(row.run) / ("reversed.json" if is_pair else "results.json")
    if not path.exists():
        return {}
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if is_pair:
            order = "reversed" if row.name.endswith("reversed") else "forwards"
            return {"measured_top1": float(result[f"{order}_top1"])}
        return {"measured_top1": float(result["top1"]), "measured_top5": float(result["top5"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is not a result of this program; delete it or evaluate anew") from error


def cost_row(cost: Cost) -> dict[str, Any]:
    """A row of COLUMNS of published and of counted parameters and multiply-adds."""
    row: dict[str, Any] = {"table": COST, "name": cost.name, "source": "the paper", "known": cost.known}
    row["published_parameters"] = None if cost.parameters is None else round(cost.parameters * 1e6)
    row["published_flops"] = None if cost.gflops is None else round(cost.gflops * 1e9)
    if cost.arch is not None:
        import paddle

        from models import S3DModel
        from models.counts import multiply_adds, num_parameters

        with paddle.LazyGuard():  # no values are needed
            model = S3DModel(cost.arch)
        row["counted_parameters"] = num_parameters(model)
        row["counted_multiply_adds"] = multiply_adds(model, 64, 224, 224)
    return row


def print_accuracies(name: str, title: str, rows: list[dict[str, Any]]) -> None:
    """The table as text."""
    from tabulate import tabulate

    lines = [
        (
            row["name"],
            pair_text(row.get("published_top1"), row.get("published_top5")),
            pair_text(row.get("measured_top1"), row.get("measured_top5")),
            f"{row['source']}; {row['known']}",
            row["run"] or "(no such run here)",
        )
        for row in rows
    ]
    headers = ("", "published", "measured", "source of the published", "run")
    print(f"({name}) {title}\n{tabulate(lines, headers, disable_numparse=True)}\n", flush=True)


def print_costs(rows: list[dict[str, Any]]) -> None:
    """The table of costs as text."""
    from tabulate import tabulate

    lines = [
        (
            row["name"],
            scaled(row.get("published_parameters"), 1e6),
            scaled(row.get("counted_parameters"), 1e6),
            scaled(row.get("published_flops"), 1e9),
            scaled(row.get("counted_multiply_adds"), 1e9),
            row["known"],
        )
        for row in rows
    ]
    headers = ("", "params M, published", "counted", "FLOPs G, published", "mult-adds G, counted", "published is known")
    print(f"({COST}) one clip of 64 x 224 x 224\n{tabulate(lines, headers, disable_numparse=True)}\n", flush=True)


def pair_text(top1: float | None, top5: float | None) -> str:
    """As 72.1 / 90.3, 72.1, or a dash."""
    return " / ".join(one_text(value) for value in (top1, top5) if value is not None) or "-"


def one_text(percent: float) -> str:
    """One decimal, or two where the value has them."""
    return f"{percent:.1f}" if round(percent, 1) == percent else f"{percent:.2f}"


def scaled(value: float | None, unit: float) -> str:
    """A value in a unit, or a dash."""
    return "-" if value is None else f"{value / unit:.2f}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars of published and measured top-1, or where only costs are asked for, of published and counted costs."""
    from utils.plots import draw_bars

    accuracies = [row for row in rows if row["table"] != COST]
    if accuracies:
        labels = [f"{row['table']}: {row['name']}" for row in accuracies]
        keys = {"published, not measured here": "published_top1", "measured here": "measured_top1"}
        title, axis, scale, shown = "Top-1, published and measured", "top-1, %", 1.0, accuracies
    else:
        labels = [str(row["name"]) for row in rows]
        keys = {"FLOPs, published": "published_flops", "multiply-adds, counted": "counted_multiply_adds"}
        title, axis, scale, shown = "Cost, published and counted: 64 x 224 x 224", "10^9", 1e9, rows
    series = {name: [None if row.get(key) is None else row[key] / scale for row in shown] for name, key in keys.items()}
    drawn: dict[str, Any] = {name: values for name, values in series.items() if any(v is not None for v in values)}
    if len(drawn) == 1:
        axis = f"{axis}, {next(iter(drawn))}"
    draw_bars([label.replace("Something-Something", "Something") for label in labels], drawn, path, title, axis)
