"""Ranks that are killed, stopped or end end the others: the connections of a run between threads of one process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.script_runs import ROOT
from utils import cli, heartbeat, parallel
from utils.errors import RunError, UserError
from utils.heartbeat import Heartbeat, join_heartbeat
from utils.parallel import Meeting

PLACES = ["10.0.0.1:6070", "10.0.0.2:6070", "10.0.0.3:6070"]


@pytest.fixture
def ended(monkeypatch):
    """Exit statuses with which the heartbeat has ended this process; times are short."""
    statuses: list[int] = []
    monkeypatch.setattr(heartbeat.os, "_exit", statuses.append)
    monkeypatch.setattr(heartbeat.os, "write", lambda *_: None)
    monkeypatch.setattr(heartbeat, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)
    yield statuses
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join(5)
            assert not thread.is_alive()


class Store:
    """The part of Paddle's store that is used; `get` waits for the value."""

    def __init__(self):
        self.values, self.arrived = {}, threading.Event()

    def set(self, key, value):
        self.values[key] = value.encode()
        self.arrived.set()

    def get(self, key):
        assert self.arrived.wait(10)
        return self.values[key]


def wait_until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_ranks_find_each_other_and_strangers_do_not_get_in(ended):
    store, found = Store(), {}

    def join(rank):
        found[rank] = join_heartbeat(store, rank, PLACES, "127.0.0.1")

    threads = [threading.Thread(target=join, args=(rank,)) for rank in range(3)]
    threads[0].start()
    port = int(store.get(heartbeat.ADDRESS_KEY).split()[0])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(bytes(heartbeat.TOKEN_BYTES) + (7).to_bytes(4, "big"))
        for thread in threads[1:]:
            thread.start()
        assert stranger.recv(1) == b""
    for thread in threads:
        thread.join(10)
    assert {rank: sorted(beat.connections) for rank, beat in found.items()} == {0: [1, 2], 1: [0], 2: [0]}
    time.sleep(0.1)  # beats
    assert all(beat.loss is None and beat.departure is None for beat in found.values())
    for rank in (2, 1, 0):
        found[rank].farewell(0)
    wait_until(lambda: all(beat.departure for beat in found.values()))
    assert not ended and not any(beat.loss for beat in found.values())


@pytest.fixture
def pair(ended):
    """The heartbeat of rank 0 with rank 1, and the connection's other end."""
    own, other = socket.socketpair()
    yield Heartbeat({1: own}, PLACES), other
    other.close()


def test_a_rank_that_dies_ends_this_one(ended, pair):
    beat, other = pair
    other.close()
    wait_until(lambda: ended)
    assert ended == [1] and "process 1 of this run (10.0.0.2:6070) was killed" in str(beat.loss)
    assert beat.loss_soon() is beat.loss


def test_a_rank_that_fails_hands_on_its_exit_status(ended, pair):
    """Wrong usage that only one process notices: no supervisor may start its node again."""
    beat, other = pair
    other.sendall(bytes([heartbeat.BEAT, 2]))
    wait_until(lambda: ended)
    assert ended == [2] and beat.loss.status == 2 and "exit status 2" in str(beat.loss)


def test_a_rank_that_ends_well_ends_nobody(ended, pair):
    beat, other = pair
    other.sendall(b"\0")
    other.close()
    wait_until(lambda: beat.departure)
    assert beat.loss is None and not ended


def test_a_silent_rank_ends_this_one_and_a_beating_one_does_not(ended, monkeypatch):
    monkeypatch.setattr(heartbeat, "SILENCE_SECONDS", 0.3)
    own, other = socket.socketpair()
    beat = Heartbeat({1: own}, PLACES)
    begin = time.monotonic()
    while time.monotonic() < begin + 0.6:
        other.sendall(bytes([heartbeat.BEAT]))
        time.sleep(0.02)
    assert beat.loss is None and set(other.recv(4096)) == {heartbeat.BEAT}
    wait_until(lambda: ended)
    assert "process 1 of this run (10.0.0.2:6070) has not answered" in str(beat.loss)


def test_farewells_are_one_byte_whatever_the_status(ended, pair):
    beat, other = pair
    beat.farewell(300)
    other.settimeout(5)
    received = b""
    while part := other.recv(4096):
        received += part
    assert received.strip(bytes([heartbeat.BEAT])) == bytes([heartbeat.BEAT - 1])


def test_a_process_waits_for_no_rank_that_has_ended_or_is_lost(monkeypatch):
    monkeypatch.setattr(parallel, "MEETING_SECONDS", 1.0)

    class Counter:
        """Paddle's store: one arrival of two."""

        def add(self, key, amount):
            return 1

    class Lost:
        loss, departure = RunError("process 1 was killed"), None

    class Left:
        loss, departure = None, RunError("process 1 has ended")

    for beat in (Lost, Left):
        with pytest.raises(RunError, match="process 1"):
            Meeting(Counter(), 2, beat).wait()


def test_the_exit_status_is_what_a_script_tells_the_others(monkeypatch):
    told: list[int] = []
    monkeypatch.setattr(cli, "at_end", [told.append])

    def refused():
        raise UserError("no such list")

    cli.run(lambda: None)
    with pytest.raises(SystemExit):
        cli.run(refused)
    assert told == [0, 2]


NODE = """
import os, signal
from utils.cli import run
from utils.parallel import join_ranks
def main():
    ranks = join_ranks("cpu")
    ranks.barrier()
    if ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.barrier()
run(main)
"""


def test_the_death_of_a_process_on_another_node_ends_this_one_at_once():
    """Two processes without a launcher in common: nothing but the heartbeat tells the first that the second is gone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        master = f"127.0.0.1:{free.getsockname()[1]}"
    nodes = []
    for rank, place in enumerate(("127.0.0.1:7001", "127.0.0.1:7002")):
        env = {
            **os.environ, "PADDLE_MASTER": master, "PADDLE_TRAINER_ID": str(rank), "PADDLE_TRAINERS_NUM": "2",
            "PADDLE_TRAINER_ENDPOINTS": "127.0.0.1:7001,127.0.0.1:7002", "PADDLE_CURRENT_ENDPOINT": place,
        }  # fmt: skip
        nodes.append(
            subprocess.Popen([sys.executable, "-c", NODE], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
        )
    _, said = nodes[0].communicate(timeout=100)
    assert nodes[1].wait(100) == -9
    assert nodes[0].returncode == 1 and "error: process 1 of this run (127.0.0.1:7002) was killed" in said, said
