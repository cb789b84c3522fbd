"""Requests that do in a reading process what a bad decoder may do there; the process imports this file by its name."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from dataclasses import dataclass, field

import numpy as np

from datareader.requests import ReaderSettings
from datareader.video import Limits


@dataclass(frozen=True)
class Misbehave:
    """how: "crash" (segmentation fault), "exit", "hang" (in native code), "once" (crash if `path` does not exist yet,
    which it then does), "fine"."""

    path: str
    how: str
    reader: ReaderSettings = field(default_factory=lambda: ReaderSettings(limits=Limits(seconds=0.5)))

    def read(self):
        if self.how == "once" and not os.path.exists(self.path):
            open(self.path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.how == "exit":
            os._exit(7)
        if self.how == "hang":
            ctypes.CDLL(None).sleep(100)
            time.sleep(100)
        return np.arange(5, dtype=np.uint8), self.how
