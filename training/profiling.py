"""--is_profiler: a Chrome trace of the first steps."""

from __future__ import annotations

FIRST_STEP, LAST_STEP = 3, 8


class Profile:
    """Records steps FIRST_STEP..LAST_STEP of a run into `folder` (open the file in chrome://tracing); None: nothing."""

    def __init__(self, folder: str | None):
        self.profiler = None
        if folder is not None:
            from paddle import profiler

            self.profiler = profiler.Profiler(
                scheduler=(FIRST_STEP, LAST_STEP), on_trace_ready=profiler.export_chrome_tracing(folder)
            )

    def __enter__(self) -> Profile:
        if self.profiler:
            self.profiler.start()
        return self

    def step(self) -> None:
        """One training step has ended."""
        if self.profiler:
            self.profiler.step()

    def __exit__(self, *error) -> None:
        if self.profiler:
            self.profiler.stop()
