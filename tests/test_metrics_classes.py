"""Results by class against scikit-learn; groups of videos; accuracy by number of views."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.classes import class_table, confused_pairs, confusion, mixed_pairs
from metrics.comparison import mcnemar_p
from metrics.groups import video_groups
from metrics.intervals import wilson_interval
from metrics.view_counts import accuracy_by_views, agreement_of_views
from utils.errors import UserError

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 5, 80)
PREDICTED = np.where(RNG.random(80) < 0.6, LABELS, RNG.integers(0, 4, 80))  # class 4 is rarely predicted
BROKEN = np.array([0, 0, 3])
NUM_VIDEOS = np.bincount(np.concatenate([LABELS, BROKEN]), minlength=6)  # class 5 has none


def test_recall_precision_and_f1_are_those_of_scikit_learn():
    """A broken video is one that was taken for none of the classes."""
    metrics = pytest.importorskip("sklearn.metrics")
    table = class_table(confusion(LABELS, PREDICTED, 6), NUM_VIDEOS)
    truth, answers = np.concatenate([LABELS, BROKEN]), np.concatenate([PREDICTED, [6, 6, 6]])
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, answers, labels=range(6), zero_division=np.nan
    )
    for row, expected in zip(table[:5], zip(precision, recall, f1, support)):
        assert [row[key] for key in ("precision", "recall", "f1", "num_videos")] == pytest.approx(expected, abs=1e-12)
        right = ((row["index"] == LABELS) & (PREDICTED == LABELS)).sum()
        assert row["interval"] == list(wilson_interval(right, expected[3]))
    assert table[5] == {"index": 5, "num_videos": 0} | dict.fromkeys(("recall", "interval", "precision", "f1"))


def test_the_confusion_matrix_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    expected = metrics.confusion_matrix(LABELS, PREDICTED, labels=range(6))
    np.testing.assert_array_equal(confusion(LABELS, PREDICTED, 6), expected)


def test_confused_pairs_come_by_their_fraction():
    matrix = np.array([[5, 3, 0], [1, 8, 1], [0, 0, 0]])
    videos = np.array([10, 10, 0])
    assert confused_pairs(matrix, videos) == [
        {"true": 0, "predicted": 1, "count": 3, "fraction": 0.3},
        {"true": 1, "predicted": 0, "count": 1, "fraction": 0.1},
        {"true": 1, "predicted": 2, "count": 1, "fraction": 0.1},
    ]
    assert mixed_pairs(matrix, videos) == [
        {"classes": [0, 1], "count": 4, "fraction": 0.2},
        {"classes": [1, 2], "count": 1, "fraction": 0.1},
    ]
    assert len(confused_pairs(matrix, videos, most=1)) == len(mixed_pairs(matrix, videos, most=1)) == 1
    assert confused_pairs(np.eye(2, dtype=np.int64), np.ones(2, np.int64)) == []


def test_groups_come_from_an_expression_or_from_a_file(tmp_path):
    paths = ["a/v_Run_g02_c01.avi", "a/v_Run_g01_c01.avi", "b/v_Run_g02_c07.avi", "v_Sit_g02_c01.avi"]
    assert video_groups(paths, r"_g(\d+)_").tolist() == [1, 0, 1, 1]
    assert video_groups(paths, r"v_(\w+)_g(\d+)_").tolist() == [1, 0, 1, 2]
    assert video_groups(paths, r"_g\d+_").tolist() == [1, 0, 1, 1]
    listed = tmp_path / "groups.txt"
    listed.write_text("".join(f"{path} {group}\n" for path, group in zip(paths, "yxyz")) + "\nmore videos.mp4 q\n")
    assert video_groups(paths, str(listed)).tolist() == [1, 0, 1, 2]
    assert video_groups(["more videos.mp4"], str(listed)).tolist() == [0]


def test_a_video_without_a_group_is_an_error_that_names_it(tmp_path):
    listed = tmp_path / "groups.txt"
    listed.write_text("a.mp4 1\n")
    for source, words in [(r"_g(\d+)_", "no group for b.mp4"), (str(listed), "no group for b.mp4"), ("(", "neither")]:
        with pytest.raises(UserError, match=words):
            video_groups(["a_g1_.mp4", "b.mp4"][1:], source)
    listed.write_text("a.mp4 1\nalone\n")
    with pytest.raises(UserError, match="entry 2 is not"):
        video_groups(["a.mp4"], str(listed))


def viewed() -> tuple[np.ndarray, np.ndarray]:
    """Scores of 40 videos, 4 clips x 3 crops, 5 classes; the more views, the better."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 40)
    scores = rng.dirichlet(np.ones(5), (40, 12)) + 0.15 * np.eye(5)[labels][:, None]
    return (scores / scores.sum(axis=2, keepdims=True)).astype(np.float16), labels


def test_accuracy_with_fewer_views_is_that_of_their_mean(monkeypatch):
    from metrics import view_counts

    scores, labels = viewed()
    rows = accuracy_by_views(scores, labels, 4, 50)
    kinds = [(row["clips"], row["crops"]) for row in rows]
    assert kinds == [(1, 1), (2, 1), (1, 3), (3, 1), (4, 1), (2, 3), (3, 3), (4, 3)]
    clips = {1: [2], 2: [1, 3], 3: [0, 2, 3], 4: [0, 1, 2, 3]}
    crops = {1: [1], 3: [0, 1, 2]}
    rights = {}
    for c, k in kinds:
        views = [3 * clip + crop for clip in clips[c] for crop in crops[k]]
        rights[c, k] = scores[:, views].astype(np.float64).mean(axis=1).argmax(axis=1) == labels
    for (c, k), row in zip(kinds, rows):
        assert row["accuracy"] == rights[c, k].sum() / 50  # 10 broken ones
        assert row["interval"] == list(wilson_interval(rights[c, k].sum(), 50))
        expected = mcnemar_p((rights[c, k] & ~rights[4, 3]).sum(), (rights[4, 3] & ~rights[c, k]).sum())
        assert row["p_value"] == expected and row["as_good_as_all"] == (expected >= 0.05)
    assert rows[-1]["accuracy"] > rows[0]["accuracy"] and not rows[0]["as_good_as_all"]
    monkeypatch.setattr(view_counts, "VIDEOS_AT_ONCE", 7)
    assert accuracy_by_views(scores, labels, 4, 50) == rows
    order = np.random.default_rng(2).permutation(40)
    assert accuracy_by_views(scores[order], labels, 4, 50, np.argsort(order)) == rows


def test_agreement_is_the_fraction_of_views_that_say_what_their_mean_says():
    scores, _ = viewed()
    own = scores.astype(np.float64).mean(axis=1).argmax(axis=1)
    expected = [(scores[i].argmax(axis=1) == own[i]).mean() for i in range(40)]
    np.testing.assert_allclose(agreement_of_views(scores), expected)
    np.testing.assert_allclose(agreement_of_views(scores, np.array([7, 3])), [expected[7], expected[3]])
    assert agreement_of_views(scores[:, :1]).tolist() == [1.0] * 40
