"""bash run.sh train ... --restarts N: on commands that fail as the tests want."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.script_runs import ROOT
from utils.errors import RunError

# Fails with the next status of a list, after it has saved a checkpoint of the next iteration of another.
RUN = """
import json, os, pathlib, sys
state = pathlib.Path(sys.argv[1])
plan = json.loads(state.read_text())
plan["calls"].append(sys.argv[2:])
status, iteration = plan["statuses"].pop(0), plan["iterations"].pop(0)
state.write_text(json.dumps(plan))
if iteration:
    folder = pathlib.Path(plan["save_dir"])
    folder.mkdir(exist_ok=True)
    (folder / "NONLOCAL_iter1.json").write_text(json.dumps({"iteration": iteration, "sha256": {"a": "b"}}))
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


def supervise(tmp_path, statuses, iterations, *flags: str):
    """The supervisor's end, and the flags of each call of the command."""
    state, script = tmp_path / "plan.json", tmp_path / "run.py"
    script.write_text(RUN)
    plan = {"statuses": statuses, "iterations": iterations, "calls": [], "save_dir": str(tmp_path / "save")}
    state.write_text(json.dumps(plan))
    command = [sys.executable, "-m", "training.supervisor", sys.executable, str(script), str(state)]
    command += [f"--save_dir={tmp_path / 'save'}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done, [call[1:] for call in json.loads(state.read_text())["calls"]]


def test_a_failed_run_is_started_again_with_resume_auto(tmp_path):
    done, calls = supervise(
        tmp_path, [1, -9, 0], [5, 9, 12], "--restarts=5", "--overwrite", "--resume", "old", "-o", "TRAIN.epoch=3"
    )
    assert done.returncode == 0, done.stderr
    assert calls[0] == ["--overwrite", "--resume", "old", "-o", "TRAIN.epoch=3"]
    assert calls[1:] == [["-o", "TRAIN.epoch=3", "--resume=auto"]] * 2
    assert "exit status 137" in done.stderr and "iteration 9" in done.stderr


@pytest.mark.parametrize("status", [2, 130, 143])
def test_wrong_usage_and_a_run_that_was_asked_to_stop_are_not_started_again(tmp_path, status):
    done, calls = supervise(tmp_path, [status, 0], [1, 1], "--restarts", "5")
    assert (done.returncode, len(calls)) == (status, 1)


def test_three_failures_at_the_same_iteration_are_enough(tmp_path):
    done, calls = supervise(tmp_path, [1] * 9, [4, 8, 8, 8, 8, 8, 8, 8, 8], "--restarts=8")
    assert (done.returncode, len(calls)) == (1, 4)
    assert "iteration 8" in done.stderr.splitlines()[-1] and "given up" in done.stderr.splitlines()[-1]


def test_the_restarts_are_counted(tmp_path):
    done, calls = supervise(tmp_path, [1] * 9, list(range(1, 10)), "--restarts=2")
    assert (done.returncode, len(calls)) == (1, 3)
    assert "--restarts=2 are used up" in done.stderr.splitlines()[-1]


def test_a_signal_is_passed_on_and_ends_both(tmp_path):
    ready = tmp_path / "ready"
    waits = f"import pathlib, time; pathlib.Path({str(ready)!r}).touch(); time.sleep(600)"
    command = [sys.executable, "-m", "training.supervisor", sys.executable, "-c", waits, "--restarts=3"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not ready.exists():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 143


def test_the_launcher_gets_the_address_of_the_master_in_place_of_its_name():
    shows = "import os; print(os.environ['PADDLE_MASTER'])"
    command = [sys.executable, "-m", "training.supervisor", sys.executable, "-c", shows, "--restarts=3"]
    for master, shown in (("localhost:6070", "127.0.0.1:6070"), ("etcd://localhost:2379", "etcd://localhost:2379")):
        env = {**os.environ, "PADDLE_MASTER": master}
        assert subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True).stdout == f"{shown}\n"


def test_a_master_without_an_address_is_waited_for_until_a_signal_or_the_limit(monkeypatch):
    from training import supervisor

    monkeypatch.setenv("PADDLE_MASTER", "no.such.machine.invalid:6070")
    monkeypatch.setattr(supervisor, "MASTER_SECONDS", 0.0)
    with pytest.raises(RunError, match=r"no machine no\.such\.machine\.invalid"):
        supervisor._master_address(lambda: False)
    assert supervisor._master_address(lambda: True) == {}


STOPPED_AT_THE_START = """
import os, signal, subprocess, sys
from training import supervisor
start = subprocess.Popen
def interrupted(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)
    return start(*args, **kwargs)
supervisor.subprocess.Popen = interrupted
print(supervisor._run([sys.executable, "-c", "import time; time.sleep(600)"]))
"""


def test_a_signal_that_comes_while_the_run_is_being_started_is_passed_on():
    command = [sys.executable, "-c", STOPPED_AT_THE_START]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, start_new_session=True)
    assert (done.returncode, done.stdout) == (0, "(143, True)\n"), done.stderr


@pytest.mark.parametrize(("nodes", "log_dir"), [("", "output/launch"), ("2", f"output/launch/{socket.gethostname()}")])
def test_run_sh_supervises_the_launcher_and_train_py_itself(tmp_path, nodes, log_dir):
    stub = """#!/bin/sh
case "$*" in *find_spec*) ;; *device_count*) echo 2 ;; *) echo "called $@" ;; esac
"""
    for name in ("python3", "nvidia-smi"):
        (tmp_path / name).write_text(stub)
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PADDLE_NNODES": nodes}
    command = ["bash", "run.sh", "train", "NONLOCAL", "a.yaml", "--restarts", "3"]
    said = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True).stdout
    launcher = f"-m paddle.distributed.launch --log_dir={log_dir}"
    assert said.startswith(f"called -m training.supervisor {tmp_path}/python3 {launcher} train.py"), said


def test_train_py_supervises_itself():
    done = subprocess.run(
        [sys.executable, "train.py", "--restarts=2", "--config=none.yaml"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "none.yaml" in done.stderr
