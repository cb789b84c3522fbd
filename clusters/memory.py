"""The bound of a worker's memory: it ends itself, and the driver goes on as with any worker that has died."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from pathlib import Path

OUT_OF_MEMORY = 99  # the exit status
SECONDS = 0.2  # between two looks
_PSS = re.compile(r"^Pss: +([0-9]+) kB$", re.MULTILINE)


def bound_memory(max_bytes: int) -> None:
    """End this process once it and the processes that it has started hold more (Linux; 0: no bound).

    A bound of the kernel on the address space (RLIMIT_AS) would count what CUDA only reserves.
    """
    if max_bytes:
        threading.Thread(target=_watch, args=(max_bytes,), daemon=True).start()


def _watch(max_bytes: int) -> None:
    while (held := memory_bytes(os.getpid())) <= max_bytes:
        time.sleep(SECONDS)
    print(f"this worker holds {held / 1e9:.2f} GB, more than --worker_memory allows", file=sys.stderr, flush=True)
    os._exit(OUT_OF_MEMORY)


def memory_bytes(process: int) -> int:
    """What a process and those below it hold, shared pages in equal shares (PSS); 0 where there is no /proc."""
    held = 0
    with contextlib.suppress(OSError):  # it has just ended
        found = _PSS.search(Path(f"/proc/{process}/smaps_rollup").read_text())
        held = 1024 * int(found[1]) if found else 0
        held += sum(map(memory_bytes, children(process)))
    return held


def children(process: int) -> list[int]:
    """The processes that a process has started and that run (Linux)."""
    found = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in thread.read_text().split()]
    return found
