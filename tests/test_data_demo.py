import functools
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data.dataset.demo.draw_motions import (
    CLASS_NAMES,
    MOTIONS,
    ONE_WAY,
    REVERSED_CLASS,
    change_over_time,
    draw_frames,
)
from data.dataset.demo.make_videos import make_dataset, planned_videos
from data.dataset.drawn_videos import encode_video
from datareader.lists import read_list
from utils.errors import UserError

SCRIPT = Path(__file__).resolve().parents[1] / "data/dataset/demo/make_videos.py"
PAIRED = [name for name in CLASS_NAMES if REVERSED_CLASS[name] != name]


def test_there_are_enough_classes_and_pairs():
    assert len(CLASS_NAMES) >= 8 and len(PAIRED) == 6
    assert all(REVERSED_CLASS[REVERSED_CLASS[name]] == name for name in CLASS_NAMES)
    assert (REVERSED_CLASS["rise"], REVERSED_CLASS["swing"]) == ("fall", "swing")


@pytest.mark.parametrize("name", PAIRED)
def test_reversed_frames_are_the_pair_class_exactly(name):
    """So a single frame, or frames without their order, cannot tell the two apart."""
    forwards = draw_frames(name, np.random.default_rng(7))
    np.testing.assert_array_equal(forwards, draw_frames(REVERSED_CLASS[name], np.random.default_rng(7))[::-1])
    assert forwards.dtype == np.uint8 and forwards.shape[3] == 3 and 40 <= len(forwards) <= 90
    assert min(forwards.shape[1:3]) >= 96 and not any(side % 2 for side in forwards.shape[1:3])


def quantities(motion, seed, num_frames=200, count=5):
    """What can change, each float [n, count] or [n, 1], the named one growing in the class that runs forwards."""
    change = change_over_time(motion, num_frames, count, np.random.default_rng(seed))
    height = np.zeros((num_frames, count)) if change.height is None else change.height
    return {"lift": height, "spread": change.spread, "light": np.log(change.gain)[:, None]}, change.side


@pytest.mark.parametrize("motion", MOTIONS)
def test_only_the_named_quantity_changes_and_only_in_one_direction(motion):
    for seed in range(30):
        changes, side = quantities(motion, seed)
        for name, values in changes.items():
            if name == motion:
                steps = np.diff(values, axis=0)
                resets = steps < 0
                assert (steps != 0).all() and resets.sum(axis=0).max() <= 5  # 200 frames, a cycle takes 44 to 72
                assert np.median(steps[~resets]) > 0.5 * np.ptp(values) / 100
            elif not (motion == "flicker" and name == "light"):
                assert np.ptp(values) < 1e-12
        if motion != "swing":
            assert np.ptp(side) == 0  # nothing that a mirror would turn round
        else:
            assert side.min() < -0.05 < 0.05 < side.max()  # half a period later it is its own mirror image


@pytest.mark.parametrize("motion", ONE_WAY)
@pytest.mark.parametrize("stride", [2, 3, 4])
def test_any_clip_shows_the_direction_even_when_it_runs_past_the_end(motion, stride):
    for seed in range(20):
        num_frames = int(np.random.default_rng(seed).integers(40, 91))
        values = quantities(motion, seed, num_frames)[0][motion]
        for start in range(num_frames):
            clip = values[(start + stride * np.arange(8)) % num_frames]
            right = np.diff(clip, axis=0) > 0
            assert right.sum(axis=0).min() >= 5  # of 7 steps: at most one is a new start, one the end of the video
            assert np.median(np.diff(clip, axis=0)) > 0.012 * stride / 2 * np.ptp(values)


def test_what_a_frame_shows_of_other_motions_is_within_their_range():
    """The brightness of a scene whose light rests must not tell that it rests."""
    moving = np.concatenate([quantities("light", seed)[0]["light"].ravel() for seed in range(40)])
    for other in MOTIONS:
        if other not in ("light", "flicker"):
            resting = np.array([quantities(other, seed)[0]["light"][0] for seed in range(200)])
            assert moving.min() <= resting.min() and resting.max() <= moving.max()
            assert np.ptp(resting) > 0.4 * np.ptp(moving)


def test_brighten_gets_brighter_and_flicker_jumps():
    for name, sign in (("brighten", 1), ("darken", -1)):
        light = draw_frames(name, np.random.default_rng(0)).mean(axis=(1, 2, 3))
        assert (np.diff(light) * sign > 0).mean() > 0.9
    flicker = draw_frames("flicker", np.random.default_rng(0)).mean(axis=(1, 2, 3))
    assert np.abs(np.diff(flicker)).max() > 5 * np.median(np.abs(np.diff(flicker)))


