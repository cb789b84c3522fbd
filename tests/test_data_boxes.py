"""The generators of boxes and lists for AVA, JHMDB and UCF101-24."""

from __future__ import annotations

import importlib
import json
import pickle
import re
import sys

import numpy as np
import pytest

from datareader.box_lists import FrameIndex, read_label_map, read_truth
from tests.script_runs import run_script
from utils.cli import run


@pytest.fixture
def generate(monkeypatch, tmp_path, capsys):
    """Runs a generator: (exit status, what it printed, its folder of output)."""

    def call(name: str, *flags: object):
        monkeypatch.setattr(sys, "argv", ["make_lists.py", *map(str, flags), f"--output_dir={tmp_path / 'lists'}"])
        try:
            run(importlib.import_module(f"data.dataset.{name}.make_lists").main)
            status = 0
        except SystemExit as ending:
            status = ending.code
        return status, "".join(capsys.readouterr()), tmp_path / "lists"

    return call


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


VALID = "b,0902,0.1,0.1,0.5,0.5,1,0\n" + 2 * "b,0902,0.1,0.1,0.5,0.5,80,0\n" + "b,0903,0,0,1,1,3,1\n-c,1000\n"


@pytest.fixture
def ava(tmp_path):
    folder = tmp_path / "ava"
    folder.mkdir()
    texts = {
        "ava_train_v2.2.csv": "a,0902,0.077,0.1,0.5,0.5,12,0\nd,0902,0,0,1,1,12,0\n",
        "ava_train_excluded_timestamps_v2.2.csv": "d,0902\n",
        "ava_val_v2.2.csv": VALID,
        "ava_val_excluded_timestamps_v2.2.csv": "b,0903\nz,0903\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def test_avas_boxes_without_excluded_frames_and_the_files_of_its_videos(generate, ava, tmp_path):
    touch(tmp_path, "videos/a.mkv", "videos/deep/b.mp4", "videos/d.mp4")
    status, printed, folder = generate("ava", f"--annotation_dir={ava}", f"--video_dir={tmp_path / 'videos'}")
    assert status == 0, printed
    assert (folder / "train_boxes.csv").read_text() == "a,902,0.077,0.1,0.5,0.5,12,0\n"
    rows = "b,902,0.1,0.1,0.5,0.5,1,0\nb,902,0.1,0.1,0.5,0.5,80,0\n-c,1000\n"
    assert (folder / "val_boxes.csv").read_text() == rows
    assert "1 rows repeat an earlier one" in printed and "val_boxes.csv: 2 videos, 2 frames, 2 rows" in printed
    assert (folder / "trainlist.txt").read_text() == f"{tmp_path}/videos/a.mkv a\n"
    assert (folder / "vallist.txt").read_text() == f"{tmp_path}/videos/deep/b.mp4 b\n"
    assert (folder / "missing.txt").read_text() == "-c\n"


def test_avas_boxes_are_judged_as_the_published_files_with_the_excluded_list(generate, ava, tmp_path, monkeypatch):
    _, _, folder = generate("ava", f"--annotation_dir={ava}")
    assert sorted(path.name for path in folder.iterdir()) == ["train_boxes.csv", "val_boxes.csv"]
    (tmp_path / "map").write_text("".join(f'item {{ name: "{n}" id: {n} }}' for n in (1, 3, 80)))
    (tmp_path / "found").write_text("b,902,0.1,0.1,0.5,0.5,80,0.5\nb,903,0,0,1,1,3,0.7\n-c,1000,0,0,1,1,80,0.9\n")
    results = []
    published = [f"--truth={ava}/ava_val_v2.2.csv", f"--excluded={ava}/ava_val_excluded_timestamps_v2.2.csv"]
    for flags in ([f"--truth={folder / 'val_boxes.csv'}"], published):
        flags += [
            f"--detections={tmp_path / 'found'}",
            f"--label_map={tmp_path / 'map'}",
            f"--json={tmp_path / 'json'}",
        ]
        assert run_script(monkeypatch, "tools.evaluate_detections", "--protocol=ava", *flags) == 0
        result = json.loads((tmp_path / "json").read_text())
        results.append({key: result[key] for key in ("mAP", "per_class", "box_recall", "num_truth", "num_detections")})
    assert results[0] == results[1] and results[0]["mAP"] == 25


def test_avas_faults_are_named(generate, ava):
    assert "ava_train_v2.1.csv: No such file" in generate("ava", f"--annotation_dir={ava}", "--version=2.1")[1]
    (ava / "ava_val_v2.2.csv").write_text(VALID + "b,0904,0.5,0.1,0.4,0.5,1,0\n")
    status, printed, _ = generate("ava", f"--annotation_dir={ava}")
    assert status == 2 and "ava_val_v2.2.csv:6: the box is inverted or empty" in printed


def tube(start, length, x):
    frames = np.arange(start, start + length, dtype=np.float32)
    return np.stack([frames, frames + x, 0 * frames + 0.1, frames + x + 30.7, 0 * frames + 60], axis=1)


@pytest.fixture
def annotations():
    return {
        "labels": ["Basketball", 'Say "hi"'],
        "gttubes": {
            "Basketball/v_1": {0: [tube(1, 20, 5), tube(4, 16, 90)]},
            "Basketball/v_2": {0: [tube(1, 20, 5)]},
            "Say/v_2": {1: [tube(3, 20, 5)], 0: [tube(1, 20, 5)]},
        },
        "nframes": {"Basketball/v_1": 20, "Basketball/v_2": 25, "Say/v_2": 40},
        "train_videos": [["Basketball/v_1"], ["Say/v_2"]],
        "test_videos": [["Basketball/v_2", "Say/v_2"], ["Basketball/v_1"]],
        "resolution": {name: (240, 320) for name in ("Basketball/v_1", "Basketball/v_2", "Say/v_2")},
    }


def saved(tmp_path, content) -> str:
    (tmp_path / "GT.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return f"--pickle={tmp_path / 'GT.pkl'}"


@pytest.mark.parametrize("name", ["jhmdb", "ucf24"])
def test_tubes_become_boxes_with_their_numbers(generate, tmp_path, annotations, name):
    touch(tmp_path, "videos/Basketball/v_1.avi", "videos/Basketball/v_2.avi", "videos/Say/v_2.avi")
    status, printed, folder = generate(name, saved(tmp_path, annotations), f"--video_dir={tmp_path / 'videos'}")
    assert status == 0, printed
    assert read_label_map(str(folder / "label_map.pbtxt")) == {1: "Basketball", 2: 'Say "hi"'}
    index = FrameIndex()
    found = read_truth(str(folder / "val_boxes.csv"), index)
    assert found.unit == "pixels" and index.counts_frames and index.videos == ["Basketball/v_2", "Say/v_2"]
    for video, label, person, expected in (
        (0, 1, 0, tube(1, 20, 5)),
        (1, 2, 1, tube(3, 20, 5)),
        (1, 1, 0, tube(1, 20, 5)),
    ):
        rows = found.rows[(index.video[found.rows["frame"]] == video) & (found.rows["label"] == label)]
        assert (rows["person"] == person).all() and index.time[rows["frame"]].tolist() == expected[:, 0].tolist()
        assert (rows["box"].astype(np.float32) == expected[:, 1:]).all()
    lists = [
        (folder / part).read_text().replace(f"{tmp_path}/videos/", "") for part in ("trainlist.txt", "vallist.txt")
    ]
    assert lists == [
        "Basketball/v_1.avi Basketball/v_1\n", "Basketball/v_2.avi Basketball/v_2\nSay/v_2.avi Say/v_2\n"
    ]  # fmt: skip
    assert "val_boxes.csv: 2 videos, 42 frames, 60 boxes" in printed


def test_the_written_truth_is_100_in_frames_and_videos(generate, tmp_path, annotations, monkeypatch):
    _, _, folder = generate("jhmdb", saved(tmp_path, annotations), "--split=2")
    truth = folder / "val_boxes.csv"
    flags = [f"--truth={truth}", f"--detections={tmp_path / 'found'}", f"--label_map={folder / 'label_map.pbtxt'}"]
    (tmp_path / "found").write_text(re.sub(r",\d+$", ",1", truth.read_text(), flags=re.MULTILINE))
    flags += ["--protocol=act", f"--json={tmp_path / 'j'}"]
    assert run_script(monkeypatch, "tools.evaluate_detections", *flags) == 0
    result = json.loads((tmp_path / "j").read_text())
    assert result["per_class"][0]["average_precision"] == 100 and result["classes_without_truth"] == [2]
    assert result["per_class"][0]["video_average_precision"]["0.5:0.95"] == 100 and result["mAP"] == 50


def test_pickles_that_hold_no_tubes_are_refused(generate, tmp_path, annotations):
    def refused(content, *flags) -> str:
        status, printed, folder = generate("jhmdb", saved(tmp_path, content), *flags)
        assert status == 2 and not folder.exists()
        return printed

    assert "has no split 3" in refused(annotations, "--split=3")
    assert "not a pickle of annotated tubes" in refused([1, 2])
    assert "not a pickle of annotated tubes" in refused({**annotations, "labels": None})
    assert "not a pickle of annotated tubes" in refused({**annotations, "labels": ["Basketball"]})
    assert "not a pickle of annotated tubes" in refused({**annotations, "test_videos": [["other"]]})
    wrong = {"Basketball/v_1": {0: [tube(1, 20, np.nan)]}}
    assert "not a pickle of annotated tubes" in refused({**annotations, "gttubes": {**annotations["gttubes"], **wrong}})
    assert "nothing of it was run" in refused({**annotations, "labels": pytest.raises})
