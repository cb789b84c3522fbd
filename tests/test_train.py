from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.script_runs import ROOT, make_videos, run_script, tiny_config, write_list
from weights.safe_pickle import load_pickle


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("videos"), 6, 3)


@pytest.fixture
def config(tmp_path, videos):
    return tiny_config(tmp_path, write_list(tmp_path / "list.txt", videos))


def train(monkeypatch, config, save_dir, *flags) -> int:
    return run_script(
        monkeypatch, "train", f"--config={config}", f"--save_dir={save_dir}", "--fix_random_seed=True",
        "--log_interval=1", *flags,
    )  # fmt: skip


def rows(save_dir, kind) -> list[dict]:
    lines = (save_dir / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def same_arrays(one, two) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def test_a_run_leaves_weights_log_curves_and_its_configuration(monkeypatch, tmp_path, config, capsys):
    assert train(monkeypatch, config, tmp_path / "run") == 0
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"NONLOCAL.pdparams", "NONLOCAL_epoch0.pdparams", "NONLOCAL_epoch1.pdopt", "NONLOCAL_epoch1.json"} <= made
    assert {"NONLOCAL_best.pdparams", "config.yaml", "log.jsonl", "visualdl", "curves.png"} <= made
    assert (tmp_path / "run/curves.png").read_bytes().startswith(b"\x89PNG")
    assert [row["iteration"] for row in rows(tmp_path / "run", "train")] == [1, 2, 3, 4, 5, 6]
    assert len(rows(tmp_path / "run", "valid")) == 2
    out = capsys.readouterr().out
    assert "training from scratch" in out and "[6/6]" in out and "lr 0.01" in out and "clips/s" in out
    final = load_pickle(tmp_path / "run/NONLOCAL.pdparams")
    assert same_arrays(final, load_pickle(tmp_path / "run/NONLOCAL_epoch1.pdparams"))


def test_max_iter_ends_training_and_the_phases_go_by_iteration(monkeypatch, tmp_path, config):
    assert (
        train(monkeypatch, config, tmp_path / "run", "-o", "TRAIN.max_iter=5", "-o", "TRAIN.step_sizes=[2, 2, 1]") == 0
    )
    rates = [row["learning_rate"] for row in rows(tmp_path / "run", "train")]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001])


def test_a_learning_rate_of_zero_trains_with_zero(monkeypatch, tmp_path, config):
    first = tmp_path / "first/NONLOCAL.pdparams"
    assert train(monkeypatch, config, tmp_path / "first", "-o", "TRAIN.max_iter=1", "--valid_interval=0") == 0
    flags = ["--learning_rate=0", f"--pretrain={first}", "--epoch=1", "--valid_interval=0"]
    assert train(monkeypatch, config, tmp_path / "run", *flags) == 0
    assert [row["learning_rate"] for row in rows(tmp_path / "run", "train")] == [0.0, 0.0, 0.0]
    before, after = load_pickle(first), load_pickle(tmp_path / "run/NONLOCAL.pdparams")
    same = [name for name in before if not name.endswith(("_mean", "_variance"))]
    assert same_arrays({name: before[name] for name in same}, {name: after[name] for name in same})


@pytest.mark.parametrize("flag", ["--epoch=0", "--batch_size=0", "--epoch=-1"])
def test_zero_epochs_and_clips_are_refused_in_one_line(monkeypatch, tmp_path, config, capsys, flag):
    assert train(monkeypatch, config, tmp_path / "run", flag) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    name, _, value = flag[2:].partition("=")
    assert error == f"error: --{name}: TRAIN.{name}: {value} must be at least 1"
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_equals_a_straight_one_bit_for_bit_with_other_workers(monkeypatch, tmp_path, config):
    long = ["-o", "TRAIN.epoch=3"]
    assert train(monkeypatch, config, tmp_path / "straight", *long) == 0
    assert train(monkeypatch, config, tmp_path / "broken", *long, "-o", "TRAIN.max_iter=4") == 0
    for name in ("NONLOCAL.pdparams", "NONLOCAL_best.pdparams"):
        (tmp_path / "broken" / name).unlink()
    more = ["--resume=auto", "-o", "TRAIN.num_reader_threads=2"]
    assert train(monkeypatch, config, tmp_path / "broken", *long, *more) == 0
    straight = load_pickle(tmp_path / "straight/NONLOCAL.pdparams")
    assert same_arrays(straight, load_pickle(tmp_path / "broken/NONLOCAL.pdparams"))
    losses = [[(r["iteration"], r["loss"]) for r in rows(tmp_path / d, "train")] for d in ("straight", "broken")]
    assert [i for i, _ in losses[1]] == list(range(1, 10))
    assert losses[0][6:] == losses[1][6:]  # the epoch after the break: its mean starts again in both


