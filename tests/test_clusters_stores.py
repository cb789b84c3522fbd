"""Runs whose list and results lie in a store."""

from __future__ import annotations

import io
import json
import os
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clusters import lock
from clusters.dataset import classify_dataset, pool_engine
from clusters.folder import open_folder, read_json
from clusters.inputs import VideoTable
from clusters.local_pool import LocalPool
from clusters.lock import folder_lock
from clusters.videos import read_paths
from tests.s3_server import S3Server
from tests.stub_scorer import Stub
from tests.test_clusters import expected, make_job, write_paths
from utils.errors import RunError, UserError

OUT = "s3://runs/out 1"


@pytest.fixture(scope="module")
def running():
    with S3Server({}) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def server(running):
    running.objects.clear()
    running.requests.clear()
    running.failures.clear()
    return running


def asked(server, method: str) -> list[str]:
    return [key for kind, key, _ in server.requests if kind == method]


def test_a_run_in_a_store_writes_the_files_of_a_local_one(server, tmp_path, monkeypatch):
    """Each part is one put; a request that fails is made again; what is there is not computed again."""
    paths = [f"{number}\n.mp4" for number in range(12)]
    local = write_paths(tmp_path, paths)
    server.objects["runs/list.parquet"] = local.read_bytes()
    server.failures = [503]
    videos = VideoTable("s3://runs/list.parquet")
    assert videos.sha256 == VideoTable(str(local)).sha256

    def run():
        job = partial(make_job, videos.as_parquet(OUT), OUT, Stub())
        return classify_dataset(OUT, {"of": "stub"}, job, pool_engine(partial(LocalPool, num_workers=1)))

    success = run()
    puts = asked(server, "PUT")
    names = [f"runs/out 1/parts/000/part-{part:06d}.parquet" for part in range(3)]
    assert [key for key in puts if "/parts/" in key and key.endswith(".parquet")] == names
    assert not [key for key in server.objects if key.endswith(".lock")]
    table = pa.concat_tables([pq.read_table(io.BytesIO(server.objects[name])) for name in names])
    assert table.equals(expected(local)) and success["scored"] == 12
    assert json.loads(server.objects["runs/out 1/_SUCCESS"]) == success

    del server.objects[names[1]]
    server.requests.clear()
    assert run() == success and [key for key in asked(server, "PUT") if key in names] == names[1:2]
    monkeypatch.setattr(Stub, "setup", "other")
    server.objects["runs/out 1/run.json"] = b'{"of": "others"}'
    with pytest.raises(UserError, match="s3://runs/out 1 holds a run with another of"):
        run()


def test_a_list_in_a_store_is_read_as_it_is_now_and_beside_it(server):
    for text in (b"a b.mp4 3\ns3://other/c.mp4\n", b"new.mp4\n"):
        server.objects["runs/lists/list.txt"] = text
        file = VideoTable("s3://runs/lists/list.txt").as_parquet(f"s3://runs/{len(text)}")
        found = read_paths(file, 0, 9)
        assert found == (
            ["s3://runs/lists/new.mp4"] if b"new" in text else ["s3://runs/lists/a b.mp4", "s3://other/c.mp4"]
        )
    with pytest.raises(UserError, match="cannot read the list s3://runs/none.txt"):
        VideoTable("s3://runs/none.txt")


def test_two_thousand_parts_are_listed_with_two_requests(server):
    folder = open_folder(OUT)
    for part in range(2000):
        server.objects[f"runs/out 1/parts/{part // 1000:03d}/part-{part:06d}.parquet"] = b"x"
    job = make_job(write_empty(server), OUT, Stub(), 1)
    server.requests.clear()
    assert job.missing_parts() == [2000, 2001] and len(server.requests) == 2
    for name in ("pieces/a/0", "pieces/a/1", "pieces/ab/0"):
        server.objects[f"runs/out 1/{name}"] = b"x"
    folder.remove("pieces/a")
    assert [*folder.names("pieces")] == ["pieces/ab/0"]
    with pytest.raises(FileNotFoundError):
        folder.read("none")
    server.failures = [403] * 9
    with pytest.raises(RunError, match="cannot write s3://runs/out 1/a: .*ACCESS_DENIED"):
        folder.write("a", lambda stream: stream.write(b"a"))
    server.failures.clear()
    with pytest.raises(ZeroDivisionError):
        folder.write("a", lambda stream: stream.write(b"%d" % (1 // 0)))
    assert not folder.exists("a")


def write_empty(server) -> str:
    stream = io.BytesIO()
    pq.write_table(pa.table({"path": ["a.mp4"] * 2002}), stream)
    server.objects["runs/list.parquet"] = stream.getvalue()
    return "s3://runs/list.parquet"


def test_a_driver_that_is_heard_of_holds_the_lock_of_a_store(server, monkeypatch):
    key = "runs/out 1/driver.lock"
    with folder_lock(OUT, "driver.lock"):
        owner = json.loads(server.objects[key])
        assert owner["pid"] == os.getpid()
    assert key not in server.objects
    for changes, is_held in (
        ({"pid": os.getppid()}, True), ({"pid": 2**22 + 1}, False),
        ({"host": "elsewhere"}, True), ({"host": "elsewhere", "time": owner["time"] - 200}, False),
    ):  # fmt: skip
        server.objects[key] = json.dumps({**owner, **changes}).encode()
        if is_held:
            with pytest.raises(UserError, match="is working on it"), folder_lock(OUT, "driver.lock"):
                pass
        else:
            with folder_lock(OUT, "driver.lock"):
                pass
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    with folder_lock(OUT, "driver.lock"):
        first = read_json(open_folder(OUT), "driver.lock")
        while read_json(open_folder(OUT), "driver.lock") == first:
            pass
