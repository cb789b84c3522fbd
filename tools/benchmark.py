"""Measure this program against others: python tools/benchmark.py NAME [flags]; `--help` after a name tells its flags.

Both sides run in turn in one process or one after the other, several times; the medians' ratio is the result.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from utils.cli import run  # noqa: E402 - the tool is started as a file
from utils.errors import UserError  # noqa: E402


def main() -> None:
    names = sorted(p.stem.removeprefix("benchmark_") for p in Path(__file__).parent.glob("benchmark_*.py"))
    names.remove("harness")
    if sys.argv[1:2] in ([], ["-h"], ["--help"]):
        print(f"{__doc__}\nnames: {', '.join(names)}")
        return
    name = sys.argv[1]
    if name not in names:
        raise UserError(f"no benchmark called {name!r}; there are {', '.join(names)}")
    importlib.import_module(f"benchmark_{name}").main(sys.argv[2:])


if __name__ == "__main__":
    run(main)