def test_two_seeds_differ_and_one_seed_does_not(monkeypatch, tmp_path, config):
    for name, flags in (("a", []), ("b", []), ("c", ["-o", "TRAIN.seed=1"])):
        assert train(monkeypatch, config, tmp_path / name, "-o", "TRAIN.max_iter=2", "--valid_interval=0", *flags) == 0
    a, b, c = (load_pickle(tmp_path / name / "NONLOCAL.pdparams") for name in "abc")
    assert same_arrays(a, b) and not same_arrays(a, c)


def test_pretrained_weights_of_other_classes_leave_the_head_out(monkeypatch, tmp_path, videos, config, capsys):
    assert train(monkeypatch, config, tmp_path / "first", "-o", "TRAIN.max_iter=1") == 0
    other = tmp_path / "other"
    other.mkdir()
    two = tiny_config(other, write_list(other / "list.txt", [(p, n % 2) for n, (p, _) in enumerate(videos)]), 2)
    flags = [f"--pretrain={tmp_path / 'first/NONLOCAL.pdparams'}", "-o", "TRAIN.learning_rate=0.0"]
    assert train(monkeypatch, two, other / "run", *flags, "-o", "TRAIN.max_iter=1") == 0
    assert "head" in capsys.readouterr().out
    old, new = (load_pickle(p / "NONLOCAL.pdparams") for p in (tmp_path / "first", other / "run"))
    assert np.array_equal(old["stage4.nl1.theta.weight"], new["stage4.nl1.theta.weight"])
    assert new["head.weight"].shape[1] == 2


def test_a_broken_training_video_is_replaced_named_and_counted(monkeypatch, tmp_path, videos, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(videos[0][0].read_bytes()[:100])
    config = tiny_config(tmp_path, write_list(tmp_path / "list.txt", [*videos, (broken, 1)]))
    flags = ["-o", "TRAIN.epoch=1", "-o", "READER.max_broken_share=0.5"]
    assert train(monkeypatch, config, tmp_path / "run", *flags) == 0
    out = capsys.readouterr().out
    assert "broken.mp4" in out and "1 of 7 training videos are broken" in out and "1 broken)" in out
    assert rows(tmp_path / "run", "train")[-1]["num_clips"] == 7
    assert train(monkeypatch, config, tmp_path / "run2", "-o", "TRAIN.epoch=1") == 1
    assert "max_broken_share" in capsys.readouterr().err


def test_a_loss_that_is_no_number_names_the_videos_and_stops(monkeypatch, tmp_path, config, capsys):
    assert train(monkeypatch, config, tmp_path / "run", "--learning_rate=1e30") == 1
    error = capsys.readouterr().err
    assert "loss became" in error and "mp4" in error and "learning_rate" in error


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-o", "TRAIN.filelist=none.txt"], ["none.txt"]),
        (["-o", "MODEL.num_classes=2"], ["list.txt:3", "label 2"]),
        (["--pretrain=none.pdparams"], ["none.pdparams"]),
        (["--resume=none"], ["none"]),
        (["--use_gpu=True"], ["--use_gpu=True", "CUDA"]),
        (["--model_name=TSN"], ["TSN"]),
        (["-o", "TRAIN.video_length=3"], ["3 frames", "video_length"]),
        (["--config=none.yaml"], ["none.yaml"]),
    ],
)
def test_bad_input_is_one_line_and_status_2(monkeypatch, tmp_path, config, capsys, flags, words):
    assert train(monkeypatch, config, tmp_path / "run", *flags) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and all(word in error for word in words), error
    assert not list(tmp_path.glob("run/*.pdparams"))


def test_an_unwritable_folder_is_told_before_training(monkeypatch, tmp_path, config, capsys):
    (tmp_path / "file").write_text("")
    assert train(monkeypatch, config, tmp_path / "file") == 1
    assert "cannot write" in capsys.readouterr().err


def test_resume_refuses_another_network(monkeypatch, tmp_path, config, capsys):
    assert train(monkeypatch, config, tmp_path / "run", "-o", "TRAIN.max_iter=1") == 0
    assert train(monkeypatch, config, tmp_path / "run", "--resume=auto", "-o", "RESNETS.stem_channels=8") == 2
    assert "another network" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 100])
def test_any_batch_size_trains_on_all_clips(monkeypatch, tmp_path, config, size):
    assert train(monkeypatch, config, tmp_path / "run", f"--batch_size={size}", "--epoch=1") == 0
    assert rows(tmp_path / "run", "train")[-1]["num_clips"] == 6


