"""What a run leaves, whenever and however it was stopped: the same as one that never was."""

from __future__ import annotations

import functools
import json
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from configs import load_config
from datareader import build_train_loader, read_list
from models import build_model
from tests.script_runs import ROOT, make_videos, run_script, tiny_config, write_list
from training import interrupt, trainer
from training.checkpoint import read_states
from weights.safe_pickle import load_pickle


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("videos"), 6, 3)


@pytest.fixture
def config(tmp_path, videos):
    """Three steps an epoch."""
    return tiny_config(tmp_path, write_list(tmp_path / "list.txt", videos))


def train(monkeypatch, config, save_dir, *flags: str) -> int:
    """The exit status; flags without a dash in front are configuration keys."""
    flags = [part for flag in flags for part in ([flag] if flag.startswith("-") else ["-o", flag])]
    return run_script(
        monkeypatch, "train", f"--config={config}", f"--save_dir={save_dir}", "--log_interval=1", *flags
    )  # fmt: skip


FIXED = "--fix_random_seed=True"
NO_VALIDATION = "--valid_interval=0"


def rows(save_dir, kind) -> list[dict]:
    lines = (save_dir / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def arrays(save_dir, name="NONLOCAL.pdparams") -> dict:
    return load_pickle(save_dir / name)


def assert_same(one: dict, two: dict) -> None:
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


@pytest.fixture
def top1_of_epochs(monkeypatch):
    """Validations that find what the test says, in order."""
    metrics: list[float] = []

    def validate(*args):
        return {"top1": metrics.pop(0), "top5": 100.0, "loss": 1.0, "num_clips": 6, "num_broken": 0}

    monkeypatch.setattr(trainer, "validate", validate)
    return metrics


# A used folder, and whose files are whose


def test_a_used_folder_is_refused_with_the_three_ways_on(monkeypatch, tmp_path, config, capsys):
    assert train(monkeypatch, config, tmp_path / "run", "TRAIN.max_iter=2", NO_VALIDATION) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.*")}
    capsys.readouterr()
    assert train(monkeypatch, config, tmp_path / "run", "TRAIN.max_iter=1", NO_VALIDATION) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert all(way in error for way in ("--resume=auto", "another --save_dir", "--overwrite")), error
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.*")} == before


def test_overwrite_deletes_the_earlier_run_and_nothing_of_the_new_one(monkeypatch, tmp_path, config):
    run = tmp_path / "run"
    assert train(monkeypatch, config, run, FIXED, "TRAIN.epoch=4") == 0
    (run / "notes.txt").write_text("mine")
    (run / "clips_epoch3.png").write_bytes(b"of an earlier version")
    assert train(monkeypatch, config, run, FIXED, "--overwrite", "TRAIN.seed=1") == 0
    assert [name for name, _ in read_states(run)] == ["NONLOCAL_epoch0", "NONLOCAL_epoch1"]
    assert (run / "notes.txt").exists() and not (run / "clips_epoch3.png").exists()
    assert [row["iteration"] for row in rows(run, "train")] == [1, 2, 3, 4, 5, 6]
    assert train(monkeypatch, config, tmp_path / "other", FIXED, "TRAIN.seed=1") == 0
    assert_same(arrays(run), arrays(tmp_path / "other"))
    assert train(monkeypatch, config, run, "--overwrite", "--resume=auto") == 2


def test_auto_does_not_begin_again_over_damaged_checkpoints(monkeypatch, tmp_path, config, capsys):
    assert train(monkeypatch, config, tmp_path / "run", "TRAIN.max_iter=2", NO_VALIDATION) == 0
    for path in (tmp_path / "run").glob("*.pdopt"):
        path.write_bytes(b"damaged")
    assert train(monkeypatch, config, tmp_path / "run", "--resume=auto") == 2
    assert "no good checkpoint" in capsys.readouterr().err.splitlines()[-1]


def test_a_rewound_run_keeps_what_it_saves_and_auto_goes_on_from_it(monkeypatch, tmp_path, config):
    run = tmp_path / "run"
    keys = ["TRAIN.epoch=4", NO_VALIDATION, "TRAIN.checkpoint_interval=2", FIXED]
    assert train(monkeypatch, config, run, *keys) == 0
    assert [name for name, _ in read_states(run)][-1] == "NONLOCAL_epoch3"
    kept = [f"--resume={run / 'NONLOCAL_epoch1'}", "TRAIN.max_iter=8"]
    assert train(monkeypatch, config, run, *keys, *kept) == 0
    assert [(name, state["iteration"]) for name, state in read_states(run)][-1] == ("NONLOCAL_epoch2", 8)
    assert train(monkeypatch, config, run, *keys, "--resume=auto", "TRAIN.max_iter=9") == 0
    assert rows(run, "train")[-1]["iteration"] == 9


def test_pruning_leaves_the_checkpoints_of_other_runs(monkeypatch, tmp_path, config):
    one, two = tmp_path / "one", tmp_path / "two"
    assert train(monkeypatch, config, one, NO_VALIDATION, "TRAIN.epoch=1") == 0
    two.mkdir()
    for path in one.glob("NONLOCAL_epoch0.*"):
        shutil.copy(path, two / path.name.replace("epoch0", "epoch90"))
    keys = [NO_VALIDATION, "TRAIN.keep_checkpoints=2", "TRAIN.epoch=4"]
    assert train(monkeypatch, config, two, *keys) == 2
    (two / "NONLOCAL_epoch90.json").rename(two / "aside")
    (two / "NONLOCAL_epoch90.pdparams").rename(two / "aside2")
    assert train(monkeypatch, config, two, *keys, "TRAIN.epoch=1") == 0
    (two / "aside").rename(two / "NONLOCAL_epoch90.json")
    (two / "aside2").rename(two / "NONLOCAL_epoch90.pdparams")
    assert train(monkeypatch, config, two, *keys, f"--resume={two / 'NONLOCAL_epoch0'}") == 0
    assert {name for name, _ in read_states(two)} == {"NONLOCAL_epoch90", "NONLOCAL_epoch2", "NONLOCAL_epoch3"}


# The end of an epoch and of the run


def test_the_same_line_again_on_a_finished_run_changes_no_file(monkeypatch, tmp_path, config, capsys):
    run = tmp_path / "run"
    keys = [FIXED, "TRAIN.ema_decay=0.9", "TRAIN.precise_bn_batches=2", "--resume=auto"]
    assert train(monkeypatch, config, run, *keys) == 0
    before = {path.name: path.read_bytes() for path in run.glob("NONLOCAL*")}
    validations = rows(run, "valid")
    assert train(monkeypatch, config, run, *keys) == 0
    assert "to its end" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in run.glob("NONLOCAL*")} == before
    (run / "NONLOCAL.pdparams").unlink()
    assert train(monkeypatch, config, run, *keys) == 0
    assert (run / "NONLOCAL.pdparams").read_bytes() == before["NONLOCAL.pdparams"]
    assert rows(run, "valid") == validations


