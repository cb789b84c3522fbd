"""Folders of JPEG frames, through everything that reads a video; the ffmpeg program says what their pictures are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from script_runs import run_script, tiny_config
from video_factory import draw_frames, draw_video, ffmpeg_frames, frame_numbers

from configs.schema import Config
from datareader import Failure, VideoItem, build_train_loader, build_valid_loader, build_view_loader, read_frames
from datareader.decoding import VideoError, inspect, is_frame_folder, timeline
from datareader.lists import list_folder, read_list
from datareader.requests import ReaderSettings
from datareader.video import Limits, probe
from datareader.windows import build_window_loader, read_pixel_aspect, stream_frames
from datareader.workers import ReaderPool
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def write_frames(folder, num_frames=20, first=1, name="{:05d}.jpg", height=64, width=84, hue=0):
    """A numbered video as JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(draw_frames(num_frames, height, width, hue)):
        path = folder / name.format(number + first)
        assert cv2.imwrite(str(path), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder


def truth_of(folder):
    """By the ffmpeg program, a file at a time."""
    return np.concatenate([ffmpeg_frames(path) for path in sorted(folder.iterdir())])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("frames") / "7")


@pytest.fixture(scope="module")
def truth(folder):
    return truth_of(folder)


@pytest.fixture
def config():
    config = Config()
    config.INPUT.keep_aspect_ratio, config.READER.folder_fps = True, 10.0
    for section in (config.TRAIN, config.VALID, config.INFER, config.TEST):
        section.crop_size, section.jitter_scales, section.video_length, section.sample_rate = 64, [64, 64], 4, 2
    config.INFER.num_reader_threads, config.TRAIN.mirror, config.TRAIN.batch_size = 0, False, 4
    return config


def pixels(clip):
    return np.rint(clip.transpose(1, 2, 3, 0) * 57.375 + 114.75)


@pytest.mark.parametrize("decoder", ["pyav", "opencv"])
def test_the_frames_are_ffmpeg_s(folder, truth, decoder):
    assert len(truth) == 20 and frame_numbers(truth) == list(range(20))
    wanted = [3, 0, 19, 3]
    np.testing.assert_array_equal(read_frames(folder, wanted, decoder), truth[wanted])
    info = probe(folder)
    assert (info.num_frames, info.height, info.width, info.fps, info.codec) == (20, 64, 84, 12.0, "mjpeg")
    assert probe(folder, folder_fps=25.0).duration_seconds == 0.8
    with pytest.raises(VideoError, match="frame 20 is wanted, the video has 20"):
        read_frames(folder, [20])


def test_the_order_is_that_of_the_numbers(tmp_path):
    for folder in (
        write_frames(tmp_path / "a", 12, name="{}.jpg"),  # 10.jpg stands before 2.jpg by name
        write_frames(tmp_path / "b", 12, first=0, name="img_{:02d}.JPEG"),
        write_frames(tmp_path / "c", 12, name="frame{:06d}.jpg"),
    ):
        (folder / "notes.txt").write_text("of no matter")
        assert frame_numbers(read_frames(folder, np.arange(12))) == list(range(12)), folder


def test_loaders_views_and_windows(folder, truth, config):
    items = [VideoItem(str(folder), 1, 1, (1,))]
    (batch,) = build_valid_loader(config, items, num_workers=1)
    np.testing.assert_array_equal(pixels(batch.clips[0]), truth[6:14:2, :, 10:74])
    for batch in build_train_loader(config, items * 4, seed=0, num_workers=0):
        for clip in batch.clips:
            assert any(
                np.array_equal(pixels(clip), truth[s : s + 8 : 2, :, x : x + 64]) for s in range(13) for x in range(21)
            )
    (views,) = build_view_loader(config, items, "INFER", num_workers=0, views="2x3")
    np.testing.assert_array_equal(pixels(views.clips([5])[0]), truth[10:18:2, :, 20:84])
    (windows,) = build_window_loader(config, items, views="1x1")
    assert windows.start_seconds.tolist() == pytest.approx((windows.starts / 10.0).tolist())  # READER.folder_fps
    for part, views in windows.batches(2):
        for k, window in enumerate(range(part.start, part.stop)):
            start = windows.starts[window]
            np.testing.assert_array_equal(pixels(views.clips([k])[0]), truth[start : start + 8 : 2, :, 10:74])


