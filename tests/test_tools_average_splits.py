"""The mean over splits, of plain evaluations and of fused ones."""

from __future__ import annotations

import json
import sys

import pytest

from tools import average_splits
from utils.cli import run


def call(monkeypatch, *flags) -> int:
    monkeypatch.setattr(sys, "argv", ["average_splits.py", *map(str, flags)])
    try:
        run(average_splits.main)
    except SystemExit as ending:
        return ending.code
    return 0


@pytest.fixture
def splits(tmp_path):
    """Three folders of one run each."""
    for number, top1 in enumerate((90.0, 92.0, 97.0)):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/results.json").write_text(json.dumps({"top1": top1, "top5": 99.0, "topk": 5}))
    return [tmp_path / f"{number}" for number in range(3)]


def test_the_mean_of_three_splits(monkeypatch, tmp_path, splits, capsys):
    assert call(monkeypatch, *splits, f"--out={tmp_path / 'mean.json'}") == 0
    found = json.loads((tmp_path / "mean.json").read_text())["metrics"]
    assert found[0] == {"name": "", "metric": "top1", "splits": [90, 92, 97], "mean": 93} and found[1]["mean"] == 99
    assert "93.00" in capsys.readouterr().out


def test_fused_runs_are_averaged_stream_by_stream(monkeypatch, tmp_path, splits, capsys):
    for number, folder in enumerate(splits):
        rows = [{"name": name, "top1": base + number} for name, base in (("rgb", 80), ("flow", 70), ("fused", 90))]
        (folder / "results.json").write_text(json.dumps({"top1": 90.0 + number, "fusion": {"metrics": rows}}))
    assert call(monkeypatch, *splits, f"--out={tmp_path / 'mean.json'}") == 0
    found = json.loads((tmp_path / "mean.json").read_text())["metrics"]
    assert {row["name"]: row["mean"] for row in found} == {"rgb": 81, "flow": 71, "fused": 91}


def test_folders_that_cannot_be_averaged_are_named(monkeypatch, splits, capsys):
    (splits[1] / "results.json").write_text(json.dumps({"mAP": 20.0}))
    assert call(monkeypatch, *splits) == 2 and f"{splits[1]} holds other runs" in capsys.readouterr().err
    for content in ("{", "[]", '{"a": 1}'):
        (splits[2] / "results.json").write_text(content)
        assert call(monkeypatch, *splits) == 2 and "is no results.json" in capsys.readouterr().err
