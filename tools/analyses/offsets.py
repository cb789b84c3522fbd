"""Kernel values by offset in time (the S3D paper's figure 5): python tools/analyse.py offsets --config=C --weights=W

A panel a layer, a box an offset: quartiles, whiskers at the last value within 1.5 interquartile ranges. Under each
offset stands its energy fraction E_t = sum W_t^2 / sum W^2. A separated temporal kernel starts as the identity, which a
box of W hides among the zeros beside the diagonal, so that W minus the identity is drawn beside W.

Inception trunks: conv_1a, conv_2c and b1b of each block; ResNets: the stem and the first convolution of each block.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.cli import Parser
from utils.errors import UserError
from utils.files import write_json
from utils.runtime import choose_device, prepare_environment

SIDE_BRANCHES = (".b0.", ".b2b.", ".b3b.")  # of Inception blocks, whose b1b stands for them
COLUMNS = (
    "layer", "form", "offset", "values", "energy_fraction", "minimum", "whisker_low", "quartile_1", "median",
    "quartile_3", "whisker_high", "maximum", "mean", "standard_deviation",
)  # fmt: skip


def main(argv: list[str]) -> None:
    args = _parse(argv)
    from configs import load_config

    config = load_config(args.config, args.override)
    prepare_environment()
    choose_device(False)
    import paddle

    from inference import build_backend
    from models import build_model
    from tools.analyses.numbers import write_csv
    from utils.plots import draw_boxes

    with paddle.LazyGuard():  # before weights are read
        shapes = {name: value.shape for name, value in build_model(config).state_dict().items()}
    if not any(is_temporal(name, shape) for name, shape in shapes.items()):
        raise UserError(
            f"{args.config}: no kernel of {config.MODEL.arch} spans several frames; choose a network that "
            "convolves time"
        )
    model: Any = build_backend(config, args.weights, config.TEST.checkpoint_dir).model  # type: ignore[attr-defined]
    stages = {layer: stage for stage, layer in model.backbone.stage_layers.items()}  # users know stage2 as res2
    state = {name: value.numpy() for name, value in model.state_dict().items() if is_temporal(name, value.shape)}
    kernels = temporal_kernels(state, stages, args.all_layers)
    rows = [row for name, kernel in kernels.items() for row in rows_of(name, kernel)]
    folder = Path(args.save_dir)
    title = f"{config.MODEL.arch}: kernel values by offset in time"
    caption = "below: offset in frames of the layer's input; above: % of the kernel's energy"
    draw_boxes(panels_of(rows), folder / "offsets.png", title, caption)
    write_csv(folder / "offsets.csv", COLUMNS, rows)
    facts = {"config": args.config, "weights": args.weights, "family": config.MODEL.name, "arch": config.MODEL.arch}
    write_json(folder / "offsets.json", {**facts, "rows": rows})
    for name in kernels:
        for form in dict.fromkeys(row["form"] for row in rows if row["layer"] == name):
            parts = [row for row in rows if (row["layer"], row["form"]) == (name, form)]
            energies = ", ".join(f"{row['offset']:+g}: {row['energy_fraction']:.3f}" for row in parts)
            print(f"{name}, {form}: energy by offset {energies}")
    print(f"{folder}/offsets.png, offsets.csv, offsets.json")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="analyse.py offsets", description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="YAML file of the network")
    parser.add_argument("--weights", help="file of weights (default: as eval.py)")
    parser.add_argument("--all_layers", action="store_true", help="every layer that convolves time, of all branches")
    parser.add_argument("--save_dir", default="output/offsets", help="output folder (default: %(default)s)")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.KEY=VALUE",
        help="override a key of the configuration; may be repeated",
    )  # fmt: skip
    return parser.parse_args(argv)


def is_temporal(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor is a kernel [out, in, kT, kH, kW] over several frames."""
    return name.endswith(".weight") and len(shape) == 5 and shape[2] > 1


def temporal_kernels(
    state: Mapping[str, np.ndarray], stages: Mapping[str, str] | None = None, all_layers: bool = False
) -> dict[str, np.ndarray]:
    """Layer -> its kernel, of a network's tensors; without all_layers not those of SIDE_BRANCHES. stages: first part of
    a tensor's name -> the name of the stage that users know."""
    found = {}
    for name, kernel in state.items():
        if is_temporal(name, kernel.shape) and (all_layers or not any(branch in name for branch in SIDE_BRANCHES)):
            first, _, rest = name.removesuffix(".weight").partition(".")
            found[f"{(stages or {}).get(first, first)}.{rest}"] = kernel
    return found


def rows_of(layer: str, kernel: np.ndarray) -> list[dict[str, Any]]:
    """A row of numbers an offset; for a separated temporal kernel the rows of W minus the identity, too."""
    forms = {"W": kernel}
    if layer.endswith(".temporal"):
        identity = np.zeros_like(kernel)
        identity[range(len(kernel)), range(len(kernel)), kernel.shape[2] // 2] = 1
        forms["W - identity"] = kernel - identity
    rows = []
    for form, values in forms.items():
        values = values.astype(np.float64)
        total = float((values**2).sum())
        for t in range(kernel.shape[2]):
            at_offset = values[:, :, t].ravel()
            energy = float((at_offset**2).sum()) / total if total else 0.0
            offset = t - (kernel.shape[2] - 1) / 2
            rows.append(
                {"layer": layer, "form": form, "offset": offset, "values": at_offset.size, "energy_fraction": energy}
                | box_of(at_offset)
            )
    return rows


def box_of(values: np.ndarray) -> dict[str, float]:
    """Quartiles, the last values within 1.5 interquartile ranges of them (Tukey's whiskers), extremes, moments."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    reach = 1.5 * (high - low)
    found = {
        "minimum": values.min(),
        "whisker_low": min(values[values >= low - reach].min(), low),
        "quartile_1": low,
        "median": middle,
        "quartile_3": high,
        "whisker_high": max(values[values <= high + reach].max(), high),
        "maximum": values.max(),
        "mean": values.mean(),
        "standard_deviation": values.std(),
    }
    return {name: float(value) for name, value in found.items()}


def panels_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Title of a panel -> name of a series -> its boxes, as `utils.plots.draw_boxes` takes them."""
    panels: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        box = {
            "label": f"{row['offset']:+g}" if row["offset"] else "0",
            "whislo": row["whisker_low"], "q1": row["quartile_1"], "med": row["median"], "q3": row["quartile_3"],
            "whishi": row["whisker_high"], "note": f"{100 * row['energy_fraction']:.0f}",
        }  # fmt: skip
        panels.setdefault(row["layer"], {}).setdefault(row["form"], []).append(box)
    return panels
