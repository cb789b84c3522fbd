"""The server without HTTP: jobs give predict.py's results, take turns, end at once and survive a killed server."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")

from configs import load_config
from inference import BackendSpec
from inference.classify import PredictOptions
from inference.example import EXAMPLES
from inference.predict import predict_videos
from serving import videos
from serving.app import build_app  # noqa: F401 (of the child)
from serving.jobs import Job, JobOptions, WindowScores
from serving.problems import Problem
from serving.scheduler import Scheduler
from serving.server import Server, Settings
from serving.videos import printable_name
from tests.video_factory import draw_video
from utils.errors import UserError

CLIP = EXAMPLES / "clip.mp4"
HOP = 0.2
HEAVY = ("paddle", "openvino", "onnxruntime")  # hundreds of megabytes of the process that receives uploads


def example_spec() -> BackendSpec:
    config = load_config(str(EXAMPLES / "demo_network/config.yaml"))
    return BackendSpec(config, str(EXAMPLES / "demo_network/NONLOCAL.pdparams"), "", "paddle")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    (folder / "videos").mkdir()
    (folder / "videos/clip.mp4").write_bytes(CLIP.read_bytes())
    draw_video(folder / "videos/other.mp4", num_frames=200, width=64, height=64)
    server = Server(example_spec(), Settings(folder / "data", folder / "videos"), use_gpu=False)
    yield server
    server.stop()


def video_of(server, name="clip.mp4") -> str:
    return next(row["id"] for row in server.videos.list_folder() if row["name"] == name)


def finished(job: Job, seconds: float = 60) -> Job:
    deadline = time.monotonic() + seconds
    while not job.is_final:
        assert time.monotonic() < deadline, job
        time.sleep(0.01)
    return job


def predicted(tmp_path, job: str, **options) -> Path:
    """What predict.py writes of the clip."""
    spec = example_spec()
    wanted = PredictOptions(tmp_path, log_interval=0, **options)
    predict_videos(spec.config, spec, wanted, job=job, video_path=str(CLIP), filelist="")
    return tmp_path


@pytest.mark.parametrize("views", ["1x3", None])
def test_segments_are_those_of_predict_py(server, tmp_path, views):
    options = JobOptions(views=views, stride_seconds=HOP)
    job = finished(server.scheduler.submit(video_of(server), options, "me")[0])
    assert job.state == "done", job.detail
    folder = predicted(tmp_path, "segments", views=views, stride_seconds=HOP) / "segments"
    for kind in ("csv", "srt", "vtt"):
        assert (job.folder / f"segments.{kind}").read_bytes() == (folder / f"clip.{kind}").read_bytes()
    own, expected = (json.loads(p.read_text()) for p in (job.folder / "segments.json", folder / "clip.json"))
    assert own.pop("path") == "clip.mp4" and expected.pop("path") == str(CLIP)
    assert own == expected and own["window"]["count"] == job.num_windows == 9


@pytest.mark.parametrize("views", ["2x3", "adaptive:0.9:3x1"])
def test_classes_are_those_of_predict_py(server, tmp_path, views):
    job = finished(server.scheduler.submit(video_of(server), JobOptions("classes", views, topk=3), "me")[0])
    (expected,) = json.loads((predicted(tmp_path, "classes", views=views, topk=3) / "predictions.json").read_text())
    record = json.loads((job.folder / "record.json").read_text())
    assert record == {**expected, "path": "clip.mp4"}  # every bit of the probabilities


@pytest.mark.parametrize(("pooling", "views"), [("video", "2x1"), ("window", None)])
def test_features_are_those_of_predict_py(server, tmp_path, pooling, views):
    options = JobOptions("features", views, stage="res4", pooling=pooling)
    job = finished(server.scheduler.submit(video_of(server), options, "me")[0])
    assert job.state == "done", job.detail
    predicted(tmp_path, "features", features="res4", feature_pooling=pooling, views=views)
    own, expected = np.load(job.folder / "features.npz"), np.load(tmp_path / "features/clip.npz")
    assert set(own) == set(expected)
    assert all(np.array_equal(own[name], expected[name]) for name in own if name != "path")


class Recorded:
    """Stands between the engine and its network: which job computed, and a gate that lets batches through."""

    def __init__(self, monkeypatch, engine):
        self.order, self.gate, self.waiting = [], threading.Event(), set()
        compute = engine.outputs

        def outputs(clips, *network):
            self.waiting.add(threading.current_thread().name)
            self.gate.wait(30)
            self.order.append(threading.current_thread().name)
            return compute(clips, *network)

        monkeypatch.setattr(engine, "outputs", outputs)


def test_jobs_take_turns_batch_by_batch(server, monkeypatch):
    """Two jobs of many windows: neither has two batches more than the other while both run."""
    monkeypatch.setattr(server.work.config.INFER, "batch_size", 1)
    recorded, compute = Recorded(monkeypatch, server.engine), server.engine._timed

    def slowly(*call):  # so that the next batch of the other job is read meanwhile
        time.sleep(0.05 if len(recorded.order) < 12 else 0)
        return compute(*call)

    monkeypatch.setattr(server.engine, "_timed", slowly)
    jobs = [server.scheduler.submit(video_of(server), JobOptions(stride_seconds=s), "turns")[0] for s in (0.15, 0.16)]
    while len(recorded.waiting) < 2:
        time.sleep(0.01)
    recorded.gate.set()
    for job in jobs:
        assert finished(job).state == "done"
    names = recorded.order[:12]
    first, second = sorted(set(names))
    assert max(abs(names[:n].count(first) - names[:n].count(second)) for n in range(13)) <= 2


def test_a_cancelled_job_ends_at_once_and_frees_its_slot(server, monkeypatch):
    recorded = Recorded(monkeypatch, server.engine)
    jobs = [server.scheduler.submit(video_of(server), JobOptions(stride_seconds=s), "stop")[0] for s in (0.3, 0.31)]
    server.scheduler.cancel(jobs[0])
    assert jobs[0].state == "cancelled"
    recorded.gate.set()
    assert finished(jobs[1]).state == "done"
    deadline = time.monotonic() + 10
    while server.scheduler.active():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert jobs[0].state == "cancelled" and not (jobs[0].folder / "windows").exists()
    assert Job.load(jobs[0].folder).state == "cancelled"


def test_a_finished_job_that_is_forgotten_costs_no_reading_process(server):
    """As by POST /score: the slot may not have turned to the next job yet."""
    job = finished(server.scheduler.submit(video_of(server), JobOptions(stride_seconds=0.9), "forget")[0])
    slot = server.scheduler.slots[0]
    slot.job, aborted = job, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slot.pool, "abort", lambda: aborted.append(job))
        server.scheduler.cancel(job)
    slot.job = None
    assert not aborted and job.id not in server.scheduler.jobs


def test_files_are_counted_anew_only_where_the_limit_may_be_near(tmp_path, monkeypatch):
    counted = []
    walk = videos.os.walk
    monkeypatch.setattr(videos.os, "walk", lambda folder: counted.append(1) or walk(folder))
    (tmp_path / "file").write_bytes(b"x" * 500)
    disk = videos.Disk(tmp_path, 1000)
    assert all(disk.fits(100) for _ in range(4)) and len(counted) == 1  # 500 + 4 * 100
    (tmp_path / "more").write_bytes(b"x" * 400)
    assert not disk.fits(200) and len(counted) == 2
    (tmp_path / "more").unlink()
    assert disk.fits(200) and len(counted) == 3


def test_no_request_waits_for_files_that_are_counted_after_a_time(tmp_path, monkeypatch):
    disk, gate = videos.Disk(tmp_path, 1000), threading.Event()
    assert disk.fits(10)
    count = disk.used
    monkeypatch.setattr(disk, "used", lambda: gate.wait(30) and count())
    monkeypatch.setattr(videos, "GUESS_SECONDS", 0.0)
    disk._guessed_until = 0.0
    assert all(disk.fits(10) for _ in range(3))
    (tmp_path / "file").write_bytes(b"x" * 500)
    gate.set()
    while not 0.0 < disk._guessed_until < float("inf"):
        time.sleep(0.01)
    assert disk._guess == 500 + 3 * 10


def test_the_same_again_is_the_finished_job_and_others_get_a_copy(server):
    options = JobOptions(stride_seconds=0.5)
    job = finished(server.scheduler.submit(video_of(server), options, "a")[0])
    assert server.scheduler.submit(video_of(server), options, "a") == (job, True)
    other, was_done = server.scheduler.submit(video_of(server), options, "b")
    assert was_done and other.id != job.id and other.segments == job.segments and other.num_windows == job.num_windows
    server.scheduler.cancel(job)
    assert (other.folder / "segments.csv").is_file() and not job.folder.exists()


def test_a_full_queue_refuses_and_drops_only_what_nobody_asks_for(server, monkeypatch):
    scheduler = server.scheduler
    monkeypatch.setattr(scheduler, "max_waiting", 1)
    monkeypatch.setattr(scheduler, "wakeup", threading.Condition(scheduler.lock))  # no slot takes a job
    first, _ = scheduler.submit(video_of(server), JobOptions(topk=3, stride_seconds=0.7), "a")
    with pytest.raises(Problem) as refused:
        scheduler.submit(video_of(server), JobOptions(topk=4, stride_seconds=0.7), "a")
    assert refused.value.status == 429 and refused.value.headers["Retry-After"]
    first.last_seen -= 3600
    second, _ = scheduler.submit(video_of(server), JobOptions(topk=4, stride_seconds=0.7), "a")
    assert first.state == "failed" and scheduler.queue == [second]
    scheduler.cancel(second)


def test_a_video_that_is_too_long_or_gone_fails_alone(server, monkeypatch, tmp_path):
    monkeypatch.setattr(server, "work", replace(server.work, max_minutes=0.01))
    monkeypatch.setattr(server.scheduler, "work", server.work)
    job = finished(server.scheduler.submit(video_of(server, "other.mp4"), JobOptions(stride_seconds=2.0), "a")[0])
    assert job.state == "failed" and "(--max_minutes)" in job.detail and str(tmp_path) not in job.detail
    with pytest.raises(UserError, match="max_minutes"):
        monkeypatch.setattr(server, "settings", replace(server.settings, max_minutes=0.01))
        server.check_video(server.videos.path(video_of(server, "other.mp4")))


def test_windows_that_a_killed_process_was_writing_are_cut_off(tmp_path):
    stored = WindowScores(tmp_path / "windows", 3)
    assert stored.keep(2) == 0
    stored.append(np.arange(5.0), np.arange(5.0) + 1, np.arange(15, dtype=np.float32).reshape(5, 3))
    with open(stored.path, "ab") as stream:
        stream.write(b"half a row")
    assert len(stored.read(0, 100)) == 5
    assert stored.keep(2) == 4 and stored.path.stat().st_size == 4 * stored.dtype.itemsize
    assert stored.read(1, 2)["scores"].tolist() == [[3, 4, 5], [6, 7, 8]]


def test_a_job_goes_on_when_a_full_disk_has_room_again(server, monkeypatch):
    monkeypatch.setattr("serving.scheduler.ROOM_SECONDS", 0.01)
    append, failures = WindowScores.append, iter([True])

    def full_once(self, *rows):
        append(self, *rows)
        if next(failures, False):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(WindowScores, "append", full_once)
    job = finished(server.scheduler.submit(video_of(server), JobOptions(stride_seconds=HOP, topk=16), "me")[0])
    assert job.state == "done" and job.num_windows == 9 and next(failures, None) is None
    assert len(WindowScores(job.folder / "windows", 8).read(0, 99)) == 9


def test_a_job_is_deleted_on_a_full_disk(server, monkeypatch):
    """That it is cancelled cannot be written; its slot is free all the same, and nothing of it stays."""
    recorded, options = Recorded(monkeypatch, server.engine), JobOptions(stride_seconds=HOP, topk=15)
    job, _ = server.scheduler.submit(video_of(server), options, "me")
    while job not in server.scheduler.active():
        time.sleep(0.01)
    with monkeypatch.context() as patch:
        patch.setattr("utils.files.tempfile.mkstemp", no_room)
        server.scheduler.cancel(job)
        assert job.state == "cancelled"
        server.scheduler.cancel(server.scheduler.find(job.id))
    recorded.gate.set()
    deadline = time.monotonic() + 10
    while job in server.scheduler.active():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert job.id not in server.scheduler.jobs and not job.folder.exists()


def no_room(*arguments, **more):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_new_server_sweeps_jobs_that_were_never_accepted_and_leaves_what_is_none(server, tmp_path):
    names = {"cut off": (".job.json.x.part",), "half deleted": ("windows", "segments.csv"), "strange": ("notes.txt",)}
    for folder, files in names.items():
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file).write_bytes(b"x")
    job, _ = server.scheduler.submit(video_of(server), JobOptions(stride_seconds=0.5, topk=14), "me")
    finished(job)
    while server.scheduler.active():  # until its state is written
        time.sleep(0.01)
    shutil.copytree(job.folder, tmp_path / job.id)
    (tmp_path / job.id / ".segments.json.x.part").write_bytes(b"x")
    again = Scheduler(tmp_path, server.videos, server.engine, server.work, 0, 16)
    assert set(again.jobs) == {job.id} and again.jobs[job.id].segments == job.segments
    assert {folder.name for folder in tmp_path.iterdir()} == {"strange", job.id}
    assert {file.name for file in again.jobs[job.id].folder.iterdir()} == {file.name for file in job.folder.iterdir()}


CHILD = """
import os, signal, sys
sys.path[:0] = [{root!r}, {tests!r}]
import test_serving_jobs as t
from pathlib import Path
from serving import work
appended = work.WindowScores.append
def append(self, *rows):
    appended(self, *rows)
    if self.path.stat().st_size > 3 * self.dtype.itemsize:
        os.kill(os.getpid(), signal.SIGKILL)
