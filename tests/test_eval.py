from __future__ import annotations

import hashlib
import json
import subprocess

import numpy as np
import paddle
import pytest
from sklearn.metrics import average_precision_score

import datareader
from configs import load_config
from datareader import probe, read_frames
from metrics import load_scores
from metrics.intervals import wilson_interval
from models import build_model
from tests.plain_network import plain_logits, randomized
from tests.script_runs import ROOT, make_videos, run_script, tiny_config, write_list
from utils.errors import UserError
from weights import find_weights, save_weights


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("videos"), 7, 3)


@pytest.fixture
def config(tmp_path, videos):
    return tiny_config(tmp_path, write_list(tmp_path / "list.txt", videos))


@pytest.fixture
def weights(tmp_path, config):
    """A network whose scores differ from video to video."""
    state = randomized(build_model(load_config(config))).state_dict()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    arrays["head.weight"] = arrays["head.weight"] * 0.02  # logits near 1: no class takes it all
    save_weights(tmp_path / "weights.pdparams", arrays)
    return tmp_path / "weights.pdparams"


def evaluate(monkeypatch, config, weights, save_dir, *flags) -> int:
    return run_script(
        monkeypatch, "eval", f"--config={config}", f"--weights={weights}", f"--save_dir={save_dir}", *flags
    )


def expected_scores(path, state, activation=paddle.nn.functional.softmax) -> np.ndarray:
    """The specification by hand: 2 clips x 3 crops of 4 frames, stride 2; softmax, mean over views."""
    cv2 = pytest.importorskip("cv2")
    n = probe(path).num_frames
    total = np.zeros(3)
    for j in range(2):
        frames = read_frames(path, [(int(n / 2 * j) + 2 * i) % n for i in range(4)])  # 48 x 64
        frames = np.stack([cv2.resize(frame, (48, 36), interpolation=cv2.INTER_LINEAR) for frame in frames])
        for left in (0, 8, 16):
            crop = (frames[:, 2:34, left : left + 32].astype(np.float32) - 114.75) / 57.375
            logits = plain_logits(state, paddle.to_tensor(crop.transpose(3, 0, 1, 2)[None]), head=1)
            total += activation(logits).numpy().mean(1)[0]
    return total / 6


