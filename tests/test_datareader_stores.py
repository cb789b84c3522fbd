"""Videos in a store are read as local ones, copied once, and the copies stay within their bound."""

from __future__ import annotations

import os
import tarfile
import time

import numpy as np
import pytest
from s3_server import S3Server
from script_runs import run_script
from video_factory import draw_video

from configs.schema import Config
from datareader import VideoError, build_train_loader, decoding, probe, read_frames, read_list
from datareader.decoding import ShardMember, shard_index, stores
from utils.errors import UserError

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three videos, as files and as a shard with its index."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        draw_video(folder / f"v {number}.mp4", num_frames=20 + 10 * number, hue=number)
    with tarfile.open(folder / "x.tar", "w") as tar:
        for number in range(3):
            tar.add(folder / f"v {number}.mp4", f"{number}.mp4")
    with tarfile.open(folder / "x.tar") as tar:
        (folder / "x.idx").write_bytes(shard_index(ShardMember(m.name, m.offset_data, m.size) for m in tar))
    return folder


@pytest.fixture(scope="module")
def running(videos):
    with S3Server({}) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def server(running, videos, monkeypatch, tmp_path):
    """All files of the folder in the bucket `data`, and an empty folder of copies."""
    running.objects = {f"data/a b/{path.name}": path.read_bytes() for path in videos.iterdir()}
    running.requests.clear()
    monkeypatch.setenv(stores.FOLDER_VARIABLE, str(tmp_path / "copies"))
    forget()
    yield running
    forget()


def forget() -> None:
    """What a new process would not know."""
    stores._cache.cache_clear()
    decoding.storage._content.cache_clear()


@pytest.mark.parametrize("decoder", decoding.DECODERS)
def test_a_video_in_a_store_is_read_as_the_local_one(server, videos, decoder):
    pytest.importorskip({"decord": "decord", "opencv": "cv2", "pyav": "av"}[decoder])
    expected = read_frames(videos / "v 1.mp4", [3, 17], decoder)
    np.testing.assert_array_equal(read_frames("s3://data/a b/v 1.mp4", [3, 17], decoder), expected)
    np.testing.assert_array_equal(read_frames("s3://data/a b/x.tar#1.mp4", [3, 17], decoder), expected)


def test_a_member_is_copied_once_and_without_the_rest_of_its_shard(server, videos):
    assert probe("s3://data/a b/x.tar#1.mp4") == probe(videos / "v 1.mp4")
    asked = [(key, wanted) for method, key, wanted in server.requests if method == "GET"]
    size = (videos / "v 1.mp4").stat().st_size
    with tarfile.open(videos / "x.tar") as tar:
        start = tar.getmember("1.mp4").offset_data
    assert [key for key, _ in asked] == ["data/a b/x.idx", "data/a b/x.tar"]
    assert asked[1][1] == f"bytes={start - 512}-{start + size - 1}"
    server.requests.clear()
    forget()
    probe("s3://data/a b/x.tar#1.mp4")
    assert server.requests == []


def test_training_takes_the_clips_of_local_files(server, videos, tmp_path):
    config = Config()
    config.TRAIN.crop_size, config.TRAIN.jitter_scales, config.TRAIN.video_length = 32, [32, 40], 4
    config.TRAIN.batch_size = 3
    lists = {"loose": f"{videos}/v {{}}.mp4", "store": "s3://data/a b/v {}.mp4", "shard": "s3://data/a b/x.tar#{}.mp4"}
    clips = {}
    for name, path in lists.items():
        (tmp_path / name).write_text("".join(f"{path.format(number)} {number}\n" for number in range(3)))
        items = read_list(tmp_path / name, 3)
        assert [item.path for item in items] == [path.format(number) for number in range(3)]
        loader = build_train_loader(config, items, seed=1, num_workers=int(name == "store"))
        (batch,) = loader
        loader.close()
        clips[name] = batch.clips
    np.testing.assert_array_equal(clips["loose"], clips["store"])
    np.testing.assert_array_equal(clips["loose"], clips["shard"])


