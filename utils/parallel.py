"""The ranks (processes) of one run, which `python -m paddle.distributed.launch ... train.py ...` starts."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.cli import at_end
from utils.errors import RunError
from utils.heartbeat import JOIN_SECONDS, Heartbeat, join_heartbeat

BUCKET_ENTRIES = 1 << 23
MEETING_SECONDS = 1800.0  # as NCCL in Paddle


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run: `rank` 0 .. world_size - 1. All ranks call the methods together."""

    rank: int = 0
    world_size: int = 1
    meeting: Meeting | None = dataclasses.field(default=None, compare=False)

    @property
    def is_main_process(self) -> bool:
        return self.rank == 0

    def all_reduce(self, array: np.ndarray) -> np.ndarray:
        """The sum of a float64 array over all ranks."""
        if self.world_size == 1:
            return array
        import paddle

        tensor = paddle.to_tensor(np.asarray(array, np.float64))
        with self.together():
            paddle.distributed.all_reduce(tensor)
        return tensor.numpy()

    def all_gather(self, value: Any) -> list:
        """The values (plain objects) of all ranks, in order of rank."""
        if self.world_size == 1:
            return [value]
        import paddle

        values: list = []
        with self.together():
            paddle.distributed.all_gather_object(values, value)
        return values

    def average_gradients(self, parameters: list) -> None:
        """Replace the gradients of `parameters` by their means over all ranks.

        Not by `paddle.DataParallel`, which takes the memory of a gradient in its order of storage: wrong for gradients
        of transposed weights, which are strided views (Paddle 2.6 and 3.3).
        """
        if self.world_size > 1:
            self.average([parameter.grad for parameter in parameters if parameter.grad is not None])

    def average(self, tensors: list) -> None:
        """Replace float32 tensors by their means over all ranks; bit-identical on each of them."""
        import paddle

        with paddle.no_grad():
            for bucket in _buckets(tensors):
                flat = paddle.concat([tensor.flatten() for tensor in bucket])
                with self.together():
                    paddle.distributed.all_reduce(flat)
                for tensor, part in zip(bucket, (flat / self.world_size).split([tensor.size for tensor in bucket])):
                    tensor.set_value(part.reshape(tensor.shape))

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.all_reduce(np.zeros(1))

    @contextlib.contextmanager
    def together(self):
        """A message between ranks begins when all of them are here.

        Raises RunError when it breaks off because one of them has ended.
        """
        try:
            if self.meeting:
                self.meeting.wait()
            yield
        except (RuntimeError, OSError, EOFError, ValueError) as error:  # Paddle's store raises the last
            loss = self.meeting.heartbeat.loss_soon() if self.meeting else None
            raise loss or RunError(
                "another process of this run has ended or is out of reach; its own message says why"
            ) from error


class Meeting:
    """Waits for all ranks before a message through Gloo, which gives up after 30 seconds, whatever Paddle is told.

    One of them may be reading a slow video or writing a large checkpoint for longer. The ranks count their arrivals
    in the store (TCP) through which they found each other. While waiting, signals are answered, and a rank that is lost
    ends it.
    """

    key = "nonlocal/arrivals"

    def __init__(self, store, world_size: int, heartbeat: Heartbeat):
        self.store, self.world_size, self.heartbeat, self.expected = store, world_size, heartbeat, 0

    def wait(self) -> None:
        """Return when all ranks have called it equally often.

        Raises RunError when one of them is lost, RuntimeError after MEETING_SECONDS.
        """
        self.expected += self.world_size
        arrived, pause = self._add(1), 0.0001
        deadline = time.monotonic() + MEETING_SECONDS
        while arrived < self.expected:
            if time.monotonic() > deadline:
                raise RuntimeError("a process does not come")
            time.sleep(pause)
            pause = min(1.5 * pause, 0.05)
            loss = self.heartbeat.loss or self.heartbeat.departure  # asked first: it may have arrived, then ended
            arrived = self._add(0)
            if loss and arrived < self.expected:
                raise loss

    def _add(self, amount: int) -> int:
        with _signals_held():
            return self.store.add(self.key, amount)


@contextlib.contextmanager
def _signals_held():
    """SIGINT and SIGTERM wait: the store takes a system call that they interrupt for a lost connection."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _buckets(tensors: list) -> list[list]:
    """Tensors in groups of BUCKET_ENTRIES entries or one tensor: few messages, little memory."""
    buckets: list[list] = [[]]
    for tensor in tensors:
        if buckets[-1] and sum(t.size for t in buckets[-1]) + tensor.size > BUCKET_ENTRIES:
            buckets.append([])
        buckets[-1].append(tensor)
    return [bucket for bucket in buckets if bucket]


def num_launched() -> int:
    """How many processes the launcher has started; 1 without it."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def num_local() -> int:
    """How many of them share this machine."""
    own = os.environ.get("PADDLE_CURRENT_ENDPOINT", "").rpartition(":")[0]
    hosts = [end.rpartition(":")[0] for end in os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")]
    return max(1, hosts.count(own)) if own else 1


def join_ranks(device: str) -> Ranks:
    """Meet the other ranks; all but the main process print nothing from here on (errors are printed).

    device: "cpu" talks through Gloo, "gpu" through NCCL.
    """
    if num_launched() == 1:
        return Ranks()
    end_with_parent()
    if device == "cpu":
        os.environ.setdefault("PADDLE_DISTRI_BACKEND", "gloo")
        if name := interface_of(os.environ["PADDLE_CURRENT_ENDPOINT"].rpartition(":")[0]):
            # Gloo would take the address that /etc/hosts has for this machine's name: often 127.0.0.1 or 127.0.1.1
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
    from utils.runtime import import_paddle  # not above: it imports this module

    paddle = import_paddle()
    # the last line of a process that the alarm ends
    print(f"waiting for all {num_launched()} processes of this run, {JOIN_SECONDS} s at most", flush=True)
    paddle.disable_signal_handler()  # its C++ stack would follow when Gloo aborts because another rank is gone
    with _signals_held():  # for ever in the threads that the store and Gloo start here
        try:
            with _ended_by_alarm(JOIN_SECONDS):
                paddle.distributed.init_parallel_env()
        except (RuntimeError, ValueError) as error:
            raise RunError(f"the processes of this run do not find each other: {error}") from error
        rank, world_size = paddle.distributed.get_rank(), paddle.distributed.get_world_size()
        store = paddle.distributed.collective._default_store
        places = os.environ["PADDLE_TRAINER_ENDPOINTS"].split(",")
        master = os.environ.get("PADDLE_MASTER") or places[0]
        heartbeat = join_heartbeat(store, rank, places, master.rpartition(":")[0])
    at_end.append(heartbeat.farewell)
    ranks = Ranks(rank, world_size, Meeting(store, world_size, heartbeat) if device == "cpu" else None)
    if not ranks.is_main_process:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    return ranks


def interface_of(address: str) -> str | None:
    """The name of this machine's network interface with an IPv4 address; None where there is none, or no Linux."""
    if sys.platform != "linux":
        return None
    import fcntl

    get_interface_address = 0x8915  # SIOCGIFADDR
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has none
                found = fcntl.ioctl(asking, get_interface_address, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(found[20:24]) == address:
                    return name
    return None


@contextlib.contextmanager
def _ended_by_alarm(seconds: int):
    """The kernel ends this process (SIGALRM) after so many seconds: Paddle's own time-out for ranks that do not come is
    15 minutes, and while it waits no Python code runs."""
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the one that started it dies, as Paddle's launcher may."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
