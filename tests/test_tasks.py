from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from sklearn.metrics import average_precision_score

from configs.schema import Config
from datareader.lists import VideoItem
from tasks import TASKS, build_task
from tasks.classification import Classification
from tasks.multi_label import MultiLabel
from tests.script_runs import make_videos, run_script, tiny_config, write_list
from training.trainer import validation_result
from utils.errors import UserError
from utils.parallel import Ranks

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((4, 3)).astype(np.float32)


class Clips(SimpleNamespace):
    def __len__(self):
        return len(self.label)


def test_the_key_chooses():
    config = Config()
    assert isinstance(build_task(config), Classification)
    config.MODEL.multi_label = True
    assert isinstance(build_task(config), MultiLabel)
    config.MODEL.task = "classification"
    assert isinstance(build_task(config), Classification)


def test_cross_entropy_of_hard_and_soft_targets():
    task = Classification(3)
    targets = task.targets(Clips(label=np.array([2, 0, 1, 1])))
    np.testing.assert_array_equal(targets, np.eye(3)[[2, 0, 1, 1]])
    soft = (targets + 0.5) / 2.5
    logs = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    for some in (targets, soft):
        loss = task.loss(paddle.to_tensor(LOGITS), paddle.to_tensor(some.astype(np.float32)))
        assert loss.item() == pytest.approx(-(some * logs).sum(1).mean(), rel=1e-5)


def test_binary_cross_entropy_of_several_labels():
    task = MultiLabel(3)
    clips = Clips(label=np.array([0, 1, -1, 2]), labels=[(0, 2), (1,), (), (2,)])
    targets = task.targets(clips)
    np.testing.assert_array_equal(targets, [[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]])
    p = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()
    loss = task.loss(paddle.to_tensor(LOGITS), paddle.to_tensor(targets)).item()
    assert loss == pytest.approx(expected, rel=1e-5)
    sums = task.running_sums(LOGITS, clips, 2.0) + task.running_sums(LOGITS, clips, 3.0)
    assert task.running(sums) == {"loss": 2.5, "num_clips": 8}


def test_running_figures_of_single_labels_weigh_each_clip_the_same():
    task = Classification(3)
    sums = sum(
        task.running_sums(LOGITS[part], Clips(label=np.array([0, 1, 2, 0])[part]), loss)
        for part, loss in ((slice(0, 3), 1.0), (slice(3, 4), 5.0))
    )
    right = (LOGITS.argmax(1) == [0, 1, 2, 0]).mean() * 100
    assert task.running(sums) == {"loss": 2.0, "top1": right, "top5": 100.0, "num_clips": 4}


def test_validation_keeps_broken_videos_in_the_denominator():
    items = [VideoItem(f"{n}.mp4", n % 3, n + 1, (n % 3,)) for n in range(5)]
    scored = [(n, np.eye(3)[n % 3], 0.5) for n in (0, 1, 3)]
    result = validation_result(Classification(3), items, scored, Ranks())
    assert result["top1"] == pytest.approx(60.0) and result["loss"] == 0.5


def test_mean_average_precision_is_that_of_scikit_learn():
    labels = [(0, 2), (1,), (), (2,), (0, 1, 2), (1,), (0,)]
    items = [VideoItem(f"{n}.mp4", -1, n + 1, some) for n, some in enumerate(labels)]
    scores = RNG.random((7, 3))
    result = validation_result(MultiLabel(3), items, [(n, row, 1.0) for n, row in enumerate(scores)], Ranks())
    truth = np.array([[k in some for k in range(3)] for some in labels])
    expected = np.mean([average_precision_score(truth[:, k], scores[:, k]) for k in range(3)])
    assert result["mAP"] == pytest.approx(100 * expected)


def test_answers_are_the_highest_scores_equal_ones_by_index():
    names = ["a", "b", "c", "d"]
    for task in (Classification(4), MultiLabel(4)):
        answers = task.postprocess(np.array([0.25, 0.5, 0.125, 0.5]), names, 3)
        assert [(a["class"], a["index"], a["probability"]) for a in answers] == [
            ("b", 1, 0.5), ("d", 3, 0.5), ("a", 0, 0.25),
        ]  # fmt: skip


# A task of one's own: a class, a line in TASKS and MODEL.task


class Focal(Classification):
    """(1 - p)^2 times the cross-entropy -log p of the clip's class (Lin et al. 2017)."""

    name = "focal"

    def loss(self, logits, targets):
        logs = (paddle.nn.functional.log_softmax(logits) * targets).sum(1)
        return (-((1 - logs.exp()) ** 2) * logs).mean()


def test_a_new_task_trains_and_is_evaluated_by_its_line_in_the_table_alone(monkeypatch, tmp_path):
    monkeypatch.setitem(TASKS, "focal", "tests.test_tasks:Focal")
    videos = make_videos(tmp_path / "videos", 3, 3)
    config = tiny_config(tmp_path, write_list(tmp_path / "list.txt", videos), batch_size=1, epoch=1)
    first = {}
    for name in ("classification", "focal"):
        save_dir = tmp_path / name
        flags = [f"--config={config}", f"--save_dir={save_dir}", "--fix_random_seed=True", "--log_interval=1"]
        assert run_script(monkeypatch, "train", *flags, "-o", f"MODEL.task={name}") == 0
        rows = [json.loads(line) for line in (save_dir / "log.jsonl").read_text().splitlines()]
        first[name] = rows[0]["loss"]
        assert "top1" in rows[-1] and (save_dir / "NONLOCAL_best.pdparams").exists()
    entropy = first["classification"]  # of one clip, before the first step
    assert first["focal"] == pytest.approx((1 - math.exp(-entropy)) ** 2 * entropy, rel=1e-5)
    weights = tmp_path / "focal/NONLOCAL.pdparams"
    flags = [f"--config={tmp_path / 'focal/config.yaml'}", f"--weights={weights}", f"--save_dir={tmp_path / 'eval'}"]
    assert run_script(monkeypatch, "eval", *flags, "--views=1x1") == 0
    assert json.loads((tmp_path / "eval/results.json").read_text())["videos_seen"] == 3


def test_an_unknown_task_is_refused_with_the_names_of_all():
    config = Config()
    config.MODEL.task = "ranking"
    with pytest.raises(UserError, match="'ranking' is none of classification, multi_label"):
        build_task(config)
