"""Adaptive sliding windows against all windows, on drawn rows of scores and on videos that change colour."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import inference.adaptive_segments as adaptive_segments
from configs.schema import Config
from datareader import VideoItem
from datareader.video import VideoError
from inference.adaptive_segments import AGREEMENT, AdaptiveWindows, agree, interpolate, spacing_of
from inference.classify import PredictOptions
from inference.segment import SegmentMerger, predict_segments
from tests.test_inference_segment import NAMES, ColourBackend, colour_video
from utils.log import Progress

NUM_CLASSES = 5


class Windows:
    """Stands for VideoWindows: its views are the numbers of windows. failing: the reading ends before this one."""

    def __init__(self, starts, span, failing=None):
        self.start_seconds, self.end_seconds = starts, starts + span
        self.failing = failing

    def __len__(self):
        return len(self.start_seconds)

    def batches(self, num_windows):
        assert num_windows == 1
        for number in range(len(self)):
            if number == self.failing:
                raise VideoError("v.mp4", "crashed")
            yield slice(number, number + 1), number


@pytest.fixture
def stub(monkeypatch):
    """score_views(rows, number, batch size) -> that window's row."""
    monkeypatch.setattr(adaptive_segments, "score_views", lambda rows, number, batch_size: rows[None, number])


def sliding(seed, stride, span=2.0, num_windows=240, shortest=3.2):
    """Windows and their scores, float [W, K]: stretches of a class, none shorter than `shortest` spans; the margin of
    each is strong, but of windows that a change falls into."""
    rng = np.random.default_rng(seed)
    starts = (stride * rng.uniform(0.9, 1.1, num_windows)).cumsum()
    windows = Windows(starts, span)
    changes = (span * rng.uniform(shortest, 4 * shortest, num_windows)).cumsum()
    classes = (rng.integers(1, NUM_CLASSES, num_windows + 1)).cumsum() % NUM_CLASSES
    rows = []
    for start, end in zip(starts, windows.end_seconds):
        edges = np.concatenate([[start], changes[(changes > start) & (changes < end)], [end]])
        row = rng.dirichlet(np.full(NUM_CLASSES, 0.5)) * 0.1
        for a, b in zip(edges, edges[1:]):
            row[classes[np.searchsorted(changes, (a + b) / 2)]] += 0.9 * (b - a) / span
        rows.append(row)
    return windows, np.array(rows)


def collect(windows, rows):
    """Scores of all windows as AdaptiveWindows gives them, and the object; each window comes once, in order."""
    found, adaptive = [], AdaptiveWindows(windows, rows, 1)
    for part, some in adaptive:
        assert part.start == len(found) and part.stop - part.start == len(some) > 0
        found.extend(some)
    assert len(found) == len(windows)
    return np.array(found), adaptive


def merged(windows, rows):
    merger = SegmentMerger(topk=1)
    for window in zip(windows.start_seconds, windows.end_seconds, rows):
        merger.add(*window)
    return merger.finish()


@pytest.mark.parametrize("stride", [0.15, 0.7, 1.0, 2.6])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_segments_are_those_of_all_windows_where_the_windows_left_out_have_their_neighbours_class(stub, seed, stride):
    windows, rows = sliding(seed, stride, num_windows=600 if stride < 0.5 else 240)
    found, adaptive = collect(windows, rows)
    assert (found.argmax(1) == rows.argmax(1)).all()  # the assumption
    expected, segments = merged(windows, rows), merged(windows, found)
    assert [(s.start, s.end, *s.indices) for s in segments] == [(s.start, s.end, *s.indices) for s in expected]
    assert len(expected) > 2
    for segment, other in zip(segments, expected):
        assert segment.probabilities == pytest.approx(other.probabilities, abs=0.05)
    assert adaptive.num_scored == len(np.flatnonzero((found == rows).all(1)))
    gain = len(windows) / adaptive.num_scored
    assert gain > 1.8 if stride < 2 else gain == 1.0  # as far apart as anchors are: nothing can be left out


@pytest.mark.parametrize("stride", [0.15, 1.0])
def test_what_is_left_out_lies_between_two_that_agree_and_overlaps_no_other_class(stub, stride):
    windows, rows = sliding(3, stride)
    found, _ = collect(windows, rows)
    scored = np.flatnonzero((found == rows).all(1))
    best = found.argmax(1)
    for number in sorted(set(range(len(windows))) - set(scored.tolist())):
        left, right = scored[scored < number][-1], scored[scored > number][0]
        pair = rows[[left, right]]
        assert best[left] == best[right] == best[number]
        assert (pair[:, [best[number]]] - np.delete(pair, best[number], 1) >= AGREEMENT).all()
        overlaps = (windows.start_seconds < windows.end_seconds[number]) & (
            windows.end_seconds > windows.start_seconds[number]
        )
        assert set(best[overlaps]) == {best[number]}


