"""Every tool starts as a file and as a module, from any folder, and shows its flags."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.script_runs import ROOT

TOOLS = sorted(path.stem for path in ROOT.glob("tools/*.py") if '__name__ == "__main__"' in path.read_text())
JOBS = {
    "benchmark": "infer backends predict reader flow nonlocal train demo report dataset serve",
    "visualize": "answer attention clips",
    "analyse": "offsets tsne reversed cost tables",
}


def run(*command: str, folder=ROOT) -> str:
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_starts_as_a_file_and_as_a_module(name, tmp_path):
    as_file = run(str(ROOT / "tools" / f"{name}.py"), "--help", folder=tmp_path)
    as_module = run("-m", f"tools.{name}", "--help")
    as_file, as_module = (text.replace(f"python -m tools.{name}", f"{name}.py") for text in (as_file, as_module))
    assert as_file and as_file == as_module


@pytest.mark.parametrize(("tool", "job"), [(tool, job) for tool, jobs in JOBS.items() for job in jobs.split()])
def test_each_job_of_a_tool_shows_its_flags(tool, job):
    assert job in run(f"tools/{tool}.py")
    assert "usage:" in run(f"tools/{tool}.py", job, "--help")


def test_there_are_tools():
    assert {"ablation", "benchmark", "check_videos", "convert_weights", "demo", "visualize"} <= set(TOOLS)
