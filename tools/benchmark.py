"""Measure this program against others: python tools/benchmark.py NAME [flags]; `--help` after a name lists its flags.

All sides run in turn, several times, in one run; the result is the ratio of their medians, with the machine and the
versions beside it in the JSON file (--json). The other programs are in tools/benchmarks/: torch_networks.py, the
networks in eager PyTorch (pip install torch, in this environment or one that --torch_python names), and zoo_reader.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.dispatch import dispatch  # noqa: E402 - the tool is started as a file
from utils.cli import run  # noqa: E402

JOBS = {
    "infer": "tools.benchmarks.infer",
    "backends": "tools.benchmarks.backends",
    "predict": "tools.benchmarks.predict",
    "segments": "tools.benchmarks.segments",
    "latency": "tools.benchmarks.latency",
    "memory": "tools.benchmarks.memory",
    "reader": "tools.benchmarks.reader",
    "flow": "tools.benchmarks.flow",
    "nonlocal": "tools.benchmarks.block",
    "train": "tools.benchmarks.train",
    "demo": "tools.benchmarks.demo",
    "report": "tools.benchmarks.report",
    "dataset": "tools.benchmarks.dataset",
    "workers": "tools.benchmarks.workers",
    "serve": "tools.benchmarks.serve",
    "detect": "tools.benchmarks.detect",
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["engines"]:  # the former name
        sys.argv[1] = "backends"
    run(lambda: dispatch("benchmark", __doc__, JOBS))