def test_windows_that_are_unsure_are_all_scored(stub):
    windows, rows = sliding(0, 1.0)
    rows = 0.5 * rows + 0.5 / NUM_CLASSES  # margins of less than AGREEMENT
    found, adaptive = collect(windows, rows)
    assert adaptive.num_scored == len(windows) and (found == rows).all()


@pytest.mark.parametrize("stride", [0.1, 0.3, 1.0, 3.0])
def test_each_window_comes_once_whatever_the_scores_are(stub, stride):
    """Also where windows left out would have contradicted their neighbours."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        num_windows = int(rng.integers(1, 90))
        rows = np.eye(NUM_CLASSES)[(rng.random(num_windows) < 0.15) * rng.integers(1, NUM_CLASSES, num_windows)]
        collect(Windows(stride * np.arange(num_windows), 2.0), rows)


def test_views_are_kept_only_while_they_may_be_scored(stub):
    windows, rows = sliding(0, 0.5, num_windows=400)
    adaptive = AdaptiveWindows(windows, rows, 1)
    spacing = spacing_of(windows)
    assert spacing == pytest.approx(8, abs=1)  # two windows of 2 s, half a second apart
    for _ in adaptive:
        assert len(adaptive.views) <= spacing + 6  # and those that overlap the next window
        assert len(adaptive.scores) <= spacing + 6


def test_all_that_was_read_comes_before_the_error(stub):
    windows, rows = sliding(0, 1.0)
    windows.failing = 150
    found, adaptive = [], AdaptiveWindows(windows, rows, 1)
    with pytest.raises(VideoError, match="crashed"):
        for _, some in adaptive:
            found.extend(some)
    assert len(found) == 150 and (np.argmax(found, 1) == rows[:150].argmax(1)).all()
    windows.failing = 0
    with pytest.raises(VideoError, match="crashed"):
        list(AdaptiveWindows(windows, rows, 1))


def test_scores_between_two_windows_are_linear_in_time():
    times, rows = np.array([1.0, 2.0, 4.0]), np.random.default_rng(0).dirichlet(np.ones(3), 3)
    for time in (1.0, 1.3, 2.0, 2.5, 4.0):
        expected = [np.interp(time, times, column) for column in rows.T]
        np.testing.assert_allclose(interpolate(time, times, rows), expected)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.9, 0.1], [0.95, 0.05], True),
        ([0.9, 0.1], [0.1, 0.9], False),
        ([0.9, 0.1], [0.8, 0.2], False),
        ([1.0], [1.0], True),
    ],
)
def test_agreement_is_a_margin_in_both(first, second, expected):
    assert agree(np.array(first), np.array(second)) is expected


# ------------------------------------------------------------------------------------------------ videos


def test_a_video_s_segments_are_those_of_all_windows(tmp_path):
    config = Config()
    infer = config.INFER
    infer.crop_size, infer.jitter_scales, infer.video_length, infer.sample_rate = 32, [32, 32], 4, 2
    infer.num_reader_threads, infer.batch_size = 0, 4
    path = colour_video(tmp_path / "v.mp4", [(0, 102), (2, 51), (1, 110)])
    told = {}
    for name in ("all", "adaptive"):
        options = PredictOptions(tmp_path / name, 2, log_interval=0, segments=name)
        items, progress = [VideoItem(str(path), -1, 1)], Progress(1, 0, "video")
        (record,) = predict_segments(config, items, ColourBackend(), NAMES, options, progress)
        told[name] = json.loads(Path(record["files"][0]).read_text())
    keys = ("start_seconds", "end_seconds", "index")
    segments = {name: [[row[key] for key in keys] for row in told[name]["segments"]] for name in told}
    assert segments["adaptive"] == segments["all"] and len(segments["all"]) == 3
    count = told["all"]["window"].pop("count")
    window = told["adaptive"]["window"]
    assert window.pop("count") == count and 3 < window.pop("scored") < 0.6 * count
    assert window == told["all"]["window"] and "scored" not in told["all"]["window"]
