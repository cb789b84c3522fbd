"""Write docs/models.md, the page of networks and published weights, from models.FAMILIES and the tables of weights/.

python -m tools.model_page              # tests/test_docs.py checks that the page is current
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from models import FAMILIES  # noqa: E402 - the tool is started as a file
from utils.cli import run  # noqa: E402
from utils.files import write_text  # noqa: E402

PAGE = ROOT / "docs/models.md"
HEAD = """# Models

Written by `python -m tools.model_page` from the tables in `models/__init__.py` and `weights/`; do not edit by hand.

Every file loads with `--weights=FILE` or `--pretrain=FILE`; `python tools/convert_weights.py FILE NAME.pdparams` writes
the configuration it belongs to beside the converted weights. What is downloaded automatically:
[weights](weights.md#published-weights). None of the files is part of this repository, and none could be downloaded
where this was written: names, shapes and containers were established from the programs that write and read them.

**Accuracy is published, not measured here**: top-1 in percent on Kinetics-400 validation, as the source of the entry
states it. Everything that was measured here is in [results](results.md).

The one network that is part of this repository is the [example network](../examples/demo_network/README.md): eight
drawn motions, 1,328,280 parameters, Apache-2.0.
"""


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    write_text(PAGE, page())
    print(f"{PAGE.relative_to(ROOT)}: written")


def page() -> str:
    """The whole page as text."""
    parts = [HEAD]
    for name, family in FAMILIES.items():
        parts.append(f"## {name}\n\n`MODEL.name: {name}`; `MODEL.arch`: {', '.join(f'`{a}`' for a in family.archs)}.\n")
        published = published_weights(family)
        trained = {key: entry for key, entry in published.items() if not entry.is_start}
        initial = {key: entry for key, entry in published.items() if entry.is_start}
        if trained:
            parts.append("### Trained on Kinetics-400\n\n" + table(TRAINED, trained))
            notes = "\n".join(
                dict.fromkeys(f"- {entry.accuracy_source}: {entry.protocol}" for entry in trained.values())
            )
            parts.append(f"Protocol of the published accuracies, by source:\n\n{notes}\n")
        if initial:
            parts.append("### ImageNet, to initialise a training from (`--pretrain`)\n\n" + table(INITIAL, initial))
        if published:
            urls = "\n".join(f"- `{key}`: {address(entry)}" for key, entry in published.items())
            parts.append(f"### Files\n\n{urls}\n")
    return "\n".join(parts)


def published_weights(family) -> dict:
    """Entry -> `weights.download.Published` of a family."""
    import importlib

    return dict(importlib.import_module(family.weight_names).NAMES.published) if family.weight_names else {}


def address(entry) -> str:
    """Where published weights are: a file, several, or a page."""
    parts = f" ({', '.join(entry.parts)})" if entry.parts else ""
    return entry.url + parts + (f" (by hand: {entry.by_hand})" if entry.by_hand else "")


def blocks_of(entry) -> str:
    """The non-local blocks of published weights; "" for families without any."""
    if any(entry.arch in family.archs and name == "NONLOCAL" for name, family in FAMILIES.items()):
        return ", 5 blocks" if entry.with_blocks else ", no blocks"
    return ""


TRAINED = {
    "entry": lambda key, entry: f"`{key}`",
    "`MODEL.arch`": lambda key, entry: f"`{entry.arch}`" + blocks_of(entry),
    "`--variant`": lambda key, entry: f"`{entry.variant}`",
    "frames x stride": lambda key, entry: f"{entry.frames} x {entry.stride}",
    "top-1": lambda key, entry: "" if entry.top1 is None else f"{entry.top1}",
    "source of the accuracy": lambda key, entry: entry.accuracy_source,
    "input": lambda key, entry: entry.preprocessing,
    "licence": lambda key, entry: entry.licence,
}
INITIAL = {name: TRAINED[name] for name in ("entry", "`MODEL.arch`", "`--variant`", "input", "licence")}


def table(columns: dict, entries: dict) -> str:
    """A table in Markdown, a row per entry."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for key, entry in entries.items():
        lines.append("| " + " | ".join(cell(key, entry) for cell in columns.values()) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(main)
