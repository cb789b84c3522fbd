"""A fresh Python process of the program, for what may crash or hang or must not stay in this one: with a connection to
it and memory that both can map. It is no fork, and knows nothing of this one's threads."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path

from utils.errors import RunError

_running: set[subprocess.Popen] = set()
_is_ending = False
_lock = threading.Lock()  # of both


class Child:
    """process: None where there is none. Once it is started, connection: to it; file: an anonymous one, the memory."""

    def __init__(self):
        self.process: subprocess.Popen | None = None

    def start(self, code: str, environment: Mapping[str, str] | None = None) -> None:
        """code: Python. sys.argv[1:] are the descriptors of its connection and of the memory, and the folder that its
        sys.path begins with: a folder called utils where the program was started must not stand in for its own.
        Raises RunError when the program is at its end."""
        self.connection, childs_end = Pipe()
        self.file = _anonymous_file()
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        fds = (childs_end.fileno(), self.file.fileno())
        with _lock:
            if _is_ending:
                raise RunError("the program ends")
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, fds), root],
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
                start_new_session=True,  # signals to this process's group, Ctrl-C above all, are not for the child
                env={**os.environ, "PYTHONPATH": path, **(environment or {})},
            )
            _running.add(self.process)
        childs_end.close()

    def kill(self) -> None:
        """From any thread: whoever waits for an answer gets EOFError."""
        process = self.process
        if process is not None:
            process.kill()

    def close(self) -> str:
        """End the child, if there is one. Returns how it ended."""
        if self.process is None:
            return ""
        process, self.process = self.process, None
        self.connection.close()
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _running.discard(process)
        self.file.close()
        code = process.returncode
        return f"signal {-code}" if code < 0 else f"exit status {code}"


@atexit.register
def _end_all() -> None:
    """What threads have not ended yet when the program ends: no child outlives it, or is left for init to reap."""
    global _is_ending
    with _lock:
        _is_ending = True
    for process in list(_running):
        process.kill()
        process.wait()


def _anonymous_file():
    """Memory that two processes can map; not bound by the size of /dev/shm, which is small in containers."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("arena"), "w+b")
    return tempfile.TemporaryFile()
