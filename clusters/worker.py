"""The program of one worker process, started by clusters/local_pool.py with a file descriptor as argument."""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from multiprocessing.connection import Connection

from clusters.memory import bound_memory
from utils.errors import RunError, UserError


def main() -> None:
    """Receive a Job, build its scorer, then answer each piece until the driver closes the connection or dies."""
    connection = Connection(int(sys.argv[1]))
    inbox: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    job = inbox.get()
    bound_memory(job.worker_bytes)
    try:
        score = job.make_scorer()
    except (UserError, RunError) as error:
        connection.send(("stop", error))
        return
    connection.send(("ready", getattr(score, "setup", "")))
    while True:
        connection.send(answer(job, inbox.get(), score))


def _receive(connection: Connection, inbox: queue.SimpleQueue) -> None:
    """Beside the computation, so that a worker ends with its driver and not only after its piece."""
    try:
        while True:
            inbox.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)
    except Exception:  # a job that this process cannot import
        traceback.print_exc()
        os._exit(1)


def answer(job, piece, score) -> tuple:
    """Compute a piece and write its file: ("done", rows, errors), ("lost", cause), or ("stop", exception) when the list
    cannot be read or the file not be written."""
    try:
        paths = job.paths(piece)
    except RunError as error:
        return "stop", error
    try:
        table = score(piece.start, paths)
    except Exception as error:  # a video that the network cannot take, out of memory: the piece is cut
        return "lost", " ".join(f"stopped its worker ({type(error).__name__}: {error})".split())
    try:
        job.write(piece, table)
    except RunError as error:
        if not job.is_done(job.part(piece.part)):  # else a copy of this piece was faster, and its part is joined
            return "stop", error
    return "done", table.num_rows, table.num_rows - table.column("error").null_count


if __name__ == "__main__":
    main()
