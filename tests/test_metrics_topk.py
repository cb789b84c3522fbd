import numpy as np
import pytest

from metrics.topk import TopkMeter, topk_correct
from utils.errors import UserError


def by_sorting(scores, labels, k):
    """The definition, literally: sort the classes by (score down, index up) and look among the first k."""
    right = []
    for row, label in zip(scores.tolist(), labels.tolist()):
        order = sorted(range(len(row)), key=lambda index: (-row[index], index))
        right.append(label in order[:k])
    return np.array(right)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4, 5, 40])
@pytest.mark.parametrize("k", [1, 2, 5, 100])
def test_topk_equals_sorting_with_many_ties(num_classes, k):
    rng = np.random.default_rng(num_classes)
    scores = rng.integers(0, 4, (200, num_classes)).astype(np.float32)
    labels = rng.integers(0, num_classes, 200)
    np.testing.assert_array_equal(topk_correct(scores, labels, k), by_sorting(scores, labels, k))


def test_equal_scores_favour_the_lower_class():
    assert topk_correct(np.zeros((3, 3)), np.array([0, 1, 2]), 1).tolist() == [True, False, False]


def test_nan_anywhere_in_a_row_is_wrong_and_infinity_is_a_score():
    scores = np.array([[9.0, np.nan, 0.0], [np.nan, 9.0, 0.0], [np.inf, 1.0, -np.inf]])
    assert topk_correct(scores, np.array([0, 0, 0]), 5).tolist() == [False, False, True]


def test_no_clips():
    assert topk_correct(np.zeros((0, 7)), np.zeros(0, int), 5).shape == (0,)
    assert TopkMeter().result() == {"top1": 0.0, "top5": 0.0, "loss": None, "num_clips": 0}


@pytest.mark.parametrize(
    ("scores", "labels", "k", "words"),
    [
        (np.zeros((2, 3)), [0, 3], 1, "label 3 is outside 0..2"),
        (np.zeros((2, 3)), [0, -1], 1, "label -1"),
        (np.zeros((2, 3)), [0], 1, "labels"),
        (np.zeros(3), [0, 0, 0], 1, "scores must be"),
        (np.zeros((1, 3)), [0], 0, "at least 1"),
    ],
)
def test_bad_input_is_named(scores, labels, k, words):
    with pytest.raises(UserError, match=words):
        topk_correct(scores, np.array(labels), k)


def test_meter_weighs_clips_not_batches():
    rng = np.random.default_rng(0)
    scores, labels, losses = rng.random((10, 8)), rng.integers(0, 8, 10), rng.random(10)
    meter = TopkMeter()
    for part in (slice(0, 7), slice(7, 10)):
        meter.update(scores[part], labels[part], float(losses[part].mean()))
    result = meter.result()
    assert result["num_clips"] == 10
    assert result["top1"] == pytest.approx(100 * by_sorting(scores, labels, 1).mean())
    assert result["top5"] == pytest.approx(100 * by_sorting(scores, labels, 5).mean())
    assert result["loss"] == pytest.approx(losses.mean())


def test_meter_sums_add_over_ranks():
    rng = np.random.default_rng(1)
    scores, labels = rng.random((9, 6)), rng.integers(0, 6, 9)
    whole, first, second, total = TopkMeter(), TopkMeter(), TopkMeter(), TopkMeter()
    whole.update(scores, labels, 0.5)
    first.update(scores[:4], labels[:4], 0.5)
    second.update(scores[4:], labels[4:], 0.5)
    total.load_state(first.state() + second.state())
    assert total.result() == pytest.approx(whole.result())