def test_times_pieces_and_inspection(folder, truth):
    times = timeline(str(folder), Limits(), may_decode=False)
    np.testing.assert_allclose(times.times, np.arange(20) / 12)
    assert times.end_seconds == pytest.approx(20 / 12) and times.fps == 12 and not times.warning
    pool, reader = ReaderPool(0), ReaderSettings(folder_fps=12.0)
    assert read_pixel_aspect(pool, str(folder), reader) == (1, 1)
    pieces = list(stream_frames(pool, str(folder), reader, times, np.arange(0, 20, 3)))
    np.testing.assert_array_equal(np.concatenate([frames for _, frames, _ in pieces]), truth[::3])
    assert len(pieces) > 1
    found = inspect(str(folder))
    assert found.info.num_frames == 20 and found.missing_bytes == 0


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def clear(path):
    data = bytearray(path.read_bytes())
    data[1000:1500] = bytes(500)
    path.write_bytes(data)


def resize(path):
    cv2.imwrite(str(path), cv2.imread(str(path))[:60])


BREAKS = {
    "gap": (lambda folder: (folder / "00007.jpg").unlink(), "frame 7 is missing"),
    "start": (lambda folder: (folder / "00001.jpg").unlink(), "frame 1 is missing"),
    "double": (lambda folder: (folder / "7.jpg").write_bytes(b"x" * 20), "are the same frame"),
    "size": (lambda folder: resize(folder / "00007.jpg"), "00007.jpg: is 84x60 px, the first is 84x64 px"),
    "cut": (lambda folder: cut(folder / "00007.jpg"), "00007.jpg: a broken JPEG"),
    "zeros": (lambda folder: clear(folder / "00007.jpg"), "00007.jpg: a broken JPEG"),
    "empty": (lambda folder: (folder / "00007.jpg").write_bytes(b""), "00007.jpg: the file is empty"),
    "words": (lambda folder: (folder / "00007.jpg").write_text("no picture at all"), "00007.jpg: a broken JPEG"),
    "png": (
        lambda folder: (folder / "00007.jpg").write_bytes(cv2.imencode(".png", draw_frames(1)[0])[1].tobytes()),
        "00007.jpg: a broken JPEG",
    ),
    "fifo": (
        lambda folder: ((folder / "00007.jpg").unlink(), os.mkfifo(folder / "00007.jpg")),
        "00007.jpg: a FIFO, not a video file",
    ),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_what_is_broken_is_an_error_of_one_line_and_never_another_frame(tmp_path, config, kind):
    spoil, message = BREAKS[kind]
    folder = write_frames(tmp_path / "9", 10)
    spoil(folder)
    for call in (lambda: read_frames(folder, [2, 6]), lambda: inspect(str(folder))):
        with pytest.raises(VideoError) as caught:
            call()
        assert message in str(caught.value) and "\n" not in str(caught.value)
        assert caught.value.path == str(folder)
    items = [VideoItem(str(folder), 0, 1)]
    (failure,) = build_view_loader(config, items, "INFER", num_workers=0, views="1x1")  # needs frames 0, 2, 4, 6
    assert isinstance(failure, Failure) and message in failure.reason
    with pytest.raises(VideoError, match=message):
        (windows,) = build_window_loader(config, items)
        if isinstance(windows, Failure):
            raise VideoError(windows.path, windows.reason)
        list(windows.batches(1))


def test_a_frame_larger_than_the_limit_and_a_folder_without_frames(tmp_path, folder):
    with pytest.raises(VideoError, match="00001.jpg: a broken JPEG"):
        inspect(str(folder), Limits(max_pixels=1000))
    with pytest.raises(VideoError, match="20 frames, the limit is 10"):
        inspect(str(folder), Limits(max_packets=10))
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="an empty folder, not a video file"):
        read_frames(tmp_path / "empty", [0])
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(VideoError, match="a directory without numbered JPEG frames"):
        read_frames(tmp_path, [0])


