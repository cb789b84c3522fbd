"""Progress of a script: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys

from tqdm import tqdm

from utils.i18n import tr


class Progress:
    """A progress bar on a terminal; elsewhere a plain line every `interval` steps (0: none).

    total, initial: steps in all and done before. unit: what a step is.
    """

    def __init__(self, total: int, interval: int, unit: str, initial: int = 0):
        self.interval, self.step, self.total = interval, initial, total
        self.is_bar = sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=initial, unit=unit, dynamic_ncols=True, disable=None)

    def advance(self, text: str) -> None:
        """One step further; `text` says how it went."""
        self.step += 1
        self.bar.update()
        if self.is_bar:
            self.bar.set_postfix_str(text, refresh=False)
        elif self.interval > 0 and (self.step % self.interval == 0 or self.step == self.total):
            print(f"[{self.step}/{self.total}] {text}", flush=True)

    def say(self, text: str) -> None:
        """A line that stays, above the bar; errors are in the language of the locale."""
        text = tr(text)
        if self.is_bar:
            self.bar.write(text)
        else:
            print(text, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()


def remaining(seconds: float) -> str:
    """Seconds as 1:02:03."""
    return tqdm.format_interval(max(0, int(seconds)))
