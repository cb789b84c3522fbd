"""One driver per output folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from utils.errors import UserError

HEARTBEAT_SECONDS = 30.0
SILENT_SECONDS = 120.0  # a driver of another machine that has not been heard of for so long has died


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Held while entered. Raises UserError, naming the other driver, when there is one.

    The kernel frees the lock of a killed driver at once. Where a shared file system does not pass locks on to other
    machines, the time of the file tells: it is renewed as long as the driver lives.
    """
    path = folder / "driver.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _refusal(path) from None
        is_silent = time.time() - path.stat().st_mtime > SILENT_SECONDS
        if _owner(path).get("host", socket.gethostname()) != socket.gethostname() and not is_silent:
            raise _refusal(path)
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        ended = threading.Event()
        threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            file.truncate(0)


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _owner(path: Path) -> dict:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return {}


def _refusal(path: Path) -> UserError:
    owner = _owner(path)
    return UserError(
        f"{path.parent}: process {owner.get('pid')} on {owner.get('host')} is working on it; wait for its end, or "
        "choose another --output"
    )
