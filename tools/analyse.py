"""Analyses of trained networks: python tools/analyse.py NAME [flags]; `--help` after a name lists its flags.

Each draws a picture and writes its numbers beside it, as CSV and JSON. They work for networks of every family.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.dispatch import dispatch  # noqa: E402 - the tool is started as a file
from utils.cli import run  # noqa: E402

JOBS = {
    "offsets": "tools.analyses.offsets",
    "tsne": "tools.analyses.tsne",
    "reversed": "tools.analyses.reversal",
    "cost": "tools.analyses.cost",
    "tables": "tools.analyses.tables",
}

if __name__ == "__main__":
    run(lambda: dispatch("analyse", __doc__, JOBS))
