"""Samples of several sources, and a source with other channels than a video's: the loaders know neither."""

from __future__ import annotations

import os

import numpy as np
import pytest
from flow_source import HEIGHT, NUM_FRAMES, WIDTH, DrawnFlow, flow_field
from video_factory import draw_video

from configs.schema import Config
from datareader import Failure, Sample, VideoItem, build_train_loader, build_valid_loader, build_view_loader, transforms
from utils.errors import UserError

MEAN, STD = [100.0, 20.0], [50.0, 10.0]


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    config = Config()
    config.INPUT.channels, config.INPUT.mean, config.INPUT.std = 2, MEAN, STD
    config.TRAIN.batch_size = config.VALID.batch_size = 4
    config.TRAIN.crop_size, config.TRAIN.jitter_scales = 32, [32, 40]
    config.VALID.crop_size, config.VALID.jitter_scales = 64, [64, 64]
    config.TEST.crop_size, config.TEST.jitter_scales = 64, [64, 64]
    config.TRAIN.video_length = config.VALID.video_length = config.TEST.video_length = 4
    return config


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Videos of the size and length of the drawn flow, each with both sources."""
    folder = tmp_path_factory.mktemp("sources")
    paths = [draw_video(folder / f"{i}.mp4", NUM_FRAMES, height=HEIGHT, width=WIDTH) for i in range(3)]
    return [Sample({"rgb": str(path), "flow": f"flow {i}"}, i, f"clip {i}") for i, path in enumerate(paths)]


def batches_of(loader):
    try:
        return list(loader)
    finally:
        loader.close()


def normalised(fields):
    """[T, H, W, 2] -> [2, T, H, W], in plain arithmetic."""
    return ((fields.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)).transpose(3, 0, 1, 2)


def expected_clip(frame_indices, parameters):
    cut = np.stack([parameters.apply(flow_field(i), "flow") for i in frame_indices])
    return normalised(cut)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_source_of_two_channels_goes_through_every_loader(samples, config, num_workers):
    options = {"num_workers": num_workers, "source": DrawnFlow()}
    (batch,) = batches_of(build_train_loader(config, samples, seed=1, **options))
    assert batch.clips.shape == (3, 2, 4, 32, 32) and batch.clips.dtype == np.float32
    for clip, used in zip(batch.clips, batch.transforms):
        number = round(float(clip[1, 0, 0, 0]) * STD[1] + MEAN[1])
        np.testing.assert_array_equal(clip, expected_clip(np.arange(number, number + 32, 8), used))
    (batch,) = batches_of(build_valid_loader(config, samples, **options))
    assert (batch.label.tolist(), batch.samples) == ([0, 1, 2], samples)
    centre = np.stack([flow_field(i)[:, 10:74] for i in (4, 12, 20, 28)])
    np.testing.assert_array_equal(batch.clips[1], normalised(centre))
    videos = batches_of(build_view_loader(config, samples, views="2x3", **options))
    clips = videos[2].clips(range(6))
    assert clips.shape == (6, 2, 4, 64, 64)
    right = np.stack([flow_field(i)[:, 20:] for i in (20, 28, 36, 4)])  # the second clip loops
    np.testing.assert_array_equal(clips[5], normalised(right))


def test_flow_follows_the_video_of_its_sample(samples, config):
    """The same seed places, crops and mirrors both sources alike."""
    flow = batches_of(build_train_loader(config, samples, seed=5, num_workers=0, source=DrawnFlow()))
    config.INPUT.channels, config.INPUT.mean, config.INPUT.std = 3, [114.75] * 3, [57.375] * 3
    video = batches_of(build_train_loader(config, samples, seed=5, num_workers=0))
    assert [batch.transforms for batch in flow] == [batch.transforms for batch in video]
    assert [batch.samples for batch in flow] == [batch.samples for batch in video]


def test_a_broken_source_is_a_failure_and_wrong_channels_an_error(samples, config):
    broken = [samples[0], Sample({"flow": "broken"}, 1), samples[2]]
    (batch,) = batches_of(build_valid_loader(config, broken, num_workers=0, source=DrawnFlow()))
    assert batch.failures == [Failure("broken", 1, "no flow")]
    assert batch.samples == [samples[0], samples[2]] and len(batch.transforms) == 2
    with pytest.raises(UserError, match="2 numbers, the frames have 3 channels"):
        batches_of(build_valid_loader(config, samples, num_workers=0))


def test_items_of_lists_are_samples():
    item = VideoItem("a.mp4", 3, 1, (3, 5))
    sample = Sample({"rgb": "a.mp4"}, (3, 5), "a.mp4")
    for name in ("sources", "target", "id", "seconds", "label", "labels"):
        assert getattr(item, name) == getattr(sample, name)
    assert VideoItem("a.mp4", 3, 1).target == (3,) and VideoItem("a.mp4", -1, 1).target == ()
    boxes = Sample({"rgb": "a.mp4"}, np.zeros((1, 4)), "a", seconds=902.0)
    assert (boxes.label, boxes.labels, boxes.seconds) == (-1, (), 902.0)
    assert Sample({"rgb": "a.mp4"}, 7).labels == (7,)


def test_a_transform_tells_what_it_did_and_boxes_follow():
    clip = np.zeros((2, 60, 90, 1), np.uint8)
    clip[:, 20:40, 30:60] = 255
    box = np.array([[30, 20, 60, 40]])
    seen = set()
    for seed in range(20):
        transform = transforms.RandomTransform((64, 80), 64)
        cut, used = transform(clip, np.random.default_rng(seed))
        again, same = transform(clip, np.random.default_rng(seed))
        assert used == same and np.array_equal(cut, again) and cut.shape == (2, 64, 64, 1)
        rows, columns = (np.flatnonzero((cut[0, :, :, 0] > 127).any(axis)) for axis in (1, 0))
        drawn = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(np.clip(used.map_boxes(box)[0], 0, 64), drawn, atol=1)
        seen.add(used.mirrored)
    assert seen == {True, False}
    _, used = transforms.CentreTransform(64, 64)(clip)
    assert (used.height, used.width, used.top, used.left, used.mirrored) == (64, 96, 0, 16, False)
