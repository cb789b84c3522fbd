"""Accuracy against multiply-adds (axes of the S3D paper's figure 4): python tools/analyse.py cost [--runs FOLDER ...]

--runs: folders of eval.py, whose configuration is counted and whose top-1 is read. Several runs of one network are a
point, the mean, and their range; those with reversed frames are another network. --configs: configurations that are
counted only. Neither: every form of --archs, counted only, at --num_frames and --crop_px.

Multiply-adds are those of one clip, as models/counts.py counts them; of a video, those times its views. Forms of one
architecture that differ in their border are joined by a line. A network without accuracy is a tick on the lower edge;
where none has one, parameters take the place of accuracy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metrics.intervals import wilson_interval
from utils.cli import Parser, positive_int
from utils.errors import UserError
from utils.files import write_json
from utils.runtime import prepare_environment

COLUMNS = (
    "series", "network", "parameters", "multiply_adds", "num_frames", "height", "width", "views", "top1", "low", "high",
    "runs", "videos",
)  # fmt: skip
PLAIN = ("i2d", "i3d_inception", "s3d", "s3d_g", "fast_s3d")
HEAVY = ("top_heavy_i3d", "bottom_heavy_i3d", "top_heavy_s3d", "bottom_heavy_s3d")


def main(argv: list[str]) -> None:
    args = _parse(argv)
    prepare_environment()
    from tabulate import tabulate

    from tools.analyses.numbers import write_csv

    points = [point for run in args.runs for point in [point_of_run(Path(run))]]
    points += [counted_point(path, args.override) for path in args.configs]
    if not points:
        points = [point_of(config, args.num_frames, args.crop_px) for config in all_forms(args)]
    rows = joined(points)
    folder = Path(args.save_dir)
    draw(rows, folder / "cost.png")
    write_csv(folder / "cost.csv", COLUMNS, rows)
    write_json(folder / "cost.json", {"unit": "multiply-adds of one clip, counted; top1 in percent", "rows": rows})
    texts = [
        (
            row["network"], f"{row['parameters']:,}", f"{row['multiply_adds'] / 1e9:.4g}",
            "-" if row["top1"] is None else f"{row['top1']:.1f} ({row['low']:.1f} .. {row['high']:.1f})",
        )
        for row in rows
    ]  # fmt: skip
    print(tabulate(texts, ("network", "parameters", "10^9 mult-adds a clip", "top-1 %"), disable_numparse=True))
    print(f"{folder}/cost.png, cost.csv, cost.json")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="analyse.py cost", description=__doc__, allow_abbrev=False)
    parser.add_argument("--runs", nargs="+", default=[], metavar="FOLDER", help="folders of eval.py")
    parser.add_argument("--configs", nargs="+", default=[], metavar="FILE", help="configurations, counted only")
    parser.add_argument(
        "--num_frames", type=positive_int, default=64, help="of all forms' clips (default: %(default)s)"
    )
    parser.add_argument("--crop_px", type=positive_int, default=224, help="of all forms' clips (default: %(default)s)")
    parser.add_argument(
        "--archs", nargs="+", default=[*PLAIN, *HEAVY],
        help="which of all forms, such as i3d_r50 (default: the S3D family's)",
    )  # fmt: skip
    parser.add_argument("--save_dir", default="output/cost", help="output folder (default: %(default)s)")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.KEY=VALUE",
        help="override a key of the configuration; may be repeated",
    )  # fmt: skip
    return parser.parse_args(argv)


def point_of_run(folder: Path) -> dict[str, Any]:
    """The point of a finished evaluation: its configuration counted, its top-1 read."""
    try:
        result = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        top1, videos, views = float(result["top1"]), int(result["videos_expected"]), result.get("views")
    except OSError as error:
        raise UserError(f"{folder} holds no results.json of eval.py: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder}/results.json is no result of eval.py with a top1; evaluate anew") from None
    point = counted_point(str(folder / "config.yaml"), [], views)
    if result.get("reverse_frames"):
        point.update({name: f"{point[name]}, frames reversed" for name in ("series", "network")})
    low, high = (100 * bound for bound in wilson_interval(top1 / 100 * videos, videos)) if videos else (0.0, 100.0)
    return {**point, "top1": top1, "low": low, "high": high, "videos": videos, "runs": 1}


def counted_point(path: str, overrides: list[str], views: str | None = None) -> dict[str, Any]:
    """The point of a configuration, without accuracy."""
    from configs import load_config

    config = load_config(path, overrides)
    return point_of(config, config.TEST.video_length, config.TEST.crop_size, num_views(config, views))


def num_views(config: Any, views: str | None) -> int | None:
    """Views of a test video; None where the size of the whole frame decides."""
    from datareader.views import ViewProtocol

    num_clips = config.TEST.num_test_clips // 3
    return len(ViewProtocol.parse(views or f"{num_clips}x3", config.TEST.use_multi_crop == 2, num_clips))


def point_of(config: Any, num_frames: int, crop_px: int, views: int | None = None) -> dict[str, Any]:
    """The counts of a configuration's network."""
    import paddle

    from models import build_model
    from models.counts import multiply_adds, num_parameters

    with paddle.LazyGuard():  # no values are needed
        model = build_model(config)
    series, border = config.MODEL.arch, border_of(config)
    return {
        "series": series,
        "network": f"{series}{border}",
        "parameters": num_parameters(model),
        "multiply_adds": multiply_adds(model, num_frames, crop_px, crop_px),
        "num_frames": num_frames,
        "height": crop_px,
        "width": crop_px,
        "views": views,
        "top1": None,
    }


