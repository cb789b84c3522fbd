"""Start a failed training run again: bash run.sh train NONLOCAL CONFIG.yaml --restarts N [flags].

python -m training.supervisor COMMAND...    COMMAND: python [-m paddle.distributed.launch ...] train.py ... --restarts N
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from training.checkpoint import read_states
from utils.cli import positive_int, run
from utils.errors import RunError, UserError
from utils.files import CHECKPOINT_DIR

MAX_FAILURES_AT_ONE_ITERATION = 3
MASTER_SECONDS = 600.0  # that PADDLE_MASTER may need to get an address
# wrong usage; stopped by a signal, as train.py and (SIGTERM) as Paddle's launcher report it
ENDED_ON_PURPOSE = (UserError.status, 128 + signal.SIGINT, 128 + signal.SIGTERM, int(signal.SIGTERM))


def supervise(command: list[str]) -> None:
    """Run `command`; after a failure run it again with --resume=auto, at most --restarts times.

    Not started again: wrong usage (exit status 2), and a run that was asked to stop (Ctrl-C, SIGTERM). Given up: three
    failures without a new checkpoint between them. Raises RunError or UserError with the run's exit status.
    """
    restarts, save_dir, command = _take_flags(command)
    failures, last_iteration = 0, -1
    for attempt in range(restarts + 1):
        status, was_asked = _run(command if attempt == 0 else _resumed(command))
        if status == 0:
            return
        if was_asked or status in ENDED_ON_PURPOSE:
            sys.exit(status)  # the run has said why
        iteration = max((state["iteration"] for _, state in read_states(save_dir)), default=0)
        failures = failures + 1 if iteration == last_iteration else 1
        last_iteration = iteration
        where = f"the run failed (exit status {status}); its last checkpoint is of iteration {iteration}"
        if failures == MAX_FAILURES_AT_ONE_ITERATION:
            raise RunError(f"{where}, for the {failures}rd time: given up; mend what its message says")
        if attempt < restarts:
            print(f"{where}; starting it again with --resume=auto ({attempt + 1} of {restarts})", file=sys.stderr)
    raise RunError(f"{where}; --restarts={restarts} are used up")


def _take_flags(command: list[str]) -> tuple[int, Path, list[str]]:
    """--restarts, --save_dir, and the command without the former."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--restarts", type=positive_int, default=0)
    args, rest = parser.parse_known_args(command)
    parser.add_argument("--save_dir", default=CHECKPOINT_DIR)
    return args.restarts, Path(parser.parse_known_args(command)[0].save_dir), rest


def _resumed(command: list[str]) -> list[str]:
    """The command with --resume=auto in place of its own --resume or --overwrite."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resume")
    parser.add_argument("--overwrite", action="store_true")
    return [*parser.parse_known_args(command)[1], "--resume=auto"]


def _run(command: list[str]) -> tuple[int, bool]:
    """The exit status of a command as a shell writes it (128 + the signal that ended it), and whether it was asked to.

    The command has a session of its own: SIGINT and SIGTERM come to this process only, which passes each of them on.
    """
    process: subprocess.Popen | None = None
    received: list[int] = []
    waiting: list[int] = []  # what came before there was a process to pass it on to

    def pass_on(number, frame):
        received.append(number)
        if process is None:
            waiting.append(number)
        else:
            process.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        environment = {**os.environ, **_master_address(lambda: bool(received))}
        if received:
            return 128 + received[0], True
        process = subprocess.Popen(command, start_new_session=True, env=environment)
        for number in waiting:
            process.send_signal(number)
        status = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status, bool(received)


def _master_address(must_stop: Callable[[], bool]) -> dict[str, str]:
    """PADDLE_MASTER with the address of its host in place of a name; nothing where it has none.

    Paddle's launcher compares the text with the machine's own address. The name is looked up before each start: a pod
    that replaces another has its name and another address. Raises RunError when it cannot be found for MASTER_SECONDS.
    """
    host, _, port = os.environ.get("PADDLE_MASTER", "").rpartition(":")
    if not host or "/" in host:  # etcd://host
        return {}
    deadline = time.monotonic() + MASTER_SECONDS
    while not must_stop():
        with contextlib.suppress(OSError):
            return {"PADDLE_MASTER": f"{socket.gethostbyname(host)}:{port}"}
        if time.monotonic() > deadline:
            raise RunError(f"PADDLE_MASTER: there is no machine {host}; name the first node, as host:port")
        time.sleep(1)
    return {}


if __name__ == "__main__":
    run(lambda: supervise(sys.argv[1:]))
