"""SIGTERM and Ctrl-C end a run after the step at hand, with a checkpoint."""

from __future__ import annotations

import os
import signal
import time

from utils.errors import RunError

# Paddle's launcher passes a signal on as up to three SIGTERMs, 0.2 s apart: they are one request.
SAME_REQUEST_SECONDS = 3.0


class Interruption:
    """While entered, the first SIGINT or SIGTERM only sets `signal`; a second one ends the process at once.

    is_launched: the process has a launcher, whose repetitions of a signal within SAME_REQUEST_SECONDS count as one.
    """

    def __init__(self, is_launched: bool = False):
        self.is_launched = is_launched
        self.signal, self.first, self.previous = 0, 0.0, {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if not self.signal:
            self.signal, self.first = number, time.monotonic()
            # not print: the signal may have interrupted one, and streams cannot be entered twice
            os.write(2, b"stopping after this step, with a checkpoint\n")
        elif not (self.is_launched and time.monotonic() - self.first < SAME_REQUEST_SECONDS):
            signal.signal(number, self.previous[number])
            signal.raise_signal(number)

    def error(self, checkpoint: str | None) -> RunError:
        """What ends the run: its exit status is 128 + the signal's number. Another process may have had the signal."""
        number = self.signal or signal.SIGTERM
        saved = f"saved {checkpoint}; --resume=auto continues" if checkpoint else "before the first checkpoint"
        error = RunError(f"stopped by {signal.Signals(number).name}; {saved}")
        error.status = 128 + number
        return error
