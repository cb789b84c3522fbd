"""Clips around annotated moments, and the boxes that follow their transforms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from configs import load_config
from datareader.key_frames import (
    KeyFrameLoader,
    KeyFrameTrainLoader,
    boxes_of_clip,
    key_frame_indices,
    read_key_frames,
)
from datareader.lists import Sample, read_named_videos
from datareader.transforms import RandomTransform
from tests.script_runs import tiny_config
from tests.video_factory import write_video
from utils.errors import UserError

NUM_FRAMES, HEIGHT, WIDTH = 40, 48, 64


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def detection_config(folder: Path, boxes: Path, *overrides: str):
    """A tiny configuration of a detector; `boxes` is the truth of all sections."""
    label_map = write(folder / "map.pbtxt", "".join(f'item {{ name: "act {i}" id: {i} }}\n' for i in (1, 2, 3)))
    path = tiny_config(folder, folder / "list.txt")
    keys = {"MODEL.task": "detection", "DETECTION.label_map": label_map, "DETECTION.train_boxes": boxes}
    keys |= {"DETECTION.valid_boxes": boxes, "TRAIN.mirror": "False"}
    return load_config(path, [*(f"{key}={value}" for key, value in keys.items()), *overrides])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two videos: frame t of both is of brightness 6 t, with a white square that moves two pixels a frame."""
    folder = tmp_path_factory.mktemp("key_frames")
    frames = np.empty((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for t, frame in enumerate(frames):
        frame[:] = 4 * t
        frame[16:32, t : t + 16] = 255
    for name in ("a.mp4", "b.mp4"):
        write_video(folder / name, frames)
    write(folder / "list.txt", "a.mp4 first\nb.mp4 second\n")
    rows = [
        f"{name},#{frame},{(frame - 1) / WIDTH},{16 / HEIGHT},{(frame + 15) / WIDTH},{32 / HEIGHT},{label},0"
        for name, frame, label in (("second", 21, 3), ("first", 31, 1), ("first", 11, 2), ("first", 11, 1))
    ]
    write(folder / "boxes.csv", "\n".join([*rows, "second,#9"]))
    return folder


def test_a_list_names_its_videos(folder, tmp_path):
    assert read_named_videos(folder / "list.txt") == {"first": str(folder / "a.mp4"), "second": str(folder / "b.mp4")}
    with pytest.raises(UserError, match=r"list:2: the video x is listed twice"):
        read_named_videos(write(tmp_path / "list", "a x\nb x\n"))
    with pytest.raises(UserError, match=r"list:1: no name after the path"):
        read_named_videos(write(tmp_path / "list", "a\n"))


def test_each_frame_that_truth_names_is_a_sample_and_each_box_of_it_one(folder):
    found = read_key_frames(detection_config(folder, folder / "boxes.csv"), "TRAIN")
    assert [sample.id for sample in found.samples] == ["second,9", "second,21", "first,11", "first,31"]
    assert [sample.target.labels.tolist() for sample in found.samples] == [
        [], [[0, 0, 1]], [[1, 1, 0]], [[1, 0, 0]],
    ]  # fmt: skip
    assert found.samples[2].sources["rgb"] == str(folder / "a.mp4")
    assert found.classes == {1: "act 1", 2: "act 2", 3: "act 3"}


@pytest.mark.parametrize(
    "frame, expected",
    [(0, [0, 0, 0, 0, 0, 2, 4, 6]), (20, [12, 14, 16, 18, 20, 22, 24, 26]), (39, [31, 33, 35, 37, 39, 39, 39, 39])],
)
def test_a_clip_is_around_its_frame_and_repeats_the_edges(frame, expected):
    assert key_frame_indices(frame, 8, 2, NUM_FRAMES).tolist() == expected


def test_a_batch_shows_the_frames_and_the_boxes_of_the_moment(folder):
    config = detection_config(folder, folder / "boxes.csv", "VALID.crop_size=48", "VALID.jitter_scales=[48, 48]")
    loader = KeyFrameLoader(config, read_key_frames(config, "VALID").samples, num_workers=0)
    (batch,) = loader
    clips = batch.clips * 57.375 + 114.75
    assert batch.box_clip.tolist() == [1, 2, 3] and batch.box_labels.tolist() == [[0, 0, 1], [1, 1, 0], [1, 0, 0]]
    for place, frame in enumerate((8, 20, 10, 30)):
        ground = clips[place, :, :, -4:, :].mean(axis=(0, 2, 3))  # below the square
        np.testing.assert_allclose(ground, 4 * (frame + np.array([-4, -2, 0, 2])), atol=6)
    for box, place in zip(batch.boxes, batch.box_clip):
        white = clips[place, 0, 2] > 190
        ys, xs = np.nonzero(white)
        np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=1.5)
    backwards = KeyFrameLoader(config, loader.items, "VALID", num_workers=0, reverse_frames=True)
    (reversed_batch,) = backwards
    np.testing.assert_array_equal(reversed_batch.clips, batch.clips[:, :, ::-1])


def test_evaluations_see_whole_frames_in_batches_of_one_size(folder, tmp_path):
    """A wide and a high video, with a white square in a corner that a crop in the middle would not show."""
    for name, height, width in (("wide", 48, 96), ("high", 80, 48)):
        frames = np.zeros((NUM_FRAMES, height, width, 3), np.uint8)
        frames[:, -16:, -16:] = 255
        write_video(tmp_path / f"{name}.mp4", frames)
    write(tmp_path / "list.txt", "".join(f"{tmp_path / name}.mp4 {name}\n" for name in ("wide", "high")))
    corners = {"wide": (80 / 96, 32 / 48), "high": (32 / 48, 64 / 80)}
    times = (("wide", 9), ("wide", 11), ("high", 9), ("wide", 13))
    rows = ["{},#{},{},{},1,1,1,0".format(name, time, *corners[name]) for name, time in times]
    keys = [f"{section}.filelist={tmp_path / 'list.txt'}" for section in ("VALID", "TEST")]
    config = detection_config(folder, write(tmp_path / "boxes.csv", "\n".join(rows)), *keys, "TEST.batch_size=3")
    loader = KeyFrameLoader(config, read_key_frames(config, "TEST").samples, "TEST", num_workers=0)
    batches = list(loader)
    assert [batch.clips.shape for batch in batches] == [(3, 3, 4, 36, 72), (1, 3, 4, 60, 36)]
    for batch in batches:
        for (x1, y1, x2, y2), place in zip(batch.boxes.round().astype(int), batch.box_clip):
            picture = batch.clips[place, 0, 0]
            assert picture[y1 + 2 :, x1 + 2 :].min() > 1 and picture[: y1 - 2].max() < -1
            assert (y2, x2) == picture.shape


def test_seconds_name_the_nearest_frame(folder, tmp_path):
    """The videos have 25 frames a second."""
    boxes = write(tmp_path / "seconds.csv", "first,0.79,0.1,0.1,0.5,0.5,1,0\n")
    config = detection_config(folder, boxes)
    (batch,) = KeyFrameLoader(config, read_key_frames(config, "VALID").samples, num_workers=0)
    brightness = (batch.clips * 57.375 + 114.75)[0, :, :, -3:, :].mean(axis=(0, 2, 3))
    np.testing.assert_allclose(brightness, 4 * (20 + np.array([-4, -2, 0, 2])), atol=6)


def test_training_clips_are_the_same_for_the_same_seed_and_their_boxes_follow(folder):
    config = detection_config(folder, folder / "boxes.csv", "TRAIN.mirror=True", "TRAIN.batch_size=4")
    samples = read_key_frames(config, "TRAIN").samples
    for epoch in range(3):
        batches = []
        for _ in range(2):
            loader = KeyFrameTrainLoader(config, samples, seed=1, num_workers=0)
            loader.set_position(epoch)
            batches += list(loader)
        one, other = batches
        np.testing.assert_array_equal(one.clips, other.clips)
        np.testing.assert_array_equal(one.boxes, other.boxes)
        for box, place in zip(one.boxes, one.box_clip):
            x1, y1, x2, y2 = box.round().astype(int)
            inside = (one.clips * 57.375 + 114.75)[place, 0, 2, y1 + 2 : y2 - 1, x1 + 2 : x2 - 1]
            assert inside.size == 0 or inside.min() > 170


def test_boxes_follow_any_transform_and_lead_back():
    rng = np.random.default_rng(0)
    boxes = np.array([[10.0, 12, 40, 30], [50, 2, 63, 47]])
    for _ in range(200):
        transform = RandomTransform((36, 60), 32, True, bool(rng.integers(2)))
        _, used = transform(np.zeros((1, HEIGHT, WIDTH, 3), np.uint8), rng)
        np.testing.assert_allclose(used.source_boxes(used.map_boxes(boxes)), boxes, atol=1e-9)


def test_a_box_of_which_less_than_a_tenth_is_inside_is_left_out():
    from datareader.key_frames import KeyFrame
    from datareader.transforms import TransformParameters

    used = TransformParameters(HEIGHT, WIDTH, HEIGHT, WIDTH, 0, 20, 40, 40)
    boxes = np.array([[0, 0, 22, 10], [0, 0, 23, 10], [30, 5, 70, 20], [62, 0, 64, 4]], float)
    target = KeyFrame(0, 1, True, False, boxes, np.eye(4, dtype=np.float32))
    found, labels, stored = boxes_of_clip(Sample({}, target), used)
    assert found.tolist() == [[0, 0, 3, 10], [10, 5, 40, 20]]
    assert labels.argmax(axis=1).tolist() == [1, 2] and stored.tolist() == boxes[1:3].tolist()


def test_seconds_count_from_the_files_own_beginning_and_excluded_frames_have_no_sample(folder, tmp_path):
    rows = "".join(f"first,{second},0,0,1,1,1,0\n" for second in ("900", "0900.4", "901.2", "950"))
    excluded = write(tmp_path / "excluded.csv", "first,901.2\n")
    keys = ("DETECTION.start_second=900", f"DETECTION.train_excluded={excluded}")
    config = detection_config(folder, write(tmp_path / "boxes.csv", rows), *keys)
    found = read_key_frames(config, "TRAIN")
    assert [sample.id for sample in found.samples] == ["first,900", "first,900.4", "first,950"]
    (batch,) = KeyFrameLoader(config, found.samples, num_workers=0)  # 40 frames at 25 a second
    assert [batch.samples[k].target.time for k in range(2)] == pytest.approx([0, 0.4])
    key_frames = [np.median(clip[0, 2]) for clip in batch.clips]  # of frames 0 and 10, brightness 4 t
    assert key_frames[1] - key_frames[0] == pytest.approx(40 / 57.375, abs=0.15)
    (failure,) = batch.failures
    assert "second 50 of the file is annotated, it has 1.6; see DETECTION.start_second" in failure.reason
    assert len(read_key_frames(config, "VALID").samples) == 4
    everything = write(tmp_path / "all.csv", rows.replace(",0,0,1,1,1,0", ""))
    config = detection_config(folder, tmp_path / "boxes.csv", f"DETECTION.train_excluded={everything}")
    with pytest.raises(UserError, match="all frames are excluded"):
        read_key_frames(config, "TRAIN")


def test_proposals_of_a_file_take_the_place_of_the_annotated_boxes(folder, tmp_path):
    """Of a frame without a score that is high enough, the best one."""
    rows = "first,#11,0.1,0.1,0.5,0.5,,0.9\nfirst,#11,0.2,0.1,0.5,0.5,-1,0.5\nsecond,#21,0,0,1,1,1,0.99\n"
    rows += "first,#31,0.3,0.1,0.5,0.5,,0.2\nfirst,#31,0.4,0.1,0.5,0.5,,0.3\n"
    proposals = write(tmp_path / "persons.csv", rows)
    keys = (f"DETECTION.proposal_file={proposals}", "DETECTION.proposals=file", "DETECTION.box_score_test=0.6")
    config = detection_config(folder, folder / "boxes.csv", *keys)
    found = read_key_frames(config, "TEST").samples
    assert [sample.target.boxes.tolist() for sample in found] == [
        [], [[0, 0, 1, 1]], [[0.1, 0.1, 0.5, 0.5]], [[0.4, 0.1, 0.5, 0.5]],
    ]  # fmt: skip
    assert len(read_key_frames(config, "TRAIN").samples[2].target.boxes) == 1  # the annotated one


def test_predicted_boxes_that_overlap_an_annotated_one_are_learned_from_with_its_labels(folder, tmp_path):
    """first,11 has the box (10, 16, 26, 32) of labels 1 and 2 in pixels of 64 x 48; an IoU of 0.9 is wanted."""

    def row(name: str, x1: float, x2: float, score: float) -> str:
        return f"{name},{x1 / WIDTH},{16 / HEIGHT},{x2 / WIDTH},{32 / HEIGHT},,{score}\n"

    rows = [
        row("first,#11", 10, 25, 0.95), row("first,#11", 9, 26, 0.9),  # IoUs of 15 / 16 and 16 / 17
        row("first,#11", 10, 24, 0.99), row("first,#11", 10, 26.5, 0.89),  # of 14 / 16; a low score
        row("second,#9", 10, 25, 0.99), row("second,#40", 10, 25, 0.99),  # nothing annotated; no key frame
    ]  # fmt: skip
    keys = (f"DETECTION.train_proposals={write(tmp_path / 'persons.csv', ''.join(rows))}",)
    config = detection_config(folder, folder / "boxes.csv", *keys)
    found = read_key_frames(config, "TRAIN")
    assert found.notes == (f"2 boxes of {tmp_path / 'persons.csv'} are learned from beside 3 annotated",)
    assert [len(sample.target.boxes) for sample in found.samples] == [0, 1, 3, 1]
    target = found.samples[2].target
    assert sorted(target.boxes[:, 2].tolist()) == [25 / WIDTH, 26 / WIDTH, 26 / WIDTH]
    assert target.labels.tolist() == [[1, 1, 0]] * 3
    assert [len(sample.target.boxes) for sample in read_key_frames(config, "VALID").samples] == [0, 1, 1, 1]
    write(tmp_path / "persons.csv", "# boxes: pixels\nfirst,#11,10,16,26,32,,1\n")
    with pytest.raises(UserError, match="in relative units, .* in pixels units"):
        read_key_frames(config, "TRAIN")


@pytest.mark.parametrize(
    "rows, message",
    [
        ("third,#3,0,0,1,1,1,0", "the video third is not in"),
        ("first,#3,0,0,1,1,4,0", "action 4 is beyond MODEL.num_classes 3"),
    ],
)
def test_files_that_do_not_fit_together_are_named(folder, tmp_path, rows, message):
    config = detection_config(folder, write(tmp_path / "boxes.csv", rows))
    with pytest.raises(UserError, match=message):
        read_key_frames(config, "TRAIN")


def test_a_frame_beyond_the_end_is_a_failure_and_the_other_clips_keep_their_boxes(folder, tmp_path):
    boxes = write(tmp_path / "boxes.csv", "first,#11,0,0,1,1,1,0\nfirst,#41,0,0,1,1,2,0\nsecond,#40,0,0,0.5,1,3,0\n")
    config = detection_config(folder, boxes)
    (batch,) = KeyFrameLoader(config, read_key_frames(config, "VALID").samples, num_workers=0)
    assert [failure.reason for failure in batch.failures] == ["frame 41 is annotated, the video has 40"]
    assert [sample.id for sample in batch.samples] == ["first,11", "second,40"]
    assert batch.box_clip.tolist() == [0, 1] and batch.box_labels.argmax(axis=1).tolist() == [0, 2]


@pytest.mark.parametrize(
    "keys, message",
    [
        (("DETECTION.proposals=rpn",), "needs DETECTION.proposal_network: True"),
        (("DETECTION.proposal_network=True", "READER.modality=flow"), "sees 3 channels"),
        (("DETECTION.proposal_network=True", "DETECTION.train_proposals=a.csv"), "which proposes boxes itself"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(folder, keys, message):
    with pytest.raises(UserError, match=message):
        detection_config(folder, folder / "boxes.csv", *keys)


def test_boxes_in_pixels_of_another_size_are_refused(folder, tmp_path):
    boxes = write(tmp_path / "boxes.csv", "# boxes: pixels\nfirst,#11,10,16,66,32,1,0\n")
    config = detection_config(folder, boxes)
    (batch,) = KeyFrameLoader(config, read_key_frames(config, "VALID").samples, num_workers=0)
    assert batch.stored_boxes.tolist() == [[10, 16, 66, 32]]  # two pixels outside
    write(boxes, "# boxes: pixels\nfirst,#11,20,32,128,64,1,0\n")
    with pytest.raises(UserError, match=r"a box ends at \[128.0, 64.0\] \(x, y\), the video has 64x48 px"):
        list(KeyFrameLoader(config, read_key_frames(config, "VALID").samples, num_workers=0))


def test_a_missing_key_is_named(folder):
    with pytest.raises(UserError, match=r"needs DETECTION\.valid_boxes"):
        read_key_frames(detection_config(folder, folder / "boxes.csv", "DETECTION.valid_boxes=''"), "TRAIN")
    with pytest.raises(UserError, match=r"needs DETECTION\.proposal_file"):
        read_key_frames(detection_config(folder, folder / "boxes.csv", "DETECTION.proposals=file"), "TEST")
