"""The processes of one run. `python -m paddle.distributed.launch ... train.py ...` starts several, on any machines."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

BUCKET_ENTRIES = 1 << 23


@dataclass(frozen=True)
class Processes:
    """This process's place among those of the run: `rank` 0 .. count - 1. All of them call the methods together."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum over all processes of a float64 array."""
        if self.count == 1:
            return array
        import paddle

        tensor = paddle.to_tensor(np.asarray(array, np.float64))
        paddle.distributed.all_reduce(tensor)
        return tensor.numpy()

    def gather(self, value: Any) -> list:
        """The values (plain objects) of all processes, by rank."""
        if self.count == 1:
            return [value]
        import paddle

        values: list = []
        paddle.distributed.all_gather_object(values, value)
        return values

    def average_gradients(self, parameters: list) -> None:
        """Replace the gradients of `parameters` by their means over all processes.

        Not by `paddle.DataParallel`, which takes the memory of a gradient in its order of storage: wrong for gradients
        of transposed weights, which are strided views (Paddle 2.6 and 3.3).
        """
        if self.count == 1:
            return
        import paddle

        with paddle.no_grad():
            for bucket in _buckets([parameter for parameter in parameters if parameter.grad is not None]):
                flat = paddle.concat([parameter.grad.flatten() for parameter in bucket])
                paddle.distributed.all_reduce(flat)
                parts = (flat / self.count).split([parameter.size for parameter in bucket])
                for parameter, part in zip(bucket, parts):
                    parameter.grad.set_value(part.reshape(parameter.shape))


def _buckets(parameters: list) -> list[list]:
    """Parameters in groups of BUCKET_ENTRIES entries or one parameter: few messages, little memory."""
    buckets: list[list] = [[]]
    for parameter in parameters:
        if buckets[-1] and sum(p.size for p in buckets[-1]) + parameter.size > BUCKET_ENTRIES:
            buckets.append([])
        buckets[-1].append(parameter)
    return [bucket for bucket in buckets if bucket]


def num_launched() -> int:
    """How many processes the launcher has started; 1 without it."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def num_local() -> int:
    """How many of them share this machine."""
    own = os.environ.get("PADDLE_CURRENT_ENDPOINT", "").rpartition(":")[0]
    hosts = [end.rpartition(":")[0] for end in os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")]
    return max(1, hosts.count(own)) if own else 1


def join_processes(device: str) -> Processes:
    """Meet the other processes; all but the first are silent from here on (errors are not).

    device: "cpu" talks through Gloo, "gpu" through NCCL.
    """
    if num_launched() == 1:
        return Processes()
    _end_with_launcher()
    if device == "cpu":
        os.environ.setdefault("PADDLE_DISTRI_BACKEND", "gloo")
    import paddle

    paddle.distributed.init_parallel_env()
    processes = Processes(paddle.distributed.get_rank(), paddle.distributed.get_world_size())
    if not processes.is_first:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    return processes


def _end_with_launcher() -> None:
    """Have the kernel send SIGTERM to this process when the launcher dies, which tells its processes nothing itself."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