def test_the_plan_is_balanced_and_training_pairs_share_scenes():
    plan = planned_videos(4, 2, 3, seed=1)
    for split, count in zip(("train", "valid", "test"), (4, 2, 3)):
        names = [video.class_name for video in plan[split]]
        assert all(names.count(name) == count for name in CLASS_NAMES)
    seeds = {split: {name: set() for name in CLASS_NAMES} for split in plan}
    for split, videos in plan.items():
        for video in videos:
            seeds[split][video.class_name].add(video.seed)
    for name in PAIRED:
        assert seeds["train"][name] == seeds["train"][REVERSED_CLASS[name]]
        assert not seeds["test"][name] & seeds["test"][REVERSED_CLASS[name]]
    flat = {split: {seed for group in groups.values() for seed in group} for split, groups in seeds.items()}
    assert not flat["train"] & flat["test"] and not flat["train"] & flat["valid"] and not flat["valid"] & flat["test"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "videos"
    assert make_dataset(folder, 1, 1, 1, seed=5, num_workers=1)
    return folder


def test_the_files_are_h264_with_b_frames_and_show_what_was_drawn(dataset):
    plan = planned_videos(1, 1, 1, seed=5)
    for number, name in enumerate(("trainlist.txt", "vallist.txt", "testlist.txt")):
        items = read_list(dataset / name, len(CLASS_NAMES))
        assert sorted(item.label for item in items) == list(range(len(CLASS_NAMES)))
        for item, video in zip(items, plan[("train", "valid", "test")[number]]):
            assert os.path.samefile(item.path, dataset / video.path)
            assert CLASS_NAMES[item.label] == video.class_name in Path(item.path).name
    video = plan["test"][0]
    drawn = draw_frames(video.class_name, np.random.default_rng(video.seed))
    with av.open(str(dataset / video.path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.has_b_frames
        frames = list(container.decode(stream))
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    assert decoded.shape == drawn.shape and any(frame.pict_type == av.video.frame.PictureType.B for frame in frames)
    assert np.abs(decoded.astype(int) - drawn).mean() < 12
    assert (dataset / "class_names.txt").read_text().split() == list(CLASS_NAMES)


def test_a_complete_data_set_is_kept_and_a_damaged_one_mended(dataset):
    files = sorted(path for path in dataset.rglob("*") if path.is_file())
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    assert not make_dataset(dataset, 1, 1, 1, seed=5, num_workers=1)
    assert all(path.stat().st_mtime_ns == before[path][0] for path in files)
    victim = dataset / "test" / "rise_000.mp4"
    victim.write_bytes(before[victim][1][:100])
    assert make_dataset(dataset, 1, 1, 1, seed=5, num_workers=2)  # other processes, the same bytes
    assert {path: path.read_bytes() for path in files} == {path: before[path][1] for path in files}
    assert all(path.stat().st_mtime_ns == before[path][0] for path in files if path.suffix == ".mp4" and path != victim)


def test_whatever_is_missing_or_odd_the_data_set_is_made_anew(tmp_path, monkeypatch):
    tiny = np.zeros((2, 16, 16, 3), np.uint8)
    monkeypatch.setattr("data.dataset.demo.draw_motions.draw_frames", lambda name, rng: tiny)
    make = functools.partial(make_dataset, tmp_path, 1, 1, num_workers=1)
    assert make(num_test=1) and not make(num_test=1)
    assert make(num_test=2) and make(num_test=2, seed=1) and not make(num_test=2, seed=1)
    for name in ("vallist.txt", "class_names.txt", "valid/fall_000.mp4", "manifest.json"):
        (tmp_path / name).unlink()
        assert make(num_test=2, seed=1) and (tmp_path / name).is_file()
    for text in ("[]", "{", '{"fingerprint": 1}'):
        (tmp_path / "manifest.json").write_text(text)
        assert make(num_test=2, seed=1)
    assert not make(num_test=2, seed=1)


def test_the_same_frames_give_the_same_bytes_each_time():
    """Of sizes that are no multiples of a macroblock, where x264's AVX-512 code gives others from run to run."""
    for seed in (1, 2, 3, 5):
        frames = draw_frames("rise", np.random.default_rng(seed))
        assert len({encode_video(frames, Fraction(25)) for _ in range(4)}) == 1


def test_other_seeds_give_other_videos():
    first, second = (draw_frames("rise", np.random.default_rng((seed, 0))) for seed in (1, 2))
    assert first.shape != second.shape or (first != second).any()


def test_wrong_use_is_one_line(tmp_path):
    with pytest.raises(UserError, match="at least one video"):
        make_dataset(tmp_path, 0, 1, 1)
    (tmp_path / "file").write_text("")
    command = [sys.executable, str(SCRIPT), "--num_train=1", "--num_valid=1", "--num_test=1", "--num_workers=1"]
    done = subprocess.run([*command, f"--output_dir={tmp_path}/file/x"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "cannot write" in done.stderr
