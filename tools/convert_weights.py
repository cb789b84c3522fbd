"""Weights of other programs into ours, and back: python tools/convert_weights.py SOURCE TARGET.pdparams

SOURCE is a file or folder of any program that docs/weights.md names, told by its content. Prints what became of every
tensor, writes the weights and, beside them, TARGET.yaml: the configuration under which our network computes what the
source's did. With --to the other way: SOURCE is ours, TARGET ends in .safetensors or .npz.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the tool is started as a file
import yaml  # noqa: E402
from tabulate import tabulate  # noqa: E402

from configs import load_config  # noqa: E402
from training.checkpoint import save_arrays  # noqa: E402
from utils.cli import run  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import write_atomically, write_text  # noqa: E402
from utils.runtime import prepare_environment  # noqa: E402
from weights.safe_pickle import Refused  # noqa: E402

TARGETS = ("caffe2", "slowfast", "torch")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("source", help="weight file or folder")
    parser.add_argument("target", help="what to write: .pdparams, or with --to .safetensors or .npz")
    parser.add_argument("--source", dest="program", default="auto", help="whose names it has (default: by the names)")
    parser.add_argument("--to", choices=TARGETS, help="write our weights under these names")
    parser.add_argument("--video_arc_choice", type=int, choices=(1, 2, 3, 4), help="the network (default: by the file)")
    parser.add_argument("--geometry", default="", help="how the source's network is wired (default: its usual way)")
    parser.add_argument(
        "--head_factor", type=float, default=0.5, help="the old zoo's factor at test time (default: %(default)s)"
    )
    parser.add_argument(
        "--partial", action="store_true", help="a start for training: classifier, blocks may be missing"
    )
    parser.add_argument("--num_classes", type=int, help="of the network (default: the file's, else 400)")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.KEY=VALUE", help="more keys of the network"
    )
    parser.add_argument("--quiet", action="store_true", help="counts only, no table")
    return parser


def main() -> None:
    arguments = build_parser().parse_args()
    prepare_environment()
    if arguments.to:
        _export(arguments)
    else:
        _convert(arguments)


def _convert(arguments: argparse.Namespace) -> None:
    from models import build_model
    from weights.loading import SOURCE_TITLES, fit_to, read_renamed
    from weights.shapes import network_kind

    target = Path(arguments.target)
    if target.suffix != ".pdparams":
        raise UserError(f"{target}: the name of converted weights ends in .pdparams")
    renamed = read_renamed(arguments.source, arguments.program, arguments.head_factor)
    kind = network_kind({name: array.shape for name, array in renamed.arrays.items()})
    head, sections = _configuration(arguments, renamed.source, kind)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "converted.yaml"
        write_text(draft, yaml.safe_dump(sections))
        config = load_config(draft, arguments.override)
    for override in arguments.override:  # load_config has found them good
        name, _, value = override.partition("=")
        section, _, key = name.partition(".")
        sections.setdefault(section.strip(), {})[key.strip()] = yaml.safe_load(value)
    fitted = fit_to(build_model(config), renamed, arguments.source, partial=arguments.partial)
    if not arguments.quiet:
        _print_table(renamed, fitted)
    save_arrays(target, fitted.arrays)
    settings = target.with_suffix(".yaml")
    write_text(settings, head + yaml.safe_dump(sections, sort_keys=False))
    print(f"{arguments.source}: {renamed.kind}, names of {SOURCE_TITLES[renamed.source]}: {kind}")
    counts = [f"{len(fitted.arrays)} tensors written", f"{len(fitted.inflated)} kernels inflated"]
    counts += [f"{len(renamed.dropped)} dropped", f"{len(fitted.left_out)} left out"]
    counts.append(f"{len(fitted.started_anew)} of the network not in the file")
    print("; ".join(counts))
    for title, names in (("left out", fitted.left_out), ("not in the file", fitted.started_anew)):
        if names:
            print(f"{title}: {', '.join(names)}")
    print(f"wrote {target} and {settings}")


def _configuration(arguments: argparse.Namespace, source: str, kind) -> tuple[str, dict]:
    """Comment lines and sections of the network that computes what the source's does."""
    from weights.geometry import INPUTS, configuration, geometry_name

    arc = arguments.video_arc_choice or kind.video_arc_choice
    if arc is None and kind.kernel_frames == 0:
        arc = 3 if sum(kind.blocks) == 33 else 1
    if arc is None:
        raise UserError(f"{arguments.source} is {kind}, which is none of these networks; tell --video_arc_choice")
    try:
        geometry = geometry_name(source, kind, arguments.geometry)
    except Refused as error:
        raise UserError(f"{arguments.source}: {error}") from error
    sections = configuration(geometry, kind, arc, arguments.num_classes or kind.num_classes or 400)
    head = [f"# Written beside weights converted from {Path(arguments.source).name} (geometry: {geometry})."]
    head += [f"# Its {INPUTS[geometry.split('_')[0]]}."] if geometry.split("_")[0] in INPUTS else []
    return "\n".join(head) + "\n", sections


def _print_table(renamed, fitted) -> None:
    rows = []
    for name, array in fitted.arrays.items():
        origin = renamed.origins.get(name, "(none)")
        rows.append((origin, name, list(array.shape), fitted.actions.get(name, "")))
    rows += [(name, "", "", "dropped: no weight") for name in renamed.dropped]
    print(tabulate(rows, ["source", "target", "shape", "what was done"], tablefmt="simple"))


def _export(arguments: argparse.Namespace) -> None:
    from weights.export import export_arrays, write_safetensors
    from weights.loading import read_renamed

    target = Path(arguments.target)
    if target.suffix not in (".safetensors", ".npz"):
        raise UserError(f"{target}: with --to the name ends in .safetensors or .npz")
    renamed = read_renamed(arguments.source)
    if renamed.source != "own" or renamed.unknown:
        raise UserError(f"{arguments.source}: --to takes weights of this program; convert it to .pdparams first")
    try:
        arrays = export_arrays(renamed.arrays, arguments.to)
    except Refused as error:
        raise UserError(f"{arguments.source}: {error}") from error
    if target.suffix == ".npz":
        write_atomically(target, lambda stream: np.savez(stream, **arrays))
    else:
        write_atomically(target, lambda stream: write_safetensors(stream, arrays))
    if not arguments.quiet:
        names = zip(renamed.arrays, arrays.items())
        rows = [(ours, theirs, list(array.shape)) for ours, (theirs, array) in names]
        print(tabulate(rows, ["source", "target", "shape"], tablefmt="simple"))
    print(f"{len(arrays)} tensors written to {target}")


if __name__ == "__main__":
    run(main)
