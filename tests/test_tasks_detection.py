"""The task of a detector: its loss, its meter, and train.py and eval.py on tiny videos of actors."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
import yaml

from data.dataset.demo_detection.make_videos import make_dataset
from datareader.box_lists import FrameIndex, read_detections, read_truth
from tasks.detection import Detection, DetectionMeter
from tests.script_runs import ROOT, run_script


def test_the_loss_of_several_labels_is_the_mean_binary_cross_entropy():
    logits, targets = np.array([[0.5, -2.0, 3.0], [1.0, 0.0, -1.0]]), np.array([[1, 1, 0], [0, 0, 0]])
    p = 1 / (1 + np.exp(-logits))
    expected = -np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    found = Detection(3).loss(*(paddle.to_tensor(x, dtype="float32") for x in (logits, targets)))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_with_a_background_a_box_without_a_label_is_background():
    logits = np.array([[0.5, -2.0, 3.0, 0.1], [1.0, 0.0, -1.0, 2.0], [0.3, 0.2, 0.1, 0.0]])
    targets = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1]])
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -np.mean([log_p[0, 1], log_p[1, 3], (log_p[2, 0] + log_p[2, 2]) / 2])
    found = Detection(3).loss(*(paddle.to_tensor(x, dtype="float32") for x in (logits, targets)))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_truth_scored_1_has_a_map_of_100_and_doubles_are_suppressed(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("v,1,0.1,0.1,0.5,0.5,1,0\nv,1,0.4,0.4,0.9,0.9,2,1\nv,2,0.1,0.1,0.5,0.5,2,0\n")
    index = FrameIndex()
    truth = read_truth(str(path), index)
    meter = DetectionMeter(truth, index, {1: "sit", 2: "run"}, 0.5)
    doubled = np.array([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.51], [0.4, 0.4, 0.9, 0.9]])
    meter.add(0, doubled, np.array([[0.9, 0.1], [0.8, 0.1], [0.2, 0.9]]))
    meter.add(1, doubled[:1], np.array([[0.1, 0.9]]))
    result = meter.result()
    assert result["mAP"] == result["box_recall"] == 100
    assert result["num_detections"] == 2 * 2 + 2  # of three boxes two a class, and one of the second frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny detector of 64 px and two videos to train and test on."""
    folder = tmp_path_factory.mktemp("detection")
    make_dataset(folder, 1, 1, seed=3, num_workers=1)
    clip = {"crop_size": 64, "sample_rate": 2, "video_length": 4, "num_reader_threads": 0, "jitter_scales": [64, 64]}
    sections = {
        "base": str(ROOT / "configs/demo_detection.yaml"),
        "RESNETS": {"stem_channels": 4, "res2_channels": 8, "width_per_group": 4, "blocks_per_stage": [1, 1, 1, 1]},
        "NONLOCAL": {"positions": {"res4": [0]}},
        "DETECTION": {
            "label_map": str(folder / "label_map.pbtxt"), "train_boxes": str(folder / "train_boxes.csv"),
            "valid_boxes": str(folder / "val_boxes.csv"), "proposal_width": 4, "anchor_sizes": [16.0],
        },
        "TRAIN": {**clip, "filelist": str(folder / "trainlist.txt"), "batch_size": 4, "max_iter": 2},
        "VALID": {**clip, "filelist": str(folder / "vallist.txt"), "batch_size": 4},
        "TEST": {**clip, "filelist": str(folder / "vallist.txt"), "batch_size": 3},
    }  # fmt: skip
    (folder / "tiny.yaml").write_text(yaml.safe_dump(sections))
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    with pytest.MonkeyPatch.context() as patch:
        flags = (f"--config={folder / 'tiny.yaml'}", f"--save_dir={folder / 'run'}", "--fix_random_seed=True")
        assert run_script(patch, "train", *flags, "--log_interval=1") == 0
    return folder / "run"


def evaluate(monkeypatch, trained, out, *flags):
    assert run_script(
        monkeypatch, "eval", f"--config={trained / 'config.yaml'}", f"--weights={trained / 'NONLOCAL.pdparams'}",
        f"--save_dir={out}", "--backend=paddle", *flags,
    ) == 0  # fmt: skip
    return json.loads((out / "results.json").read_text())


def test_a_detector_is_trained_and_validated(trained):
    rows = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [row["loss"] > 0 for row in rows if row["kind"] == "train"] == [True, True]
    (validation,) = (row for row in rows if row["kind"] == "valid")
    assert 0 <= validation["mAP"] <= 100 and validation["num_broken"] == 0
    state = paddle.load(str(trained / "NONLOCAL.pdparams"))
    assert {"head.weight", "proposals.objectness.weight", "proposals.trunk.conv1.weight"} <= set(state)


