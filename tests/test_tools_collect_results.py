"""tools/collect_results.py on parts whose rows are known."""

from __future__ import annotations

import csv
import json
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clusters.compact import compact
from clusters.dataset import classify_dataset
from clusters.job import Job
from clusters.rows import Keep, schema_of, table_of
from metrics.intervals import wilson_interval
from tests.script_runs import run_script
from tests.stub_scorer import Stub
from tests.test_i18n import parser_of, untranslated
from utils.errors import UserError
from utils.files import write_json

NAMES = [f"class {index} 类" for index in range(400)]
PATHS = [f"/data/视频 {number}.mp4" for number in range(11)]
PATHS[4] = "/data/absent.mp4"


@pytest.fixture
def out(tmp_path):
    """Parts of 4, 4 and 3 rows."""
    folder, videos = tmp_path / "out", tmp_path / "videos.parquet"
    pq.write_table(pa.table({"path": PATHS}), videos)
    job = Job(folder, videos, len(PATHS), 4, Stub().build, Stub().fail_row)
    for number in range(3):
        part = job.part(number)
        job.write(part, Stub()(part.start, job.paths(part)))
    write_json(folder / "run.json", {"class_names": NAMES})
    write_json(folder / "_SUCCESS", {})
    return folder


def collect(monkeypatch, *flags) -> int:
    return run_script(monkeypatch, "tools.collect_results", *flags)


def test_all_parts_become_one_file_in_order(monkeypatch, out, tmp_path, capsys):
    for name in ("all.parquet", "all.csv"):
        assert collect(monkeypatch, out, "--to", tmp_path / name) == 0
    assert not capsys.readouterr().err
    table = pq.read_table(tmp_path / "all.parquet")
    classes = [None if "absent" in path else zlib.crc32(path.encode()) % 400 for path in PATHS]
    assert table.column("id").to_pylist() == list(range(11)) and table.column("path").to_pylist() == PATHS
    assert table.column("class").to_pylist() == classes
    assert table.column("class_name").to_pylist() == [None if c is None else NAMES[c] for c in classes]
    with open(tmp_path / "all.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == PATHS and rows[4]["error_kind"] == "missing"
    assert [json.loads(row["top_index"] or "null") for row in rows] == table.column("top_index").to_pylist()


def test_accuracy_counts_errors_as_wrong(monkeypatch, out, tmp_path, capsys):
    right = {0, 3, 9}
    labels = [zlib.crc32(path.encode()) % 400 if i in right or i == 4 else 399 for i, path in enumerate(PATHS)]
    lines = [f"{path} {label}\n" for path, label in zip(PATHS, labels)]
    (tmp_path / "list.txt").write_text("".join(lines), encoding="utf-8")
    assert collect(monkeypatch, out, "--labels", tmp_path / "list.txt") == 0
    low, high = wilson_interval(3, 11)
    assert capsys.readouterr().out.splitlines() == [
        f"top-1 27.27 % ({100 * low:.2f} to {100 * high:.2f})",
        "of 11 videos, 1 of them with an error, counted as wrong",
    ]
    (tmp_path / "list.txt").write_text("".join(lines[1:]), encoding="utf-8")
    assert collect(monkeypatch, out, "--labels", tmp_path / "list.txt") == 2
    assert "is not the list that was classified: video 0 is /data/视频 0.mp4" in capsys.readouterr().err


def test_the_five_best_classes_are_found_in_top_or_in_all_scores(monkeypatch, out, tmp_path, capsys):
    """Of two videos, the label is the fourth and the sixth best."""
    scores = [0.1, 0.3, 0.05, 0.2, 0.15, 0.12, 0.08]
    order = sorted(range(7), key=lambda index: -scores[index])
    top = [{"index": index, "probability": scores[index]} for index in order]
    (tmp_path / "list.txt").write_text(f"a.mp4 {order[3]}\nb.mp4 {order[5]}\n")
    write_json(out / "run.json", {"class_names": NAMES[:7]})
    for keep in (Keep(6), Keep(0, "float32")):
        for file in out.glob("parts/*/*"):
            file.unlink()
        row = {"class": order[0], **keep.values(top)}
        rows = [{"id": 0, "path": "a.mp4", **row}, {"id": 1, "path": "b.mp4", **row}]
        pq.write_table(table_of(schema_of("classes", keep), rows), out / "parts/000/part-000000.parquet")
        assert collect(monkeypatch, out, "--labels", tmp_path / "list.txt") == 0
        assert "top-1 0.00 %" in (found := capsys.readouterr().out) and "top-5 50.00 %" in found


def test_what_is_missing_or_damaged_is_said(monkeypatch, out, tmp_path, capsys):
    (out / "_SUCCESS").unlink()
    (out / "parts/000/part-000001.parquet").unlink()
    assert collect(monkeypatch, out, "--to", tmp_path / "some.csv") == 0
    output = capsys.readouterr()
    assert "7 rows written" in output.out and "the run is not finished" in output.err
    (out / "parts/000/part-000002.parquet").write_bytes(b"PAR1")
    assert collect(monkeypatch, out, "--to", tmp_path / "more.csv") == 2
    assert "part-000002.parquet is damaged" in capsys.readouterr().err and not (tmp_path / "more.csv").exists()
    assert collect(monkeypatch, tmp_path, "--to", tmp_path / "more.csv") == 2
    assert "no run.json" in capsys.readouterr().err


def test_parts_become_few_files_that_count_as_the_run(monkeypatch, out, tmp_path, capsys):
    """Also when it was killed before the parts were deleted."""
    assert collect(monkeypatch, out, "--to", tmp_path / "parts.parquet") == 0
    write_json(out / "_SUCCESS", {"videos": 12})
    assert collect(monkeypatch, out, "--compact") == 1 and "has 11 of 12 rows" in capsys.readouterr().err
    (out / "_SUCCESS").unlink()
    assert collect(monkeypatch, out, "--compact") == 2 and "finish the run" in capsys.readouterr().err
    write_json(out / "_SUCCESS", {"videos": 11})
    with monkeypatch.context() as patch:
        patch.setattr("clusters.folder.LocalFolder.remove", lambda folder, top: None)
        assert compact(str(out), file_bytes=1) == 3
    assert (out / "parts").exists()
    assert collect(monkeypatch, out, "--compact", "--to", tmp_path / "all.parquet") == 0
    assert not (out / "parts").exists() and len(list((out / "results").iterdir())) == 3
    assert pq.read_table(tmp_path / "all.parquet").equals(pq.read_table(tmp_path / "parts.parquet"))
    assert pq.read_table(out / "results").num_rows == 11
    success = classify_dataset(out, {"class_names": NAMES}, lambda: None, lambda *arguments: None)
    assert success == {"videos": 11, "compacted": 3}
    with pytest.raises(UserError, match="its parts were joined"):
        classify_dataset(out, {"class_names": NAMES}, lambda: None, lambda *arguments: None, retry_errors=True)


@pytest.mark.parametrize("tool", ["classify_dataset", "collect_results", "plan_dataset"])
def test_every_help_text_has_a_chinese_entry(tool, monkeypatch):
    assert untranslated(parser_of(f"tools.{tool}", monkeypatch)) == []
