"""AVA from end to end, on a folder in its exact form with drawn videos of its length: lists, train.py, eval.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from configs import load_config
from datareader.box_lists import FrameIndex, read_detections
from datareader.key_frames import KeyFrameLoader, read_key_frames
from tests.script_runs import ROOT, run_script
from tests.video_factory import draw_frames, frame_numbers, write_video
from weights.safe_pickle import load_pickle

FPS, SECONDS = 2, 901  # videos are cut from second 900 of the film to 1801
BOXES = {"a": "0.100,0.200,0.500,0.900", "b": "0.450,0.100,0.980,0.950", "c": "0.000,0.000,0.300,0.300"}


def rows(*entries: str) -> str:
    """Rows of a csv file of AVA: "video second box action person" each."""
    fields = [entry.split() for entry in entries]
    return "".join(f"{video},{second},{BOXES[box]},{rest}\n" for video, second, box, rest in fields)


@pytest.fixture(scope="module")
def ava(tmp_path_factory):
    """The published files, two videos whose frames show their number, and the configuration of a tiny network."""
    folder = tmp_path_factory.mktemp("ava")
    (folder / "videos").mkdir()
    frames = draw_frames(FPS * SECONDS, 36, 48)
    for name, ending in (("-5KQ66BBWC4", "mkv"), ("1j20qq1JyX4", "mp4")):
        write_video(folder / f"videos/{name}.{ending}", frames, FPS, options={"preset": "ultrafast", "g": "60"})
    train, valid = "-5KQ66BBWC4", "1j20qq1JyX4"
    labels = [(1, "bend/bow (at the waist)"), (3, "crouch/kneel"), (12, "stand"), (17, "carry/hold (an object)")]
    texts = {
        "ava_train_v2.2.csv": rows(*(
            f"{train} {second} {box} {action},{person}" for second in ("0902", "0903", "1500", "1798")
            for box, action, person in (("a", 12, 0), ("a", 80, 0), ("b", 17, 1))
        )) + rows(f"{train} 1000 c 1,2"),
        "ava_val_v2.2.csv": rows(
            f"{valid} 0902 a 12,0", f"{valid} 0902 a 80,0", f"{valid} 0902 b 3,1", f"{valid} 1350 b 17,1",
            f"{valid} 1351 a 12,1", f"{valid} 1798 a 12,0",
        ),
        "ava_train_excluded_timestamps_v2.2.csv": f"{train},1000\n",
        "ava_val_excluded_timestamps_v2.2.csv": f"{valid},1351\n",
        "map.pbtxt": "".join(
            f'label {{\n  name: "{name}"\n  label_id: {number}\n  label_type: PERSON_MOVEMENT\n}}\n'
            for number, name in labels
        ),
        "train_persons.csv": rows(f"{train} 0902 a ,0.99", f"{train} 0903 c ,0.99", f"{train} 1500 b ,0.5"),
        "val_persons.csv": rows(
            f"{valid} 0902 a ,0.99", f"{valid} 0902 b ,0.9", f"{valid} 0902 c ,0.5", f"{valid} 1350 b ,0.3",
            f"{valid} 1350 c ,0.2", f"{valid} 1351 a ,0.9", f"{valid} 1798 a ,0.9",
        ),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    lists = folder / "lists"
    sections = {
        "base": str(ROOT / "configs/ava.yaml"),
        "RESNETS": {"stem_channels": 4, "res2_channels": 8, "width_per_group": 4, "blocks_per_stage": [1, 1, 1, 1]},
        "NONLOCAL": {"positions": {"res4": [0]}},
        "INPUT": {"num_frames": 4, "frame_stride": 2, "crop_size": 32, "scales": [36, 40]},
        "DETECTION": {
            "label_map": str(folder / "map.pbtxt"), "train_boxes": str(lists / "train_boxes.csv"),
            "valid_boxes": str(lists / "val_boxes.csv"), "train_proposals": str(folder / "train_persons.csv"),
            "proposal_file": str(folder / "val_persons.csv"),
        },
        "TRAIN": {"filelist": str(lists / "trainlist.txt"), "num_reader_threads": 0, "batch_size": 2, "max_iter": 4},
        "VALID": {"filelist": str(lists / "vallist.txt"), "num_reader_threads": 0},
        "TEST": {"filelist": str(lists / "vallist.txt"), "num_reader_threads": 0},
    }  # fmt: skip
    (folder / "tiny.yaml").write_text(yaml.safe_dump(sections))
    with pytest.MonkeyPatch.context() as patch:
        flags = (f"--annotation_dir={folder}", f"--video_dir={folder / 'videos'}", f"--output_dir={lists}")
        assert run_script(patch, "data.dataset.ava.make_lists", *flags) == 0
    return folder


@pytest.fixture(scope="module")
def trained(ava):
    """Two epochs of two steps."""
    with pytest.MonkeyPatch.context() as patch:
        assert run_script(patch, "train", *train_flags(ava, "run")) == 0
    return ava / "run"


def train_flags(ava, name: str) -> tuple[str, ...]:
    return (
        f"--config={ava / 'tiny.yaml'}", f"--save_dir={ava / name}", "--fix_random_seed=True", "--valid_interval=0",
    )  # fmt: skip


def test_the_frames_of_the_annotated_seconds_are_read_and_their_boxes(ava):
    config = load_config(ava / "tiny.yaml")
    found = read_key_frames(config, "TRAIN")
    seconds = ("902", "903", "1500", "1798")
    assert [sample.id for sample in found.samples] == [f"-5KQ66BBWC4,{second}" for second in seconds]
    assert [len(sample.target.boxes) for sample in found.samples] == [3, 2, 2, 2]
    assert [int(column) + 1 for column in np.flatnonzero(found.samples[0].target.labels[0])] == [12, 80]
    found = read_key_frames(config, "TEST")
    assert [len(sample.target.boxes) for sample in found.samples] == [2, 1, 1]  # in 1350 the best one
    (batch,) = KeyFrameLoader(config, found.samples, "TEST", num_workers=0)
    shown = frame_numbers(batch.clips.transpose(0, 2, 3, 4, 1)[:, 2])
    assert shown == [FPS * (second - 900) for second in (902, 1350, 1798)]
    np.testing.assert_allclose(batch.boxes[0], np.array([0.1, 0.2, 0.5, 0.9]) * [48, 36, 48, 36], atol=1e-4)


def test_an_evaluation_is_that_of_the_published_files(monkeypatch, ava, trained, tmp_path):
    flags = (f"--config={trained / 'config.yaml'}", f"--weights={trained / 'NONLOCAL.pdparams'}")
    assert run_script(monkeypatch, "eval", *flags, f"--save_dir={tmp_path}") == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert (result["protocol"], result["num_frames"], result["num_truth"]) == ("ava", 3, 4)  # without action 80
    assert [row["id"] for row in result["per_class"]] == [1, 3, 12, 17] and result["classes_without_truth"] == [1]
    assert result["box_recall"] == 100 and 0 < result["mAP"] <= 100
    found = read_detections(str(tmp_path / "detections.csv"), FrameIndex()).rows
    texts = {",".join(f"{corner:.3f}" for corner in box) for box in found["box"]}
    assert texts == {BOXES["a"], BOXES["b"]} and len(found) == 4 * 4
    flags = [f"--truth={ava / 'ava_val_v2.2.csv'}", f"--detections={tmp_path / 'detections.csv'}", "--protocol=ava"]
    flags += [f"--excluded={ava / 'ava_val_excluded_timestamps_v2.2.csv'}", f"--label_map={ava / 'map.pbtxt'}"]
    assert run_script(monkeypatch, "tools.evaluate_detections", *flags, f"--json={tmp_path / 'again.json'}") == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert {name: again[name] for name in ("mAP", "box_recall", "per_class")} == {
        name: result[name] for name in ("mAP", "box_recall", "per_class")
    }


def test_a_resumed_run_ends_with_the_weights_of_a_straight_one(monkeypatch, ava, trained):
    flags = (*train_flags(ava, "resumed"), f"--resume={trained / 'NONLOCAL_epoch0'}")
    assert run_script(monkeypatch, "train", *flags) == 0
    straight, resumed = (load_pickle(path / "NONLOCAL.pdparams") for path in (trained, ava / "resumed"))
    first = load_pickle(trained / "NONLOCAL_epoch0.pdparams")
    assert (first["head.weight"] != straight["head.weight"]).any()
    for name in straight:
        np.testing.assert_array_equal(straight[name], resumed[name], err_msg=name)


def test_boxes_weigh_the_same_in_a_batch_and_in_its_pieces(monkeypatch, ava):
    """Clips of three and of two boxes; the loss is the mean over all boxes."""
    found = []
    for pieces in (1, 2):
        name = f"pieces{pieces}"
        keys = ("MODEL.dropout_rate=0", "TRAIN.max_iter=1", "TRAIN.warmup_iterations=0", "TRAIN.learning_rate=1")
        flags = [flag for key in (*keys, f"TRAIN.accumulation_steps={pieces}") for flag in ("-o", key)]
        assert run_script(monkeypatch, "train", *train_flags(ava, name), *flags) == 0
        found.append(load_pickle(ava / name / "NONLOCAL.pdparams"))
    for name in found[0]:
        np.testing.assert_allclose(found[0][name], found[1][name], atol=1e-6, err_msg=name)
