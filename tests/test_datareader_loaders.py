import os

import numpy as np
import pytest
from video_factory import draw_video, ffmpeg_frames, frame_numbers

from configs.schema import Config
from datareader import VideoViews, build_train_loader, build_valid_loader, build_view_loader, read_list, transforms
from datareader.loaders import Failure
from datareader.requests import ClipSettings, ReaderSettings, TrainingClip
from utils.errors import RunError, UserError


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Seven videos of 20 .. 80 frames, labels 0 .. 3."""
    folder = tmp_path_factory.mktemp("seven")
    for i in range(7):
        draw_video(folder / f"v {i}.mp4", num_frames=20 + 10 * i, hue=i % 6)
    (folder / "list.txt").write_text("".join(f"v {i}.mp4 {i % 4}\n" for i in range(7)))
    return read_list(folder / "list.txt", 4)


@pytest.fixture
def config():
    config = Config()
    config.TRAIN.batch_size = config.VALID.batch_size = 4
    config.TRAIN.crop_size, config.TRAIN.jitter_scales = 32, [32, 40]
    config.VALID.crop_size, config.VALID.jitter_scales = 32, [32, 40]
    config.TEST.crop_size, config.TEST.jitter_scales = 64, [64, 64]
    config.READER.seconds_per_video = 20.0
    return config


def broken(items, place, path="/nowhere/gone.mp4"):
    changed = list(items)
    changed[place] = type(items[place])(path, items[place].label, items[place].line, items[place].labels)
    return changed


def collect(loader, epoch=0, first_batch=0):
    loader.set_position(epoch, first_batch)
    try:
        return list(loader)
    finally:
        loader.close()


def same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        for name in ("clips", "label", "video_id"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("num_workers", [2, 5])
def test_the_same_batches_for_any_number_of_workers(items, config, num_workers):
    items = broken(items, 3)
    alone = collect(build_train_loader(config, items, seed=1, num_workers=0), epoch=2)
    same(alone, collect(build_train_loader(config, items, seed=1, num_workers=num_workers), epoch=2))


def test_nothing_is_lost_at_the_tail_with_three_workers(items, config):
    loader = build_train_loader(config, items, seed=0, num_workers=3)
    batches = collect(loader)
    assert [len(batch) for batch in batches] == [4, 3]
    assert len(loader) == 2
    ids = np.concatenate([batch.video_id for batch in batches])
    assert sorted(ids) == list(range(7))
    assert [items[i].label for i in ids] == np.concatenate([batch.label for batch in batches]).tolist()
    assert batches[0].clips.dtype == np.float32
    assert batches[0].clips.shape == (4, 3, 8, 32, 32)


def test_epochs_and_seeds_differ_and_repeat(items, config):
    loader = build_train_loader(config, items, seed=5, num_workers=0)
    first, second = collect(loader, 0), collect(loader, 1)
    assert not np.array_equal(first[0].clips, second[0].clips)
    same(first, collect(loader, 0))
    other = collect(build_train_loader(config, items, seed=6, num_workers=0), 0)
    assert not np.array_equal(first[0].clips, other[0].clips)


def test_an_epoch_is_taken_up_in_its_middle(items, config):
    config.TRAIN.batch_size = 2
    whole = collect(build_train_loader(config, items, seed=5, num_workers=0), epoch=3)
    same(whole[2:], collect(build_train_loader(config, items, seed=5, num_workers=2), epoch=3, first_batch=2))


def test_a_clip_is_the_frames_of_the_formula(items, config):
    """Whole-frame crops keep the bar code readable, so the frame numbers can be read off the batch."""
    config.TRAIN.video_length, config.TRAIN.sample_rate = 4, 3
    items = [items[2]] * 40  # 40 frames of 64 x 84
    config.TRAIN.batch_size, config.TRAIN.crop_size, config.TRAIN.jitter_scales = 40, 64, [64, 64]
    batch = collect(build_train_loader(config, items, seed=0, num_workers=0))[0]
    truth = ffmpeg_frames(items[0].path)
    places = {
        truth[start, :, left : left + 64][:, ::flip].tobytes(): (start, flip, left)
        for start in range(29)
        for flip in (1, -1)
        for left in range(21)
    }
    starts, mirrored, lefts = set(), set(), set()
    for clip in batch.clips:
        frames = np.rint(clip.transpose(1, 2, 3, 0) * 57.375 + 114.75).astype(np.uint8)
        start, flip, left = places[frames[0].tobytes()]
        np.testing.assert_array_equal(frames, truth[start : start + 12 : 3, :, left : left + 64][:, :, ::flip])
        starts.add(start), mirrored.add(flip), lefts.add(left)
    assert len(starts) > 12 and len(lefts) > 8 and mirrored == {1, -1}


def test_no_mirror_where_left_and_right_are_the_label(items, config, tmp_path):
    path = draw_video(tmp_path / "square.mp4", num_frames=10, width=64)  # its bar code has white left and black right
    items = [type(items[0])(str(path), 0, 1)] * 20
    config.TRAIN.crop_size, config.TRAIN.jitter_scales, config.TRAIN.batch_size = 64, [64, 64], 20
    for mirror in (True, False):
        config.TRAIN.mirror = mirror
        clips = collect(build_train_loader(config, items, seed=0, num_workers=0))[0].clips
        upright = clips[:, 0, 0, 10, 2] > clips[:, 0, 0, 10, 61]
        assert upright.all() == (not mirror)
        assert upright.any()


def test_a_broken_video_is_replaced_and_told(items, config):
    items = broken(items, 3)
    for epoch in range(3):
        batches = collect(build_train_loader(config, items, seed=0, num_workers=2), epoch)
        assert sum(len(batch) for batch in batches) == 7
        ids = np.concatenate([batch.video_id for batch in batches]).tolist()
        assert 3 not in ids and len(set(ids)) == 6
        failures = [failure for batch in batches for failure in batch.failures]
        assert failures == [Failure("/nowhere/gone.mp4", 3, "no such file or directory")]


def test_a_list_of_broken_videos_ends_the_run(items, config):
    items = [broken(items, i)[i] for i in range(7)]
    with pytest.raises(RunError, match="7 training videos in a row cannot be read"):
        collect(build_train_loader(config, items, seed=0, num_workers=2))


@pytest.mark.parametrize("num_items, world_size", [(7, 2), (7, 3), (1, 4), (6, 2)])
def test_ranks_share_an_epoch_evenly(items, config, num_items, world_size):
    config.TRAIN.batch_size = 2 * world_size
    loaders = [
        build_train_loader(config, items[:num_items], seed=0, num_workers=0, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    batches = [collect(loader) for loader in loaders]
    assert len({len(loader) for loader in loaders}) == 1
    assert {len(b) for b in batches} == {len(loaders[0])}
    ids = [i for rank in batches for batch in rank for i in batch.video_id.tolist()]
    assert set(ids) == set(range(num_items))
    assert len(ids) == -(-num_items // world_size) * world_size


def test_a_batch_larger_than_the_data_is_the_data(items, config):
    config.TRAIN.batch_size = 64
    assert [len(batch) for batch in collect(build_train_loader(config, items, seed=0, num_workers=0))] == [7]


def test_wrong_settings(items, config):
    config.TRAIN.batch_size = 3
    with pytest.raises(UserError, match="no multiple of the 2 processes"):
        build_train_loader(config, items, seed=0, world_size=2)
    config.TRAIN.crop_size = 50
    with pytest.raises(UserError, match="crop_size 50"):
        build_train_loader(config, items, seed=0)
    with pytest.raises(UserError, match="holds no video"):
        build_valid_loader(config, [])
    for views in ("3", "0x1", "ax3", "10x"):
        with pytest.raises(UserError, match="views"):
            build_view_loader(config, items, views=views)


def test_validation_is_the_centre_and_keeps_the_lists_order(items, config):
    items = broken(items, 5)
    for num_workers in (0, 2):
        loader = build_valid_loader(config, items, num_workers=num_workers)
        batches = list(loader)
        loader.close()
        assert [batch.video_id.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 6]]
        assert [failure.video_id for batch in batches for failure in batch.failures] == [5]
    truth = transforms.resize_short_side(ffmpeg_frames(items[6].path), 32)
    expected = transforms.normalise(truth[8:72:8, :, 5:37], 114.75, 57.375)  # 80 frames: start 8; 42 wide: left 5
    np.testing.assert_array_equal(batches[1].clips[1], expected)


def test_views_share_one_decode_and_are_the_formulas_crops(items, config):
    config.TEST.use_multi_crop = 2
    loader = build_view_loader(config, items, num_workers=2)
    videos = list(loader)
    loader.close()
    assert [video.video_id for video in videos] == list(range(7))
    video = videos[6]
    assert (len(video), video.num_frames, video.label) == (60, 80, 2)
    assert len(video.frames) == len(np.unique(video.clip_indices)) == 10
    truth = ffmpeg_frames(items[6].path)
    clips = video.clips(range(60))
    assert clips.shape == (60, 3, 8, 64, 64)
    for view in range(60):
        clip, crop = divmod(view, 6)
        assert video.clip_of(view) == clip
        indices = [(int(80 / 10 * clip) + 8 * t) % 80 for t in range(8)]
        assert video.clip_indices[clip].tolist() == indices
        left = [0, 10, 20][crop % 3]
        expected = truth[indices][:, :, left : left + 64][:, :, :: -1 if crop >= 3 else 1]
        np.testing.assert_array_equal(clips[view], transforms.normalise(expected, 114.75, 57.375))


@pytest.mark.parametrize(
    "views, count, shape",
    [("1x1", 1, (64, 64)), ("5x3", 15, (64, 64)), ("2xwhole", 2, (64, 64)), ("whole", 10, (64, 64))],
)
def test_other_protocols(items, config, views, count, shape):
    video = next(iter(build_view_loader(config, items[:1], views=views, num_workers=0)))
    assert video.clips(range(count)).shape[3:] == shape
    assert len(video) == count


def test_the_whole_frame_is_cut_to_what_the_network_halves(items, config):
    config.TEST.jitter_scales, config.TEST.crop_size = [96, 96], 96
    video = next(iter(build_view_loader(config, items[:1], views="1xwhole", num_workers=0)))
    assert video.frames.shape[1:3] == (96, 126)
    crop = video.crop_of(0)
    assert (crop.top, crop.left, crop.height, crop.width) == (0, 15, 96, 96)


def test_reversed_clips_and_broken_test_videos(items, config):
    items = broken(items, 0)
    forward, backward = (
        list(build_view_loader(config, items[:2], views="2x1", num_workers=0, reverse_frames=r)) for r in (False, True)
    )
    assert forward[0] == backward[0] == Failure("/nowhere/gone.mp4", 0, "no such file or directory")
    assert isinstance(forward[1], VideoViews)
    np.testing.assert_array_equal(forward[1].clip_indices[:, ::-1], backward[1].clip_indices)
    np.testing.assert_array_equal(forward[1].clips([0, 1])[:, :, ::-1], backward[1].clips([0, 1]))
    assert frame_numbers(backward[1].frames[backward[1].clip_positions[1]]) == backward[1].clip_indices[1].tolist()


def test_ranks_split_the_views(items, config):
    seen = [
        [v.video_id for v in build_view_loader(config, items, views="1x1", num_workers=0, rank=r, world_size=3)]
        for r in range(3)
    ]
    assert seen == [[0, 3, 6], [1, 4], [2, 5]]


def test_leaving_early_leaves_no_process_behind(items, config):
    loader = build_train_loader(config, items, seed=0, num_workers=2)
    for _ in loader:
        break
    processes = [reader.process for reader in loader.pool.readers]
    loader.close()
    for process in filter(None, processes):
        process.wait(10)
    assert not any(os.path.exists(f"/proc/{process.pid}/fd/0") for process in processes if process)


def test_each_epoch_has_an_order_of_its_own(items, config):
    loader = build_train_loader(config, items, seed=5, num_workers=0)
    orders = [np.concatenate([batch.video_id for batch in collect(loader, epoch)]).tolist() for epoch in range(6)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) >= 5
    assert len({order[0] for order in orders}) > 1


def test_each_epoch_has_clips_of_its_own_of_every_video(items, config):
    """Whatever their order: each video's clip is another one in the next epoch."""
    loader = build_train_loader(config, items, seed=5, num_workers=0)
    epochs = []
    for epoch in range(2):
        batches = collect(loader, epoch)
        epochs.append({i: clip for batch in batches for i, clip in zip(batch.video_id.tolist(), batch.clips)})
    assert not [i for i in range(7) if np.array_equal(epochs[0][i], epochs[1][i])]


def test_half_of_the_clips_are_mirrored(tmp_path):
    path = draw_video(tmp_path / "square.mp4", num_frames=4, width=64)  # its bar code has white left and black right
    clip, reader = ClipSettings(1, 1, (64, 64), 64), ReaderSettings()
    total = 300
    upright = 0
    for number in range(total):
        frames, _ = TrainingClip(str(path), (0, number), clip, reader).read()
        upright += int(frames[0, 10, 2].sum()) > int(frames[0, 10, 61].sum())
    assert abs(upright / total - 0.5) < 5 * np.sqrt(0.25 / total)  # five standard deviations of a fair coin
