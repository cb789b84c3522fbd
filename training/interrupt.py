"""SIGTERM and Ctrl-C end a run after the step at hand, with a checkpoint."""

from __future__ import annotations

import signal
import sys

from utils.errors import RunError


class Interruption:
    """While entered, SIGINT and SIGTERM only set `signal`; a second one ends the process at once, as usual."""

    def __init__(self):
        self.signal, self.previous = 0, {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.signal = number
        signal.signal(number, self.previous[number])
        print("stopping after this step, with a checkpoint", file=sys.stderr)

    def stop(self, checkpoint: str) -> None:
        """End the run; the exit status is 128 + the signal's number. Another process may have had the signal."""
        number = self.signal or signal.SIGTERM
        error = RunError(f"stopped by {signal.Signals(number).name}; saved {checkpoint}; --resume=auto goes on")
        error.status = 128 + number
        raise error
