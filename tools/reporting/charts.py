"""Charts as inline SVG, in the colours of utils/plots.py: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from tools.reporting.markup import Html, plain
from utils.plots import GRID, INK, SERIES_COLOURS

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44
MAX_POINTS = 200


def colour(series: int) -> str:
    """The colour of the n-th run."""
    return SERIES_COLOURS[series % len(SERIES_COLOURS)]


class Chart:
    """A chart with two axes, drawn in the order of the calls. Coordinates are those of the axes.

    x, y: (lowest, highest) of each axis. labels: of the axes, and of the whole for people who do not see it.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        labels: tuple[str, str, str],
        height: int = HEIGHT,
        x_ticks: Sequence[float] | None = None,
    ):
        self.x, self.y, self.labels, self.height = x, y, labels, height
        self.parts: list[str] = []
        self._draw_axes(x_ticks or ticks(*x), ticks(*y))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Pixels from the left and from the top."""
        (x_low, x_high), (y_low, y_high) = self.x, self.y
        across = (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        up = (y - y_low) / (y_high - y_low) * (self.height - TOP - BOTTOM)
        return round(LEFT + across, 1), round(self.height - BOTTOM - up, 1)

    def line(self, points: Sequence[tuple[float, float]], colour: str, dashed: bool = False, width: float = 2) -> None:
        """A line through the points; of many points about MAX_POINTS are drawn, the last one always."""
        step = max(1, len(points) // MAX_POINTS)
        shown = [*points[:-1:step], *points[-1:]]
        text = " ".join("{},{}".format(*self.place(*point)) for point in shown)
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self.parts.append(f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')

    def dot(self, x: float, y: float, colour: str, interval: tuple[float, float] | None = None) -> None:
        """A point, with a vertical bar for its interval."""
        if interval is not None:
            self.line([(x, interval[0]), (x, interval[1])], colour, width=1.5)
        across, down = self.place(x, y)
        self.parts.append(f'<circle cx="{across}" cy="{down}" r="3.5" fill="{colour}"/>')

    def column(self, left: float, right: float, value: float, colour: str) -> None:
        """A filled column from the bottom of the chart up to a value."""
        (x0, y0), (x1, y1) = self.place(left, self.y[0]), self.place(right, value)
        size = f'width="{max(x1 - x0 - 1, 0.5):.1f}" height="{y0 - y1:.1f}"'
        self.parts.append(f'<rect x="{x0}" y="{y1}" {size} fill="{colour}" opacity="0.6"/>')

    def svg(self) -> Html:
        """The chart as an SVG element."""
        return Html(
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{plain(self.labels[2])}">'
            f"{''.join(self.parts)}</svg>"
        )

    def _draw_axes(self, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> None:
        for value in x_ticks:
            across, down = self.place(value, self.y[0])
            self._text(across, down + 16, f"{value:g}", "middle")
        for value in y_ticks:
            self.line([(self.x[0], value), (self.x[1], value)], GRID, width=1)
            across, down = self.place(self.x[0], value)
            self._text(across - 6, down + 4, f"{value:g}", "end")
        middle = (self.height - BOTTOM + TOP) / 2
        self._text((LEFT + WIDTH - RIGHT) / 2, self.height - 8, self.labels[0], "middle")
        self._text(14, middle, self.labels[1], "middle", f' transform="rotate(-90 14 {middle:g})"')

    def _text(self, x: float, y: float, text: str, anchor: str, more: str = "") -> None:
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="12" fill="{INK}"{more}>{plain(text)}</text>'
        )


def ticks(low: float, high: float) -> list[float]:
    """A few round values from low to high."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high).round(10)
    return [value for value in found.tolist() if low <= value <= high]


def bar(fraction: float, low: float | None = None, high: float | None = None, colour: str = SERIES_COLOURS[0]) -> Html:
    """A horizontal bar from 0 to 1 for a line of text, with a whisker for the interval."""
    whisker = "" if low is None or high is None else f'<path d="M{100 * low:.1f} 6H{100 * high:.1f}" stroke="{INK}"/>'
    return Html(
        f'<svg class="bar" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * fraction:.1f}" height="12" fill="{colour}" opacity="0.55"/>{whisker}</svg>'
    )
