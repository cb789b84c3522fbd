"""Two processes on the CPU, started by Paddle's launcher, against one process."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.script_runs import ROOT, make_videos, run_script, tiny_config, write_list
from utils.parallel import Ranks, interface_of, join_ranks, num_local
from weights.safe_pickle import load_pickle


def launch(folder, script: str, *flags: object) -> str:
    """Run a script in two processes; returns what the first one printed."""
    command = [
        sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node=2",
        f"--log_dir={folder / 'launch'}", script, *map(str, flags),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    logs = [path.read_text() for path in sorted((folder / "launch").glob("workerlog.*"))]
    assert done.returncode == 0, (done.stderr[-2000:], *(log[-2000:] for log in logs))
    assert "[" not in "".join(line[:1] for line in logs[1].splitlines()), logs[1]  # no progress of the second
    return logs[0]


def rows(save_dir, kind: str) -> list[dict]:
    lines = (save_dir / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("videos"), 8, 3)


def test_two_processes_train_as_one_does_with_the_same_batch(monkeypatch, tmp_path, videos):
    """Norms keep their statistics here: with their own, each process would see the statistics of its own clips only."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(videos[0][0].read_bytes()[:100])
    lists = write_list(tmp_path / "list.txt", videos), write_list(tmp_path / "valid.txt", [*videos[:6], (broken, 1)])
    config = tiny_config(tmp_path, lists[0], batch_size=4, freeze_norms=True, dropout_rate=0.0, ema_decay=0.9)
    flags = [f"--config={config}", "--fix_random_seed=True", "--log_interval=1", "-o", f"VALID.filelist={lists[1]}"]
    flags += ["-o", "MODEL.bn_init_gamma=0.5", "-o", "NONLOCAL.bn_init_gamma=0.5", "-o", "TRAIN.clip_gradient_norm=2.0"]
    assert run_script(monkeypatch, "train", *flags, f"--save_dir={tmp_path / 'one'}") == 0
    said = launch(tmp_path, "train.py", *flags, f"--save_dir={tmp_path / 'two'}")
    assert "2 processes" in said and "[4/4]" in said
    for kind, keys in (("train", ("loss", "gradient_norm", "top1", "num_clips")), ("valid", ("loss", "top1"))):
        one, two = rows(tmp_path / "one", kind), rows(tmp_path / "two", kind)
        assert len(one) == len(two) == {"train": 4, "valid": 2}[kind]
        for key in keys:
            assert [row[key] for row in two] == pytest.approx([row[key] for row in one], rel=1e-5, abs=1e-6), (
                kind,
                key,
            )
    assert [row["num_broken"] for row in rows(tmp_path / "two", "valid")] == [1, 1]
    one, two = (load_pickle(tmp_path / name / "NONLOCAL.pdparams") for name in ("one", "two"))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_seven_videos_on_two_processes_with_three_workers_are_seven(monkeypatch, tmp_path, videos):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    config = tiny_config(tmp_path, write_list(tmp_path / "list.txt", [*videos[:6], (broken, 1)]))
    assert run_script(
        monkeypatch, "train", f"--config={config}", f"--save_dir={tmp_path / 'run'}", "--epoch=1", "--valid_interval=0",
        "-o", "READER.max_broken_share=0.5",
    ) == 0  # fmt: skip
    flags = [f"--config={config}", f"--weights={tmp_path / 'run/NONLOCAL.pdparams'}", "-o", "TEST.num_reader_threads=3"]
    assert run_script(monkeypatch, "eval", *flags, f"--save_dir={tmp_path / 'one'}") == 0
    launch(tmp_path, "eval.py", *flags, f"--save_dir={tmp_path / 'two'}")
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert one == two and (two["videos_seen"], two["videos_expected"]) == (6, 7)
    scores = [np.load(tmp_path / name / "scores.npz") for name in ("one", "two")]
    assert scores[0].files == scores[1].files and len(scores[0]["broken_path"]) == 1
    for name in scores[0].files:  # scores, labels, broken videos and their reasons, the list's checksum
        np.testing.assert_array_equal(scores[0][name], scores[1][name], name)


def test_one_process_needs_no_launcher():
    alone = join_ranks("cpu")
    assert alone == Ranks(0, 1) and alone.is_main_process and alone.all_gather("x") == ["x"]
    np.testing.assert_array_equal(alone.all_reduce(np.array([1.0, 2.0])), [1.0, 2.0])


@pytest.mark.skipif(sys.platform != "linux", reason="the system call is Linux's")
def test_gloo_is_told_the_interface_of_the_machines_own_address():
    assert interface_of("127.0.0.1") == "lo" and interface_of("203.0.113.7") is None


def test_the_cores_of_a_machine_are_shared_by_its_processes(monkeypatch):
    assert num_local() == 1
    monkeypatch.setenv("PADDLE_CURRENT_ENDPOINT", "10.0.0.2:6070")
    monkeypatch.setenv("PADDLE_TRAINER_ENDPOINTS", "10.0.0.1:6070,10.0.0.2:6070,10.0.0.2:6071,10.0.0.2:6072")
    assert num_local() == 3


ORPHAN = """
import os, signal, sys, time
from utils.parallel import end_with_parent
def told(*_):
    os.write(1, b"told\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, told)
end_with_parent()
print("ready", flush=True)
time.sleep(60)
"""
LAUNCHER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
def test_a_process_is_told_when_its_launcher_dies():
    """Paddle's launcher dies of SIGTERM without a word to its processes, which would train on for nobody."""
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, ORPHAN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert launcher.stdout.readline() == "ready\n"
    launcher.kill()
    assert launcher.stdout.readline() == "told\n"
    launcher.wait(timeout=30)
