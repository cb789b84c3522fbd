"""Engines that are given all parts at once (an array of Slurm, Spark), shares of a run, and the bound of memory."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clusters.dataset import Share, classify_dataset, pool_engine
from clusters.local_pool import LocalPool
from clusters.memory import memory_bytes
from clusters.slurm import SlurmArray
from clusters.spark import SparkTasks, compute_parts
from tests.script_runs import ROOT
from tests.stub_scorer import Stub, compute_and_die_once
from tests.test_clusters import expected, make_job, rows, write_paths
from utils.errors import RunError, UserError

NUM_VIDEOS, PART = 58, 5
TASK = """
import sys
from pathlib import Path
from tests.test_clusters_engines import compute_share
compute_share(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[-1].partition("=")[2])
"""
SBATCH = """#!{python}
import os, re, subprocess, sys
print("4711;cluster", flush=True)
script = sys.argv[-1]
last = re.search("--array=0-([0-9]+)", open(script).read())[1]
tasks = [
    subprocess.Popen(["bash", script], env={{**os.environ, "SLURM_ARRAY_TASK_ID": str(index)}})
    for index in range(int(last) + 1) if str(index) != os.environ.get("LOST_TASK")
]
sys.exit(max(task.wait() for task in tasks))
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A newline in names, names twice, and a video that is not there."""
    paths = [f"视频 {number % 40}\n.mp4" for number in range(NUM_VIDEOS)]
    paths[11] = "absent.mp4"
    return write_paths(tmp_path_factory.mktemp("videos"), paths)


@pytest.fixture(scope="module")
def plain(videos, tmp_path_factory) -> dict[str, bytes]:
    """The files of one driver with one worker."""
    out = tmp_path_factory.mktemp("plain")
    compute_share(videos, out, "0/1")
    good = [place for place in range(NUM_VIDEOS) if place != 11]
    table = rows(out)
    assert table.column("path").to_pylist() == pq.read_table(videos).column("path").to_pylist()
    assert table.column("id").to_pylist() == list(range(NUM_VIDEOS)) and table.column("error_kind")[11].as_py()
    other = write_paths(out, [path.replace("absent", "x") for path in table.column("path").to_pylist()])
    assert table.take(good).equals(expected(other).take(good))
    return files_of(out)


def files_of(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in out.glob("parts/*/*.parquet")}


def compute_share(videos: Path, out: Path, share: str):
    """What a task of an array runs."""
    local = pool_engine(partial(LocalPool, num_workers=1))
    job = partial(make_job, videos, out, Stub(), PART)
    return classify_dataset(out, {}, job, local, share=Share.parse(share))


def test_shares_make_the_files_of_one_run_and_the_last_one_ends_it(videos, plain, tmp_path):
    assert compute_share(videos, tmp_path, "1/2") is None
    parts = [f"part-{part:06d}.parquet" for part in range(12)]
    assert sorted(files_of(tmp_path)) == parts[1::2] and not (tmp_path / "_SUCCESS").exists()
    assert json.loads((tmp_path / "progress-1.json").read_text())["done"] == 5 * PART + 3
    success = compute_share(videos, tmp_path, "0/2")
    assert success == json.loads((tmp_path / "_SUCCESS").read_text()) and success["scored"] == NUM_VIDEOS - 1
    assert files_of(tmp_path) == plain
    assert compute_share(videos, tmp_path, "30/31") == success  # of which no part is
    for wrong in ("2/2", "1", "-1/2", "0/0", "a/b", "1/2/3"):
        with pytest.raises(UserError, match="--share="):
            Share.parse(wrong)


def test_an_array_of_slurm_computes_all_parts_and_a_lost_task_is_made_up_for(videos, plain, tmp_path, monkeypatch):
    """sbatch is a stand-in that runs the tasks as processes."""
    sbatch = tmp_path / "bin/sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(SBATCH.format(python=sys.executable))
    sbatch.chmod(0o755)
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out folder"
    engine = SlurmArray([sys.executable, "-c", TASK, str(videos), str(out)], 2, ["--partition=gpu"])
    run = partial(classify_dataset, out, {}, partial(make_job, videos, out, Stub(), PART), engine)
    with pytest.raises(UserError, match="--cluster slurm needs sbatch"):
        run()
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("LOST_TASK", "1")
    with pytest.raises(RunError, match="array 4711 has ended with parts missing"):
        run()
    assert len(files_of(out)) == 6
    monkeypatch.setenv("LOST_TASK", "")
    assert run()["errors"] == {"missing": 1}
    assert files_of(out) == plain


class Partitions:
    """A stand-in for a SparkContext: partitions one after the other, each by a fresh copy of the function."""

    def parallelize(self, values, num_slices: int) -> Partitions:
        self.slices = [values[index::num_slices] for index in range(num_slices)]
        return self

    def foreachPartition(self, function) -> None:  # noqa: N802 - Spark's name
        import pickle

        for values in self.slices:
            pickle.loads(pickle.dumps(function))(iter(values))


def test_tasks_of_spark_compute_all_parts_and_repeat_none(videos, plain, tmp_path):
    job = partial(make_job, videos, tmp_path, Stub(), PART)
    compute_parts(job(), [0, 7])
    before = {name: (tmp_path / "parts/000" / name).stat().st_mtime_ns for name in files_of(tmp_path)}
    assert len(before) == 2
    compute_parts(job(), iter([7, 0]))  # a copy of the task
    (tmp_path / "run.json").unlink()
    with pytest.raises(UserError, match="run.json is missing"):
        classify_dataset(tmp_path, {}, job, SparkTasks(Partitions(), 2))
    (tmp_path / "run.json").write_text('{"backend": "stub"}')
    classify_dataset(tmp_path, {}, job, SparkTasks(Partitions(), 2))
    assert files_of(tmp_path) == plain
    assert all((tmp_path / "parts/000" / name).stat().st_mtime_ns == time for name, time in before.items())


def test_workers_of_spark_that_are_killed_are_replaced(videos, plain, tmp_path):
    """With Spark itself: local[2,4] starts a task up to four times."""
    sql = pytest.importorskip("pyspark.sql")
    spark = sql.SparkSession.builder.master("local[2,4]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        job = make_job(videos, tmp_path, Stub(), PART)
        spark.sparkContext.parallelize(job.missing_parts(), 3).foreachPartition(partial(compute_and_die_once, job))
        assert len(list(tmp_path.glob("died-*"))) == 3 and files_of(tmp_path) == plain
        job.forget(4)
        engine = SparkTasks(spark.sparkContext, 2)
        assert classify_dataset(tmp_path / "out", {}, lambda: dataclasses.replace(job, folder=tmp_path / "out"), engine)
        assert files_of(tmp_path / "out") == plain
        wrong = dataclasses.replace(job, videos=tmp_path / "none.parquet")
        with pytest.raises(RunError, match="Spark's job has failed: .*none.parquet"):
            engine(wrong, [4], None)
    finally:
        spark.stop()


def test_a_video_that_takes_too_much_memory_is_an_error(tmp_path):
    videos = write_paths(tmp_path, ["greedy.mp4"])
    job = dataclasses.replace(make_job(videos, tmp_path / "out", Stub()), worker_bytes=350 << 20)
    success = classify_dataset(tmp_path / "out", {}, lambda: job, pool_engine(partial(LocalPool, num_workers=1)))
    assert success["errors"] == {"crash": 1}
    assert rows(tmp_path / "out").column("error")[0].as_py() == "killed its worker (more than --worker_memory)"
    assert "more than --worker_memory allows" in (tmp_path / "out/logs/worker-0.txt").read_text()
    assert memory_bytes(os.getpid()) > 10e6 and memory_bytes(2**22 + 1) == 0
