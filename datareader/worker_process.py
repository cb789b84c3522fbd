"""The program of one reading process, started by datareader/workers.py with two file descriptors as arguments.

It receives requests (datareader/requests.py), answers with a few words through the connection, and puts the frames into
the arena, an anonymous file that parent and child map into memory.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import mmap
import os
import sys
from multiprocessing.connection import Connection

import numpy as np

ORPHAN_GRACE_SECONDS = 30.0


def main() -> None:
    """Serve until the parent closes the connection."""
    connection, arena = Connection(int(sys.argv[1])), Arena(int(sys.argv[2]))
    import cv2

    from utils.parallel import end_with_parent

    end_with_parent()  # also in the middle of a request, which can be the flow of a whole video
    cv2.setNumThreads(1)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent has ended
        connection.send("ready")
        while True:
            connection.send(serve(connection.recv(), arena))


def serve(request, arena: Arena) -> tuple:
    """Run one request: ("frames", shape, dtype, detail) with the frames in the arena, or ("failure", exception)."""
    from utils.errors import RunError, UserError

    # a hang in native code after the parent has died would stay for ever
    faulthandler.dump_traceback_later(request.reader.limits.seconds + ORPHAN_GRACE_SECONDS, exit=True, file=sys.stderr)
    try:
        frames, detail = request.read()
        arena.put(frames)
        return "frames", frames.shape, frames.dtype.str, detail
    except (UserError, RunError) as error:
        return "failure", error
    except MemoryError:
        return "failure", RunError("out of memory")
    finally:
        faulthandler.cancel_dump_traceback_later()


class Arena:
    """One array at a time in an anonymous file that two processes map; it grows with the largest array."""

    def __init__(self, descriptor: int):
        self.descriptor, self.memory = descriptor, None

    def put(self, array: np.ndarray) -> None:
        """Copy `array` to the file's start."""
        if self.memory is None or len(self.memory) < array.nbytes:
            self.memory = None
            os.ftruncate(self.descriptor, max(1, array.nbytes))
            self.memory = mmap.mmap(self.descriptor, max(1, array.nbytes))
        np.copyto(np.frombuffer(self.memory, array.dtype, array.size).reshape(array.shape), array)

    def get(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """The array last put, as a view that the next one overwrites."""
        size = math.prod(shape)
        if self.memory is None or len(self.memory) < size * np.dtype(dtype).itemsize:
            self.memory = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return np.frombuffer(self.memory, dtype, size).reshape(shape)
