"""Measure this program against others: python tools/benchmark.py NAME [flags]; `--help` after a name tells its flags.

Both sides run in turn in one process or one after the other, several times; the medians' ratio is the result.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from dispatch import dispatch  # noqa: E402 - the tool is started as a file

from utils.cli import run  # noqa: E402

if __name__ == "__main__":
    run(lambda: dispatch("benchmark", __doc__, not_jobs=("harness",)))
