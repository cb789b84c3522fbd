from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from sklearn.metrics import average_precision_score

from configs.schema import Config
from datareader.lists import VideoItem
from tasks import build_task
from tasks.classification import Classification
from tasks.multi_label import MultiLabel
from training.trainer import validation_result
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
