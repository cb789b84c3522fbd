"""Weights of other programs into ours, and back: python tools/convert_weights.py SOURCE TARGET.pdparams

SOURCE is a file or folder of any program that docs/weights.md names, detected from its content. Prints what became of
every tensor, writes the weights and, beside them, TARGET.yaml: the configuration under which our network computes what
the source's did. With --to the other way: SOURCE is ours, TARGET ends in .safetensors or .npz.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the tool is started as a file
import yaml  # noqa: E402
from tabulate import tabulate  # noqa: E402

from configs import load_config  # noqa: E402
from configs.schema import ARCHS  # noqa: E402
from models import FAMILIES  # noqa: E402
from utils.cli import Parser, add_hidden_alias, run  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import write_atomically, write_text  # noqa: E402
from utils.runtime import prepare_environment  # noqa: E402
from weights import ORIGIN_KEY, save_weights  # noqa: E402
from weights.safe_pickle import Refused  # noqa: E402

TARGETS = ("caffe2", "slowfast", "torch")


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, allow_abbrev=False)
    archs = [arch for family in FAMILIES.values() for arch in family.archs]
    parser.add_argument("source", help="weight file or folder")
    parser.add_argument("target", help="what to write: .pdparams, or with --to .safetensors or .npz")
    parser.add_argument("--source", dest="program", default="auto", help="whose names it has (default: by the names)")
    parser.add_argument("--to", choices=TARGETS, help="write our weights under these names")
    parser.add_argument("--arch", choices=archs, help="the network (default: by the file)")
    parser.add_argument("--video_arc_choice", type=int, choices=range(1, len(ARCHS) + 1), help=argparse.SUPPRESS)
    parser.add_argument("--variant", default="", help="architecture variant of the source (default: its usual one)")
    add_hidden_alias(parser, "--geometry", "--variant")
    parser.add_argument(
        "--head_factor", type=float, default=0.5, help="the old zoo's factor at test time (default: %(default)s)"
    )
    parser.add_argument(
        "--partial", action="store_true", help="to initialise a training from: classifier, blocks may be missing"
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
    from weights.convert import check_origin, fit_to, read_renamed, shapes_of

    target = Path(arguments.target)
    if target.suffix != ".pdparams":
        raise UserError(f"{target}: the name of converted weights ends in .pdparams")
    renamed = read_renamed(arguments.source, arguments.program, arguments.head_factor)
    head, sections, origin = _configuration(arguments, renamed)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "converted.yaml"
        write_text(draft, yaml.safe_dump(sections))
        config = load_config(draft, arguments.override)
    for override in arguments.override:  # load_config has found them good
        name, _, value = override.partition("=")
        section, _, key = name.partition(".")
        sections.setdefault(section.strip(), {})[key.strip()] = yaml.safe_load(value)
    model = build_model(config)
    if origin:
        check_origin(model, origin, renamed.family, arguments.source)
    fitted = fit_to(shapes_of(model.state_dict()), renamed, arguments.source, partial=arguments.partial)
    if not arguments.quiet:
        _print_table(renamed, fitted)
    save_weights(target, {**fitted.arrays, **({ORIGIN_KEY: origin.stored()} if origin else {})})
    settings = target.with_suffix(".yaml")
    write_text(settings, head + yaml.safe_dump(sections, sort_keys=False))
    title = renamed.family.namings[renamed.source].title
    print(
        "; ".join(
            [f"{arguments.source}: {renamed.kind}, names of {title}: {renamed.describe()}", *renamed.dropped_note()]
        )
    )
    counts = [f"{len(fitted.arrays)} tensors written", f"{len(fitted.inflated)} kernels inflated"]
    counts += [f"{len(renamed.dropped)} dropped", f"{len(fitted.unexpected)} unexpected"]
    counts.append(f"{len(fitted.reinitialised)} missing")
    print("; ".join(counts))
    for title, names in (("unexpected", fitted.unexpected), ("missing", fitted.reinitialised)):
        if names:
            print(f"{title} keys: {', '.join(names)}")
    print(f"wrote {target} and {settings}")


def _configuration(arguments: argparse.Namespace, renamed) -> tuple[str, dict, Any]:
    """Comment lines and sections of the network that computes what the source's does; the weights' `Origin`."""
    arch = arguments.arch or ([*ARCHS][arguments.video_arc_choice - 1] if arguments.video_arc_choice else "")
    try:
        variant, note, sections = renamed.family.configuration(
            renamed.source, renamed.describe(), arguments.variant, arch, arguments.num_classes or 0
        )
    except Refused as error:
        raise UserError(f"{arguments.source}: {error}") from error
    head = [f"# Written beside weights converted from {Path(arguments.source).name} (architecture variant: {variant})."]
    head += [f"# Its {note}."] if note else []
    origin = renamed.origin() or renamed.family.origin(variant, renamed.describe())
    return "\n".join(head) + "\n", sections, origin


def _print_table(renamed, fitted) -> None:
    rows = []
    for name, array in fitted.arrays.items():
        origin = renamed.origins.get(name, "(none)")
        rows.append((origin, name, list(array.shape), fitted.actions.get(name, "")))
    rows += [(name, "", "", "dropped: no weight") for name in renamed.dropped]
    print(tabulate(rows, ["source", "target", "shape", "what was done"], tablefmt="simple"))


def _export(arguments: argparse.Namespace) -> None:
    from safetensors.numpy import save

    from weights.convert import export_arrays, read_renamed

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
        write_atomically(target, lambda stream: stream.write(save(arrays)))
    if not arguments.quiet:
        names = zip(renamed.arrays, arrays.items())
        rows = [(ours, theirs, list(array.shape)) for ours, (theirs, array) in names]
        print(tabulate(rows, ["source", "target", "shape"], tablefmt="simple"))
    print(f"{len(arrays)} tensors written to {target}")


if __name__ == "__main__":
    run(main)