def test_a_changed_number_of_frames_is_told(tmp_path):
    folder = write_frames(tmp_path / "a", 10)
    times = timeline(str(folder), Limits(), may_decode=False)
    (folder / "00010.jpg").unlink()
    with pytest.raises(VideoError, match="holds 9 frames now, and held 10 before"):
        list(stream_frames(ReaderPool(0), str(folder), ReaderSettings(), times, np.arange(10)))


def test_content_decides_what_a_folder_is(tmp_path, folder):
    draw_video(tmp_path / "v.mp4", num_frames=4)
    for name in ("1", "2"):
        write_frames(tmp_path / "set" / name, 2)
    (tmp_path / "set" / "clip.mp4").write_bytes((tmp_path / "v.mp4").read_bytes())
    mixed = write_frames(tmp_path / "mixed", 2)  # posters beside a video
    (mixed / "clip.mp4").write_bytes((tmp_path / "v.mp4").read_bytes())
    (tmp_path / "set" / ".hidden").mkdir()
    assert is_frame_folder(folder) and not is_frame_folder(mixed) and not is_frame_folder(tmp_path / "set")
    assert [item.path for item in list_folder(f"{folder}/")] == [str(folder)]
    names = [os.path.relpath(item.path, tmp_path) for item in list_folder(str(tmp_path / "set"))]
    assert sorted(names) == ["set/1", "set/2", "set/clip.mp4"]
    skipped = []
    assert [os.path.basename(item.path) for item in list_folder(str(mixed), skipped)] == ["clip.mp4"]
    assert len(skipped) == 2
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no video"):
        list_folder(str(tmp_path / "none"))


def test_predicting_a_folder_of_frames_and_one_of_such_folders(monkeypatch, tmp_path, folder):
    filelist = tmp_path / "list.txt"
    filelist.write_text(f"{folder} 1\n")
    assert read_list(filelist, 3)[0].path == str(folder)
    config = tiny_config(tmp_path, filelist, epoch=1)
    assert run_script(monkeypatch, "train", f"--config={config}", f"--save_dir={tmp_path / 'run'}") == 0
    weights = min((tmp_path / "run").glob("*.pdparams"))
    common = (f"--config={config}", f"--weights={weights}", "--backend=paddle", f"--save_dir={tmp_path / 'out'}")
    write_frames(tmp_path / "two" / "a", 8), write_frames(tmp_path / "two" / "b", 8, hue=3)
    for path, names in ((folder, ["7"]), (tmp_path / "two", ["a", "b"])):
        assert run_script(monkeypatch, "predict", f"--video_path={path}", *common) == 0
        found = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [os.path.basename(row["path"]) for row in found] == names
    flags = ("--segments", "--draw", tmp_path / "drawn.mp4")
    assert run_script(monkeypatch, "predict", f"--video_path={folder}", *common, *flags) == 0
    drawn = probe(tmp_path / "drawn.mp4")
    assert drawn.num_frames == 20 and drawn.fps == pytest.approx(12.0, rel=1e-3)


def test_checking_a_list_of_folders(tmp_path):
    for number in range(4):
        write_frames(tmp_path / "set" / str(number), 8, hue=number % 3)
    cut(tmp_path / "set" / "1" / "00005.jpg")
    (tmp_path / "set" / "2" / "00003.jpg").unlink()
    (tmp_path / "set" / "4").mkdir()
    (tmp_path / "list.txt").write_text("".join(f"set/{number} {number % 2}\n" for number in range(5)))
    command = [sys.executable, str(ROOT / "tools/check_videos.py"), "--workers", "1", "--json", "check.json"]
    for source in ("list.txt", "set"):
        subprocess.run([*command, source], cwd=tmp_path, capture_output=True, timeout=60)
        verdicts = json.loads((tmp_path / "check.json").read_text())["verdicts"]
        found = {os.path.basename(verdict["path"]): verdict["faults"] for verdict in verdicts}
        assert found["0"] == {} and "00005.jpg" in found["1"]["broken"] and "frame 3 is missing" in found["2"]["broken"]
        assert list(found["3"]) == ["duplicate"]
        assert "4" not in found if source == "set" else list(found["4"]) == ["empty"]
