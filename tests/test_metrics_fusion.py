"""Late fusion: the formulas, against loops over their definitions, and how runs are joined."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from metrics import VideoScores
from metrics.fusion import (
    cross_validated_fusion,
    fuse,
    mixture_weights,
    own_probabilities,
)
from metrics.joining import join_runs, with_labels
from metrics.probabilities import softmax, stratified_folds
from utils.errors import UserError

PATHS = ["/rgb/a.mp4", "/rgb/b.mp4", "/rgb/c.mp4"]
LOGITS = {
    "rgb": np.array([[3, 1, 0, 0], [0, 1, 2, 0], [1, 0, 0, 2]], np.float32),
    "flow": np.array([[0, 2.5, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0.5]], np.float32),
}


def run_of(logits: np.ndarray, paths=PATHS, labels=(0, 1, 3), **more) -> VideoScores:
    """A run of videos that were all scored, of 4 classes a to d."""
    no_labels = np.zeros(0, np.int64)
    return VideoScores(
        **{
            "video_ids": np.arange(len(paths)), "paths": list(paths), "scores": softmax(logits).astype(np.float32),
            "logits": logits, "labels": np.array(labels), "class_names": list("abcd"), "broken_video_ids": no_labels,
            "broken_paths": [], "broken_reasons": [], "broken_labels": no_labels, **more,
        }
    )  # fmt: skip


def without(run: VideoScores, place: int) -> VideoScores:
    """The run of a list without one of its videos."""
    kept = np.delete(np.arange(len(run.paths)), place)
    return replace(
        run, video_ids=run.video_ids[kept], paths=[run.paths[i] for i in kept], scores=run.scores[kept],
        logits=run.logits[kept], labels=run.labels[kept],
    )  # fmt: skip


@pytest.fixture
def runs():
    return {name: run_of(logits) for name, logits in LOGITS.items()}


@pytest.mark.parametrize("of", ["logits", "probabilities", "log_probabilities"])
def test_fused_scores_equal_the_formula_number_by_number(of):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5, 4))
    s = np.stack([softmax(z) for z in logits])
    weights = [0.5, 0, 2]
    found = fuse(logits if of == "logits" else s, weights, of)
    for i in range(5):
        if of == "probabilities":
            expected = [sum(w * s[r, i, k] for r, w in enumerate(weights)) / 2.5 for k in range(4)]
        elif of == "logits":
            powers = [math.exp(sum(w * logits[r, i, k] for r, w in enumerate(weights))) for k in range(4)]
            expected = [power / sum(powers) for power in powers]
        else:
            means = [math.prod(s[r, i, k] ** (w / 2.5) for r, w in enumerate(weights)) for k in range(4)]
            expected = [mean / sum(means) for mean in means]
        np.testing.assert_allclose(found[i], expected, rtol=1e-12)


def test_the_sum_of_log_probabilities_ranks_as_the_sum_of_logits():
    logits = np.random.default_rng(1).normal(size=(2, 50, 6)) * 3
    summed = fuse([softmax(z) for z in logits], [1, 1], "log_probabilities")
    np.testing.assert_array_equal(summed.argsort(1), logits.sum(0).argsort(1))


def test_extreme_scores_stay_finite():
    big = np.array([[1e4, -1e4, 0]])
    np.testing.assert_array_equal(fuse([big, big], [1, 1], "logits"), [[1, 0, 0]])
    zeros = fuse([np.array([[1.0, 0, 0]]), np.array([[0, 1.0, 0]])], [1, 1], "log_probabilities")
    assert np.isfinite(zeros).all() and zeros[0, 0] == zeros[0, 1] > 0.49


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [0, 0], [1, -1], [1, math.nan], [1, math.inf], []])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(UserError, match="2 numbers of 0 or more"):
        fuse(list(LOGITS.values()), weights, "logits")


def test_weights_equal_the_best_of_a_fine_grid():
    rng = np.random.default_rng(0)
    own = np.stack([rng.beta(2, 1, 400), rng.beta(1.5, 1, 400)], axis=1)
    grid = np.linspace(0, 1, 1001)
    losses = [-np.log(w * own[:, 0] + (1 - w) * own[:, 1]).mean() for w in grid]
    found = mixture_weights(own)
    assert found.sum() == pytest.approx(1) and found[0] == pytest.approx(grid[np.argmin(losses)], abs=2e-3)
    assert 0.3 < found[0] < 0.95


def test_a_run_that_knows_nothing_gets_no_weight_and_one_that_is_never_right_does_no_harm():
    rng = np.random.default_rng(0)
    good = rng.uniform(0.6, 1, 300)
    assert mixture_weights(np.stack([good, np.full(300, 0.01)], axis=1))[0] > 0.999
    assert mixture_weights(np.stack([good, np.zeros(300)], axis=1))[0] > 0.999
    np.testing.assert_array_equal(mixture_weights(np.zeros((5, 2))), [0.5, 0.5])
    np.testing.assert_array_equal(mixture_weights(np.zeros((0, 3))), np.full(3, 1 / 3))


def test_the_weights_of_a_fold_come_from_the_other_folds_only():
    rng = np.random.default_rng(0)
    scores, labels = [rng.dirichlet(np.ones(3), 40) for _ in range(2)], np.arange(40) % 3
    fused, folds = cross_validated_fusion(scores, labels), stratified_folds(labels, 5, seed=0)
    for fold in range(5):
        weights = mixture_weights(own_probabilities(scores, labels)[folds != fold])
        expected = weights[0] * scores[0] + weights[1] * scores[1]
        np.testing.assert_allclose(fused[folds == fold], expected[folds == fold], rtol=1e-12)
    assert len({tuple(mixture_weights(own_probabilities(scores, labels)[folds != fold])) for fold in range(5)}) == 5


def test_fusing_with_noise_costs_nothing():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 500)
    good = softmax(rng.normal(size=(500, 10)) + 3 * np.eye(10)[labels])
    noise = softmax(rng.normal(size=(500, 10)))
    fused = cross_validated_fusion([good, noise], labels)
    assert (fused.argmax(1) == labels).mean() >= (good.argmax(1) == labels).mean() - 0.01


def test_runs_are_joined_by_path_whatever_their_order(runs):
    whole, shuffled = runs["flow"], [2, 0, 1]
    permuted = replace(
        whole, paths=[PATHS[i] for i in shuffled], scores=whole.scores[shuffled], logits=whole.logits[shuffled],
        labels=whole.labels[shuffled],
    )  # fmt: skip
    joined = join_runs({"rgb": runs["rgb"], "flow": permuted})
    assert joined.paths == PATHS and joined.labels.tolist() == [0, 1, 3] and joined.causes == [""] * 3
    np.testing.assert_array_equal(joined.logits[1], LOGITS["flow"])
    np.testing.assert_array_equal(joined.scores[1], runs["flow"].scores)


def test_other_roots_are_joined_by_unique_file_names(runs):
    moved = replace(runs["flow"], paths=["/flow/a.mp4", "/flow/b.mp4", "/flow/c.mp4"])
    assert join_runs({"rgb": runs["rgb"], "flow": moved}).causes == [""] * 3
    twice = replace(moved, paths=["/flow/a.mp4", "/flow/x/a.mp4", "/flow/c.mp4"])
    with pytest.raises(UserError, match=r"flow: two videos are called a\.mp4"):
        join_runs({"rgb": runs["rgb"], "flow": twice})


def test_a_video_without_a_score_in_one_run_counts_as_wrong_and_is_named(runs):
    joined = join_runs({"rgb": runs["rgb"], "flow": without(runs["flow"], 2)})
    result = joined.meter(joined.scores[0]).result()
    assert result["videos_expected"] == 3 and result["videos_seen"] == 2
    assert result["videos_broken"] == [{"video_id": 2, "path": PATHS[2], "cause": "not in flow"}]
    assert result["top1"] == pytest.approx(100 / 3)  # a is right, b is wrong, c is not scored
    assert joined.expected.tolist() == [[True, True, True], [True, True, False]]
    assert joined.rows.tolist() == [[0, 1, 2], [0, 1, -1]]
    broken = replace(
        without(runs["flow"], 0), video_ids=np.array([1, 2]), broken_video_ids=np.array([0]),
        broken_paths=[PATHS[0]], broken_reasons=["no motion"], broken_labels=np.array([0]),
    )  # fmt: skip
    for order in (("rgb", "flow"), ("flow", "rgb")):
        both = {"rgb": runs["rgb"], "flow": broken}
        joined = join_runs({name: both[name] for name in order})
        assert joined.paths == PATHS and joined.causes == ["flow: no motion", "", ""]
        np.testing.assert_array_equal(joined.scores[order.index("rgb")], runs["rgb"].scores[1:])


def test_runs_that_scored_no_video_in_common_are_all_wrong(runs):
    first, second = without(runs["rgb"], 2), without(without(runs["flow"], 0), 0)
    joined = join_runs(
        {
            "rgb": without(first, 1),
            "flow": replace(
                second,
                broken_paths=[PATHS[0]],
                broken_reasons=["gone"],
                broken_video_ids=np.array([0]),
                broken_labels=np.array([0]),
            ),
        }
    )
    fused = fuse(joined.logits, [1, 1], "logits")
    assert fused.shape == (0, 4) and joined.paths == [PATHS[0], PATHS[2]] and not joined.right(fused).any()
    assert joined.meter(fused).result()["top1"] == 0


def test_several_labels_a_video_are_joined_as_well(runs):
    labels = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    multi = {name: replace(run, labels=labels, broken_labels=np.zeros((0, 4), bool)) for name, run in runs.items()}
    joined = join_runs(multi)
    assert joined.meter(joined.scores[0]).result()["videos_seen"] == 3 and joined.labels.shape == (3, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class_names": list("abxd")}, "class 2 is 'c' in rgb, 'x' in flow"),
        ({"scores": np.full((3, 3), 1 / 3, np.float32), "class_names": list("abc")}, "4 classes, flow of 3 classes"),
        ({"labels": np.array([0, 2, 3])}, "flow: /rgb/b.mp4 has another label"),
        ({"paths": ["/x/1", "/x/2", "/x/3"]}, "rgb and flow are of other videos: /rgb/a.mp4"),
        ({"labels": None}, "flow holds no labels"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused_with_the_first_difference(runs, change, words):
    with pytest.raises(UserError, match=words):
        join_runs({"rgb": runs["rgb"], "flow": replace(runs["flow"], **change)})


def test_files_without_labels_take_them_from_the_list(runs):
    class Item:
        def __init__(self, path, label):
            self.path, self.label = path, label

    items = [Item(path, label) for path, label in zip([*PATHS, "/rgb/d.mp4"], [0, 1, 3, 2])]
    old = VideoScores(np.array([0, 2]), [PATHS[0], PATHS[2]], runs["rgb"].scores[[0, 2]])
    joined = join_runs({"old": with_labels(old, items), "rgb": runs["rgb"]})
    assert joined.labels.tolist() == [0, 1, 3, 2] and joined.scored.tolist() == [True, False, True, False]
    with pytest.raises(UserError, match="/rgb/c.mp4 was scored, but is not in the list"):
        with_labels(old, items[:2])
