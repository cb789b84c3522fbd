"""Reading processes: when one crashes or hangs, one video fails, the process is replaced and the run continues.

Each thread of the pool owns one child process (datareader/worker_process.py) and waits for its answers. The children
are fresh Python processes, not forks: they know nothing of Paddle, its threads or a GPU.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from datareader.video import VideoError
from datareader.worker_process import Arena
from utils.errors import RunError

# A folder called utils where the program was started must not stand in for its own.
CHILD = "import sys; sys.path[0] = sys.argv[3]; from datareader.worker_process import main; main()"
START_SECONDS = 120.0
GRACE_SECONDS = 5.0  # a decoder notices its time limit itself, unless it hangs in native code


class LocalReader:
    """Runs requests in this very process."""

    def run(self, request) -> tuple[np.ndarray, Any]:
        return request.read()

    def close(self) -> None:
        pass


class ProcessReader:
    """Runs requests in a child process, started when needed and replaced after a crash or a hang."""

    def __init__(self):
        self.process: subprocess.Popen | None = None
        self.is_aborted = False

    def run(self, request) -> tuple[np.ndarray, Any]:
        """Frames (a view, overwritten by the next request) and detail; raises what the request raised, and VideoError
        for a crash (after a second try in a fresh process) or a hang."""
        self.is_aborted = False
        try:
            return self._ask(request)
        except EOFError:
            self.close()
        except RunError:
            if not self.is_aborted:
                raise
        if self.is_aborted:
            raise VideoError(request.path, "reading was broken off")
        try:
            return self._ask(request)
        except EOFError as error:
            status = self._exit_status()
            raise VideoError(request.path, f"crashed the decoder, twice ({status})") from error

    def _ask(self, request) -> tuple[np.ndarray, Any]:
        if self.process is None:
            self._start()
            if self.is_aborted:
                raise EOFError
        seconds = request.reader.limits.seconds
        try:
            self.connection.send(request)
            if not self.connection.poll(seconds + GRACE_SECONDS):
                self.close()
                raise VideoError(
                    request.path, f"hung the decoder for more than {seconds:g} s (READER.seconds_per_video)"
                )
            kind, *answer = self.connection.recv()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise EOFError from error
        if kind == "failure":
            raise answer[0]
        shape, dtype, detail = answer
        return self.arena.get(shape, dtype), detail

    def _start(self) -> None:
        self.connection, childs_end = Pipe()
        self.file = _anonymous_file()
        self.arena = Arena(self.file.fileno())
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        fds = (childs_end.fileno(), self.file.fileno())
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *map(str, fds), root],
            stdin=subprocess.DEVNULL,
            pass_fds=fds,
            start_new_session=True,  # signals to this process's group, Ctrl-C above all, are not for the child
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENCV_FFMPEG_LOGLEVEL": "-8"},
        )
        childs_end.close()
        try:
            if self.connection.poll(START_SECONDS):
                self.connection.recv()
                return
        except EOFError:
            pass
        status = self._exit_status()
        raise RunError(f"a reading process did not start ({status}); try num_reader_threads: 0")

    def _exit_status(self) -> str:
        process = self.process
        self.close()
        code = process.returncode
        return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"

    def abort(self) -> None:
        """From another thread: kill the child, so that the request in work fails at once."""
        self.is_aborted = True
        process = self.process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the child, if there is one."""
        if self.process is None:
            return
        process, self.process = self.process, None
        self.connection.close()
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.file.close()


def _anonymous_file():
    """Memory that two processes can map; not bound by the size of /dev/shm, which is small in containers."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("frames"), "w+b")
    return tempfile.TemporaryFile()


class ReaderPool:
    """`num_workers` threads with a reading process each; 0 workers read in the caller's thread."""

    def __init__(self, num_workers: int):
        self.num_workers = num_workers
        self.tasks: queue.SimpleQueue = queue.SimpleQueue()
        self.local = LocalReader()
        self.readers = [ProcessReader() for _ in range(num_workers)]
        self.started = False

    def submit(self, task: Callable[[Any], Any]) -> Future:
        """Call `task(reader)` soon, in order of submission; at once when there are no workers."""
        future: Future = Future()
        if not self.num_workers:
            _fulfil(future, task, self.local)
            return future
        if not self.started:
            self.started = True
            for reader in self.readers:
                threading.Thread(target=_serve, args=(self.tasks, reader), daemon=True).start()
        self.tasks.put((future, task))
        return future

    def abort(self) -> None:
        """Drop what waits, and let the requests in work fail with a VideoError at once."""
        self._drop()
        for reader in self.readers:
            reader.abort()

    def _drop(self) -> None:
        while True:
            try:
                self.tasks.get_nowait()[0].cancel()
            except queue.Empty:
                return

    def close(self) -> None:
        """Drop what waits and end the processes. The pool starts again with the next submission."""
        if not self.started:
            return
        self._drop()
        for _ in self.readers:
            self.tasks.put(None)
        self.tasks, self.readers = queue.SimpleQueue(), [ProcessReader() for _ in range(self.num_workers)]
        self.started = False

    def __del__(self):
        self.close()


def _serve(tasks: queue.SimpleQueue, reader: ProcessReader) -> None:
    while True:
        entry = tasks.get()
        if entry is None:
            reader.close()
            return
        _fulfil(*entry, reader)
        del entry


def _fulfil(future: Future, task: Callable[[Any], Any], reader) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(task(reader))
    except BaseException as error:  # raised again by future.result()
        future.set_exception(error)
