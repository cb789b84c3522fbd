"""Progress inside one video."""

from __future__ import annotations

from utils.log import Progress

MAX_LINES = 20


def long_progress(total: int, interval: int, unit: str) -> Progress:
    """A Progress that prints at most 20 lines where it prints lines. interval: 0 for none."""
    return Progress(total, max(interval, -(-total // MAX_LINES)) if interval > 0 else 0, unit)
