"""Parts of training that need several ranks, on two of them, against plain loops over what both have seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from paddle import nn

from configs import load_config
from tests.script_runs import ROOT, make_videos, run_script, tiny_config, write_list
from tests.two_ranks import SYNCHRONISED
from training.norms import norms_of
from training.trainer import Trainer
from utils.parallel import MEETING_SECONDS, Ranks
from weights.safe_pickle import load_pickle

GLOO_GIVES_UP_SECONDS = 30  # a message that has begun


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("videos"), 8, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, videos):
    """What tests/two_ranks.py leaves, and its configuration, tiny.yaml."""
    folder = tmp_path_factory.mktemp("ranks")
    config = tiny_config(folder, write_list(folder / "list.txt", videos), batch_size=4, dropout_rate=0.5)
    command = [
        sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node=2", f"--log_dir={folder / 'launch'}",
        "tests/two_ranks.py", str(config), str(folder),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    logs = [path.read_text()[-3000:] for path in sorted((folder / "launch").glob("workerlog.*"))]
    assert done.returncode == 0, (done.stderr[-2000:], *logs)
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    return [
        {**json.loads((folder / f"rank{rank}.json").read_text()), **np.load(folder / f"rank{rank}.npz")}
        for rank in range(2)
    ]


def test_running_statistics_and_their_average_are_the_same_on_all_ranks(ranks):
    names = [name for name in ranks[0] if name.startswith(("model/", "average/"))]
    assert len(names) > 40
    for name in names:
        np.testing.assert_array_equal(ranks[0][name], ranks[1][name], err_msg=name)
    assert (ranks[0]["model/stem.bn._mean"] != ranks[0]["average/stem.bn._mean"]).any()


def test_running_statistics_move_by_the_mean_of_the_ranks_own(ranks, videos):
    """The first norm's: momentum times the old mean, and the rest of it the mean over ranks of their batch's."""
    import paddle

    from models import build_model

    means = []
    folder = videos[0][0].parent
    config = tiny_config(folder, write_list(folder / "list.txt", videos), batch_size=4)
    paddle.seed(0)
    resolved = load_config(config)
    weight = build_model(resolved).stem.conv.weight
    for rank in ranks:
        pads = [size // 2 for size in weight.shape[2:]]
        seen = paddle.nn.functional.conv3d(paddle.to_tensor(rank["clips"]), weight, stride=[1, 2, 2], padding=pads)
        means.append(seen.numpy().mean((0, 2, 3, 4)))
    assert np.abs(means[0] - means[1]).max() > 1e-3
    momentum = 0.9
    expected = momentum * ranks[0]["stem.before"] + (1 - momentum) * np.mean(means, 0)
    np.testing.assert_allclose(ranks[0]["stem.after"], expected, rtol=1e-4, atol=1e-6)


def test_precise_statistics_are_those_of_all_clips_of_all_ranks(ranks):
    seen = np.concatenate([rank["precise.seen"] for rank in ranks]).astype(np.float64)
    assert len(seen) == (5 + 1 + 2) + (1 + 2)
    for rank in ranks:
        np.testing.assert_allclose(rank["precise.mean"], seen.mean((0, 2, 3)), rtol=1e-5)
        np.testing.assert_allclose(rank["precise.variance"], seen.var((0, 2, 3)), rtol=1e-4)


def test_each_rank_draws_dropout_of_its_own_in_each_step(ranks):
    assert len({*ranks[0]["seeds"], *ranks[1]["seeds"]}) == 4


def test_broken_videos_of_all_ranks_count_together(ranks):
    for rank in ranks:
        assert rank["broken"].startswith("RunError: 2 of 8 training videos are broken"), rank["broken"]


def test_a_loss_that_is_no_number_on_one_rank_ends_all(ranks):
    assert all(rank["loss"].startswith("RunError: the loss became") and ".mp4" in rank["loss"] for rank in ranks)


def test_a_signal_to_one_rank_stops_all(ranks):
    assert [rank["must_stop"] for rank in ranks] == [True, True]


def test_a_checkpoint_that_cannot_be_written_is_announced_by_no_rank_and_ends_all(ranks):
    assert all(rank["disk"].startswith("RunError: cannot write") for rank in ranks)
    assert [rank["announced"] for rank in ranks] == [None, None]


def test_a_message_begins_when_all_ranks_are_there_so_that_gloo_does_not_give_up(ranks):
    """All times are of one clock."""
    assert [rank["late"] for rank in ranks] == ["", ""]
    assert min(rank["gloo's start"] for rank in ranks) >= max(rank["arrival"] for rank in ranks)
    assert MEETING_SECONDS > 10 * GLOO_GIVES_UP_SECONDS


@pytest.mark.parametrize("name", SYNCHRONISED)
def test_synchronised_norms_train_two_ranks_as_one_with_the_whole_batch(monkeypatch, tmp_path, folder, name):
    flags = [f"--config={folder / 'tiny.yaml'}", "--fix_random_seed=True", "-o", "TRAIN.seed=0"]
    flags += [f"--override={override}" for override in SYNCHRONISED[name]]
    assert run_script(monkeypatch, "train", *flags, f"--save_dir={tmp_path}") == 0
    one, two = (load_pickle(path / "NONLOCAL.pdparams") for path in (tmp_path, folder / name))
    for key in one:
        np.testing.assert_allclose(two[key], one[key], rtol=1e-3, atol=1e-5, err_msg=key)
    is_moved = {key for key in one if key.endswith("._mean") and one[key].any()}
    assert any(key.startswith("stage5.") for key in is_moved) == (name != "norms frozen")
    assert any(key.startswith(("stem.", "stage2.")) for key in is_moved) == (name == "all trained")


class TwoAlike(Ranks):
    """Two ranks that always say the same."""

    def all_reduce(self, array):
        return 2 * array

    def all_gather(self, value):
        return [value, value]


def test_frozen_norms_are_those_of_the_network_also_where_synchronising_makes_new_ones(monkeypatch, tmp_path, videos):
    """As Paddle's conversion for GPUs does; the layers can be made here, not called."""
    monkeypatch.setattr(
        "training.trainer.synchronise", lambda model, device: nn.SyncBatchNorm.convert_sync_batchnorm(model)
    )
    config = tiny_config(tmp_path, write_list(tmp_path / "list.txt", videos), batch_size=4, sync_bn=True)
    config = load_config(config, ["TRAIN.freeze=[stem]", "TRAIN.freeze_norms=True"])
    trainer = Trainer(config, str(tmp_path / "run"), ranks=TwoAlike(0, 2))
    norms = norms_of(trainer.model)
    assert len(norms) == 25 and all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert {id(norm) for norm in trainer.frozen_norms} == {id(norm) for norm in norms}
