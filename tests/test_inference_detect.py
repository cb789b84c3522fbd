"""predict.py --detect: key frames, boxes of every kind, the network's own scores, files, and what is refused."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

from configs import load_config
from datareader import NO_LABEL, VideoItem, probe, read_frames
from datareader.box_lists import FrameIndex, read_detections
from datareader.key_windows import KeyFrameWindowLoader, nearest_frames
from inference.box_sources import FileBoxes, OnnxDetector
from inference.detect import _Tracker, draw_box, predict_actions
from models import build_model
from models.detector import indexed_boxes
from tests.script_runs import run_script, tiny_config, write_list
from tests.video_factory import draw_video, frame_numbers
from utils.boxes import clip_boxes
from utils.errors import UserError
from weights import save_weights


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """A tiny detector of 3 actions, its configuration and weights, and a video of 40 numbered frames, 10 a second."""
    folder = tmp_path_factory.mktemp("detect")
    video = draw_video(folder / "walk.mp4", 40, fps=10)
    path = tiny_config(folder, write_list(folder / "list.txt", [(video, 0)]))
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    sections["MODEL"]["task"] = "detection"
    label_map = folder / "map.pbtxt"
    label_map.write_text('item { name: "sit" id: 1 }\nitem { name: "run" id: 3 }\n')
    sections["DETECTION"] = {"label_map": str(label_map), "train_boxes": "t.csv", "valid_boxes": "v.csv"}
    path.write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
    config = load_config(path)
    paddle.seed(3)
    model = build_model(config)
    model.eval()
    save_weights(folder / "w.pdparams", {name: tensor.numpy() for name, tensor in model.state_dict().items()})
    return path, config, model, folder / "w.pdparams", Path(video)


def predict(monkeypatch, setup, folder, *flags, video=None):
    path, _, _, weights, own = setup
    return run_script(
        monkeypatch, "predict", "--detect", f"--config={path}", f"--weights={weights}", f"--save_dir={folder}",
        f"--video_path={video or own}", "--backend=paddle", *flags,
    )  # fmt: skip


def boxes_csv(path, *rows):
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def test_the_nearest_frames_are_those_of_a_search_over_all():
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.1, 50)) + 7
    seconds = np.arange(0, 3, 0.13)
    expected = sorted({int(np.abs(times - times[0] - s).argmin()) for s in seconds})
    assert nearest_frames(times, seconds).tolist() == expected
    assert nearest_frames(np.array([5.0]), np.array([0.0, 9.0])).tolist() == [0]


def test_a_key_frame_is_in_the_middle_of_its_clip_and_edges_repeat(setup):
    _, config, _, _, video = setup
    items = [VideoItem(str(video), NO_LABEL, 1)]
    loader = KeyFrameWindowLoader(config, items, lambda path, times: nearest_frames(times, np.array([0, 1.04, 3.9])))
    (windows,) = loader
    assert windows.key_frames.tolist() == [0, 10, 39] and windows.key_seconds.tolist() == pytest.approx([0, 1, 3.9])
    expected = [[0, 0, 0, 2], [6, 8, 10, 12], [35, 37, 39, 39]]  # c - 4 * 2 / 2 + 2 i
    assert windows.indices(0, 3).tolist() == expected
    shown = []
    for _, views in windows.batches(1):
        shown += [views.frame_numbers[views.clip_positions[0]].tolist()]
        assert frame_numbers(views.frames) == views.frame_numbers.tolist()
    assert shown == expected


def test_scores_are_the_networks_own_on_whole_frames(monkeypatch, tmp_path, setup):
    _, config, model, _, video = setup
    csv = boxes_csv(
        tmp_path / "b.csv", "walk,1,0.1,0.2,0.5,0.9,1,0.8", "walk,1,0.1,0.2,0.5,0.9,2,0.8", "walk,2,0,0,1,1,-1,0.7"
    )
    assert predict(monkeypatch, setup, tmp_path, f"--boxes={csv}", "--infer_topk=3") == 0
    (record,) = json.loads((tmp_path / "predictions.json").read_text())
    assert (record["num_key_frames"], record["num_boxes"]) == (2, 2)
    found = json.loads(Path(record["files"][0]).read_text())["key_frames"]
    for moment, key, box in zip(found, (10, 20), ([0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1])):
        assert moment["frame"] == key and moment["seconds"] == key / 10
        frames = read_frames(video, np.clip(key - 4 + 2 * np.arange(4), 0, 39))  # 64 x 84
        cv2 = pytest.importorskip("cv2")
        frames = np.stack([cv2.resize(frame, (47, 36), interpolation=cv2.INTER_LINEAR) for frame in frames])
        crop = (frames[:, 2:34, 7:39].astype(np.float32) - 114.75) / 57.375  # multiples of 32, around the centre
        clips = paddle.to_tensor(crop.transpose(3, 0, 1, 2)[None])
        pixels = clip_boxes(np.array([box]) * [47, 36, 47, 36] - [7, 2, 7, 2], 32, 32)
        with paddle.no_grad():
            scores = model.class_scores(model(clips, indexed_boxes(pixels, np.zeros(1)))).numpy()[0]
        (own,) = moment["boxes"]
        assert own["box"] == box
        listed = {action["index"]: action["probability"] for action in own["actions"]}
        np.testing.assert_allclose([listed[k] for k in range(3)], scores, atol=2e-4)
        assert {action["class"] for action in own["actions"]} == {"sit", "2", "run"}
    index = FrameIndex()
    rows = read_detections(record["files"][1], index).rows
    assert index.videos == ["walk"] and sorted(index.time[rows["frame"]].tolist()) == [1] * 3 + [2] * 3
    last = {action["index"]: action["probability"] for action in found[1]["boxes"][0]["actions"]}
    np.testing.assert_allclose(rows["score"][3:], [last[k] for k in range(3)], atol=1e-6)
    assert rows["label"].tolist() == [1, 2, 3] * 2


def test_backends_find_the_same(monkeypatch, tmp_path, setup):
    csv = boxes_csv(tmp_path / "b.csv", "walk,1,0.1,0.2,0.5,0.9,1,0.8", "walk,1,0,0,1,1,1,1", "walk,2,0,0,.5,1,-1,0.7")
    found = []
    for backend in ("paddle", "paddle_inference"):
        flags = (f"--boxes={csv}", "--infer_topk=3", f"--backend={backend}")
        assert predict(monkeypatch, setup, tmp_path / backend, *flags) == 0
        (record,) = json.loads((tmp_path / backend / "predictions.json").read_text())
        found.append(read_detections(record["files"][1], FrameIndex()).rows)
    assert len(found[0]) == 9
    for name in ("frame", "box", "label"):
        np.testing.assert_array_equal(found[1][name], found[0][name])
    np.testing.assert_allclose(found[1]["score"], found[0]["score"], atol=2e-5)


def test_boxes_that_overlap_keep_their_track():
    tracker = _Tracker()
    first = np.array([[0, 0, 0.4, 0.4, 1], [0.5, 0.5, 1, 1, 1]])
    assert tracker.follow(first).tolist() == [0, 1]
    moved = np.array([[0.55, 0.5, 1, 1, 1], [0.05, 0, 0.4, 0.4, 1], [0, 0.6, 0.2, 0.9, 1]])
    assert tracker.follow(moved).tolist() == [1, 0, 2]
    both = np.array([[0.05, 0, 0.4, 0.45, 1], [0.05, 0, 0.4, 0.4, 1]])  # of two that overlap one, the nearer has it
    assert tracker.follow(both).tolist() == [3, 0]
    assert tracker.follow(first[:0]).tolist() == [] and tracker.follow(first).tolist() == [4, 5]


def test_the_film_has_every_frame_and_the_boxes(monkeypatch, tmp_path, setup):
    csv = boxes_csv(tmp_path / "b.csv", "walk.mp4,#11,0.25,0.25,0.75,0.75,1,0.8")
    monkeypatch.setattr("inference.detect.DRAWN_SCORE", 0.0)
    assert predict(monkeypatch, setup, tmp_path, f"--boxes={csv}", f"--draw={tmp_path / 'out.mp4'}") == 0
    assert probe(tmp_path / "out.mp4").num_frames == 40
    before, after = (read_frames(path, [5])[0].astype(int) for path in (setup[4], tmp_path / "out.mp4"))
    changed = np.abs(after - before).max(axis=2) > 30
    assert changed[47, 21:62].mean() > 0.7 and changed[25:45, 62].mean() > 0.7  # its lower and its right side
    assert changed[:12].mean() < 0.1 and changed[52:].mean() < 0.1 and changed[:, 68:].mean() < 0.1
    frame = np.zeros((90, 160, 3), np.uint8)
    draw_box(frame, np.array([0.5, 0.5, 1.0, 1.0]), (255, 0, 0), ["sit  90 %"] * 30)  # more text than room
    assert frame[60, 79:81, 0].max() > 100 and not frame[:40].any() and not frame[:, :70].any()


def test_a_video_without_boxes_has_files_without_rows(monkeypatch, tmp_path, setup, capsys):
    csv = boxes_csv(tmp_path / "b.csv", "another,1,0.1,0.2,0.5,0.9,1,0.8")
    csv.write_text(csv.read_text() + "walk,2,nan,0,1,1,1,1\n")
    assert predict(monkeypatch, setup, tmp_path, f"--boxes={csv}") == 0
    (record,) = json.loads((tmp_path / "predictions.json").read_text())
    assert record["num_boxes"] == 0 and Path(record["files"][1]).read_text() == ""
    printed = capsys.readouterr().out
    assert "no person and no key frame" in printed and "1 rows are dropped, the first in line 2" in printed
    monkeypatch.setattr("inference.box_sources.detector_file", lambda: setup[3])
    csv = boxes_csv(tmp_path / "c.csv", "another,1,0.1,0.2,0.5,0.9,1,0.8")
    assert predict(monkeypatch, setup, tmp_path, f"--boxes={csv}") == 0
    (record,) = json.loads((tmp_path / "predictions.json").read_text())
    assert "has no frame of this video (walk or walk.mp4)" in record["warning"]
    monkeypatch.setattr("inference.box_sources.detector_file", lambda: setup[3])
    monkeypatch.setattr("inference.box_sources.PersonDetector", lambda: lambda frame: np.zeros((0, 5), np.float32))
    assert predict(monkeypatch, setup, tmp_path, "--stride_seconds=2", f"--draw={tmp_path / 'o.mp4'}") == 0
    (record,) = json.loads((tmp_path / "predictions.json").read_text())
    assert (record["num_key_frames"], record["num_boxes"]) == (2, 0) and probe(tmp_path / "o.mp4").num_frames == 40
    assert predict(monkeypatch, setup, tmp_path, "--stride_seconds=1e-300") == 0
    assert json.loads((tmp_path / "predictions.json").read_text())[0]["num_key_frames"] == 40


@pytest.mark.timeout(60)
def test_no_box_of_a_file_can_stop_a_prediction(monkeypatch, tmp_path, setup):
    """NaN and infinity are left out; inverted, empty and huge boxes have scores."""
    corners = ("nan,0,1,1", "0,0,inf,1", "1,1,0,0", "0.5,0.5,0.5,0.5", "-1e6,-1e6,1e6,1e6", "1e6,0,1e6,0", "0,0,1,1")
    csv = boxes_csv(tmp_path / "b.csv", *(f"walk,1,{box},,1" for box in corners))
    assert predict(monkeypatch, setup, tmp_path, f"--boxes={csv}") == 0
    (record,) = json.loads((tmp_path / "predictions.json").read_text())
    assert record["num_boxes"] == 5
    rows = [line.split(",") for line in Path(record["files"][1]).read_text().splitlines()]
    scores = np.array([float(row[7]) for row in rows])
    assert len(rows) == 5 * 3 and ((scores > 0) & (scores < 1)).all()


def test_a_detector_of_the_users_own(monkeypatch, tmp_path, setup):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (the extra `fast`)")
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "boxes": np.array([[10, 10, 30, 90]], np.float32), "scores": np.array([0.9], np.float32)
    }  # fmt: skip
    nodes = [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(v)) for n, v in constants.items()]
    nodes.append(helper.make_node("ReduceMax", ["picture"], ["unused"], keepdims=0))
    graph = helper.make_graph(
        nodes, "detector", [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 100, 100])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(v.shape)) for n, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "own.onnx"))
    found = OnnxDetector(str(tmp_path / "own.onnx"))(np.zeros((40, 70, 3), np.uint8))
    np.testing.assert_allclose(found, [[0.1, 0.1, 0.3, 0.9, 0.9]], rtol=1e-6)
    assert predict(monkeypatch, setup, tmp_path, f"--detector={tmp_path / 'own.onnx'}") == 0
    (record,) = json.loads((tmp_path / "predictions.json").read_text())
    assert record["num_boxes"] == record["num_key_frames"] == 4


def test_boxes_of_a_file_are_found_by_the_videos_name(tmp_path):
    rows = ("walk,#1,0,0,.5,.5,-1,1", "walk.mp4,#40,0,0,1,1,,1", "walk,#99,0,0,1,1,2,1", "other,#3,0,0,1,1,2,1")
    times = np.arange(40) / 10
    source = FileBoxes(str(boxes_csv(tmp_path / "b.csv", *rows)))
    assert source.key_frames("a/walk.mp4", np.arange(40) / 10).tolist() == [0, 39]
    assert source.key_frames("a/other.avi", times).tolist() == [2]
    assert list(source.warnings) == ["a/walk.mp4"] and "1 rows of" in source.warnings["a/walk.mp4"]
    seconds = boxes_csv(tmp_path / "s.csv", *(f"walk,{second},0,0,1,1,1,1" for second in (900, 902, 899, 905)))
    source = FileBoxes(str(seconds), start_second=900)
    assert source.key_frames("walk.mp4", times).tolist() == [0, 20] and "2 rows" in source.warnings["walk.mp4"]
    with pytest.raises(UserError, match="fractions"):
        FileBoxes(str(boxes_csv(tmp_path / "p.csv", "# boxes: pixels", "walk,1,3,3,9,9,1,1")))


def test_rows_of_classify_are_those_of_predict(monkeypatch, tmp_path, setup, capsys):
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (the extra `cluster`)")
    import clusters.local_pool
    from tests.test_tools_classify_dataset import InlinePool

    monkeypatch.setattr(clusters.local_pool, "LocalPool", InlinePool)
    path, _, _, weights, video = setup
    (tmp_path / "list.txt").write_text(f"{video} 0\n{tmp_path / 'none.mp4'} 0\n")
    csv = boxes_csv(tmp_path / "b.csv", "walk,1,0.1,0.2,0.5,0.9,1,0.8", "walk,2,0,0,1,1,,0.7", "walk,2,0,0,0.5,1,,0.7")
    common = [f"--config={path}", f"--weights={weights}", f"--boxes={csv}", "--backend=paddle"]
    classify = [*common, f"--input={tmp_path / 'list.txt'}", f"--output={tmp_path / 'out'}", "--task=detect"]
    assert run_script(monkeypatch, "tools.classify_dataset", *classify, "--keep=topk:2") == 2  # one is missing
    (file,) = (tmp_path / "out").glob("parts/*/*.parquet")
    row, missing = pq.read_table(file).to_pylist()
    assert missing["error_kind"] == "missing" and missing["boxes"] is None and row["num_frames"] == 40
    assert predict(monkeypatch, setup, tmp_path, f"--boxes={csv}", "--infer_topk=2") == 0
    (record,) = json.loads((tmp_path / "predictions.json").read_text())
    expected = [
        (moment["frame"], box["box"], box["track"], [(a["index"], a["probability"]) for a in box["actions"]])
        for moment in json.loads(Path(record["files"][0]).read_text())["key_frames"]
        for box in moment["boxes"]
    ]
    found = [
        (
            box["frame"],
            [round(corner, 6) for corner in box["box"]],
            box["track"],
            [(k, round(p, 6)) for k, p in zip(box["top_index"], box["top_probability"])],
        )
        for box in row["boxes"]
    ]
    assert found == expected and len(found) == 3
    boxes_csv(csv, "walk,1,0.1,0.2,0.5,0.9,1,0.8")
    assert run_script(monkeypatch, "tools.classify_dataset", *classify, "--keep=topk:2") == 2
    assert "boxes" in capsys.readouterr().err  # a folder holds the results of one file of boxes


def test_what_cannot_be_detected_is_refused_in_one_line(monkeypatch, tmp_path, setup, capsys):
    monkeypatch.setenv("PADDLE_NONLOCAL_HOME", str(tmp_path / "home"))
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    two = tmp_path / "two/a.mp4"
    two.parent.mkdir()
    for path in (two, two.with_name("b.mp4")):
        path.write_bytes(setup[4].read_bytes())
    bad = boxes_csv(tmp_path / "bad.csv", "walk,1,nan,0,1,1,1,1")
    good = boxes_csv(tmp_path / "good.csv", "walk,1,0,0,1,1,1,1")
    unusable = "cannot be loaded" if find_spec("onnxruntime") else "needs onnxruntime"
    for flags, message in (
        ([], "--boxes=FILE.csv or --detector=FILE.onnx, or fetch the person detector"),
        ([f"--boxes={tmp_path / 'none.csv'}"], "none.csv"),
        ([f"--boxes={bad}"], "not finite"),
        ([f"--detector={tmp_path / 'bad.onnx'}"], unusable),
        ([f"--boxes={good}", "--backend=openvino", "--precision=int8"], "no 8-bit form"),
        (["--views=1x1"], "without --segments"),
        (["-o", "READER.frame_rate=5"], "leave READER.modality and READER.frame_rate out"),
        ([f"--draw={tmp_path / 'one.mp4'}", f"--video_path={two.parent}"], "is one file for 2 videos"),
        (["--boxes=a.csv", "--stride_seconds=1"], "leave --detector"),
    ):
        assert predict(monkeypatch, setup, tmp_path / "out", *flags) == 2
        assert message in capsys.readouterr().err
    flags = (f"--config={setup[0]}", f"--weights={setup[3]}", f"--save_dir={tmp_path / 'out'}")
    assert run_script(monkeypatch, "predict", *flags) == 2
    assert "predict with --detect" in capsys.readouterr().err
    assert run_script(monkeypatch, "export", *flags, "--precision=int8", "--calibration=list.txt") == 2
    assert "no 8-bit form" in capsys.readouterr().err
    config = load_config(setup[0])
    config.MODEL.task = "classification"
    with pytest.raises(UserError, match="MODEL.task: detection"):
        next(predict_actions(config, [], None, [], None, None))
    csv = boxes_csv(tmp_path / "b.csv", "broken,1,0.1,0.2,0.5,0.9,1,0.8")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert predict(monkeypatch, setup, tmp_path / "out", f"--boxes={csv}", video=tmp_path / "broken.mp4") == 2
    assert "error" in json.loads((tmp_path / "out/predictions.json").read_text())[0]
