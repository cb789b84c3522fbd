"""A decoder that crashes or hangs takes its own process with it and nothing else."""

import os
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from crashing_requests import Misbehave
from video_factory import draw_video

import datareader.workers
from configs.schema import Config
from datareader import build_train_loader, build_view_loader
from datareader.lists import VideoItem
from datareader.loaders import Failure
from datareader.requests import ReaderSettings, ViewFrames
from datareader.video import Limits, VideoError
from datareader.workers import ProcessReader, ReaderPool
from utils.errors import RunError


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    monkeypatch.setattr(datareader.workers, "GRACE_SECONDS", 0.5)


@pytest.fixture
def reader():
    reader = ProcessReader()
    yield reader
    reader.close()


def fine(reader):
    frames, detail = reader.run(Misbehave("a", "fine"))
    assert frames.tolist() == [0, 1, 2, 3, 4]
    assert detail == "fine"


@pytest.mark.parametrize("how, words", [("crash", r"crashed the decoder, twice \(signal 11\)"),
                                        ("exit", r"crashed the decoder, twice \(exit status 7\)"),
                                        ("hang", "hung the decoder for more than 0.5 s")])  # fmt: skip
def test_the_video_is_named_and_the_process_replaced(reader, how, words):
    fine(reader)
    first = reader.process.pid
    with pytest.raises(VideoError, match=f"bad.mp4: {words}"):
        reader.run(Misbehave("bad.mp4", how))
    fine(reader)
    assert reader.process.pid != first


def test_a_process_that_was_killed_by_chance_costs_no_video(reader, tmp_path):
    frames, detail = reader.run(Misbehave(str(tmp_path / "mark"), "once"))
    assert detail == "once"


def test_a_process_that_cannot_start_is_a_failed_run(reader, monkeypatch):
    monkeypatch.setattr(datareader.workers, "CHILD", "import sys; sys.exit(3)")
    with pytest.raises(RunError, match=r"did not start \(exit status 3\)"):
        reader.run(Misbehave("a", "fine"))


def test_frames_of_growing_and_shrinking_size_come_over_whole(reader, tmp_path):
    for num_frames in (4, 40, 8):
        path = draw_video(tmp_path / f"{num_frames}.mp4", num_frames=num_frames)
        request = ViewFrames(str(path), 10, 8, 1, 64, ReaderSettings())
        frames, reading = reader.run(request)
        expected, _ = request.read()
        np.testing.assert_array_equal(frames, expected)
        assert reading.num_frames == num_frames


def test_the_pool_keeps_order_and_cancels_on_close():
    pool = ReaderPool(2)
    futures = [pool.submit(lambda reader, i=i: i) for i in range(20)]
    assert [future.result(20) for future in futures] == list(range(20))
    slow = [pool.submit(lambda reader: reader.run(Misbehave("a", "fine"))) for _ in range(20)]
    pool.close()
    assert any(future.cancelled() for future in slow)
    assert pool.submit(lambda reader: 1).result(20) == 1
    pool.close()


def test_an_aborted_pool_fails_at_once_and_reads_again():
    pool = ReaderPool(1)
    fine = ReaderSettings(limits=Limits(seconds=60))
    hanging, waiting = (pool.submit(partial(_run, Misbehave("a", "hang", fine))) for _ in range(2))
    while pool.readers[0].process is None or not hanging.running():
        time.sleep(0.01)
    time.sleep(0.1)
    begin = time.monotonic()
    pool.abort()
    with pytest.raises(VideoError, match="broken off"):
        hanging.result(timeout=10)
    assert time.monotonic() - begin < 5 and waiting.cancelled()
    assert pool.submit(partial(_run, Misbehave("a", "fine"))).result(timeout=60)[1] == "fine"
    pool.close()


def _run(request, reader):
    return reader.run(request)


def test_loaders_carry_a_crash_as_a_failure(tmp_path, monkeypatch):
    """The request's class is swapped for one that crashes on the file called bad."""
    import datareader.loaders as loaders

    items = [VideoItem(str(draw_video(tmp_path / f"{n}.mp4", num_frames=12)), i, i + 1) for i, n in enumerate("abc")]
    items[1] = VideoItem("bad", 1, 2)
    for name in ("TrainingClip", "ViewFrames"):
        whole = getattr(loaders, name)
        monkeypatch.setattr(
            loaders, name, lambda path, *a, whole=whole: Misbehave(path, "crash") if path == "bad" else whole(path, *a)
        )
    config = Config()
    config.TRAIN.crop_size, config.TRAIN.jitter_scales = 32, [32, 40]
    config.TEST.crop_size, config.TEST.jitter_scales = 64, [64, 64]
    failure = Failure("bad", 1, "crashed the decoder, twice (signal 11)")
    train = build_train_loader(config, items, seed=0, num_workers=2)
    (batch,) = list(train)
    train.close()
    assert batch.failures == [failure]
    assert len(batch) == 3
    views = build_view_loader(config, items, num_workers=1, views="1x1")
    assert list(views)[1] == failure
    views.close()


def test_a_video_may_take_its_limit_and_the_grace_and_no_longer(reader, monkeypatch):
    """What is waited for is looked at, not the clock."""
    fine(reader)
    waited = []
    poll = reader.connection.poll
    monkeypatch.setattr(reader.connection, "poll", lambda seconds: waited.append(seconds) or poll(seconds))
    request = Misbehave("a", "fine", ReaderSettings(limits=Limits(seconds=7.0)))
    reader.run(request)
    assert waited == [7.0 + datareader.workers.GRACE_SECONDS]


PARENT = """
import sys
import datareader.workers as workers
from crashing_requests import Misbehave
workers.CHILD = ("import sys; sys.path[0] = sys.argv[3]; import datareader.worker_process as w; "
                 "w.ORPHAN_GRACE_SECONDS = 0.5; w.main()")
reader = workers.ProcessReader()
reader.run(Misbehave("a", "fine"))
reader.connection.send(Misbehave("a", "hang"))
print(reader.process.pid, flush=True)
sys.stdin.read()
"""


def test_a_reader_that_hangs_ends_by_itself_when_its_parent_has_died():
    """In native code it does not notice that the connection is closed; it would stay for ever."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.path.dirname(os.path.abspath(__file__))])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], text=True, env=env, **pipes)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 90  # it hangs for 100 seconds otherwise
    while os.path.exists(f"/proc/{child}") and not is_ended(child):
        assert time.monotonic() < deadline, "the reading process is still there"
        time.sleep(0.05)


def is_ended(pid: int) -> bool:
    """Whether a process waits only for somebody to ask for its status."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
