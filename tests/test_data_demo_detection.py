from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data.dataset.demo_detection.draw_actors import (
    ACTOR_PX,
    CLASS_NAMES,
    CLIP_MARGIN,
    REVERSED_CLASS,
    key_frames,
    scene_by_chance,
)
from data.dataset.demo_detection.make_videos import make_dataset, planned_videos
from datareader.box_lists import FrameIndex, read_label_map, read_truth
from datareader.video import read_frames
from utils.boxes import iou
from utils.errors import UserError

SCENES = [scene_by_chance(np.random.default_rng(seed)) for seed in range(120)]


def test_scenes_are_as_the_readme_says():
    assert {len(scene.actors) for scene in SCENES} == {2, 3, 4}
    assert {name for scene in SCENES for name in scene.classes} == set(CLASS_NAMES)
    for scene in SCENES:
        assert 40 <= scene.num_frames <= 60
        assert all(128 <= side <= 160 and side % 2 == 0 for side in (scene.height, scene.width))
        for actor in scene.actors:
            assert ACTOR_PX[0] <= actor.diameter.min() and actor.diameter.max() <= ACTOR_PX[1]
    frames = SCENES[0].draw()
    assert frames.dtype == np.uint8
    assert frames.shape == (SCENES[0].num_frames, SCENES[0].height, SCENES[0].width, 3)


def test_actors_keep_to_their_own_places():
    for scene in SCENES:
        boxes = scene.boxes()
        for i in range(len(scene.actors)):
            for k in range(i):
                assert iou(boxes[:, i], boxes[:, k]).max() < 0.2
        sides = boxes[..., 2:] - boxes[..., :2]
        assert sides.min() >= 4 and boxes.min() >= 0
        assert (boxes[..., 2:] <= [scene.width, scene.height]).all()


def test_a_box_is_the_rectangle_of_the_pixels_that_its_actor_changes():
    """Each actor alone against the ground without any."""
    for scene in SCENES[:8]:
        still = dataclasses.replace(scene, grain=0.0, jitter=np.round(scene.jitter[:3]), actors=[])
        ground = still.draw().astype(int)
        for actor in scene.actors:
            alone = dataclasses.replace(
                still, actors=[actor._replace(place=actor.place[:3], diameter=actor.diameter[:3])]
            )
            drawn = np.abs(alone.draw() - ground).sum(axis=3) > 12
            for picture, (box,) in zip(drawn, alone.boxes()):
                ys, xs = np.nonzero(picture)
                pixels = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
                assert np.abs(box - pixels).max() < 2.5  # smooth edges are a pixel wider


def test_played_backwards_every_class_becomes_the_other_of_its_pair():
    assert [REVERSED_CLASS[name] for name in ("rise", "grow", "brighten", "swing", "flicker")] == [
        "fall", "shrink", "darken", "swing", "flicker",
    ]  # fmt: skip
    scene = SCENES[1]
    backwards = dataclasses.replace(scene, backwards=True)
    np.testing.assert_array_equal(backwards.draw(), scene.draw()[::-1])
    np.testing.assert_array_equal(backwards.boxes(), scene.boxes()[::-1])
    assert backwards.classes == tuple(REVERSED_CLASS[name] for name in scene.classes) != scene.classes


def quantities(scene, number):
    """What can change of an actor, each float [n], the named one growing in the class that runs forwards."""
    actor = scene.actors[number]
    return {"rise": -actor.place[:, 1], "grow": actor.diameter, "brighten": actor.gain, "swing": actor.place[:, 0]}


def test_only_what_the_class_names_changes_and_key_frames_show_its_direction():
    seen = set()
    for scene in SCENES:
        for number, name in enumerate(scene.classes):
            changing = {"flicker": "brighten"}.get(name, name)
            for quantity, values in quantities(scene, number).items():
                if quantity not in (changing, REVERSED_CLASS[changing]):
                    assert np.ptp(values) < 1e-9
                elif name not in ("swing", "flicker"):
                    sign = 1 if quantity == name else -1
                    for frame in key_frames(scene.num_frames):
                        steps = np.diff(values[frame - CLIP_MARGIN : frame + CLIP_MARGIN]) * sign
                        assert (steps > 0).sum() >= len(steps) - 2  # at most two new starts
                        seen.add(name)
    assert seen == {name for name in CLASS_NAMES if REVERSED_CLASS[name] != name}


def test_what_rests_does_so_within_the_range_that_others_run_through():
    """Or a single frame would tell what an actor does not do."""
    for quantity in ("grow", "brighten"):
        moving, resting = [], []
        for scene in SCENES:
            for number, name in enumerate(scene.classes):
                values = quantities(scene, number)[quantity]
                if name in (quantity, REVERSED_CLASS[quantity]):
                    moving += values.tolist()
                elif name != "flicker":
                    resting.append(values[0])
        assert min(moving) <= min(resting) and max(resting) <= max(moving)
        assert np.ptp(resting) > 0.4 * np.ptp(moving)


def test_training_has_each_scene_in_both_directions_and_held_out_scenes_are_others():
    plan = planned_videos(3, 4, seed=1)
    assert [(video.seed, video.backwards) for video in plan["train"]] == [
        ((1, 0, number), backwards) for number in range(3) for backwards in (False, True)
    ]
    assert len({video.seed for video in plan["val"]} - {video.seed for video in plan["train"]}) == 4
    assert len({video.name for videos in plan.values() for video in videos}) == 10


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo_detection")
    assert make_dataset(folder, 1, 2, seed=5, num_workers=1)
    return folder


def test_the_csv_files_hold_the_boxes_of_key_frames(dataset):
    assert list(read_label_map(str(dataset / "label_map.pbtxt")).items()) == list(enumerate(CLASS_NAMES, 1))
    videos = planned_videos(1, 2, seed=5)
    for name, part in (("train_boxes.csv", videos["train"]), ("val_boxes.csv", videos["val"])):
        index = FrameIndex()
        truth = read_truth(str(dataset / name), index)
        assert truth.unit == "relative" and index.videos == [video.name for video in part]
        for number, video in enumerate(part):
            scene = video.scene()
            own = truth.rows[index.video[truth.rows["frame"]] == number]
            shown = index.time[own["frame"]].astype(int) - 1  # counted from 1
            assert sorted(set(shown)) == key_frames(scene.num_frames)
            pixels = own["box"] * [scene.width, scene.height, scene.width, scene.height]
            np.testing.assert_allclose(pixels, scene.boxes()[shown, own["person"]], atol=1e-5)
            assert [scene.classes[person] for person in own["person"]] == [CLASS_NAMES[i - 1] for i in own["label"]]


def test_a_key_frame_has_a_whole_clip_around_it():
    for num_frames in range(40, 61):
        frames = key_frames(num_frames)
        assert len(frames) >= 3 and min(frames) >= CLIP_MARGIN and max(frames) + CLIP_MARGIN <= num_frames
        assert set(np.diff(frames)) == {8}


def test_the_lists_name_the_videos_that_were_drawn(dataset):
    lines = (dataset / "vallist.txt").read_text().split("\n")[:-1]
    assert [line.split()[1] for line in lines] == ["val_0000", "val_0001"]
    (video,) = planned_videos(1, 1, seed=5)["val"]
    drawn = video.scene().draw()
    decoded = read_frames(dataset / lines[0].split()[0], np.arange(len(drawn)))
    assert decoded.shape == drawn.shape and np.abs(decoded.astype(int) - drawn).mean() < 12
    assert not make_dataset(dataset, 1, 2, seed=5, num_workers=1)


def test_wrong_numbers_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least one scene"):
        make_dataset(tmp_path, 0, 1)