def test_sigterm_saves_and_the_run_goes_on_from_there(tmp_path, config):
    command = [
        sys.executable, "train.py", f"--config={config}", f"--save_dir={tmp_path / 'run'}", "-o", "TRAIN.epoch=10000",
        "--log_interval=1", "--valid_interval=0",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("["):
            break
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=120)[1].strip().splitlines()[-1]
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM" in error and "--resume=auto" in error
    assert list((tmp_path / "run").glob("NONLOCAL_iter*.json"))
    assert not [name for name in os.listdir(tmp_path / "run") if name.endswith(".part")]


KILLED_WHILE_WRITING = """
import os, signal
import train
from training import checkpoint
from utils import files
from utils.cli import run
replace = os.replace
def dying(source, target):
    if str(target).endswith("NONLOCAL_iter8.pdparams"):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
files.os.replace = dying
run(train.main)
"""


def test_ten_iterations_equal_four_a_kill_while_the_next_checkpoint_is_written_and_six_more(
    monkeypatch, tmp_path, config
):
    """Iteration 4 lies inside the second epoch of three batches; the moving average is part of the checkpoint."""
    flags = ["-o", "TRAIN.epoch=10", "-o", "TRAIN.ema_decay=0.9", "-o", "TRAIN.checkpoint_interval=4"]
    flags += ["-o", "TRAIN.keep_checkpoints=1"]
    command = [
        sys.executable, "-c", KILLED_WHILE_WRITING, f"--config={config}", f"--save_dir={tmp_path / 'killed'}", *flags,
        "--fix_random_seed=True", "--log_interval=1", "--valid_interval=0",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert "NONLOCAL_iter4.json" in left and "NONLOCAL_iter8.json" not in left, left
    assert any(name.endswith(".part") for name in left)
    flags += ["-o", "TRAIN.max_iter=10", "--valid_interval=0"]
    for path in (tmp_path / "killed").glob("NONLOCAL_epoch*"):
        path.unlink()  # so that it goes on from inside the epoch
    assert train(monkeypatch, config, tmp_path / "killed", "--resume=auto", *flags) == 0
    assert train(monkeypatch, config, tmp_path / "straight", *flags) == 0
    for name in ("NONLOCAL.pdparams", "NONLOCAL_epoch3.pdparams", "NONLOCAL_epoch3.pdopt"):
        one, two = (load_pickle(tmp_path / folder / name) for folder in ("straight", "killed"))
        assert same_arrays(one, two), name
    assert [row["iteration"] for row in rows(tmp_path / "killed", "train")] == list(range(1, 11))
    assert not [name for name in os.listdir(tmp_path / "killed") if name.endswith(".part")]


def test_what_is_trained_is_evaluated_predicted_and_exported_without_naming_a_folder(
    monkeypatch, tmp_path, videos, config, capsys
):
    monkeypatch.chdir(tmp_path)
    base = [f"--config={config}"]
    assert run_script(monkeypatch, "train", *base, "-o", "TRAIN.max_iter=1", "--valid_interval=0") == 0
    capsys.readouterr()
    engine = ["--engine=paddle"]
    for name, flags in (
        ("eval", engine),
        ("predict", [f"--video_path={videos[0][0]}", *engine]),
        ("export", ["--crop_size=32"]),
    ):
        assert run_script(monkeypatch, name, *base, *flags) == 0
        assert "taking data/checkpoints/NONLOCAL.pdparams" in capsys.readouterr().out, name
    zoo = ["-o", "TEST.checkpoint_dir=./output"]  # as the zoo's own file says
    assert run_script(monkeypatch, "eval", *base, *engine, *zoo) == 0
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"/data/checkpoints/", "/data/export/", "/data/predict_results/", "/data/evaluate_results/"} <= set(ignored)


def test_the_run_script_passes_the_zoos_line_on(tmp_path):
    started = time.time()
    env = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    command = ["bash", "run.sh", "train", "NONLOCAL", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "none.yaml" in done.stderr, (done, started)


@pytest.mark.parametrize(
    ("num_gpus", "flags", "is_shared"),
    [("2", [], True), ("1", [], False), ("False", [], False), ("4", ["--use_gpu=False"], False)],
)
def test_the_run_script_starts_a_process_a_gpu_when_there_are_several(tmp_path, num_gpus, flags, is_shared):
    """With a python that only says how it is called and how many GPUs there are."""
    stub = f"""#!/bin/sh
case "$*" in *find_spec*) ;; *device_count*) echo {num_gpus} ;; *) echo "called $@" ;; esac
"""
    for name in ("python3", "nvidia-smi"):
        (tmp_path / name).write_text(stub)
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "run.sh", "train", "NONLOCAL", "a b.yaml", *flags]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    script = "train.py --model_name=NONLOCAL --config=a b.yaml " + " ".join(flags)
    launcher = "-m paddle.distributed.launch --log_dir=output/launch "
    assert done.stdout.strip() == f"called {launcher if is_shared else ''}{script}".strip(), done.stderr
