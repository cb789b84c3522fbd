"""tools/torture_server.py: a cell of it ends well, and what a server should not show is seen."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

pytest.importorskip("fastapi")

from tests.script_runs import ROOT
from tools.torture_server import Bench, Failed

JOB = (0, {"task": "segments"})


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"))


def test_abandoned_uploads_leave_nothing_behind():
    command = [sys.executable, "tools/torture_server.py", "--only", "abandoned"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0 and "50 uploads abandoned, 5 resumed" in said.stdout, (said.stdout, said.stderr)


@pytest.mark.parametrize(
    ("ending", "may_fail", "words"),
    [
        (b"expected", "no job", "right (1 accepted jobs end as undisturbed; )"),
        (b"another", "no job", "WRONG: Wrong: not the file of the undisturbed run"),
        (Failed("crashed"), "no job", "WRONG: Failed: crashed"),
        (Failed("crashed, twice"), "twice", "right (0 accepted jobs end as undisturbed, 1 failed, killed twice; )"),
    ],
)
def test_an_accepted_job_ends_as_undisturbed_or_the_cell_is_wrong(bench, monkeypatch, ending, may_fail, words):
    def result(*_):
        if isinstance(ending, Failed):
            raise ending
        return ending

    monkeypatch.setattr(bench, "expected", {f"{JOB[0]} {JOB[1]}": b"expected"})
    monkeypatch.setattr(bench, "result", result)
    verdict = bench.judged(lambda rng: bench.check(None, {"id": JOB}, may_fail), random.Random(0))  # type: ignore[arg-type]
    assert verdict.startswith(words)
