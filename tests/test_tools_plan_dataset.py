"""tools/plan_dataset.py: what it calculates, by hand."""

from __future__ import annotations

import pytest

from tests.script_runs import run_script
from tools.plan_dataset import duration, part_size


def test_time_parts_bytes_and_cost_follow_from_the_measured_time(monkeypatch, capsys):
    flags = ["--videos=1e6", "--seconds_per_video=0.57", "--workers=100", "--part=500", "--price_per_hour=0.2"]
    assert run_script(monkeypatch, "tools.plan_dataset", *flags) == 0
    found = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    found = {name.strip(): value.strip() for name, value in found.items()}
    assert found["time, calculated"] == "1:40:00"  # 1e6 * 0.57 / (0.95 * 100) = 6000 s
    assert found["work of all workers"] == "158.3 hours"
    assert found["parts"] == "2,000, 20.0 a worker" and found["--part"].startswith("500 videos, 285.0 s")
    assert found["output"].startswith("0.077 GB (topk:10") and found["cost"] == "33.33"


def test_the_simulation_is_marked_as_one(monkeypatch, capsys):
    flags = ["--videos=20000", "--seconds_per_video=1", "--workers=8", "--straggler_ratio=0", "--hours_to_failure=1e9"]
    assert run_script(monkeypatch, "tools.plan_dataset", *flags, "--simulate") == 0
    lines = capsys.readouterr().out.splitlines()
    (ratio,) = [line.split()[-4] for line in lines if line.startswith("simulated against even work")]
    assert 1.0 < float(ratio) < 1.05 and sum("simulated" in line for line in lines) == 3


@pytest.mark.parametrize(
    ("videos", "seconds", "workers", "rows"),
    [(10**9, 0.6, 3200, 500), (10**6, 0.6, 64, 312), (10**9, 0.001, 10, 10_000), (100, 600.0, 64, 1)],
)
def test_a_part_takes_five_minutes_and_every_worker_gets_fifty(videos, seconds, workers, rows):
    assert part_size(videos, seconds, workers) == rows


def test_days_are_written_out():
    assert (duration(3700), duration(2 * 86400 + 61)) == ("1:01:40", "2 days 01:01")


@pytest.mark.parametrize("videos", ["0", "1.5", "x", "1e13"])
def test_a_wrong_number_of_videos_is_refused(monkeypatch, videos, capsys):
    assert run_script(monkeypatch, "tools.plan_dataset", f"--videos={videos}") == 2
    assert "expected a whole number above 0" in capsys.readouterr().err
