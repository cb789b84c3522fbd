"""Reading processes: when one crashes or hangs, one video fails, the process is replaced and the run continues.

Each thread of the pool owns one child process (datareader/worker_process.py) and waits for its answers. The children
are fresh Python processes, not forks: they know nothing of Paddle, its threads or a GPU.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

from datareader.video import VideoError
from datareader.worker_process import Arena
from utils.child import Child
from utils.errors import RunError

CHILD = "import sys; sys.path[0] = sys.argv[3]; from datareader.worker_process import main; main()"
START_SECONDS = 120.0
GRACE_SECONDS = 5.0  # a decoder notices its time limit itself, unless it hangs in native code


class LocalReader:
    """Runs requests in this very process."""

    def run(self, request) -> tuple[np.ndarray, Any]:
        return request.read()

    def close(self) -> None:
        pass


class ProcessReader(Child):
    """Runs requests in a child process, started when needed and replaced after a crash or a hang."""

    def __init__(self):
        super().__init__()
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
            raise VideoError(request.path, f"crashed the decoder, twice ({self.close()})") from error

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
        self.start(CHILD, {"OMP_NUM_THREADS": "1", "OPENCV_FFMPEG_LOGLEVEL": "-8"})
        self.arena = Arena(self.file.fileno())
        try:
            if self.connection.poll(START_SECONDS):
                self.connection.recv()
                return
        except EOFError:
            pass
        raise RunError(f"a reading process did not start ({self.close()}); try num_reader_threads: 0")

    def abort(self) -> None:
        """From another thread: kill the child, so that the request in work fails at once."""
        self.is_aborted = True
        self.kill()


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