work.WindowScores.append = append
server = t.Server(t.example_spec(), t.Settings(Path({data!r}), Path({videos!r})), use_gpu=False)
server.work.config.INFER.batch_size = 2
t.build_app(server)
print(server.engine._child.process.pid, [name for name in t.HEAVY if name in sys.modules], flush=True)
job, _ = server.scheduler.submit(t.video_of(server), t.JobOptions(stride_seconds=t.HOP), "me")
t.finished(job)
"""


def test_a_job_of_a_killed_server_goes_on_from_its_last_window(server, tmp_path, monkeypatch):
    """kill -9 after four windows; the next server scores the other five, and the result is that of a quiet run."""
    root = str(Path(__file__).resolve().parents[1])
    videos = str(server.settings.folder)
    code = CHILD.format(root=root, tests=str(Path(__file__).parent), data=str(tmp_path / "data"), videos=videos)
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=200)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, imported = done.stdout.splitlines()[-1].split(maxsplit=1)
    assert imported == "[]"
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "(zombie)" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, "the process of the network outlives the server"
        time.sleep(0.05)
    (folder,) = (tmp_path / "data/jobs").iterdir()
    assert (folder / "windows").stat().st_size == 4 * WindowScores(folder / "windows", 8).dtype.itemsize
    with open(folder / "windows", "ab") as stream:
        stream.write(b"torn")
    monkeypatch.setattr(server.work.config.INFER, "batch_size", 2)
    expected = finished(server.scheduler.submit(video_of(server), JobOptions(stride_seconds=HOP, topk=19), "me")[0])
    before = server.engine.num_clips
    again = Scheduler(tmp_path / "data/jobs", server.videos, server.engine, server.work, 1, 16)
    try:
        (job,) = again.jobs.values()
        assert finished(job).state == "done" and job.num_windows == 9
        assert server.engine.num_clips - before == 5
    finally:
        again.stopping.set()
        with again.lock:
            again.wakeup.notify_all()
    rows, quiet = (WindowScores(j.folder / "windows", 8).read(0, 99) for j in (job, expected))
    assert rows.tobytes() == quiet.tobytes()
    assert (job.folder / "segments.csv").read_bytes() == (expected.folder / "segments.csv").read_bytes()


def test_a_job_outlives_the_process_of_the_network(server, tmp_path, monkeypatch):
    """Killed after a batch, as by the kernel for its memory: the result is predict.py's."""
    compute, batches = server.engine.outputs, []

    def outputs(clips, *network):
        if len(batches) == 1:
            os.kill(server.engine._child.process.pid, signal.SIGKILL)
        batches.append(len(clips))
        return compute(clips, *network)

    monkeypatch.setattr(server.work.config.INFER, "batch_size", 4)
    monkeypatch.setattr(server.engine, "outputs", outputs)
    job = finished(server.scheduler.submit(video_of(server), JobOptions(stride_seconds=HOP, topk=18), "me")[0])
    assert job.state == "done" and batches == [4, 4, 1] and server.engine.is_ready()
    folder = predicted(tmp_path, "segments", stride_seconds=HOP, topk=18) / "segments"
    own, expected = (json.loads(p.read_text()) for p in (job.folder / "segments.json", folder / "clip.json"))
    assert own["segments"] == expected["segments"]


