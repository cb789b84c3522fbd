from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest

from configs import load_config
from datareader import Failure, VideoItem
from inference.classify import PredictOptions, predict_classes
from metrics.temperature import save_temperature
from models import build_model
from tests.plain_network import plain_logits, randomized
from tests.script_runs import ROOT, make_videos, run_script, tiny_config, write_list
from tests.video_factory import ffmpeg_frames
from utils.log import Progress
from weights import save_weights


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("videos"), 3, 3)


@pytest.fixture
def config(tmp_path, videos):
    return tiny_config(tmp_path, write_list(tmp_path / "list.txt", videos))


@pytest.fixture
def flags(tmp_path, config):
    paddle.seed(3)
    save_weights(
        tmp_path / "w.pdparams", {n: t.numpy() for n, t in build_model(load_config(config)).state_dict().items()}
    )
    run = [f"--weights={tmp_path / 'w.pdparams'}", f"--save_dir={tmp_path / 'out'}", "--backend=paddle"]
    return [f"--config={config}", *run]


def predictions(tmp_path) -> list[dict]:
    return json.loads((tmp_path / "out/predictions.json").read_text())


def test_one_video_gives_a_table_and_json(monkeypatch, tmp_path, videos, flags, capsys):
    assert run_script(monkeypatch, "predict", f"--video_path={videos[1][0]}", *flags) == 0
    (result,) = predictions(tmp_path)
    assert result["path"] == str(videos[1][0])
    probabilities = [row["probability"] for row in result["top"]]
    assert len(probabilities) == 3 and sum(probabilities) == pytest.approx(1, abs=1e-5)  # 3 classes, 20 asked for
    assert probabilities == sorted(probabilities, reverse=True)
    out = capsys.readouterr().out
    assert all(f"class {i} 类" in out for i in range(3)) and "probability" in out


@pytest.fixture
def state(tmp_path, flags, config):
    """Weights whose answer differs from class to class, from video to video and from view to view."""
    state = randomized(build_model(load_config(config)), seed=5).state_dict()
    state["head.weight"].set_value(state["head.weight"] * 0.02)  # logits near 1: no class takes it all
    save_weights(tmp_path / "w.pdparams", {name: tensor.numpy() for name, tensor in state.items()})
    return state


def view_scores(path, state, num_clips: int) -> np.ndarray:
    """By hand, from the ffmpeg program's frames: a row of softmax scores for each of num_clips x 3 crops."""
    frames = ffmpeg_frames(path)  # 48 x 64
    n, rows = len(frames), []
    for clip in range(num_clips):
        numbers = [(int(n / num_clips * clip) + 2 * i) % n for i in range(4)]
        scaled = np.stack([cv2.resize(frames[i], (48, 36), interpolation=cv2.INTER_LINEAR) for i in numbers])
        for left in (0, 8, 16):
            crop = (scaled[:, 2:34, left : left + 32].astype(np.float32) - 114.75) / 57.375
            with paddle.no_grad():
                logits = plain_logits(state, paddle.to_tensor(crop.transpose(3, 0, 1, 2)[None]), head=1).numpy()[0]
            exponentials = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
            rows.append((exponentials / exponentials.sum(-1, keepdims=True)).mean(0))
    return np.array(rows)


@pytest.mark.parametrize("backend", ["paddle", "paddle_inference"])
def test_the_answer_is_the_mean_over_all_views_of_the_network_s_softmax_under_the_names_of_the_list(
    monkeypatch, tmp_path, videos, flags, state, backend
):
    names = (tmp_path / "class_names.txt").read_text(encoding="utf-8").split("\n")
    flags = [*flags, f"--filelist={tmp_path / 'list.txt'}", f"--backend={backend}"]
    assert run_script(monkeypatch, "predict", *flags) == 0
    expected = []
    for record, (path, _) in zip(predictions(tmp_path), videos):
        rows = view_scores(path, state, num_clips=2)
        mean = rows.mean(0)
        assert np.abs(rows - mean).max(1).min() > 1e-3 and np.diff(np.sort(mean)).min() > 3e-3  # a test that could fail
        best = sorted(range(3), key=lambda index: -mean[index])
        assert [row["index"] for row in record["top"]] == best
        assert [row["class"] for row in record["top"]] == [names[index] for index in best]
        np.testing.assert_allclose([row["probability"] for row in record["top"]], mean[best], atol=2e-4)
        expected.append(mean)
    assert np.ptp(expected, axis=0).max() > 3e-3


@pytest.mark.parametrize("backend", ["paddle", "paddle_inference"])
def test_after_retraining_into_the_same_file_the_answer_is_the_new_network_s(
    monkeypatch, tmp_path, videos, flags, state, backend
):
    answers = []
    for turn in range(2):
        if turn:
            state["head.weight"].set_value(-state["head.weight"])
            save_weights(tmp_path / "w.pdparams", {name: tensor.numpy() for name, tensor in state.items()})
        assert run_script(monkeypatch, "predict", f"--video_path={videos[0][0]}", *flags, f"--backend={backend}") == 0
        found = {row["index"]: row["probability"] for row in predictions(tmp_path)[0]["top"]}
        expected = view_scores(videos[0][0], state, num_clips=2).mean(0)
        np.testing.assert_allclose([found[i] for i in range(3)], expected, atol=2e-4)
        answers.append(expected)
    assert np.abs(answers[0] - answers[1]).max() > 0.01


