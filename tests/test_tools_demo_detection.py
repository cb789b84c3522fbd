"""bash run.sh demo_detection in this process with a tiny network, and the boxes that it evaluates."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest

from data.dataset.demo_detection.make_videos import make_dataset
from datareader.box_lists import FrameIndex, read_detections, read_truth
from datareader.decoding import probe
from tests.script_runs import ROOT
from tools import demo, demo_detection
from utils.boxes import iou

TINY = (
    "TRAIN.max_iter=1", "TRAIN.batch_size=4", "RESNETS.stem_channels=4", "RESNETS.width_per_group=4",
    "RESNETS.blocks_per_stage=[1, 1, 1, 1]", "NONLOCAL.positions={res4: [0]}", "DETECTION.proposal_width=4",
    *(f"{section}.num_reader_threads=0" for section in ("TRAIN", "VALID", "TEST")),
)  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("actors")
    make_dataset(folder, 1, 1, num_workers=1)
    return folder


def test_the_demo_of_detection_runs_from_videos_to_results(monkeypatch, tmp_path, videos):
    called = []

    def call(title, script, *flags):
        called.append(title)
        monkeypatch.setattr(sys, "argv", [script, *flags])
        importlib.import_module(script.removesuffix(".py").replace("/", ".")).main()

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(demo, "call", call)
    monkeypatch.setattr(demo_detection, "call", call)
    flags = [f"--output_dir={tmp_path}", f"--data_dir={videos}", "--num_train=1", "--num_val=1"]
    monkeypatch.setattr(sys, "argv", ["demo_detection.py", *flags, *(f"-o{text}" for text in TINY)])
    demo_detection.main()
    results = json.loads((tmp_path / "results.json").read_text())
    wanted = {"frame_map_truth", "frame_map_jittered", "frame_map_rpn", "reversed", "recall_rpn", "swapped"}
    assert all(0 <= results[name] <= 100 for name in wanted)
    assert (results["num_videos"], results["num_boxes"]) == (1, 8)
    assert [title[:3] for title in called] == [f"{number}/8" for number in range(1, 9)]
    drawn, own = (probe(path) for path in (tmp_path / "overlay.mp4", videos / "val/val_0000.mp4"))
    assert (drawn.duration_seconds, drawn.width) == (own.duration_seconds, own.width)
    runs = {name: json.loads((tmp_path / name / "results.json").read_text()) for name in ("truth", "jittered", "rpn")}
    assert [run["proposals"] for run in runs.values()] == ["truth", "file", "rpn"]


def test_jittered_boxes_are_those_of_truth_and_a_third_of_false_ones(tmp_path):
    make = np.random.default_rng(0)
    corner, side = make.uniform(0, 0.6, (400, 2)), make.uniform(0.1, 0.3, (400, 2))
    boxes = np.concatenate([corner, corner + side], axis=1)
    text = "".join(f"v,{k},{','.join(map(str, box))},1,0\n" for k, box in enumerate(boxes))
    (tmp_path / "truth.csv").write_text(text)
    demo_detection.write_jittered(tmp_path / "truth.csv", tmp_path / "out.csv", np.random.default_rng(1))
    index = FrameIndex()
    truth, found = (read(str(tmp_path / name), index).rows for read, name in (
        (read_truth, "truth.csv"), (read_detections, "out.csv"),
    ))  # fmt: skip
    assert 90 <= len(found) - len(truth) <= 150 and (found["box"] >= 0).all() and (found["box"] <= 1).all()
    _, first = np.unique(found["frame"], return_index=True)
    off = np.abs(found["box"][first] - truth["box"]) / np.tile(side, 2)
    assert 0.14 < off.max() <= 0.1501
    assert (iou(found["box"][first], truth["box"]) > 0.45).all()
    false = np.delete(found, first)
    assert np.median(iou(false["box"], truth["box"][false["frame"]])) < 0.1


def test_two_actors_of_a_frame_exchange_their_boxes_and_the_answers_are_counted(tmp_path):
    rows = ["1,.1,.1,.2,.2,3,0", "1,.5,.5,.6,.6,3,1", "1,.7,.1,.9,.3,5,2", "2,.1,.1,.2,.2,4,0", "2,.5,.5,.6,.6,4,1"]
    (tmp_path / "truth.csv").write_text("".join(f"v,{row}\n" for row in rows))
    demo_detection.write_swapped(tmp_path / "truth.csv", tmp_path / "swapped_boxes.csv")
    found = read_truth(str(tmp_path / "swapped_boxes.csv"), FrameIndex()).rows
    assert [(row["label"], row["box"].tolist()) for row in found] == [
        (3, [0.7, 0.1, 0.9, 0.3]),
        (5, [0.1, 0.1, 0.2, 0.2]),
    ]
    (tmp_path / "swapped").mkdir()
    detections = tmp_path / "swapped/detections.csv"
    at = {"a": "v,1,.7,.1,.9,.3", "b": "v,1,.1,.1,.2,.2"}
    detections.write_text(f"{at['a']},3,.2\n{at['a']},5,.7\n{at['b']},3,.6\n{at['b']},5,.1\n")
    assert demo_detection.percent_swapped(tmp_path) == 100
    detections.write_text(f"{at['a']},3,.8\n{at['a']},5,.7\n{at['b']},3,.6\n{at['b']},5,.1\n")
    assert demo_detection.percent_swapped(tmp_path) == 50
