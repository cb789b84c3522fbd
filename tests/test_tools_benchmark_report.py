"""The benchmark of reports computes a whole report of simulated runs."""

from __future__ import annotations

import json
import os

import pytest

from tools.benchmarks import report


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_simulated_runs_are_judged_whole(tmp_path, capsys):
    cores = os.sched_getaffinity(0)
    sizes = ["--videos=200", "--classes=5", "--views=6", "--runs=2"]
    report.main([*sizes, f"--json={tmp_path / 'out.json'}"])
    assert os.sched_getaffinity(0) == cores
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["videos"] == 200 and found["processor_seconds"] > 0 and found["report_json_bytes"] > 5000
    assert "peak_megabytes" in capsys.readouterr().out
