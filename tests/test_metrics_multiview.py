import json

import numpy as np
import pytest

from metrics.multiview import MultiViewMeter
from utils.errors import UserError

NUM_CLASSES, NUM_CLIPS, NUM_CROPS = 7, 4, 3


def random_views(num_videos, seed=0):
    """Labels [N] and probabilities [N, clips, crops, K], skewed towards the label so that no figure is 0 or 100."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, NUM_CLASSES, num_videos)
    logits = rng.normal(size=(num_videos, NUM_CLIPS, NUM_CROPS, NUM_CLASSES))
    logits[np.arange(num_videos), :, :, labels] += 0.8
    scores = np.exp(logits)
    return labels, scores / scores.sum(axis=-1, keepdims=True)


def filled(labels, scores, videos, **options):
    meter = MultiViewMeter(NUM_CLASSES, labels=labels, **options)
    clips = np.repeat(np.arange(NUM_CLIPS), NUM_CROPS)
    for video in videos:
        meter.add_video(video, scores[video].reshape(-1, NUM_CLASSES), clips, labels[[video]])
    return meter


def test_figures_equal_plain_loops():
    labels, scores = random_views(60)
    result = filled(labels, scores, range(60)).result()
    top1 = top5 = clips = first = 0
    for label, video in zip(labels, scores):
        total = sum(video[clip][crop] for clip in range(NUM_CLIPS) for crop in range(NUM_CROPS))
        top1 += int(total.argmax() == label)
        top5 += int(label in np.argsort(-total)[:5])
        right = [sum(video[clip][crop] for crop in range(NUM_CROPS)).argmax() == label for clip in range(NUM_CLIPS)]
        clips += sum(right)
        first += int(right[0])
    assert 20 < 100 * top1 / 60 < 100  # a test that could fail
    assert result["top1"] == pytest.approx(100 * top1 / 60)
    assert result["top5"] == pytest.approx(100 * top5 / 60) and result["topk"] == 5
    assert result["clip_top1"] == pytest.approx(100 * clips / (60 * NUM_CLIPS))
    assert result["first_clip_top1"] == pytest.approx(100 * first / 60)
    assert (result["videos_seen"], result["videos_expected"], result["videos_broken"]) == (60, 60, [])
    json.dumps(result, allow_nan=False)


def test_clips_are_found_by_number_whatever_the_order_of_views():
    labels, scores = random_views(30)
    clips = np.repeat(np.arange(NUM_CLIPS), NUM_CROPS)
    shuffled = MultiViewMeter(NUM_CLASSES, labels=labels)
    for video in range(30):
        order = np.random.default_rng(video).permutation(len(clips))
        shuffled.add_video(video, scores[video].reshape(-1, NUM_CLASSES)[order], clips[order] * 10 + 5, labels[[video]])
    expected = filled(labels, scores, range(30)).result()
    assert shuffled.result() == {**expected, "clip_top1": pytest.approx(expected["clip_top1"])}


def test_per_class_and_confusion_matrix():
    labels, scores = random_views(50, seed=3)
    labels[labels == 2] = 1  # a class without videos
    meter = filled(labels, scores, range(50), class_names=list("abcdefg"))
    result, matrix = meter.result(), meter.confusion_matrix()
    predicted = scores.sum(axis=(1, 2)).argmax(axis=1)
    accuracies = []
    for row in result["per_class"]:
        mine = predicted[labels == row["index"]]
        assert row["name"] == "abcdefg"[row["index"]] and row["num_videos"] == len(mine)
        assert matrix[row["index"]].tolist() == np.bincount(mine, minlength=NUM_CLASSES).tolist()
        if len(mine):
            accuracies.append(100 * np.mean(mine == row["index"]))
            assert row["top1"] == pytest.approx(accuracies[-1])
        else:
            assert row["index"] == 2 and row["top1"] is None
    assert matrix.dtype == np.int64 and result["mean_class_accuracy"] == pytest.approx(np.mean(accuracies))
    assert result["top1"] == pytest.approx(100 * np.trace(matrix) / 50)


def test_broken_videos_stay_in_every_denominator_and_are_named():
    labels, scores = random_views(20)
    whole = filled(labels, scores, range(20)).result()
    right = [scores[video].sum(axis=(0, 1)).argmax() == labels[video] for video in range(20)]
    lost = [video for video in range(20) if right[video]][:2]
    paths = [f"folder/{video}.mp4" for video in range(20)]
    meter = filled(labels, scores, [video for video in range(20) if video not in lost], paths=paths)
    meter.add_failure(lost[0], "moov atom\nnot found", [labels[lost[0]]])
    meter.add_failure(lost[0], "a second reason")
    assert meter.num_done() == 19
    result = meter.result()
    assert result["top1"] == pytest.approx(whole["top1"] - 10)
    assert result["clip_top1"] < whole["clip_top1"] and result["first_clip_top1"] <= whole["first_clip_top1"]
    assert (result["videos_seen"], result["videos_expected"]) == (18, 20)
    causes = {row["path"]: row["cause"] for row in result["videos_broken"]}
    assert causes[paths[lost[0]]] == "moov atom not found" and "never scored" in causes[paths[lost[1]]]
    assert sum(row["num_videos"] for row in result["per_class"]) == 20


def test_scores_that_are_not_finite_make_the_video_a_broken_one():
    meter = MultiViewMeter(3, labels=[0, 0])
    meter.add_video(0, np.array([[1.0, 0, 0]]), np.array([0]), [0])
    meter.add_video(1, np.array([[np.nan, 0, 0]]), np.array([0]), [0])
    result = meter.result()
    assert result["top1"] == 50.0 and "not finite" in result["videos_broken"][0]["cause"]
    json.dumps(result, allow_nan=False)


def test_a_video_counts_once_and_a_scored_one_is_not_broken():
    meter = MultiViewMeter(2, labels=[1, 1], video_ids=[10, 20])
    wrong, right = np.array([[0.9, 0.1]]), np.array([[0.1, 0.9]])
    meter.add_failure(10, "worker died", [1])
    meter.add_video(10, right, np.array([0]), [1])
    meter.add_video(10, wrong, np.array([0]), [1])
    meter.add_failure(10, "worker died", [1])
    meter.add_video(20, wrong, np.array([0]), [1])
    result = meter.result()
    assert (result["top1"], result["videos_seen"], result["videos_broken"]) == (50.0, 2, [])
    assert meter.num_done() == 2


def test_running_figures_are_those_of_the_videos_so_far():
    labels, scores = random_views(40)
    assert MultiViewMeter(NUM_CLASSES, labels=labels).running() == {"top1": 0.0, "top5": 0.0}
    meter = filled(labels, scores, [*range(24), 0, 1])
    meter.add_failure(24, "unreadable")
    totals = scores[:24].sum(axis=(1, 2))
    right = totals.argmax(axis=1) == labels[:24]
    assert meter.running()["top1"] == pytest.approx(100 * right.sum() / 25)
    whole = filled(labels, scores, range(40))
    assert whole.running() == pytest.approx({key: whole.result()[key] for key in ("top1", "top5")})


def test_merged_ranks_equal_one_process(tmp_path):
    labels, scores = random_views(7)
    paths = [f"{video}.mp4" for video in range(7)]
    one = filled(labels, scores, range(6), paths=paths)
    one.add_failure(6, "übel 坏")
    left, right = (filled(labels, scores, part, paths=paths) for part in ([0, 2, 4, 6][:3], [1, 3, 5, 0]))
    left.add_failure(6, "übel 坏")
    np.savez(tmp_path / "state.npz", **left.state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        right.merge(dict(state))
    assert right.result() == one.result() and right.result()["videos_expected"] == 7
    left.merge(right)
    assert left.result() == one.result()
    ids, names, means = left.video_scores()
    assert ids == list(range(6)) and names == paths[:6]
    np.testing.assert_allclose(means, scores[:6].mean(axis=(1, 2)))


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4])
def test_fewer_than_five_classes(num_classes):
    meter = MultiViewMeter(num_classes, labels=[0])
    meter.add_video(0, np.zeros((1, num_classes)), np.array([0]), [0])
    result = meter.result()
    assert (result["top5"], result["topk"]) == (100.0, num_classes)


def test_nothing_scored():
    result = MultiViewMeter(3, labels=[0, 1]).result()
    assert (result["top1"], result["mean_class_accuracy"], result["videos_seen"]) == (0.0, 0.0, 0)
    assert len(result["videos_broken"]) == 2
    assert MultiViewMeter(3, labels=[]).result()["top1"] == 0.0


def test_wrong_use_is_an_error():
    with pytest.raises(UserError, match="label 3 is outside"):
        MultiViewMeter(3, labels=[0, 3])
    meter = MultiViewMeter(3, labels=[0, 1], paths=["a", "b"])
    view, clip = np.ones((1, 3)), np.array([0])
    for arguments in [
        (2, view, clip, [0]), (0, view, clip, [1]), (0, np.ones((1, 4)), clip, [0]), (0, view, [0, 1], [0]),
    ]:  # fmt: skip
        with pytest.raises(ValueError):
            meter.add_video(*arguments)
    with pytest.raises(ValueError):
        meter.add_failure(0, "cut", [1])
    with pytest.raises(ValueError):
        MultiViewMeter(3, labels=[0], class_names=["a"])
    with pytest.raises(ValueError):
        MultiViewMeter(3, labels=[0, 0], video_ids=[1, 1])
