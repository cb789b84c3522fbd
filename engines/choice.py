"""Which engine computes, and in which precision: the flags, and what `auto` takes."""

from __future__ import annotations

import argparse

ENGINES = ("paddle",)
PRECISIONS = ("float32",)


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Add --engine and --precision; their values go to `build_engine` as they are."""
    parser.add_argument("--engine", choices=ENGINES, default="paddle", help="who computes (default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="(default: %(default)s)")
