"""tools/classify_dataset.py on tiny videos: what predict.py says of each, as rows."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pyarrow.parquet as pq
import pytest

import clusters.local_pool
from clusters.driver import Done, Lost, Ready
from clusters.worker import answer
from configs import load_config
from models import build_model
from tests.plain_network import randomized
from tests.script_runs import make_videos, run_script, tiny_config, write_list
from weights import save_weights


class InlinePool:
    """A Pool whose one worker is this process."""

    def __init__(self, job, num_workers, environment):
        self.job, self.score = job, job.make_scorer()
        self.waiting = [Ready(0, self.score.setup)]

    def now(self):
        return 0.0

    def send(self, worker, piece):
        kind, *rest = answer(self.job, piece, self.score)
        self.waiting += [Done(0, *rest)] if kind == "done" else [Lost(0, *rest), Ready(0, self.score.setup)]

    def events(self, seconds):
        events, self.waiting = self.waiting, []
        return events

    def kill(self, worker):
        pass

    def close(self):
        pass


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A list of three videos, a missing and an empty one; flags of a network of random weights."""
    folder = tmp_path_factory.mktemp("case")
    (folder / "empty.mp4").write_bytes(b"")
    videos = make_videos(folder / "videos", 3, 3)
    videos = [videos[0], (folder / "none.mp4", 0), videos[1], (folder / "empty.mp4", 1), videos[2]]
    config = tiny_config(folder, write_list(folder / "list.txt", videos))
    paddle.seed(3)
    state = randomized(build_model(load_config(config)), seed=5).state_dict()
    state["head.weight"].set_value(state["head.weight"] * 0.02)  # logits near 1: no class takes it all
    save_weights(folder / "w.pdparams", {name: tensor.numpy() for name, tensor in state.items()})
    return folder, [f"--config={config}", f"--weights={folder / 'w.pdparams'}", "--backend=paddle"]


@pytest.fixture
def classify(case, monkeypatch, tmp_path):
    """Runs the tool on the case; its exit status and rows."""
    folder, network = case
    monkeypatch.setattr(clusters.local_pool, "LocalPool", InlinePool)

    def run(*flags: str, out: str = "out"):
        common = [f"--input={folder / 'list.txt'}", f"--output={tmp_path / out}", "--part=2", *network]
        status = run_script(monkeypatch, "tools.classify_dataset", *common, *flags)
        files = sorted((tmp_path / out).glob("parts/*/*.parquet"))
        return status, [row for file in files for row in pq.read_table(file).to_pylist()]

    return run


def predicted(case, monkeypatch, tmp_path, *flags: str) -> list[dict]:
    folder, network = case
    save_dir = f"--save_dir={tmp_path / 'predicted'}"
    assert run_script(monkeypatch, "predict", f"--filelist={folder / 'list.txt'}", save_dir, *network, *flags) == 2
    return json.loads((tmp_path / "predicted/predictions.json").read_text())


def test_rows_are_bit_for_bit_what_predict_says(case, classify, monkeypatch, tmp_path):
    status, rows = classify("--views=1xwhole", "--keep=topk:2")
    assert status == 2 and [row["id"] for row in rows] == list(range(5))
    for row, record in zip(rows, predicted(case, monkeypatch, tmp_path, "--views=1xwhole", "--infer_topk=2")):
        assert (row["path"], row["error"]) == (record["path"], record.get("error"))
        if row["error"] is None:
            assert row["top_index"] == [entry["index"] for entry in record["top"]]
            assert row["top_probability"] == [entry["probability"] for entry in record["top"]]
            assert (row["class"], row["probability"]) == (row["top_index"][0], row["top_probability"][0])
            assert row["num_frames"] == record["num_frames"] and row["views"] == "1xwhole"
    assert [row["error_kind"] for row in rows] == [None, "missing", None, "unreadable", None]
    success = json.loads((tmp_path / "out/_SUCCESS").read_text())
    assert (success["scored"], success["errors"]) == (3, {"missing": 1, "unreadable": 1})
    assert json.loads((tmp_path / "out/run.json").read_text())["class_names"] == [f"class {i} 类" for i in range(3)]


def test_only_unsure_videos_are_scored_again_with_more_views(classify):
    good = [0, 2, 4]
    cheap = {row["id"]: row for row in classify("--views=1x1", "--keep=all:float32")[1]}
    limit = sorted(cheap[video]["probability"] for video in good)[1]  # one of three is below
    flags = ["--views=1x1", f"--refine={limit}", "--refine_views=2x3", "--keep=all:float32"]
    refined = {row["id"]: row for row in classify(*flags, out="refined")[1]}
    for video in good:
        again = cheap[video]["probability"] < limit
        assert refined[video]["views"] == ("2x3" if again else "1x1")
        assert (refined[video]["scores"] == cheap[video]["scores"]) != again
        assert sum(refined[video]["scores"]) == pytest.approx(1, abs=1e-5)


def test_segments_are_those_of_predict(case, classify, monkeypatch, tmp_path):
    _, rows = classify("--task=segments", "--stride_seconds=0.2")
    records = predicted(case, monkeypatch, tmp_path, "--segments", "--stride_seconds=0.2")
    assert [row["error"] for row in rows] == [record.get("error") for record in records]
    for row, record in zip(rows, records):
        if row["error"] is None:
            with open(record["files"][0], encoding="utf-8") as file:
                expected = json.load(file)["segments"]
            assert len(row["segments"]) == len(expected) > 0
            for found, segment in zip(row["segments"], expected):
                assert round(found["end_seconds"], 6) == segment["end_seconds"] and found["class"] == segment["index"]


def test_features_are_those_of_predict(case, classify, monkeypatch, tmp_path):
    _, rows = classify("--task=features", "--features=res5", "--views=1x1")
    for row, record in zip(rows, predicted(case, monkeypatch, tmp_path, "--features=res5", "--views=1x1")):
        assert row["error"] == record.get("error")
        if row["error"] is None:
            with np.load(record["file"]) as file:
                assert np.array_equal(np.float32(row["features"]), file["features"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--views=0x3"], "views '0x3'"),
        (["--keep=best"], "topk:N"),
        (["--refine=0.5"], "--refine_views go together"),
        (["--task=features"], "--features=STAGE go together"),
        (["--task=features", "--features=res9"], "the network's stages are"),
        (["--task=segments", "--views=2x3"], "a window is one clip"),
        (["--weights=/no/such.pdparams"], "/no/such.pdparams"),
        (["--input=/no/such.txt"], "cannot read the list /no/such.txt"),
    ],
)
def test_what_cannot_be_computed_is_refused_before_any_part(classify, capsys, flags, message):
    assert classify(*flags) == (2, []) and message in capsys.readouterr().err