def test_scores_equal_the_specification_by_hand(monkeypatch, tmp_path, videos, config, weights, capsys):
    assert evaluate(monkeypatch, config, weights, tmp_path / "out", "--save_views") == 0
    saved = np.load(tmp_path / "out/scores.npz", allow_pickle=False)
    assert saved["path"].tolist() == [str(path) for path, _ in videos]
    model = build_model(load_config(config))
    model.set_state_dict(paddle.load(str(weights)))
    with paddle.no_grad():
        expected = np.stack([expected_scores(path, model.state_dict()) for path, _ in videos])
        logits = np.stack([expected_scores(path, model.state_dict(), lambda logits: logits) for path, _ in videos])
    assert np.ptp(expected[:, 0]) > 0.01
    np.testing.assert_allclose(saved["scores"], expected, atol=2e-4)
    np.testing.assert_allclose(saved["logits"], logits, atol=2e-3)
    assert saved["view_scores"].dtype == np.float16 and saved["view_scores"].shape == (7, 6, 3)
    np.testing.assert_allclose(saved["view_scores"].mean(axis=1, dtype=np.float64), saved["scores"], atol=1e-3)
    assert saved["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest() and saved["views"] == "2x3"
    result = json.loads((tmp_path / "out/results.json").read_text())
    right = (expected.argmax(1) == [label for _, label in videos]).mean()
    assert result["top1"] == pytest.approx(100 * right) and result["top5"] == 100 and result["topk"] == 3
    assert result["videos_seen"] == result["videos_expected"] == 7 and result["videos_broken"] == []
    low, high = wilson_interval(round(7 * right), 7)
    assert result["intervals"]["top1"] == [100 * low, 100 * high] and result["groups"] is None
    printed = capsys.readouterr().out
    assert f"[{100 * low:.1f}, {100 * high:.1f}]" in printed and "another training seed" in printed
    assert (tmp_path / "out/confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("engine", ["paddle", "inference"])
def test_several_labels_have_a_sigmoid_each_not_a_softmax_over_all(
    monkeypatch, tmp_path, videos, config, weights, engine
):
    filelist = write_list(
        tmp_path / "multi.txt", [(path, f"{label},2" if label < 2 else "-") for path, label in videos]
    )
    flags = ["-o", "MODEL.multi_label=True", f"--filelist={filelist}", f"--engine={engine}"]
    assert evaluate(monkeypatch, config, weights, tmp_path / "out", *flags) == 0
    model = build_model(load_config(config))
    model.set_state_dict(paddle.load(str(weights)))
    with paddle.no_grad():
        sigmoid = paddle.nn.functional.sigmoid
        expected = np.stack([expected_scores(path, model.state_dict(), sigmoid) for path, _ in videos])
    assert np.abs(expected.sum(1) - 1).min() > 0.1  # no softmax
    found = load_scores(tmp_path / "out/scores.npz", filelist)
    np.testing.assert_allclose(found.scores, expected, atol=2e-4)
    result = json.loads((tmp_path / "out/results.json").read_text())
    truth = 100 * average_precision_score(found.labels, expected, average="macro")
    assert result["mAP"] == pytest.approx(truth, abs=1e-6)


def test_the_numbers_do_not_depend_on_workers_or_batches(monkeypatch, tmp_path, config, weights):
    flags = ["-o", "TEST.num_reader_threads=3", "--batch_size=5"]
    assert evaluate(monkeypatch, config, weights, tmp_path / "a") == 0
    assert evaluate(monkeypatch, config, weights, tmp_path / "b", *flags) == 0
    a, b = (np.load(tmp_path / name / "scores.npz")["scores"] for name in "ab")
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_broken_video_stays_in_the_denominator_and_is_named(monkeypatch, tmp_path, videos, weights, capsys):
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    config = tiny_config(tmp_path, write_list(tmp_path / "list.txt", [(empty, 0), *videos, (tmp_path / "gone.mp4", 1)]))
    assert evaluate(monkeypatch, config, weights, tmp_path / "out", "--groups=[0-2]*.mp4", "--views=1x1") == 0
    result = json.loads((tmp_path / "out/results.json").read_text())
    assert (result["videos_seen"], result["videos_expected"]) == (7, 9) and result["views"] == "1x1"
    assert result["groups"] == {"source": "[0-2]*.mp4", "number": 1} and len({*result["intervals"]["top1"]}) == 1
    assert [video["path"] for video in result["videos_broken"]] == [str(empty), str(tmp_path / "gone.mp4")]
    assert "empty.mp4" in capsys.readouterr().out


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_scores_file_tells_labels_broken_videos_and_its_list(
    monkeypatch, tmp_path, videos, config, weights, multi_label
):
    (tmp_path / "empty.mp4").write_bytes(b"")
    fields = ["0,2", "-", "1", "2", "0"] if multi_label else ["2", "0", "1", "2", "0"]
    paths = [videos[0][0], videos[1][0], tmp_path / "empty.mp4", videos[2][0], tmp_path / "gone.mp4"]
    filelist = write_list(tmp_path / "list.txt", list(zip(paths, fields)))
    flags = ["--views=1x1", "-o", f"MODEL.multi_label={multi_label}"]
    assert evaluate(monkeypatch, config, weights, tmp_path / "out", *flags) == 0
    found = load_scores(tmp_path / "out/scores.npz", filelist)
    assert found.paths == [str(paths[i]) for i in (0, 1, 3)] and found.video_ids.tolist() == [0, 1, 3]
    assert found.broken_paths == [str(paths[i]) for i in (2, 4)] and found.broken_video_ids.tolist() == [2, 4]
    assert found.broken_reasons == ["the file is empty", "no such file or directory"]
    assert found.class_names == [f"class {i} 类" for i in range(3)]
    if multi_label:
        assert found.labels.tolist() == [[True, False, True], [False] * 3, [False, False, True]]
        assert found.broken_labels.tolist() == [[False, True, False], [True, False, False]]
    else:
        assert (found.labels.tolist(), found.broken_labels.tolist()) == ([2, 0, 2], [1, 0])
    assert found.list_sha256 == hashlib.sha256(filelist.read_bytes()).hexdigest()


def test_the_checksum_is_of_the_list_that_was_read_though_it_changes_while_it_is_scored(
    monkeypatch, tmp_path, config, weights
):
    filelist = tmp_path / "list.txt"
    before, read = filelist.read_bytes(), datareader.read_list

    def read_and_change(*args, **more):
        items = read(*args, **more)
        filelist.write_bytes(before + b"# edited\n")
        return items

    monkeypatch.setattr(datareader, "read_list", read_and_change)
    assert evaluate(monkeypatch, config, weights, tmp_path / "out", "--views=1x1") == 0
    assert load_scores(tmp_path / "out/scores.npz").list_sha256 == hashlib.sha256(before).hexdigest()


def test_reversed_frames_change_the_scores(monkeypatch, tmp_path, config, weights):
    for name, flags in (("a", []), ("b", ["--reverse_frames"])):
        assert evaluate(monkeypatch, config, weights, tmp_path / name, *flags) == 0
    a, b = (np.load(tmp_path / name / "scores.npz")["scores"] for name in "ab")
    assert np.abs(a - b).max() > 1e-4


def test_other_views_are_a_flag(monkeypatch, tmp_path, config, weights):
    assert evaluate(monkeypatch, config, weights, tmp_path / "out", "--views=1x1") == 0
    assert json.loads((tmp_path / "out/results.json").read_text())["views"] == "1x1"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--weights=none.pdparams"], ["none.pdparams"]),
        (["--filelist=none.txt"], ["none.txt"]),
        (["--views=10", "--weights=none.pdparams"], ["10x3"]),  # told before the engine is built
        (["-o", "RESNETS.stem_channels=8"], ["weights.pdparams", "stage"]),
        (["-o", "MODEL.class_names=none.txt"], ["none.txt", "MODEL.class_names"]),
    ],
)
def test_bad_input_is_one_line_and_status_2(monkeypatch, tmp_path, config, weights, capsys, flags, words):
    assert evaluate(monkeypatch, config, weights, tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_a_class_name_file_with_the_wrong_count_is_refused(monkeypatch, tmp_path, config, weights, capsys):
    names = tmp_path / "names.txt"
    names.write_text("a\nb\n")
    assert evaluate(monkeypatch, config, weights, tmp_path / "out", "-o", f"MODEL.class_names={names}") == 2
    assert "names 2 classes" in capsys.readouterr().err


@pytest.mark.parametrize("old_configuration", [False, True])
def test_scripts_meet_in_the_default_folder_also_for_the_zoos_checkpoint_dir(
    monkeypatch, tmp_path, videos, config, capsys, old_configuration
):
    """train.py, eval.py, predict.py and export.py in an empty folder, without --save_dir and --weights."""
    monkeypatch.chdir(tmp_path)
    flags = [f"--config={config}"]
    if old_configuration:
        flags += ["-o", "TEST.checkpoint_dir=./output", "-o", "INFER.checkpoint_dir=./output"]
    assert run_script(monkeypatch, "train", *flags, "-o", "TRAIN.max_iter=1", "--valid_interval=0") == 0
    written = tmp_path / "data/checkpoints/NONLOCAL.pdparams"
    assert written.is_file()
    scripts = {"eval": [], "predict": [f"--video_path={videos[0][0]}"]}
    scripts["export"] = [f"--video_path={videos[0][0]}", "--crop_size=32"]
    for script, more in scripts.items():
        capsys.readouterr()
        assert run_script(monkeypatch, script, *flags, *more) == 0
        assert "taking data/checkpoints/NONLOCAL.pdparams" in capsys.readouterr().out, script


def test_a_checkpoint_dir_that_the_configuration_chose_is_the_only_one_searched(monkeypatch, tmp_path, config, weights):
    monkeypatch.chdir(tmp_path)
    for folder in ("data/checkpoints", "mine", "output"):
        (tmp_path / folder).mkdir(parents=True)
    chosen = load_config(config, ["TEST.checkpoint_dir=mine"])
    for folder in ("data/checkpoints", "output"):
        (tmp_path / folder / "NONLOCAL.pdparams").write_bytes(weights.read_bytes())
    with pytest.raises(UserError, match="mine/NONLOCAL.pdparams does not exist"):
        find_weights(chosen, chosen.TEST.checkpoint_dir)
    (tmp_path / "mine/NONLOCAL.pdparams").write_bytes(weights.read_bytes())
    assert find_weights(chosen, chosen.TEST.checkpoint_dir) == "mine/NONLOCAL.pdparams"
    assert find_weights(chosen, "./output") == "output/NONLOCAL.pdparams"  # before train.py's default folder


def test_default_folders_are_not_part_of_the_repository():
    for name in ("checkpoints", "evaluate_results", "predict_results", "export"):
        path = f"data/{name}/NONLOCAL.pdparams"
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT).returncode in (0, 128)  # 128: no git here
