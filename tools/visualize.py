"""Pictures of what a network does: python tools/visualize.py NAME [flags]; `--help` after a name tells its flags."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from dispatch import dispatch  # noqa: E402 - the tool is started as a file

from utils.cli import run  # noqa: E402

if __name__ == "__main__":
    run(lambda: dispatch("visualize", __doc__))
