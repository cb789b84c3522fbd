from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from training import checkpoint
from training.checkpoint import (
    check_writable,
    find_checkpoint,
    load_checkpoint,
    newest_checkpoint,
    only_writer,
    prune_checkpoints,
    save_checkpoint,
)
from utils.errors import RunError, UserError

WEIGHTS = {"stem.conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}


def save(folder, iteration, **state):
    name = f"NONLOCAL_epoch{iteration}"
    return save_checkpoint(
        folder, name, WEIGHTS, {"stem.conv.weight": WEIGHTS["stem.conv.weight"] * 2}, {"iteration": iteration, **state}
    )


def test_a_checkpoint_comes_back_bit_for_bit_under_the_zoos_names(tmp_path):
    prefix = save(tmp_path, 3, seed=7)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"NONLOCAL_epoch3{s}" for s in (".json", ".pdopt", ".pdparams")
    ]
    loaded = load_checkpoint(prefix)
    assert loaded.state["seed"] == 7
    np.testing.assert_array_equal(loaded.weights["stem.conv.weight"], WEIGHTS["stem.conv.weight"])
    np.testing.assert_array_equal(loaded.optimiser_state["stem.conv.weight"], 2 * WEIGHTS["stem.conv.weight"])


def test_paddle_itself_reads_the_files(tmp_path):
    paddle = pytest.importorskip("paddle")
    prefix = save(tmp_path, 3)
    np.testing.assert_array_equal(
        np.asarray(paddle.load(f"{prefix}.pdparams")["stem.conv.weight"]), WEIGHTS["stem.conv.weight"]
    )


@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt", ".json"])
def test_a_damaged_newest_is_named_and_the_one_before_is_taken(tmp_path, suffix):
    save(tmp_path, 1)
    damaged = Path(f"{save(tmp_path, 2)}{suffix}")
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    if suffix == ".json":
        data = data[: len(data) // 2]
    damaged.write_bytes(data)
    said = []
    assert newest_checkpoint(tmp_path, said.append).state["iteration"] == 1
    assert suffix == ".json" or (len(said) == 1 and f"NONLOCAL_epoch2{suffix} is damaged" in said[0])


def test_a_full_disk_leaves_the_checkpoint_of_that_name_whole(tmp_path, monkeypatch):
    prefix = save(tmp_path, 1, seed=1)

    def full(arrays, stream, protocol):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.pickle, "dump", full)
    with pytest.raises(RunError, match="No space left"):
        save(tmp_path, 1, seed=2)
    assert load_checkpoint(prefix).state["seed"] == 1
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("ending", ["", ".pdparams", ".pdopt", ".json"])
def test_resume_takes_a_checkpoint_with_or_without_its_suffix(tmp_path, ending):
    assert find_checkpoint(f"{save(tmp_path, 4)}{ending}", "elsewhere").state["iteration"] == 4


def test_resume_takes_a_folder_or_auto(tmp_path):
    for iteration in (2, 10, 9):
        save(tmp_path, iteration)
    assert find_checkpoint(str(tmp_path), "elsewhere").state["iteration"] == 10
    assert find_checkpoint("auto", str(tmp_path)).state["iteration"] == 10
    assert find_checkpoint("auto", str(tmp_path / "none")) is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no good checkpoint"):
        find_checkpoint(str(tmp_path / "empty"), "elsewhere")
    with pytest.raises(UserError, match="missing"):
        find_checkpoint(str(tmp_path / "NONLOCAL_epoch77"), "elsewhere")


def test_only_the_newest_are_kept(tmp_path):
    for iteration in (1, 2, 10):
        save(tmp_path, iteration)
    prune_checkpoints(tmp_path, "NONLOCAL_epoch", 0)
    assert len(list(tmp_path.glob("*.json"))) == 3
    prune_checkpoints(tmp_path, "NONLOCAL_epoch", 2)
    assert sorted(p.stem for p in tmp_path.glob("*.pdparams")) == ["NONLOCAL_epoch10", "NONLOCAL_epoch2"]
    assert len(list(tmp_path.iterdir())) == 6


def test_a_state_that_is_no_state_is_refused(tmp_path):
    prefix = save(tmp_path, 1)
    for text in ("[]", "{}", json.dumps({"sha256": 3, "iteration": 1}), "{"):
        Path(f"{prefix}.json").write_text(text)
        with pytest.raises(UserError, match="NONLOCAL_epoch1.json"):
            load_checkpoint(prefix)


def test_a_folder_has_one_run_that_writes(tmp_path):
    part = tmp_path / ".NONLOCAL_iter8.pdparams.x.part"
    part.write_text("half")
    with only_writer(tmp_path):
        assert not part.exists()
        with pytest.raises(RunError, match=f"process {os.getpid()} of another run"), only_writer(tmp_path):
            pass
    with only_writer(tmp_path):
        pass


def test_too_little_space_is_told_before_the_run(tmp_path):
    check_writable(str(tmp_path), 1)
    with pytest.raises(RunError, match="free space"):
        check_writable(str(tmp_path), 1 << 60)


def test_a_kill_while_a_checkpoint_of_the_same_name_is_replaced_leaves_one_of_them(tmp_path, monkeypatch):
    """Killed before each of the three files in turn; a kill runs nothing more, so nothing is cleaned up either."""
    replace = os.replace

    def save(folder, iteration, seed):
        arrays = {"stem.conv.weight": np.full(3, seed, np.float32)}
        save_checkpoint(folder, "NONLOCAL_epoch1", arrays, arrays, {"iteration": iteration, "seed": seed})

    for number in range(3):
        folder = tmp_path / str(number)
        save(folder, 1, seed=1)
        calls = iter(range(10))

        def dying(source, target, calls=calls, number=number):
            if next(calls) == number:
                os._exit(9)
            replace(source, target)

        child = os.fork()
        if child == 0:
            monkeypatch.setattr(checkpoint.os, "replace", dying)
            save(folder, 1, seed=2)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert newest_checkpoint(folder, lambda _: None).state["seed"] == 1
        save(folder, 1, seed=3)
        assert newest_checkpoint(folder).state["seed"] == 3
        assert len(list(folder.glob("NONLOCAL*"))) == 3
