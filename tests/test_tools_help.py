"""Every tool starts as a file, from any folder, and as a module, and shows its flags."""

from __future__ import annotations

import runpy
import subprocess
import sys

import pytest

from tests.script_runs import ROOT
from tools import analyse, benchmark, visualize

TOOLS = sorted(path.stem for path in ROOT.glob("tools/*.py") if '__name__ == "__main__"' in path.read_text())
JOBS = {"benchmark": benchmark.JOBS, "visualize": visualize.JOBS, "analyse": analyse.JOBS}


@pytest.fixture
def start(monkeypatch, capsys):
    """Function (tool, flags) -> what `python -m tools.TOOL FLAGS` prints, started in this process, to status 0."""

    def start(name: str, *flags: str) -> str:
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(sys, "path", [*sys.path])  # tools insert the repository's folder
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *flags])
        monkeypatch.delitem(sys.modules, f"tools.{name}", raising=False)
        try:
            runpy.run_module(f"tools.{name}", run_name="__main__", alter_sys=True)
        except SystemExit as ending:
            assert ending.code in (None, 0), capsys.readouterr().err
        return capsys.readouterr().out

    return start


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_starts_as_a_file_and_as_a_module(name, tmp_path, monkeypatch, start):
    monkeypatch.setenv("COLUMNS", "80")
    command = [sys.executable, str(ROOT / "tools" / f"{name}.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    as_file, as_module = (
        text.replace(f"python -m tools.{name}", f"{name}.py") for text in (done.stdout, start(name, "--help"))
    )
    assert as_file and as_file == as_module


@pytest.mark.parametrize(("tool", "job"), [(tool, job) for tool, jobs in JOBS.items() for job in jobs])
def test_each_job_of_a_tool_shows_its_flags(tool, job, start):
    assert job in start(tool)
    flags = start(tool, job, "--help")
    assert "usage:" in flags and ("--json" in flags or tool != "benchmark")


def test_there_are_tools():
    assert {"ablation", "benchmark", "check_videos", "convert_weights", "demo", "visualize"} <= set(TOOLS)
