"""One driver per output folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from clusters.folder import Folder, open_folder, read_json, write_json
from datareader.decoding import is_url
from utils.errors import RunError, UserError

HEARTBEAT_SECONDS = 30.0
SILENT_SECONDS = 120.0  # a driver of another machine that has not been heard of for so long has died


def folder_lock(folder: str, name: str) -> contextlib.AbstractContextManager[None]:
    """The lock of this name in a folder or store, held while entered. Raises UserError, naming the other driver, when
    there is one."""
    return _store_lock(open_folder(folder), name) if is_url(folder) else _file_lock(Path(folder) / name)


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """The kernel frees the lock of a killed driver at once. Where a shared file system does not pass locks on to other
    machines, the time of the file tells: it is renewed as long as the driver lives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _refusal(path.parent, _owner(path)) from None
        is_silent = time.time() - path.stat().st_mtime > SILENT_SECONDS
        if _owner(path).get("host", socket.gethostname()) != socket.gethostname() and not is_silent:
            raise _refusal(path.parent, _owner(path))
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        try:
            with _beats(partial(os.utime, path)):
                yield
        finally:
            file.truncate(0)


@contextlib.contextmanager
def _store_lock(folder: Folder, name: str) -> Iterator[None]:
    """An object that is put again as long as the driver lives, with the time. Stores have no locks: of two drivers that
    start within the same second both may go on, and write the same bytes."""

    def put() -> None:
        write_json(folder, name, {"host": socket.gethostname(), "pid": os.getpid(), "time": time.time()})

    owner = read_json(folder, name) or {}
    is_alive = time.time() - owner.get("time", 0) < SILENT_SECONDS
    if owner.get("host") == socket.gethostname():
        # a container that is started again may have both names of the one before
        is_alive = owner.get("pid") != os.getpid() and Path(f"/proc/{owner.get('pid')}").exists()
    if is_alive:
        raise _refusal(folder, owner)
    put()
    try:
        with _beats(put):
            yield
    finally:
        folder.remove(name)


@contextlib.contextmanager
def _beats(beat: Callable[[], None]) -> Iterator[None]:
    """Call `beat` now and then while entered."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError, RunError):
                beat()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _owner(path: Path) -> dict:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return {}


def _refusal(folder: Path | Folder, owner: dict) -> UserError:
    return UserError(
        f"{folder}: process {owner.get('pid')} on {owner.get('host')} is working on it; wait for its end, or "
        "choose another --output"
    )