def test_the_checkpoint_of_an_epoch_is_there_before_its_validation(monkeypatch, tmp_path, config):
    seen = []

    def validate(*args):
        seen.append(read_states(tmp_path / "run")[-1][1]["iteration"])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "validate", validate)
        assert train(monkeypatch, config, tmp_path / "run", FIXED) == 130
    assert seen == [3]
    assert train(monkeypatch, config, tmp_path / "run", FIXED, "--resume=auto") == 0
    assert train(monkeypatch, config, tmp_path / "straight", FIXED) == 0
    assert [row["iteration"] for row in rows(tmp_path / "run", "valid")] == [3, 6]
    for name in ("NONLOCAL.pdparams", "NONLOCAL_best.pdparams"):
        assert_same(arrays(tmp_path / "run", name), arrays(tmp_path / "straight", name))


def test_a_run_resumed_inside_an_epoch_has_the_precise_norms_and_rows_of_a_straight_one(monkeypatch, tmp_path, config):
    keys = [FIXED, "TRAIN.precise_bn_batches=2", "TRAIN.ema_decay=0.9", "TRAIN.checkpoint_interval=4"]
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    assert train(monkeypatch, config, straight, *keys) == 0
    assert train(monkeypatch, config, resumed, *keys, f"--resume={straight / 'NONLOCAL_iter4'}") == 0
    assert_same(arrays(straight), arrays(resumed))
    assert_same(arrays(straight, "NONLOCAL_epoch1.pdparams"), arrays(resumed, "NONLOCAL_epoch1.pdparams"))
    for key in ("iteration", "loss", "top1"):
        assert [row[key] for row in rows(straight, "train")][4:] == [row[key] for row in rows(resumed, "train")]


