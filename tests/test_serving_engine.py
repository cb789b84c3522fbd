"""The process of the networks: what it computes comes back whole, and its end costs at most the call that it was in."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import serving.engine
from serving.engine import Engine
from utils.errors import RunError, UserError

PATHS = f"import sys; sys.path[0] = sys.argv[3]; sys.path.append({str(Path(__file__).parent)!r}); "
CODE = PATHS + "from crashing_networks import main; main()"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.engine, "CODE", CODE)
        engine = Engine([tmp_path_factory.mktemp("engine")])  # type: ignore[arg-type]
        yield engine
    engine.close()
    assert engine._child.process is None
    with pytest.raises(RuntimeError):  # and does not wait
        engine.outputs(clips(1))


def clips(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).random(shape, np.float32)


def test_arrays_of_growing_and_shrinking_size_come_over_whole(engine):
    assert engine.facts == ["facts"] and engine.is_ready()
    for array in (clips(2, 3), clips(3, 400, 500), clips(1, 5), clips(0, 3), clips(4, 6)[:, ::2]):
        answer, shape = engine.outputs(array)
        assert np.array_equal(answer, array + 1) and shape == array.shape
    assert engine.num_clips >= 10


def test_calls_of_many_threads_get_their_own_answers(engine):
    with ThreadPoolExecutor(8) as pool:
        arrays = [np.full((1 + n % 3, 4), n, np.float32) for n in range(60)]
        for array, (answer, _) in zip(arrays, pool.map(engine.outputs, arrays)):
            assert np.array_equal(answer, array + 1)


def test_a_process_that_was_killed_by_chance_costs_no_call(engine):
    first = engine._child.process.pid
    assert np.array_equal(engine.pooled_features(clips(2, 2), "once"), clips(2, 2) + 2)
    assert engine._child.process.pid != first and engine.is_ready()


def test_a_call_that_kills_the_process_twice_fails_alone(engine):
    with pytest.raises(RunError, match=r"ended \(signal 9\), twice with this video"):
        engine.pooled_features(clips(2, 2), "always")
    assert np.array_equal(engine.outputs(clips(2, 2))[0], clips(2, 2) + 1)


@pytest.mark.parametrize("num_kills", [2, 3])
def test_a_process_that_is_killed_while_it_starts_again_is_started_once_more(engine, num_kills):
    """The third time the call fails, and only that one."""
    (engine.specs[0] / "kills").write_text("x" * num_kills)
    os.kill(engine._child.process.pid, signal.SIGKILL)
    engine._child.process.wait()
    if num_kills == 3:
        with pytest.raises(RunError, match=r"ended \(signal 9\) while it started"):
            engine.outputs(clips(2, 2))
    assert np.array_equal(engine.outputs(clips(2, 2))[0], clips(2, 2) + 1)


def test_a_process_that_ends_while_idle_is_missed_and_started_again(engine):
    os.kill(engine._child.process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while engine.is_ready():  # the kernel has not ended it yet
        assert time.monotonic() < deadline
        time.sleep(0.001)
    while not engine.is_ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_mistake_in_a_call_is_named_and_costs_nothing_else(engine):
    pid = engine._child.process.pid
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        engine.looks(clips(1), 0, [], None, 3)
    assert engine.outputs(clips(1))[1] == (1,) and engine._child.process.pid == pid


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [("refused", UserError, "^no such network$"), ("killed", RunError, r"ended \(signal 9\) while it started")],
)
def test_a_network_that_cannot_be_built_is_refused_in_one_line(engine, tmp_path, monkeypatch, how, error, words):
    started = []
    start = serving.engine.Child.start
    monkeypatch.setattr(serving.engine.Child, "start", lambda child, code: started.append(child) or start(child, code))
    with pytest.raises(error, match=words):
        Engine([tmp_path / how])  # type: ignore[arg-type]
    assert [child.process for child in started] == [None]