def test_weights_for_classification_initialise_the_trunk(monkeypatch, folder, tmp_path, capsys):
    from configs import load_config
    from models import build_model
    from weights import save_weights

    classifier = build_model(load_config(folder / "tiny.yaml", ["MODEL.task=classification"]))
    weights = {name: tensor.numpy() for name, tensor in classifier.state_dict().items()}
    save_weights(tmp_path / "classifier.pdparams", weights)
    flags = (f"--config={folder / 'tiny.yaml'}", f"--save_dir={tmp_path / 'run'}", "-o", "TRAIN.learning_rate=0")
    assert run_script(monkeypatch, "train", *flags, f"--pretrain={tmp_path / 'classifier.pdparams'}") == 0
    state = paddle.load(str(tmp_path / "run/NONLOCAL.pdparams"))
    np.testing.assert_array_equal(state["stage5.block0.b.conv.weight"].numpy(), weights["stage5.block0.b.conv.weight"])


def test_an_evaluation_judges_annotated_boxes_and_writes_them(monkeypatch, folder, trained, tmp_path):
    result = evaluate(monkeypatch, trained, tmp_path, "-o", "DETECTION.proposals=truth")
    assert result["box_recall"] == pytest.approx(100) and result["protocol"] == "ava" and result["num_videos"] == 1
    index = FrameIndex()
    truth = read_truth(str(folder / "val_boxes.csv"), index)
    found = read_detections(str(tmp_path / "detections.csv"), index)
    assert len(found.rows) == 8 * len(truth.rows) and set(found.frames) == set(truth.frames)
    rows = found.rows[found.rows["label"] == 1]
    for frame in truth.frames:
        own, wanted = (np.sort(part["box"][part["frame"] == frame], axis=0) for part in (rows, truth.rows))
        np.testing.assert_allclose(own, wanted, atol=1e-6)


def test_boxes_are_written_as_annotated_and_judged_by_the_protocol_that_is_asked_for(
    monkeypatch, folder, trained, tmp_path
):
    lines = (folder / "val_boxes.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    pixels = [[*r[:2], *(f"{float(c) * 120:.3f}" for c in r[2:6]), *r[6:]] for r in rows]  # any unit but fractions
    wider = tmp_path / "wider.csv"
    wider.write_text("# boxes: pixels\n" + "".join(",".join(row) + "\n" for row in pixels))
    excluded = tmp_path / "excluded.csv"
    excluded.write_text(",".join(rows[0][:2]) + "\n")
    keys = ("proposals=truth", f"valid_boxes={wider}", "protocol=act", f"valid_excluded={excluded}")
    flags = [flag for key in keys for flag in ("-o", f"DETECTION.{key}")]
    result = evaluate(monkeypatch, trained, tmp_path, *flags)
    assert result["protocol"] == "act" and "video_mAP" in result
    index = FrameIndex()
    truth = read_truth(str(wider), index)
    found = read_detections(str(tmp_path / "detections.csv"), index).rows
    assert index.number(*rows[0][:2]) not in found["frame"]
    known = {tuple(box) for box in truth.rows["box"].round(3).tolist()}
    assert len(found) and {tuple(box) for box in found["box"].round(3).tolist()} <= known


def test_the_boxes_of_the_proposal_network_and_reversed_frames_are_judged(monkeypatch, trained, tmp_path):
    proposed = evaluate(monkeypatch, trained, tmp_path / "rpn")
    assert proposed["proposals"] == "rpn" and proposed["num_detections"] > 0 and proposed["backend"] == "paddle"
    exported = evaluate(monkeypatch, trained, tmp_path / "exported", "--backend=paddle_inference")
    assert exported["backend"] == "paddle_inference"
    rows, others = (
        read_detections(str(tmp_path / name / "detections.csv"), FrameIndex()).rows for name in ("rpn", "exported")
    )
    np.testing.assert_allclose(others["box"], rows["box"], atol=1e-6)
    np.testing.assert_allclose(others["score"], rows["score"], atol=2e-5)
    forwards = evaluate(monkeypatch, trained, tmp_path / "a", "-o", "DETECTION.proposals=truth")
    backwards = evaluate(monkeypatch, trained, tmp_path / "b", "-o", "DETECTION.proposals=truth", "--reverse_frames")
    assert backwards["reverse_frames"] and backwards["mAP"] != forwards["mAP"]


def test_what_an_evaluation_of_boxes_does_not_have_is_refused(monkeypatch, trained, tmp_path, capsys):
    status = run_script(
        monkeypatch, "eval", f"--config={trained / 'config.yaml'}", f"--weights={trained / 'NONLOCAL.pdparams'}",
        f"--save_dir={tmp_path}", "--views=1x1",
    )  # fmt: skip
    assert status == 2 and "without --views" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["graph=static", "mixup_alpha=0.2", "label_smoothing=0.1", "precise_bn_batches=2"])
def test_what_boxes_cannot_be_trained_with_is_refused(monkeypatch, folder, tmp_path, capsys, key):
    flags = (f"--config={folder / 'tiny.yaml'}", f"--save_dir={tmp_path}", "-o", f"TRAIN.{key}")
    assert run_script(monkeypatch, "train", *flags) == 2
    assert f"TRAIN.{key.split('=')[0]}" in capsys.readouterr().err