def test_precise_norms_are_for_evaluation_and_leave_the_trained_network_as_it_is(monkeypatch, tmp_path, config):
    for name, batches in (("plain", 0), ("precise", 2)):
        keys = [FIXED, f"TRAIN.precise_bn_batches={batches}", NO_VALIDATION]
        assert train(monkeypatch, config, tmp_path / name, *keys) == 0
    one, two = (arrays(tmp_path / name, "NONLOCAL_epoch1.pdparams") for name in ("plain", "precise"))
    assert_same(one, two)


def test_only_the_newest_epochs_are_kept_or_all(monkeypatch, tmp_path, config):
    for keep, names in ((2, ["NONLOCAL_epoch2", "NONLOCAL_epoch3"]), (0, [f"NONLOCAL_epoch{i}" for i in range(4)])):
        run = tmp_path / f"keep{keep}"
        assert train(monkeypatch, config, run, "TRAIN.epoch=4", NO_VALIDATION, f"TRAIN.keep_checkpoints={keep}") == 0
        assert [name for name, _ in read_states(run)] == names


def test_validations_come_every_so_many_epochs_and_at_the_end(monkeypatch, tmp_path, config):
    assert train(monkeypatch, config, tmp_path / "run", "TRAIN.epoch=5", "--valid_interval=2") == 0
    assert [row["epoch"] for row in rows(tmp_path / "run", "valid")] == [1, 3, 4]


# Checkpoints of earlier versions


def test_a_checkpoint_of_an_earlier_version_is_resumed_to_the_end_that_that_version_reached(monkeypatch, tmp_path):
    """Written by commit 397e095 inside the second epoch; that commit's end of the run is in expected/."""
    folder = shutil.copytree(ROOT / "tests/golden/training", tmp_path / "run of an earlier version")
    monkeypatch.chdir(folder)
    assert train(monkeypatch, "tiny.yaml", folder / "end", f"--resume={folder / 'NONLOCAL_iter4'}") == 0
    expected, found = arrays(folder / "expected"), arrays(folder / "end")
    assert expected.keys() == found.keys()
    before = arrays(folder, "NONLOCAL_iter4.pdparams")
    for name, array in expected.items():  # on another processor the last bits differ
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-6, err_msg=name)
    assert np.abs(before["head.weight"] - expected["head.weight"]).max() > 1e-3
    for kind, names in (("train", ("loss", "top1", "gradient_norm")), ("valid", ("loss", "top1", "num_broken"))):
        old, new = rows(folder / "expected", kind), rows(folder / "end", kind)
        assert [row["iteration"] for row in old] == [row["iteration"] for row in new]
        for name in names:
            assert [row[name] for row in new] == pytest.approx([row[name] for row in old], rel=1e-4), name
    state = read_states(folder / "end")[-1][1]
    assert (state["iteration"], state["seed"], state["best_metric"]) == (6, 7, pytest.approx(100 / 3))
    assert not (folder / "end/NONLOCAL_best.pdparams").exists()  # the first epoch was as good


# The best weights


def test_the_best_weights_are_those_of_the_first_best_validation_also_over_a_resumption(
    monkeypatch, tmp_path, config, top1_of_epochs
):
    run = tmp_path / "run"
    top1_of_epochs += [40.0, 50.0, 50.0]
    keep = "TRAIN.keep_checkpoints=0"
    assert train(monkeypatch, config, run, FIXED, "TRAIN.epoch=3", keep) == 0
    best = arrays(run, "NONLOCAL_best.pdparams")
    assert_same(best, arrays(run, "NONLOCAL_epoch1.pdparams"))
    top1_of_epochs += [45.0]
    assert train(monkeypatch, config, run, "TRAIN.epoch=4", "--resume=auto", keep) == 0
    assert_same(best, arrays(run, "NONLOCAL_best.pdparams"))
    top1_of_epochs += [55.0]
    assert train(monkeypatch, config, run, "TRAIN.epoch=5", "--resume=auto", keep) == 0
    assert_same(arrays(run, "NONLOCAL_best.pdparams"), arrays(run, "NONLOCAL_epoch4.pdparams"))


