"""Runs over whole lists (clusters/): scheduling, the output folder, and workers and drivers that are killed."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clusters.dataset import classify_dataset, pool_engine
from clusters.driver import Lost
from clusters.inputs import VideoTable
from clusters.job import Job, Piece
from clusters.local_pool import LocalPool
from clusters.lock import folder_lock
from clusters.rows import Keep, error_columns
from clusters.scheduler import Scheduler
from clusters.simulation import Machines, simulate
from clusters.videos import count_videos, read_paths
from clusters.worker import answer
from tests.script_runs import ROOT
from tests.stub_scorer import Stub
from utils.errors import RunError, UserError

PART = 5
DRIVER = """
import sys
from pathlib import Path
from tests.test_clusters import run
run(Path(sys.argv[1]), Path(sys.argv[2]), seconds=0.004)
"""


def write_paths(folder: Path, paths: list[str]) -> Path:
    file = folder / "videos.parquet"
    pq.write_table(pa.table({"path": paths}), file)
    return file


def make_job(videos: Path, out: Path, stub: Stub, part: int = PART) -> Job:
    return Job(out, videos, count_videos(videos), part, stub.build, stub.fail_row)


def run(
    videos: Path, out: Path, seconds: float = 0.0, setup: str = "stub", watch=None, part=PART, workers=2, **flags
) -> dict:
    """watch: is called with the pool."""
    stub = Stub(seconds, setup)

    def make_pool(job: Job) -> LocalPool:
        pool = LocalPool(job, workers)
        if watch:
            watch(pool)
        return pool

    return classify_dataset(
        out, {"of": "stub"}, partial(make_job, videos, out, stub, part), pool_engine(make_pool), **flags
    )


def expected(videos: Path) -> pa.Table:
    """All rows, computed here."""
    num_videos = count_videos(videos)
    return Stub()(0, read_paths(videos, 0, num_videos))


def rows(out: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted(out.glob("parts/*/*.parquet"))])


# ------------------------------------------------------------------------------------------- scheduling


def schedule(num_parts: int, *more) -> Scheduler:
    """Of parts of eight rows."""
    return Scheduler(range(num_parts), lambda part: Piece(part, part * 8, part * 8 + 8), *more)


def test_the_video_that_kills_its_workers_stands_alone_in_the_end():
    scheduler, deadly = schedule(3), 13
    computed, given_up, sizes, joined = [], [], [], []
    while not scheduler.is_finished:
        piece = scheduler.take(0, 0.0)
        if piece.start <= deadly < piece.stop:
            sizes.append(len(piece))
            failed = scheduler.fail(0)
            if failed.given_up:
                given_up.append(piece)
                scheduler.settle(piece)
        else:
            computed.append(piece)
            assert scheduler.finish(0, 0.0)
        joined += [scheduler.complete.pop() for _ in list(scheduler.complete)]
    assert given_up == [Piece(1, 13, 14)] and sizes == [8, 8, 8, 4, 2, 1, 1, 1]
    assert sorted(row for piece in computed for row in range(piece.start, piece.stop)) == [*range(13), *range(14, 24)]
    assert joined == [{Piece(1, 8, 12), Piece(1, 12, 13), Piece(1, 13, 14), Piece(1, 14, 16)}]


def test_a_cut_part_is_taken_up_where_an_earlier_run_left_it():
    """It is cut at once, its finished half is not handed out again; a part that needs only joining is complete."""
    done = {Piece(0, 0, 4), Piece(1, 8, 12), Piece(1, 12, 16)}
    scheduler = schedule(2, done.__contains__, {0: 3, 1: 5})
    assert scheduler.take(0, 0.0) == Piece(0, 4, 8)
    assert scheduler.take(1, 0.0) is None and scheduler.complete == [{Piece(1, 8, 12), Piece(1, 12, 16)}]


def test_a_straggler_is_copied_until_one_of_its_workers_finishes():
    scheduler = schedule(5)
    for worker in range(2):
        scheduler.take(worker, 0.0)
    for second in range(1, 4):
        assert scheduler.finish(1, second) and scheduler.take(1, second)
    assert scheduler.finish(1, 4.0)
    assert scheduler.take(1, 2.9) is None  # three times the median of a second
    assert scheduler.take(1, 3.1) == Piece(0, 0, 8)
    assert scheduler.take(2, 6.0) is None and scheduler.take(2, 6.2) == Piece(0, 0, 8)
    assert scheduler.finish(1, 7.0) and scheduler.is_finished
    assert not scheduler.finish(0, 8.0)


def test_a_copy_that_fails_leaves_the_piece_to_the_other_worker():
    scheduler = schedule(2)
    scheduler.take(0, 0.0), scheduler.take(1, 0.0)
    scheduler.finish(1, 1.0)
    assert scheduler.take(1, 9.0) == Piece(0, 0, 8)
    assert scheduler.fail(1).count == 1 and scheduler.fail(1) is None
    assert scheduler.finish(0, 9.0) and scheduler.is_finished


def test_stragglers_and_failures_cost_little_more_than_their_work():
    """Simulated: 64 workers, 100 parts of 100 s for each. Without copies the last straggler alone takes 2,000 s."""
    ideal = 100 * 100.0
    for stragglers, hours, work in ((0.0, 1e9, 1.0), (0.05, 1e9, 1.95), (0.0, 1.0, 1.03)):
        machines = Machines(64, 1.0, stragglers, mean_hours_to_failure=hours)
        found = simulate(64 * 100 * 100 - 50, 100, machines)
        assert found.num_videos == 64 * 100 * 100 - 50 and found.ideal_seconds == pytest.approx(ideal, rel=1e-3)
        assert (work - 0.05) * ideal < found.seconds < (work + 0.05) * ideal
        assert (found.num_failures > 100) == (hours == 1.0)


# ------------------------------------------------------------------------------------------- input and rows


def test_lists_folders_and_parquet_files_become_the_same_rows(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    names = ["a b 视频.mp4", os.fsdecode(b"odd \xff.mp4"), "x.mp4"]
    for name in names:
        (videos / name).write_bytes(b"?")
    paths = [str(videos / name) for name in sorted(names)]
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"\xef\xbb\xbf# a comment\n\n" + b"".join(os.fsencode(path) + b" 3\r\n" for path in paths))
    for source in (listed, videos):
        file = VideoTable(str(source)).as_parquet(str(tmp_path / f"{source.stem}.parts"))
        assert read_paths(file, 0, 3) == paths and count_videos(file) == 3
    many = [f"{number}\n.mp4" for number in range(50)]
    file = tmp_path / "given.parquet"
    pq.write_table(pa.table({"other": range(50), "path": many}), file, row_group_size=7)
    assert VideoTable(str(file)).as_parquet(str(tmp_path / "unused")) == str(file)
    assert read_paths(file, 5, 23) == many[5:23] and read_paths(file, 49, 50) == many[49:]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", b"# nothing\n", "no video"),
        ("list.txt", b"a.mp4 0 1 2\na.mp4 0 2 2\n", "four columns"),
        ("list.txt", None, "cannot read the list"),
        ("list.parquet", b"PAR1", "no Parquet file"),
        ("list.parquet", pa.table({"file": ["a"]}), "no column path"),
        ("list.parquet", pa.table({"path": [1]}), "must hold strings"),
        ("list.parquet", pa.table({"path": pa.array([], pa.string())}), "no video"),
    ],
)
def test_an_input_that_cannot_be_read_is_refused(tmp_path, name, content, message):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        pq.write_table(content, tmp_path / name)
    with pytest.raises(UserError, match=message):
        VideoTable(str(tmp_path / name)).as_parquet(str(tmp_path / "out"))
    assert not (tmp_path / "out/videos.parquet").exists()


def test_scores_are_kept_as_asked_for():
    top = [{"index": 2, "probability": 0.5}, {"index": 0, "probability": 0.3}, {"index": 1, "probability": 0.2}]
    assert Keep.parse("topk:3").values(top)["top_index"] == [2, 0, 1]
    assert Keep.parse("all:float32").values(top)["scores"].tolist() == pytest.approx([0.3, 0.2, 0.5])
    assert Keep.parse("all:float16").values(top)["scores"].dtype == "float16"
    for wrong in ("topk", "topk:0", "all", "all:int8"):
        with pytest.raises(UserError, match="--keep"):
            Keep.parse(wrong)


# ------------------------------------------------------------------------------------------- runs


def test_errors_are_rows_and_deadly_videos_stand_alone(tmp_path):
    paths = [f"{number}.mp4" for number in range(4 * PART + 2)]
    paths[3], paths[8], paths[21] = "absent.mp4", "raising.mp4", "deadly.mp4"
    success = run(write_paths(tmp_path, paths), tmp_path / "out")
    table = rows(tmp_path / "out").to_pydict()
    assert table["id"] == list(range(len(paths))) and table["path"] == paths
    errors = {place: kind for place, kind in enumerate(table["error_kind"]) if kind}
    assert errors == {3: "missing", 8: "crash", 21: "crash"}
    assert table["error"][8] == "stopped its worker (ValueError: cannot take raising.mp4)"
    assert table["error"][21] == "killed its worker (signal 9)"
    assert success["scored"] == len(paths) - 3 and success["errors"] == {"crash": 2, "missing": 1}
    good = [place for place in table["id"] if place not in errors]
    plain = write_paths(tmp_path, [f"{number}.mp4" for number in range(len(paths))])
    assert rows(tmp_path / "out").take(good).equals(expected(plain).take(good))
    assert json.loads((tmp_path / "out/state/000/part-000001.json").read_text())["failures"] > 3
    assert not list((tmp_path / "out").glob("pieces/*/*"))

    # A later run computes the parts with such errors again, and no other.
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("parts/*/*")}
    videos = write_paths(tmp_path, [path.replace("deadly", "mended") for path in paths])
    success = run(videos, tmp_path / "out", retry_errors=True)
    changed = [
        file.name for file in (tmp_path / "out").glob("parts/*/*") if file.stat().st_mtime_ns != before[file.name]
    ]
    assert sorted(changed) == ["part-000000.parquet", "part-000001.parquet", "part-000004.parquet"]
    assert success["errors"] == {"crash": 1, "missing": 1}


@pytest.mark.parametrize("seed", [0, 1])
def test_workers_and_drivers_killed_at_random_lose_nothing_and_repeat_nothing(tmp_path, seed):
    rng = random.Random(seed)
    videos, out = write_paths(tmp_path, [f"{number}.mp4" for number in range(121)]), tmp_path / "out"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(videos), str(out)],
        cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not list(out.glob("parts/*/*.parquet")):
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.15))
    driver.kill()
    driver.wait()
    assert 0 < len(list(out.glob("parts/*/*.parquet"))) < 25

    def kill_workers(pool: LocalPool) -> None:
        def kill() -> None:
            for _ in range(2):
                time.sleep(rng.uniform(0.3, 0.5))
                pool.workers[rng.randrange(2)].process.send_signal(signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()

    run(videos, out, seconds=0.008, watch=kill_workers)
    assert rows(out).equals(expected(videos))
    names = [file.name for file in sorted(out.glob("parts/*/part-*"))]
    assert names == [f"part-{part:06d}.parquet" for part in range(25)]


def test_actors_of_ray_write_the_same_files_and_are_replaced(tmp_path):
    pytest.importorskip("ray")
    from clusters.ray_pool import RayPool

    videos, stub = write_paths(tmp_path, [f"{number}.mp4" for number in range(12)] + ["deadly.mp4"]), Stub()
    for name, make_pool in (("ray", partial(RayPool, num_workers=1)), ("local", partial(LocalPool, num_workers=1))):
        job = partial(make_job, videos, tmp_path / name, stub)
        classify_dataset(tmp_path / name, {}, job, pool_engine(make_pool))
    found, plain = rows(tmp_path / "ray"), rows(tmp_path / "local")
    assert found.slice(0, 12).equals(plain.slice(0, 12)) and found.column("error_kind")[12].as_py() == "crash"
    with pytest.raises(UserError, match="--workers 1000: the cluster has"):
        RayPool(make_job(videos, tmp_path / "ray", stub), 1000)


def test_a_worker_that_stands_still_is_overtaken(tmp_path):
    videos = write_paths(tmp_path, [f"{number}.mp4" for number in range(30)])

    def stop_one(pool: LocalPool) -> None:
        def stop() -> None:
            while not list((tmp_path / "out").glob("parts/*/*")):
                time.sleep(0.01)
            pool.workers[0].process.send_signal(signal.SIGSTOP)

        threading.Thread(target=stop, daemon=True).start()

    run(videos, tmp_path / "out", seconds=0.01, watch=stop_one)
    assert rows(tmp_path / "out").equals(expected(videos))


def test_a_worker_that_hangs_is_killed_after_the_time_of_its_videos(tmp_path):
    """Both workers hang at the same video; nobody is left to copy it."""
    paths = ["a.mp4", "hanging.mp4", "b.mp4", "c.mp4"]
    videos, stub = write_paths(tmp_path, paths), Stub()
    job = dataclasses.replace(make_job(videos, tmp_path / "out", stub), seconds_per_video=0.1)
    success = classify_dataset(tmp_path / "out", {}, lambda: job, pool_engine(partial(LocalPool, num_workers=2)))
    assert success["errors"] == {"timeout": 1}
    assert rows(tmp_path / "out").column("error")[1].as_py() == "took longer than 0.1 s and was ended"


def test_a_late_copy_of_a_piece_does_not_end_the_run(tmp_path):
    """Its folder is deleted while it writes; the part is there."""
    job = make_job(write_paths(tmp_path, ["a.mp4", "b.mp4"]), tmp_path / "out", Stub())
    piece = Piece(0, 0, 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/pieces").write_text("no folder")
    assert answer(job, piece, Stub())[0] == "stop"
    job.write(job.part(0), Stub()(0, ["a.mp4", "b.mp4"]))
    assert answer(job, piece, Stub()) == ("done", 1, 0)


def test_a_file_half_written_is_no_part_and_is_swept_after_a_day(tmp_path):
    videos, out = write_paths(tmp_path, ["a.mp4"]), tmp_path / "out"
    folder = out / "parts/000"
    folder.mkdir(parents=True)
    old, new = folder / ".part-000000.parquet.x.part", folder / ".part-000000.parquet.y.part"
    for file in (old, new):
        file.write_bytes(b"PAR1 half")
    os.utime(old, (0, 0))
    job = make_job(videos, out, Stub())
    assert job.missing_parts() == [0]
    job.files.sweep()
    assert not old.exists() and new.exists()


def test_a_disk_that_is_full_ends_the_run(tmp_path, monkeypatch):
    job = make_job(write_paths(tmp_path, ["a.mp4"]), tmp_path / "out", Stub())

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    kind, error = answer(job, job.part(0), Stub())
    assert kind == "stop" and isinstance(error, RunError) and "No space left" in str(error)
    assert not any(file.is_file() for file in (tmp_path / "out").rglob("*"))


def test_workers_that_do_not_start_end_the_run(tmp_path):
    job = make_job(write_paths(tmp_path, ["a.mp4"]), tmp_path / "out", Stub())
    pool = LocalPool(job, 1, {"PYTHONHOME": "/no/such/folder"})
    with pytest.raises(RunError, match="do not start .exit status 1.; see .*worker-0.txt"):
        for _ in range(9):
            assert all(isinstance(event, Lost) for event in pool.events(5.0))


def test_a_folder_holds_one_run_and_one_driver(tmp_path):
    videos, out = write_paths(tmp_path, ["a.mp4"]), tmp_path / "out"
    run(videos, out, workers=1)
    with pytest.raises(UserError, match="another of"):
        classify_dataset(out, {"of": "others"}, lambda: None, lambda job: None)
    (out / "parts/000/part-000000.parquet").unlink()
    with pytest.raises(UserError, match="computes with other, other parts were computed with stub"):
        run(videos, out, workers=1, setup="other")
    with folder_lock(str(out), "driver.lock"), pytest.raises(UserError, match=f"process {os.getpid()} on"):
        run(videos, out)
    (out / "driver.lock").write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    with pytest.raises(UserError, match="process 7 on elsewhere"):
        run(videos, out)
    os.utime(out / "driver.lock", (0, 0))
    assert run(videos, out, workers=1)["scored"] == 1


def test_too_many_errors_among_the_first_videos_stop_the_run(tmp_path):
    videos = write_paths(tmp_path, ["absent.mp4" if number % 10 == 0 else "a.mp4" for number in range(1500)])
    with pytest.raises(UserError, match="100 of the first 1000 videos could not be scored"):
        run(videos, tmp_path / "out", part=500, workers=1)
    assert run(videos, tmp_path / "out", part=500, workers=1, max_error_ratio=0.2)["errors"] == {"missing": 150}


def test_the_names_of_errors_are_those_of_the_reader(tmp_path):
    from datareader.decoding.base import Budget
    from datareader.video import VideoError, probe

    reasons = {}
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    os.symlink(tmp_path / "nowhere", tmp_path / "link.mp4")
    for name in ("none.mp4", "link.mp4", "text.mp4"):
        with pytest.raises(VideoError) as found:
            probe(tmp_path / name)
        reasons[name] = error_columns(found.value.reason)["error_kind"]
    assert reasons == {"none.mp4": "missing", "link.mp4": "missing", "text.mp4": "unreadable"}
    with pytest.raises(VideoError) as found:
        Budget("a.mp4", -1.0).check()
    assert error_columns(found.value.reason)["error_kind"] == "timeout"
