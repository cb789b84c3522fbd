"""tools/plan_training.py against a ring that is gone through message by message."""

from __future__ import annotations

import pytest

from tests.script_runs import run_script
from tools.plan_training import transfer_seconds


def ring_seconds(num_gpus: int, num_bytes: float, gbits: float) -> float:
    """Gradients in n chunks: n - 1 turns that add them up and n - 1 that hand the sums on, a chunk on each link."""
    seconds = 0.0
    for _ in range(2):
        for _ in range(num_gpus - 1):
            seconds += num_bytes / num_gpus * 8 / (gbits * 1e9)
    return seconds


@pytest.mark.parametrize("num_gpus", [1, 2, 3, 64])
def test_the_time_of_transfer_is_that_of_a_ring(num_gpus):
    assert transfer_seconds(num_gpus, 142e6, 25.0) == pytest.approx(ring_seconds(num_gpus, 142e6, 25.0))


def test_the_table_is_marked_as_calculated_and_follows_from_the_flags(monkeypatch, capsys):
    flags = ["--parameters=1000000", "--step_seconds=1", "--clips=4", "--gbits=1", "--videos=1000", "--epochs=32"]
    assert run_script(monkeypatch, "tools.plan_training", *flags) == 0
    said, *table, _ = capsys.readouterr().out.splitlines()
    assert said.startswith("calculated, for 4 MB")
    rows = {cells[0]: cells[1:] for cells in ([c.strip() for c in line.strip("|").split("|")] for line in table)}
    # 8 GPUs: 32 clips a step, 2 * 7 / 8 * 32 Mbit at 1 Gbit/s, 1000 iterations of 1.056 s; 32 * 0.04 s of decoding
    assert rows["8"] == ["32", "0.056 s, 95 %", "0.028 s, 97 %", "1,000", "0.0", "1"]