def test_what_another_network_found_is_not_taken_for_its_own(server, tmp_path, monkeypatch):
    """The same folder, other weights: a finished job and one in work are refused; nothing of them is written."""
    done = finished(server.scheduler.submit(video_of(server), JobOptions("classes", "1x1", topk=2), "me")[0])
    waiting = replace(done, state="queued", id="waiting", folder=tmp_path / "waiting", finished=None)
    shutil.copytree(done.folder, tmp_path / done.id)
    waiting.save()
    files = {path: path.read_bytes() for path in tmp_path.glob("*/job.json")}
    work = replace(server.work, network_id="other")
    again = Scheduler(tmp_path, server.videos, server.engine, work, 1, 16)
    assert {(job.id, job.state) for job in again.jobs.values()} == {(done.id, "failed"), ("waiting", "failed")}
    assert all("another network" in job.detail and job.finished for job in again.jobs.values())
    new, was_done = again.submit(done.video_id, done.options, "me")
    assert not was_done and finished(new).network_id == "other"
    again.stop(10)
    assert {path: path.read_bytes() for path in files} == files
    example = replace(done, id="example", options=server.examples.options(), network_id="other", state="failed")
    server.scheduler.jobs["example"] = example
    assert server.examples.find(done.video_id) is not server.scheduler.jobs.pop("example")
    for section, key, value in (("INFER", "sample_rate", 7), ("READER", "modality", "flow")):
        with monkeypatch.context() as patch:
            patch.setattr(getattr(server.spec.config, section), key, value)
            assert server._network_id() != server.work.network_id
    assert server._network_id() == server.work.network_id


def test_names_are_for_people_only():
    assert printable_name("a\nb\x1b[31m.mp4") == "a?b?[31m.mp4"
    assert len(printable_name("频" * 300).encode()) <= 180 and printable_name("") == "video"
    assert printable_name("../../etc/passwd") == "../../etc/passwd"  # shown; no path is made of it