def test_a_label_after_an_url_is_a_label_in_a_list_for_prediction_too(tmp_path):
    (tmp_path / "list.txt").write_text("s3://data/a.mp4 3\ns3://data/x.tar#0.mp4 1\ns3://data/b.mp4\n")
    items = read_list(tmp_path / "list.txt", labels_required=False)
    assert [(i.path, i.label) for i in items] == [
        ("s3://data/a.mp4", 3), ("s3://data/x.tar#0.mp4", 1), ("s3://data/b.mp4", -1)]  # fmt: skip


def test_a_request_that_fails_once_is_made_again(server, videos):
    server.failures = [503]
    assert probe("s3://data/a b/v 0.mp4") == probe(videos / "v 0.mp4")


def test_what_a_store_does_not_give_is_an_error_of_the_video(server, videos, tmp_path):
    server.objects["data/stale.tar"] = (videos / "x.tar").read_bytes()[512:]
    server.objects["data/cut.tar"] = (videos / "x.tar").read_bytes()[:4096]
    server.objects["data/bare.tar"] = b""
    server.objects["data/empty.mp4"] = b""
    for name in ("stale", "cut"):
        server.objects[f"data/{name}.idx"] = (videos / "x.idx").read_bytes()
    reasons = {
        "none.mp4": "no such file or directory", "empty.mp4": "the file is empty",
        "stale.tar#0.mp4": "its shard is another one than its index is of",
        "cut.tar#0.mp4": "its shard is cut off before the end of this file",
        "bare.tar#0.mp4": "its shard has no index", "cut.tar#9.mp4": "no such file in the index of its shard",
    }  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(VideoError) as caught:
            probe(f"s3://data/{name}")
        assert caught.value.reason.startswith(reason), name
        assert caught.value.path == f"s3://data/{name}"
    server.failures = [403] * 9
    with pytest.raises(VideoError, match="s3://data/a b/v 0.mp4: its storage: .*ACCESS_DENIED") as caught:
        probe("s3://data/a b/v 0.mp4")
    server.failures.clear()
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "copies").iterdir() if path.suffix == ".part"]


def test_copies_not_used_for_longest_are_removed_first(server, tmp_path, monkeypatch):
    for number in range(6):
        server.objects[f"data/{number}"] = bytes([number]) * 1000
    monkeypatch.setenv(stores.SIZE_VARIABLE, "4.5e-6")
    forget()

    def copied(number: int) -> bool:
        server.requests.clear()
        with decoding.open_file(f"s3://data/{number}") as stream:
            assert stream.read() == bytes([number]) * 1000
        return bool(server.requests)

    def copies() -> set:
        return {*(tmp_path / "copies").iterdir()} - foreign

    assert [copied(number) for number in (0, 1, 2, 3)] == [True] * 4
    foreign = {tmp_path / "copies/video.mp4", tmp_path / f"copies/.{'0' * 64}.x.part"}  # the latter is being written
    for path in foreign:
        path.write_bytes(bytes(1000))
        os.utime(path, (time.time() - 3600,) * 2)
    for place, path in enumerate(sorted(copies(), key=lambda path: path.read_bytes())):
        os.utime(path, ns=(place, place))
    assert not copied(0)
    assert copied(4)  # which removes 1
    assert [copied(number) for number in (0, 2, 3, 4)] == [False] * 4
    assert copied(1)
    assert len(copies()) == 4
    assert all(path.exists() for path in foreign)


@pytest.mark.parametrize("size", ["0", "-1", "much", "nan", "inf"])
def test_a_size_that_is_none_is_refused(server, monkeypatch, size):
    monkeypatch.setenv(stores.SIZE_VARIABLE, size)
    with pytest.raises(UserError, match="PADDLE_NONLOCAL_CACHE_GB is a number of gigabytes above 0"):
        probe("s3://data/a b/v 0.mp4")


def test_check_videos_reads_stores(server, monkeypatch, tmp_path):
    (tmp_path / "list.txt").write_text("s3://data/a b/v 0.mp4 0\ns3://data/none.mp4 1\ns3://data/a b/x.tar#1.mp4 1\n")
    monkeypatch.chdir(tmp_path)
    status = run_script(monkeypatch, "tools.check_videos", "list.txt", "--workers", 1, "--clean_list", "clean.txt")
    assert status == 1
    assert (tmp_path / "clean.txt").read_text() == "s3://data/a b/v 0.mp4 0\ns3://data/a b/x.tar#1.mp4 1\n"