def test_best_and_last_weights_are_the_average_by_its_formula(monkeypatch, tmp_path, config, top1_of_epochs):
    """The weights after each step come from runs that end there."""
    steps, decay = 4, 0.16
    top1_of_epochs += [50.0] * 10
    for last in range(1, steps + 1):
        keys = [FIXED, f"TRAIN.max_iter={last}", f"TRAIN.ema_decay={decay}"]
        assert train(monkeypatch, config, tmp_path / f"{last}", *keys) == 0
    resolved = load_config(config)
    paddle.seed(resolved.TRAIN.seed)
    expected = {name: tensor.numpy() for name, tensor in build_model(resolved).state_dict().items()}
    published = {}
    for last in range(1, steps + 1):
        t, own = last - 1, arrays(tmp_path / f"{last}", f"NONLOCAL_epoch{(last - 1) // 3}.pdparams")
        d = min(decay, (1 + t) / (10 + t))
        expected = {name: d * expected[name] + (1 - d) * own[name] for name in own}
        published = arrays(tmp_path / f"{last}")
        for name in expected:
            np.testing.assert_allclose(published[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    best = arrays(tmp_path / f"{steps}", "NONLOCAL_best.pdparams")  # of the first epoch, three steps
    assert_same(best, arrays(tmp_path / "3"))
    assert not np.array_equal(best["head.weight"], published["head.weight"])


def test_published_norms_are_precise_and_those_of_the_checkpoint_run(monkeypatch, tmp_path, config):
    """The first norm sees the first convolution of the clips, so its statistics follow from the clips alone."""
    run = tmp_path / "run"
    batches = 2
    assert train(monkeypatch, config, run, FIXED, "TRAIN.epoch=1", f"TRAIN.precise_bn_batches={batches}") == 0
    published, own = arrays(run), arrays(run, "NONLOCAL_epoch0.pdparams")
    resolved = load_config(config)
    loader = build_train_loader(resolved, read_list(resolved.TRAIN.filelist, 3), seed=resolved.TRAIN.seed)
    clips = np.concatenate([batch.clips for _, batch in zip(range(batches), loader)])
    loader.close()
    weight = paddle.to_tensor(own["stem.conv.weight"])  # [c, 3, t, h, w]
    pads = [size // 2 for size in weight.shape[2:]]
    seen = paddle.nn.functional.conv3d(paddle.to_tensor(clips), weight, stride=[1, 2, 2], padding=pads).numpy()
    seen = seen.astype(np.float64)
    np.testing.assert_allclose(published["stem.bn._mean"], seen.mean((0, 2, 3, 4)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(published["stem.bn._variance"], seen.var((0, 2, 3, 4)), rtol=1e-3)
    assert np.abs(own["stem.bn._mean"] - published["stem.bn._mean"]).max() > 1e-3


# Seeds and counts


def test_a_drawn_seed_stays_with_the_run(monkeypatch, tmp_path, config):
    run = tmp_path / "run"
    keys = [NO_VALIDATION, "TRAIN.epoch=2"]
    assert train(monkeypatch, config, run, *keys, "TRAIN.max_iter=2") == 0
    seed = read_states(run)[-1][1]["seed"]
    assert train(monkeypatch, config, run, *keys, "--resume=auto") == 0
    assert train(monkeypatch, config, tmp_path / "fixed", *keys, FIXED, f"TRAIN.seed={seed}") == 0
    assert_same(arrays(run), arrays(tmp_path / "fixed"))


def test_broken_videos_before_a_stop_count_after_it(monkeypatch, tmp_path, videos, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(videos[0][0].read_bytes()[:100])
    config = tiny_config(tmp_path, write_list(tmp_path / "list.txt", [*videos, (broken, 1)]), batch_size=1)
    keys = [FIXED, NO_VALIDATION, "TRAIN.epoch=1", "READER.max_broken_share=0.1"]
    assert train(monkeypatch, config, tmp_path / "run", *keys, "TRAIN.checkpoint_interval=6") == 1
    assert "max_broken_share" in capsys.readouterr().err
    for path in (tmp_path / "run").glob("NONLOCAL_epoch0*"):
        path.unlink()
    assert train(monkeypatch, config, tmp_path / "run", *keys, "--resume=auto") == 1
    assert "max_broken_share" in capsys.readouterr().err


# Signals, with the cells of tools/torture_training.py


HANGING_SECONDS = 1200  # a minute on a quiet machine
STOPS = {
    1: ["SIGINT, step", "SIGTERM, validation", "SIGTERM twice, step", "SIGKILL, save of an epoch"],
    2: ["SIGINT to the group, save of an epoch", "SIGTERM to rank 1, last step of an epoch"],
}


@pytest.fixture(scope="module")
def results_of():
    """Results of the cells STOPS of one number of processes; the tool sends its signals from a process of its own."""

    @functools.cache
    def results(count: int) -> dict[str, str]:
        command = [sys.executable, "tools/torture_training.py", f"--processes={count}", "--only", *STOPS[count]]
        said = run_apart(command)
        lines = [line.split(" | ", 3) for line in said.stdout.splitlines() if line.startswith(f"{count} | ")]
        assert len(lines) == len(STOPS[count]), (said.stdout, said.stderr)
        return {f"{name}, {moment}": result for _, name, moment, result in lines}

    return results


def run_apart(command: list[str]) -> subprocess.CompletedProcess:
    """Run a command in a session of its own, which signals to its group do not leave."""
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, start_new_session=True, timeout=HANGING_SECONDS
    )


@pytest.mark.timeout(HANGING_SECONDS + 20)
@pytest.mark.skipif(sys.platform != "linux", reason="counts the children of processes in /proc")
@pytest.mark.parametrize(("count", "cell"), [(count, cell) for count in STOPS for cell in STOPS[count]])
def test_a_stopped_run_loses_nothing_it_announced_and_goes_on_as_if_never_stopped(results_of, count, cell):
    result = results_of(count)[cell]
    assert result.startswith("right"), result
    if cell.startswith(("SIGINT", "SIGTERM,", "SIGTERM to")):  # they save before they end
        stopped, resumed = (int("".join(filter(str.isdigit, part))) for part in result.split(","))
        assert resumed >= stopped, result


@pytest.mark.parametrize(("is_launched", "end"), [(True, 100.0 + interrupt.SAME_REQUEST_SECONDS), (False, 100.5)])
def test_only_a_launchers_repetitions_count_as_one_signal(monkeypatch, is_launched, end):
    """Signals that are sent are the cells' above; here the handler is called, and its end of the process noted."""
    now, ends = [100.0], []
    monkeypatch.setattr(interrupt, "time", SimpleNamespace(monotonic=lambda: now[0]))
    calls = {"signal": lambda number, handler: None, "raise_signal": lambda number: ends.append(now[0])}
    monkeypatch.setattr(interrupt, "signal", SimpleNamespace(**{**vars(signal), **calls}))
    with interrupt.Interruption(is_launched) as interruption:
        for now[0] in (100.0, 100.5, 100.0 + interrupt.SAME_REQUEST_SECONDS):
            if not ends:
                interruption._note(signal.SIGTERM, None)
    assert ends == [end]


READER = """
import os, signal, sys
from datareader.requests import ReaderSettings, ViewFrames
from datareader.workers import ProcessReader
signal.signal(signal.SIGTERM, lambda *_: None)  # a handler is not inherited
reader = ProcessReader()
request = ViewFrames(sys.argv[1], 1, 4, 1, 32, ReaderSettings())
reader.run(request)
before = reader.process.pid
os.killpg(0, signal.SIGTERM)
reader.run(request)
print(before == reader.process.pid)
reader.close()
"""


def test_a_signal_to_the_runs_group_does_not_reach_its_reading_processes(videos):
    """A reader that ended would cost a clip: the checkpoint saved next would not be that of a straight run."""
    command = [sys.executable, "-c", READER, str(videos[0][0])]
    done = run_apart(command)
    assert done.stdout.strip() == "True", done.stderr
