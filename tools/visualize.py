"""Pictures of what a network does: python tools/visualize.py NAME [flags]; `--help` after a name lists its flags."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.dispatch import dispatch  # noqa: E402 - the tool is started as a file
from utils.cli import run  # noqa: E402

JOBS = {
    "answer": "tools.visualize_answer",
    "attention": "tools.visualize_attention",
    "clips": "tools.visualize_clips",
}

if __name__ == "__main__":
    run(lambda: dispatch("visualize", __doc__, JOBS))