def test_the_first_video_is_read_while_the_backend_is_built(config, videos):
    events = []

    class Pool:
        num_workers = 1

        def submit(self, task):
            events.append("read")
            future = Future()
            future.set_result(Failure("a.mp4", 0, "no video"))
            return future

    class Backend:
        def build(self):
            events.append("build")

    items = [VideoItem(str(path), 0, 1) for path, _ in videos]
    records = predict_classes(
        load_config(config), items, Backend(), [], PredictOptions(Path()), Progress(3, 0, "video"), Pool()
    )
    assert len(list(records)) == 3 and events == ["read", "build", "read", "read"]


def test_topk_is_a_flag(monkeypatch, tmp_path, videos, flags):
    assert run_script(monkeypatch, "predict", f"--video_path={videos[0][0]}", "--infer_topk", "2", *flags) == 0
    assert len(predictions(tmp_path)[0]["top"]) == 2


def test_a_broken_video_of_a_folder_is_an_error_for_itself_alone(monkeypatch, tmp_path, videos, flags, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a broken.mp4").write_bytes(b"no video at all, only words")
    (folder / "b.mp4").write_bytes(videos[0][0].read_bytes())
    assert run_script(monkeypatch, "predict", f"--video_path={folder}", *flags) == 2
    broken, good = predictions(tmp_path)
    assert "error" in broken and "top" in good
    captured = capsys.readouterr()
    assert "a broken.mp4" in captured.out and "1 of 2" in captured.err


def test_what_is_not_a_video_in_a_folder_is_counted_and_the_run_succeeds(monkeypatch, tmp_path, videos, flags, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("README.md", "labels.csv"):
        (folder / name).write_text("only words about videos", encoding="utf-8")
    (folder / "b").write_bytes(videos[0][0].read_bytes())
    assert run_script(monkeypatch, "predict", f"--video_path={folder}", *flags) == 0
    assert [record["path"] for record in predictions(tmp_path)] == [str(folder / "b")]
    out = capsys.readouterr().out
    assert out.count("skipped 2 files that are not videos\n") == 1 and "README.md" not in out
    (folder / "b").unlink()
    assert run_script(monkeypatch, "predict", f"--video_path={folder}", *flags) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and str(folder) in error and "no video" in error


def test_a_list_with_or_without_labels(monkeypatch, tmp_path, videos, flags):
    (tmp_path / "infer.txt").write_text(f"{videos[0][0]}\n{videos[1][0]} 1\n", encoding="utf-8")
    assert run_script(monkeypatch, "predict", f"--filelist={tmp_path / 'infer.txt'}", *flags) == 0
    assert [row["path"] for row in predictions(tmp_path)] == [str(videos[0][0]), str(videos[1][0])]


def test_the_same_video_scores_alike_alone_and_in_a_list(monkeypatch, tmp_path, videos, flags):
    assert run_script(monkeypatch, "predict", f"--video_path={videos[1][0]}", *flags) == 0
    alone = predictions(tmp_path)[0]
    assert run_script(monkeypatch, "predict", f"--filelist={tmp_path / 'list.txt'}", *flags) == 0
    assert predictions(tmp_path)[1] == alone


def test_a_temperature_sharpens_the_probabilities_and_keeps_their_order(monkeypatch, tmp_path, videos, flags, capsys):
    save_temperature(tmp_path / "temperature.json", 0.25, 120, "")
    one = [f"--video_path={videos[1][0]}", "--views=1x1"]
    assert run_script(monkeypatch, "predict", *one, *flags) == 0
    plain = predictions(tmp_path)[0]["top"]
    assert run_script(monkeypatch, "predict", *one, f"--temperature={tmp_path / 'temperature.json'}", *flags) == 0
    sharp = predictions(tmp_path)[0]["top"]
    assert [row["class"] for row in sharp] == [row["class"] for row in plain]
    powers = np.array([row["probability"] for row in plain]) ** 4  # softmax(log p / T) = p^(1/T) / sum
    np.testing.assert_allclose([row["probability"] for row in sharp], powers / powers.sum(), rtol=1e-5)
    capsys.readouterr()
    for more in (
        ["--temperature=0"],
        ["--temperature=2", "-o", "MODEL.multi_label=True"],
        ["--temperature=2", "--segments"],
    ):
        assert run_script(monkeypatch, "predict", *one, *more, *flags) == 2
        assert "--temperature" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("views", "clips"), [("1x1", 1), ("whole", 2), ("3x2", 3)])
def test_views_are_a_flag(monkeypatch, tmp_path, videos, flags, views, clips):
    import inference.classify as classes

    seen = []
    whole = classes.score_views
    monkeypatch.setattr(classes, "score_views", lambda *a: seen.append(len(a[1].clip_indices)) or whole(*a))
    assert run_script(monkeypatch, "predict", f"--video_path={videos[2][0]}", f"--views={views}", *flags) == 0
    assert seen == [clips]


def test_segments_of_a_folder_with_a_broken_video(monkeypatch, tmp_path, videos, flags, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a broken.mp4").write_bytes(b"no video at all, only words")
    (folder / "v 1 视频.mp4").write_bytes(videos[1][0].read_bytes())
    more = [f"--video_path={folder}", f"--draw={tmp_path / 'overlays'}", "--hop=0.2", "--infer_topk=2"]
    assert run_script(monkeypatch, "predict", *more, *flags) == 2
    broken, good = predictions(tmp_path)
    assert "error" in broken and good["num_segments"] >= 1
    told = json.loads((tmp_path / "out/segments/v 1 视频.json").read_text())
    assert told["segments"][-1]["end_seconds"] == pytest.approx(23 / 25) and len(told["segments"][0]["top"]) == 2
    assert {path.suffix for path in (tmp_path / "out/segments").iterdir()} == {".json", ".csv", ".srt", ".vtt"}
    assert (tmp_path / "overlays/v 1 视频.mp4").stat().st_size > 1000 and good["overlay_video"].endswith("视频.mp4")
    captured = capsys.readouterr()
    assert "a broken.mp4" in captured.out and "1 of 2" in captured.err


def test_features_are_files(monkeypatch, tmp_path, videos, flags):
    more = [f"--filelist={tmp_path / 'list.txt'}", "--features=res4", "--feature_pooling=clip", "--views=2x3"]
    assert run_script(monkeypatch, "predict", *more, *flags) == 0
    records = predictions(tmp_path)
    assert [np.load(record["file"])["features"].shape for record in records] == [(2, 32)] * 3
    assert len({record["file"] for record in records}) == 3


def test_what_is_done_is_kept_when_the_run_is_stopped(monkeypatch, tmp_path, flags):
    import inference.classify as classes

    whole, calls = classes.score_views, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(classes, "score_views", stops)
    assert run_script(monkeypatch, "predict", f"--filelist={tmp_path / 'list.txt'}", *flags) == 130
    assert len(predictions(tmp_path)) == 1


@pytest.mark.parametrize(
    "more",
    [
        ["--segments", "--features=res5"],
        ["--feature_pooling=clip"],
        ["--hop=1"],
        ["--stride_seconds=1"],
        ["--hop=0", "--segments"],
        ["--stride_seconds=0", "--segments"],
    ],
)
def test_flags_that_do_not_go_together_show_the_usage(monkeypatch, flags, capsys, more):
    assert run_script(monkeypatch, "predict", *flags, *more) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--video_path=none.mp4"], ["none.mp4", "no such file"]),
        (["--video_path=README.md"], ["1 of 1"]),
        (["--filelist=none.txt"], ["none.txt", "--video_path"]),
        (["--video_path=README.md", "--weights=none.pdparams"], ["none.pdparams"]),
        (["--video_path=README.md", "--segments", "--views=10x3", "--weights=none.pdparams"], ["10x3", "one clip"]),
        (["--video_path=README.md", "--views=3", "--weights=none.pdparams"], ["'3'", "clips x crops"]),
        (["--video_path=README.md", "--features=res6"], ["res6", "res2", "res5"]),
        (["--filelist={list}", "--draw=overlay.mp4"], ["overlay.mp4", "folder"]),
    ],
)
def test_bad_input_is_one_line_and_status_2(monkeypatch, tmp_path, flags, capsys, more, words):
    more = [flag.format(list=tmp_path / "list.txt") for flag in more]
    assert run_script(monkeypatch, "predict", *flags, *more) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and all(word in error for word in words), error


def test_no_weights_offline_says_what_to_pass(tmp_path, videos):
    """The zoo's configuration as a newcomer starts it, with a download that cannot work."""
    import os

    env = {**os.environ, "PADDLE_NONLOCAL_HOME": str(tmp_path / "home"), "https_proxy": "http://127.0.0.1:9"}
    flags = ["--config=configs/nonlocal.yaml", f"--video_path={videos[0][0]}", f"--save_dir={tmp_path / 'out'}"]
    command = [sys.executable, "predict.py", *flags]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode in (1, 2), done
    assert (
        "--weights" in done.stderr and len(done.stderr.strip().splitlines()[-1]) > 20 and "Traceback" not in done.stderr
    )


@pytest.mark.parametrize("script", ["train", "eval", "predict"])
def test_a_wrong_flag_shows_the_usage(script):
    done = subprocess.run([sys.executable, f"{script}.py", "--weigths=x"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "--weigths" in done.stderr
