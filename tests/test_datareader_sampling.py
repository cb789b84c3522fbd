import numpy as np
import pytest

from datareader.sampling import (
    ClipSampler,
    centre_start,
    clip_indices,
    random_start,
    uniform_indices,
    uniform_starts,
)


def test_random_start_reaches_both_ends_and_nothing_else():
    rng = np.random.default_rng(0)
    starts = {random_start(70, 8, 8, rng) for _ in range(500)}
    assert starts == set(range(7))  # 0 .. 70 - 64


@pytest.mark.parametrize("num_frames", [1, 3, 63, 64])
def test_a_short_video_starts_at_its_first_frame(num_frames):
    rng = np.random.default_rng(0)
    assert {random_start(num_frames, 8, 8, rng) for _ in range(20)} == {0}
    assert centre_start(num_frames, 8, 8) == 0


def test_indices_wrap_as_a_loop_over_the_formula_does():
    for start, length, stride, num_frames in [
        (0, 8, 8, 5),
        (3, 8, 8, 64),
        (290, 8, 8, 300),
        (0, 1, 1, 1),
        (7, 32, 2, 20),
    ]:
        expected = [(start + i * stride) % num_frames for i in range(length)]
        indices = clip_indices(start, length, stride, num_frames)
        assert indices.dtype == np.int64
        assert indices.tolist() == expected


def test_no_frames_no_clip():
    with pytest.raises(ValueError):
        clip_indices(0, 8, 8, 0)


def test_the_middle():
    assert centre_start(300, 8, 8) == 118
    assert centre_start(65, 8, 8) == 0
    assert centre_start(66, 8, 8) == 1


def test_ten_starts():
    assert uniform_starts(300, 10) == [0, 30, 60, 90, 120, 150, 180, 210, 240, 270]
    assert uniform_starts(7, 10) == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6]
    table = uniform_indices(7, 10, 8, 8)
    assert table.shape == (10, 8)
    assert table[9].tolist() == [(6 + 8 * i) % 7 for i in range(8)]


def test_a_sampler_places_clips_by_its_policy():
    assert ClipSampler(4, 2, "start")(100).tolist() == [0, 2, 4, 6]
    assert ClipSampler(4, 2, "centre")(100).tolist() == [46, 48, 50, 52]
    assert ClipSampler(4, 2, "uniform")(100, (3, 10)).tolist() == [30, 32, 34, 36]
    rng, same = np.random.default_rng(1), np.random.default_rng(1)
    assert ClipSampler(4, 2, "random")(100, rng)[0] == random_start(100, 4, 2, same)
    for frame, first in ((50, 46), (0, 0), (3, 0), (99, 92)):
        assert ClipSampler(4, 2, "at")(100, frame)[0] == first
    assert ClipSampler(4, 2, "at")(3, 2).tolist() == [0, 2, 1, 0]  # a short video loops
    with pytest.raises(KeyError):
        ClipSampler(4, 2, "middle")(100)
