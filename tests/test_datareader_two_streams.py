"""Both streams of a video from one decoding: the same views as of each stream by itself."""

from __future__ import annotations

import numpy as np
import pytest

from configs import load_config
from datareader import Failure, build_view_loader, decoding, read_list
from datareader.two_streams import TwoStreamLoader
from tests.script_runs import make_videos, tiny_config, write_list
from tests.video_factory import draw_video


@pytest.fixture(scope="module")
def filelist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    videos = make_videos(folder, 2, 2)
    one = draw_video(folder / "one frame.mp4", num_frames=1, height=48, width=64)
    return write_list(folder / "list.txt", [*videos, (one, 0), (folder / "gone.mp4", 1)])


@pytest.fixture
def loaders(filelist):
    """A function that makes the loaders of both streams."""
    made = []

    def make(num_workers=0, flow=(), both=(), **options):
        config, items = tiny_config(filelist.parent, filelist), read_list(filelist)
        flags = ["READER.modality=flow", "READER.flow_method=dis_fast", "READER.flow_short_side=40", *flow, *both]
        configs = [load_config(config, both), load_config(config, flags)]
        made[:] = [build_view_loader(config, items, num_workers=num_workers, **options) for config in configs]
        return made

    yield make
    for loader in made:
        loader.close()


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, Failure):
        assert found == expected
        return
    assert found.frames.dtype == expected.frames.dtype and found.crops == expected.crops
    for name in ("frames", "frame_numbers", "clip_indices"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    np.testing.assert_array_equal(found.clips(range(len(found))), expected.clips(range(len(expected))))
    assert (found.path, found.label, found.num_frames, found.modality) == (
        expected.path, expected.label, expected.num_frames, expected.modality,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_workers": 1},
        {"views": "3x1", "reverse_frames": True},
        {"both": ["READER.frame_rate=10"]},
        {"flow": ["TEST.video_length=6", "TEST.sample_rate=1", "TEST.crop_size=36"]},
        {"flow": ["READER.frame_rate=10"]},
    ],
)
def test_the_views_are_those_of_the_two_loaders(loaders, options):
    """Of whole videos, of one whose only frame has no motion, and of one that is missing."""
    found = list(TwoStreamLoader(*loaders(**options)))
    assert len(found) == 4 and isinstance(found[2][1], Failure) and not isinstance(found[2][0], Failure)
    for pair, *expected in zip(found, *loaders(**options)):
        for one, other in zip(pair, expected):
            assert_same(one, other)


def test_each_video_is_decoded_once(loaders, monkeypatch):
    decoded, read = [], decoding.read
    monkeypatch.setattr(decoding, "read", lambda path, *more: (decoded.append(path), read(path, *more))[1])
    views = next(iter(TwoStreamLoader(*loaders())))
    assert decoded == [views[0].path] and views[0].frames.shape[-1] == 3 and views[1].frames.shape[-1] == 2