def border_of(config: Any) -> str:
    """What tells apart networks of one architecture: the border of a heavy form, or its non-local blocks."""
    family = getattr(config, "S3D", None)
    if config.MODEL.name == "S3D" and family is not None:
        border = family.temporal_from or family.temporal_to
        direction = "from" if family.temporal_from else "to"
        return "" if not border else ", no layer" if border == "none" else f" {direction} {border}"
    from models import model_options

    stages = getattr(model_options(config), "stages", ())
    blocks = sum(len(row.nonlocal_after) for row in stages)
    return f" {blocks} blocks" if blocks else ""


def all_forms(args: argparse.Namespace) -> Iterator[Any]:
    """The configurations of --archs, heavy ones with every border."""
    from configs import load_config
    from models import FAMILIES
    from models.s3d_model.options import TEMPORAL_LAYERS

    folder = Path(__file__).resolve().parents[2] / "configs"
    family_of = {arch: name for name, family in FAMILIES.items() for arch in family.archs}
    for arch in args.archs:
        if arch not in family_of:
            raise UserError(f"--archs={arch}: there are {', '.join(family_of)}")
        if family_of[arch] == "S3D":
            key = {"top": "temporal_from", "bottom": "temporal_to"}.get(arch.split("_")[0])
            borders = [[f"S3D.{key}={layer}"] for layer in (*TEMPORAL_LAYERS, '"none"')] if key else [[]]
            sizes = [f"INPUT.num_frames={args.num_frames}", f"INPUT.crop_size={args.crop_px}"]
            more, file = sizes, "s3d.yaml"
        else:
            borders, more, file = [[]], ["NONLOCAL.num_blocks=0"], "nonlocal.yaml"
        for border in borders:
            yield load_config(folder / file, [f"MODEL.arch={arch}", *border, *more, *args.override])


def joined(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points of one network and one cost as one: the mean top-1, and the range of several runs in place of the interval
    of one. In order of series, then cost."""
    together: dict[tuple, list[dict[str, Any]]] = {}
    for point in points:
        together.setdefault((point["series"], point["network"], point["multiply_adds"]), []).append(point)
    rows = []
    for same in together.values():
        same.sort(key=lambda point: point["top1"] is None)
        row, values = dict(same[0]), [point["top1"] for point in same if point["top1"] is not None]
        if len(values) > 1:
            row.update(top1=sum(values) / len(values), low=min(values), high=max(values), runs=len(values))
        rows.append(row)
    series = list(dict.fromkeys(row["series"] for row in rows))
    return sorted(rows, key=lambda row: (series.index(row["series"]), row["multiply_adds"]))


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy, or where no network has one parameters, against multiply-adds."""
    from utils.plots import draw_trade_off

    x_label, with_accuracy = "10^9 multiply-adds of one clip", any(row["top1"] is not None for row in rows)
    series: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        point = {"x": row["multiply_adds"] / 1e9, "label": row["network"]}
        if not with_accuracy:
            border = row["network"].removeprefix(row["series"]).split("_")[-1].strip(", ")
            point.update(y=row["parameters"] / 1e6, label=border or row["network"])
        elif row["top1"] is None:
            point["y"] = None
        else:
            point.update(y=row["top1"], low=row["low"], high=row["high"])
        series.setdefault(row["series"], []).append(point)
    if not with_accuracy:
        title = "Parameters and multiply-adds, counted; forms of one architecture are labelled by their border"
        draw_trade_off(series, path, title, (x_label, "10^6 parameters"))
        return
    kinds = {
        "range of several runs" if row["runs"] > 1 else "95 % Wilson interval of one run"
        for row in rows
        if row["top1"] is not None
    }
    kind = " or ".join(sorted(kinds, reverse=True))
    draw_trade_off(series, path, "Accuracy against cost", (x_label, f"top-1, % ({kind})"))
