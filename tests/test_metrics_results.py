"""scores.npz: everything that an evaluation knows of each video, read again without trust."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from metrics import MultiLabelMeter, MultiViewMeter, load_scores, mean_average_precision, save_scores, topk_correct
from metrics.intervals import wilson_interval
from metrics.results import list_checksum
from utils.errors import UserError

NAMES = ["walk", "跳舞", "a, b"]
PATHS = ["a b.mp4", "视频.avi", "\udcff.mkv", "gone.mp4", "late.mp4"]
SCORES = np.random.default_rng(0).dirichlet(np.ones(3), (3, 4))  # of videos 0 to 2, four views each


def single() -> MultiViewMeter:
    meter = MultiViewMeter(3, labels=[2, 0, 1, 1, 0], paths=PATHS, class_names=NAMES)
    for video in range(3):
        kept = {"logits": np.float32(SCORES[video].sum(0)), "view_scores": np.float16(SCORES[video])}
        meter.add_video(video, SCORES[video], np.arange(4), [[2, 0, 1][video]], kept)
    meter.add_failure(3, "no such file", [1])
    return meter


def multi() -> MultiLabelMeter:
    meter = MultiLabelMeter(3, labels=[[0, 2], [], [1], [0, 1, 2], [2]], paths=PATHS, class_names=NAMES)
    for video in range(3):
        meter.add_video(video, SCORES[video])
    meter.add_failure(3, "no such file")
    return meter


@pytest.fixture
def filelist(tmp_path):
    (tmp_path / "list.txt").write_text("a b.mp4 2\n")
    return tmp_path / "list.txt"


def saved(tmp_path, filelist, meter):
    save_scores(tmp_path / "scores.npz", meter, str(filelist), list_checksum(filelist), "ab12", "2x2")
    return tmp_path / "scores.npz"


@pytest.mark.parametrize("make", [single, multi])
def test_a_file_tells_labels_names_broken_videos_and_the_list_it_was_made_with(tmp_path, filelist, make, capsys):
    found = load_scores(saved(tmp_path, filelist, make()), filelist)
    assert found.video_ids.tolist() == [0, 1, 2] and found.paths == PATHS[:3] and found.class_names == NAMES
    np.testing.assert_allclose(found.scores, SCORES.mean(1), rtol=1e-6)
    assert found.broken_video_ids.tolist() == [3, 4] and found.broken_paths == PATHS[3:]
    assert found.broken_reasons[0] == "no such file" and "never scored" in found.broken_reasons[1]
    assert found.list_sha256 == hashlib.sha256(filelist.read_bytes()).hexdigest()
    assert (found.weights_sha256, found.views, found.num_clips, found.format_version) == ("ab12", "2x2", 2, 3)
    assert found.list_path == str(filelist) and capsys.readouterr().err == ""
    if make is single:
        assert not found.multi_label
        np.testing.assert_array_equal(found.logits, SCORES.sum(1).astype(np.float32))
        np.testing.assert_array_equal(found.view_scores, SCORES.astype(np.float16))
        assert found.labels.tolist() == [2, 0, 1] and found.broken_labels.tolist() == [1, 0]
    else:
        assert found.multi_label and found.logits is found.view_scores is None
        assert found.labels.tolist() == [[True, False, True], [False, False, False], [False, True, False]]
        assert found.broken_labels.tolist() == [[True, True, True], [False, False, True]]


def test_the_metrics_follow_from_the_file_alone(tmp_path, filelist):
    """With the broken videos in the denominator, as the evaluation counts them."""
    found = load_scores(saved(tmp_path, filelist, single()))
    right = topk_correct(found.scores, found.labels, 1).sum()
    assert 100 * right / (len(found.labels) + len(found.broken_labels)) == pytest.approx(single().result()["top1"])
    found = load_scores(saved(tmp_path, filelist, multi()))
    scores = np.concatenate([found.scores, np.full((len(found.broken_labels), 3), -np.inf)])
    targets = np.concatenate([found.labels, found.broken_labels])
    assert mean_average_precision(scores, targets)["mAP"] == pytest.approx(multi().result()["mAP"])


@pytest.mark.parametrize("make", [single, multi])
def test_ranks_that_meet_leave_the_file_that_one_process_leaves(tmp_path, filelist, make):
    whole, parts = make(), [make() for _ in range(2)]
    fresh = type(whole)(3, labels=[0] * 5 if make is single else [[]] * 5)  # for its empty state
    for rank, part in enumerate(parts):
        part._results._rows = {i: row for i, row in part._results._rows.items() if i % 2 == rank}
        part._results._causes = {i: cause for i, cause in part._results._causes.items() if i % 2 == rank}
    parts[1].merge(parts[0].state())
    parts[1].merge(fresh.state())
    one, two = (load_scores(saved(tmp_path, filelist, meter)) for meter in (whole, parts[1]))
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name), field.name)


def test_nothing_scored_and_nothing_broken_are_files_too(tmp_path, filelist):
    empty = load_scores(saved(tmp_path, filelist, MultiViewMeter(3, labels=[0, 1])))
    assert empty.scores.shape == (0, 3) and empty.broken_labels.tolist() == [0, 1]
    meter = MultiViewMeter(2, labels=[1])
    meter.add_video(0, np.array([[0.5, 0.5]]), np.array([0]), [1])
    whole = load_scores(saved(tmp_path, filelist, meter))
    assert whole.broken_paths == [] and whole.broken_labels.shape == (0,)


def test_a_list_that_was_edited_since_is_told(tmp_path, filelist, capsys):
    path = saved(tmp_path, filelist, single())
    filelist.write_text("a b.mp4 1\n")
    assert load_scores(path, filelist).paths == PATHS[:3]
    warning = capsys.readouterr().err
    assert warning.startswith("warning: ") and str(filelist) in warning and warning.count("\n") == 1
    with pytest.raises(UserError, match="cannot read the list"):
        load_scores(path, tmp_path / "none.txt")


def test_a_file_of_the_first_version_is_read_and_what_it_lacks_is_none(tmp_path, filelist, capsys):
    old = tmp_path / "old.npz"
    np.savez(old, video_id=[0, 3], path=np.array(["a", "b"]), scores=np.zeros((2, 3), np.float32))
    found = load_scores(old)
    assert found.paths == ["a", "b"] and found.video_ids.tolist() == [0, 3] and found.scores.shape == (2, 3)
    assert found.labels is found.class_names is found.broken_paths is None and not found.multi_label
    load_scores(old, filelist)
    assert "does not tell which list" in capsys.readouterr().err


def test_a_file_of_the_second_version_is_read(tmp_path, filelist):
    path = saved(tmp_path, filelist, single())
    with np.load(path) as archive:
        newer = ("logits", "view_scores", "weights_sha256", "views", "format_version")
        arrays = {name: array for name, array in archive.items() if name not in newer}
    np.savez(path, **arrays)
    found = load_scores(path)
    assert found.labels.tolist() == [2, 0, 1] and found.logits is found.view_scores is None
    assert (found.weights_sha256, found.views, found.format_version) == ("", "", 0)


def test_scores_that_are_not_finite_are_refused_with_their_video(tmp_path, filelist):
    path = saved(tmp_path, filelist, single())
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["scores"][1, 2] = np.inf
    np.savez(path, **arrays)
    assert "视频.avi are not finite numbers" in refused(path)


def test_a_video_of_logits_that_are_not_finite_is_broken():
    meter = MultiViewMeter(2, labels=[1])
    meter.add_video(0, np.array([[0.0, 1.0]]), kept={"logits": np.array([0, np.inf])})
    assert meter.result()["videos_broken"][0]["cause"].endswith("not finite numbers")


def test_intervals_are_of_videos_or_of_their_groups():
    meter = MultiViewMeter(2, labels=[0, 1] * 20, paths=[f"v_g{i // 4:02d}_c{i % 4}.avi" for i in range(40)])
    for video in range(36):
        meter.add_video(video, np.eye(2)[[(video + (video < 8)) % 2]])
    meter.add_failure(36, "gone")
    plain = meter.intervals()
    low, high = wilson_interval(28, 40)
    assert plain["groups"] is None and plain["intervals"]["top1"] == [100 * low, 100 * high]
    assert plain["intervals"]["top5"] == [100 * bound for bound in wilson_interval(36, 40)]
    low, high = plain["intervals"]["mean_class_accuracy"]
    assert low < meter.result()["mean_class_accuracy"] < high
    assert meter.intervals() == plain  # the same results, the same intervals
    meter.set_groups(r"_g(\d+)_")
    grouped = meter.intervals()
    assert grouped["groups"] == {"source": r"_g(\d+)_", "number": 10}
    assert np.ptp(grouped["intervals"]["top1"]) > 1.5 * np.ptp(plain["intervals"]["top1"])
    with pytest.raises(UserError, match="no group for v_g00_c0.avi"):
        meter.set_groups("_h_")


def refused(path) -> str:
    with pytest.raises(UserError) as caught:
        load_scores(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_what_is_missing_or_no_such_file_is_refused_in_one_line(tmp_path, filelist):
    assert "no such file" in refused(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("only words")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.savez(tmp_path / "objects.npz", scores=np.array([{}], object), path=np.array(["a"]), video_id=[0])
    for name in ("text.npz", "empty.npz", "one.npy", "other.npz", "objects.npz"):
        assert "damaged" in refused(tmp_path / name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": np.array(["a"])},
        {"label": np.array([0, 1, 3])},
        {"label": np.array([0, 1, -1])},
        {"label": np.array([0.0, 1.0, 2.0])},
        {"label": np.array([0, 1])},
        {"scores": np.zeros((3, 4), np.float32)},
        {"scores": np.zeros(3, np.float32)},
        {"broken_reason": np.array(["a"])},
        {"broken_labels": np.zeros((2, 4), bool)},
        {"list_sha256": np.array(["a", "b"])},
        {"class_names": np.array(["a", "b"])},
        {"video_id": np.array([0, 1, 1])},
        {"video_id": np.array([0, 1, 3])},  # that of a broken video
        {"logits": np.zeros((3, 4), np.float32)},
        {"logits": np.full((3, 3), np.nan, np.float32)},
        {"view_scores": np.zeros((3, 3, 3), np.float16)},  # views 2x2 are four
        {"view_scores": np.zeros((3, 3), np.float16)},
        {"views": np.array("no number")},
        {"weights_sha256": np.array([1])},
        {"format_version": np.array(4)},
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path, filelist, wrong):
    path = saved(tmp_path, filelist, single())
    with np.load(path) as archive:
        arrays = {**archive, **wrong}
    np.savez(path, **arrays)
    assert next(iter(wrong)) in refused(path) or "scores" in wrong


def test_a_file_damaged_anywhere_is_refused_in_one_line_or_read_as_it_was(tmp_path, filelist):
    path = saved(tmp_path, filelist, single())
    whole, truth = path.read_bytes(), load_scores(path)
    rng = np.random.default_rng(0)
    num_refused = 0
    for trial in range(300):
        data = bytearray(whole)
        if trial % 3 == 0:
            data = data[: rng.integers(len(data))]
        else:
            for place in rng.integers(0, len(data), 1 + trial % 4):
                data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            found = load_scores(path)
        except UserError as error:
            assert "\n" not in str(error)
            num_refused += 1
        else:
            np.testing.assert_array_equal(found.scores, truth.scores)
    assert num_refused > 150
