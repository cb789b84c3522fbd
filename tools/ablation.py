"""The paper's tables with what this machine makes of them: python tools/ablation.py [a b c d e f g]

For each row: the accuracy as published (not measured here), parameters, multiply-adds of a clip by the formula (the
N x N' map in one piece), seconds (the fastest of three) and peak memory of the process for one clip of training size on
this machine, and the accuracy measured here where RUNS/<configuration>/results.json exists (`bash run.sh eval NONLOCAL
configs/ablations/<configuration>.yaml --save_dir=RUNS/<configuration>`), else a dash.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.ablation_tables import TABLES, Row  # noqa: E402 - the tool is started as a file
from utils.cli import run  # noqa: E402
from utils.errors import RunError, UserError  # noqa: E402
from utils.files import write_json  # noqa: E402
from utils.runtime import prepare_environment  # noqa: E402

FOLDER = ROOT / "configs" / "ablations"
FOOTNOTE = (
    "published: arXiv 1711.07971, section 5, Kinetics-400 validation, top-1 / top-5 % over 10 x 3 views; "
    "published, not measured here. * also in the authors' README; the rest was transcribed by hand."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="a to g of the paper; none: all")
    parser.add_argument("--runs", default="output/ablations", help="evaluated runs (default: %(default)s)")
    parser.add_argument("--count_only", action="store_true", help="parameters only, nothing is run")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: on a machine that others use too"
    )
    parser.add_argument("--json", help="write the rows here")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.tables if name not in TABLES]
    if unknown:
        raise UserError(f"no table {unknown[0]!r}; there are {', '.join(TABLES)}")
    prepare_environment()
    measured: dict[str, dict[str, Any]] = {}
    for name in arguments.tables or TABLES:
        title, rows = TABLES[name]
        for row in rows:
            if row.config and row.config not in measured:
                measured[row.config] = _figures(row.config, arguments.count_only, arguments.clock)
                measured[row.config].update(_accuracy(Path(arguments.runs) / row.config / "results.json"))
        _print_table(name, title, rows, measured)
    print(FOOTNOTE)
    if arguments.json:
        write_json(Path(arguments.json), measured)


def _figures(config: str, count_only: bool, clock: str) -> dict[str, Any]:
    """Parameters and, in a process of its own, multiply-adds, seconds and megabytes of one training-size clip."""
    path = FOLDER / f"{config}.yaml"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, str(path), count_only, clock).result()
        except BrokenProcessPool as error:
            raise RunError(f"the process that measures {config} was ended, perhaps for want of memory") from error


def _measure(config_path: str, count_only: bool, clock: str) -> dict[str, Any]:
    prepare_environment()
    import paddle

    from configs import load_config
    from models import build_model
    from models.counts import multiply_adds, num_parameters

    config = load_config(config_path)
    model = build_model(config)
    model.eval()
    facts = {"parameters": num_parameters(model)}
    if count_only:
        return facts
    from tools.benchmarks.block import CLOCKS, peak_starts_anew, resident_megabytes

    train = config.TRAIN
    facts["multiply_adds"] = multiply_adds(model, train.video_length, train.crop_size, train.crop_size)
    clip = paddle.randn([1, 3, train.video_length, train.crop_size, train.crop_size])
    with paddle.no_grad():
        is_counted, before = peak_starts_anew(), resident_megabytes("VmRSS")
        seconds = []
        for _ in range(3):
            started = CLOCKS[clock]()
            model(clip)
            seconds.append(CLOCKS[clock]() - started)
    facts["seconds"] = min(seconds)
    if is_counted:
        facts["peak_megabytes"] = resident_megabytes("VmHWM")
        facts["megabytes_before"] = before
    return facts


def _accuracy(path: Path) -> dict[str, float]:
    """top1 and top5 of an evaluated run, or nothing where there is none."""
    if not path.exists():
        return {}
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return {"measured_top1": float(result["top1"]), "measured_top5": float(result["top5"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is not the results.json of an evaluation; delete it or evaluate anew") from error


def _print_table(name: str, title: str, rows: tuple[Row, ...], measured: dict[str, dict[str, Any]]) -> None:
    from tabulate import tabulate

    lines = []
    for row in rows:
        facts = measured.get(row.config or "", {})
        accuracy = [facts[key] for key in ("measured_top1", "measured_top5") if key in facts]
        lines.append(
            (
                row.name,
                row.config or "(no such arc here)",
                f"{row.top1:.1f} / {row.top5:.1f}{'*' if row.in_readme else ''}",
                " / ".join(f"{value:.1f}" for value in accuracy) or "-",
                _scaled(facts.get("parameters"), 1e6),
                _scaled(facts.get("multiply_adds"), 1e9),
                _scaled(facts.get("seconds"), 1, 2),
                _scaled(facts.get("peak_megabytes"), 1, 0),
            )
        )
    headers = ("", "configuration", "published", "measured", "params M", "mult-adds G", "s / clip", "MB")
    print(f"({name}) {title}\n{tabulate(lines, headers, disable_numparse=True, stralign='left')}\n", flush=True)


def _scaled(value: float | None, unit: float, digits: int = 1) -> str:
    return "-" if value is None else f"{value / unit:.{digits}f}"


if __name__ == "__main__":
    run(main)
