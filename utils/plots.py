"""Pictures of a run: curves, confusion matrix, bars. Drawn without a display, written whole or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.files import write_atomically

# Fonts with Chinese, Japanese and Korean signs that systems usually have; the first found joins matplotlib's own.
WIDE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "SimHei",
    "Arial Unicode MS",
)
INK, GRID = "#303030", "#d8d8d8"
SERIES_COLOURS = ("#4477aa", "#ee7733", "#228833", "#aa3377", "#66ccee", "#bbbbbb")
SERIES_HATCHES = ("/", ".", "x", "\\", "o", "-", "+", "|", "*")
MAX_NAMED_CLASSES, MAX_NUMBERED_CELLS = 80, 24


@contextmanager
def _figure(path_png: str | Path, width_inches: float, height_inches: float):
    """Give an empty figure to draw on and write it as PNG; no global state, so any thread or back end may run."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("pictures need matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg", force=False)
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    present = {font.name for font in font_manager.fontManager.ttflist}
    settings = {
        "font.family": ["DejaVu Sans", *[name for name in WIDE_FONTS if name in present][:1]],
        "font.size": 10,
        "text.parse_math": False,  # a class name may hold a dollar sign
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GRID,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as a box, which is enough
        figure = Figure(figsize=(width_inches, height_inches), dpi=120, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        write_atomically(path_png, lambda stream: figure.savefig(stream, format="png"))


def _text(value: object, longest: int = 100) -> str:
    """Return a name as matplotlib can draw it: short, no lone surrogates (undecodable file names), no control signs."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def draw_curves(history: Sequence[Mapping[str, Any]], path_png: str | Path, title: str = "") -> None:
    """Draw loss, accuracy and learning rate over iterations, training and validation.

    Args:
        history: rows of the log with "iteration", "kind" ("train" or "valid") and any of "loss", "top1", "top5"
            (percent), "learning_rate"; a row without a key has no point on that curve, other keys are ignored.
        path_png: where the picture goes.
        title: above the picture.

    Raises:
        RunError: the file cannot be written.
    """
    panels = (("loss", ("loss",)), ("accuracy, %", ("top1", "top5")), ("learning rate", ("learning_rate",)))
    with _figure(path_png, 8, 8) as figure:
        all_axes = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.4))
        for axes, (label, keys) in zip(all_axes, panels):
            for key in keys:
                for kind in ("train", "valid"):
                    _draw_curve(axes, history, key, kind)
            axes.set_ylabel(label)
            axes.grid(color=GRID, linewidth=0.6)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(frameon=False, loc="best")
            else:
                axes.text(0.5, 0.5, "nothing in the log", ha="center", va="center", transform=axes.transAxes)
        all_axes[1].set_ylim(-2, 102)
        all_axes[2].set_xlabel("iteration")
        all_axes[2].xaxis.get_major_locator().set_params(integer=True)
        figure.suptitle(_text(title))


def _draw_curve(axes: Any, history: Sequence[Mapping[str, Any]], key: str, kind: str) -> None:
    rows = [row for row in history if row.get("kind") == kind and row.get(key) is not None]
    points = np.array([(row["iteration"], row[key]) for row in rows], np.float64).reshape(-1, 2)
    if not len(points) or (kind == "valid" and key == "learning_rate"):
        return
    colour = SERIES_COLOURS[0 if kind == "train" else 1]
    style = "--" if key == "top5" else "-"
    label = {"loss": kind, "learning_rate": kind}.get(key, f"{kind} {key}")
    if kind == "valid":
        axes.plot(*points.T, style, color=colour, label=label, marker="o", markersize=4)
    elif len(points) > 60 and key != "learning_rate":  # single batches are noise: pale, with their mean on top
        axes.plot(*points.T, style, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(*_smoothed(points).T, style, color=colour, label=f"{label} (running mean)")
    else:
        axes.plot(*points.T, style, color=colour, label=label)


def _smoothed(points: np.ndarray) -> np.ndarray:
    """Return points [N-w+1, 2], the means over windows of w = N / 20 neighbours, each at its window's middle."""
    width = len(points) // 20
    window = np.full(width, 1.0 / width)
    return np.stack([np.convolve(column, window, "valid") for column in points.T], axis=1)


def draw_confusion_matrix(
    matrix: np.ndarray, class_names: Sequence[str] | None, path_png: str | Path, title: str = ""
) -> None:
    """Draw which classes are taken for which: each row's fractions as colour, the counts as numbers where they fit.

    Up to 24 classes show every count, up to 80 every name; more show class numbers, and the most frequent mistakes
    are listed beside in words.

    Args:
        matrix: int [K, K], videos by true class (row) and predicted class (column).
        class_names: K names, or None for the indices.
        path_png: where the picture goes.
        title: above the picture.

    Raises:
        ValueError: the matrix is not square or the names do not match.
        RunError: the file cannot be written.
    """
    matrix = np.asarray(matrix)
    num_classes = len(matrix)
    names = [_text(name, 40) for name in (class_names if class_names is not None else range(num_classes))]
    if matrix.shape != (num_classes, num_classes) or len(names) != num_classes or not num_classes:
        raise ValueError(f"a matrix of shape {list(matrix.shape)} does not fit {len(names)} class names")
    named = num_classes <= MAX_NAMED_CLASSES
    side = float(np.clip(2.6 + 0.42 * num_classes, 4.5, 14)) if named else 11.0
    with _figure(path_png, side + (1.2 if named else 5.5), side) as figure:
        grid = figure.subplots(1, 1 if named else 2, squeeze=False, width_ratios=None if named else (11, 5))[0]
        axes, font_size = grid[0], float(np.clip(330 / num_classes, 5, 10))
        fractions = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, label="fraction of the true class")
        bar.outline.set_visible(False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.set_title(_text(title))
        if named:
            axes.set_xticks(range(num_classes), names, rotation=45, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(num_classes), names)
            axes.tick_params(labelsize=font_size, length=0)
        else:
            _list_mistakes(grid[1], matrix, names)
        if num_classes <= MAX_NUMBERED_CELLS:
            for row, column in zip(*np.nonzero(matrix)):
                colour = "white" if fractions[row, column] > 0.55 else INK
                label = str(matrix[row, column])
                axes.text(column, row, label, ha="center", va="center", color=colour, fontsize=font_size)


def _list_mistakes(axes: Any, matrix: np.ndarray, names: Sequence[str], num_listed: int = 24) -> None:
    """Write the most frequent mistakes in words, for a matrix too large to name its classes."""
    axes.axis("off")
    mistakes = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:num_listed]
    lines = []
    for row, column in zip(*np.unravel_index(order, mistakes.shape)):
        if mistakes[row, column]:
            lines.append(f"{mistakes[row, column]} of {matrix[row].sum()}  {names[row]} ({row})")
            lines.append(f"        taken for {names[column]} ({column})")
    axes.set_title("most frequent mistakes", loc="left")
    axes.text(0, 1, "\n".join(lines) or "none", ha="left", va="top", fontsize=8, transform=axes.transAxes)


def series_style(index: int) -> dict[str, str]:
    """Colour and hatch of a bar series: no two series share both. The colours come first, then again with each hatch,
    then with the hatches closer together."""
    turn, place = divmod(index, len(SERIES_COLOURS))
    density, kind = divmod(max(turn - 1, 0), len(SERIES_HATCHES))
    hatch = SERIES_HATCHES[kind] * (2 + density) if turn else ""
    return {"facecolor": SERIES_COLOURS[place], "hatch": hatch, "edgecolor": "white"}


def draw_bars(
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    path_png: str | Path,
    title: str = "",
    axis_label: str = "",
    reference: float | None = None,
    intervals: Mapping[str, Sequence[tuple[float, float] | None]] | None = None,
) -> None:
    """Draw horizontal bars with their values, one group a label, one colour and hatch a series.

    Args:
        labels: N names of groups, from the top.
        series: name -> N values (None or NaN: no bar), for instance ratios to a yardstick.
        path_png: where the picture goes.
        title: above the picture.
        axis_label: what the values are, with the unit.
        reference: a value to mark by a vertical line, for instance 1.0 for "as fast as".
        intervals: name of a series -> (low, high) around each of its values, or None.

    Raises:
        ValueError: a series has another length than labels, or there is nothing to draw.
        RunError: the file cannot be written.
    """
    if not labels or not series or any(len(values) != len(labels) for values in series.values()):
        raise ValueError("bars need labels and series of the same length")
    thickness = 0.8 / len(series)
    with _figure(path_png, 8, 1.5 + 0.26 * len(labels) * (len(series) + 0.6)) as figure:
        axes = figure.subplots()
        for index, (name, values) in enumerate(series.items()):
            values = np.array([np.nan if value is None else value for value in values], np.float64)
            places = np.arange(len(labels)) - 0.4 + thickness * (index + 0.5)
            bars = axes.barh(
                places,
                values,
                thickness * 0.92,
                linewidth=0,
                **series_style(index),
                label=_text(name, 40),
            )
            texts = ["" if np.isnan(value) else f"{value:.3g}" for value in values]
            if not intervals:
                axes.bar_label(bars, texts, padding=3, fontsize=9)
                continue
            for place, value, text, bounds in zip(places, values, texts, intervals[name]):
                end = value if bounds is None else max(value, bounds[1])
                if bounds is not None:
                    axes.plot(bounds, (place, place), color=INK, linewidth=1, marker="|", markersize=4)
                if text:
                    axes.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_yticks(range(len(labels)), [_text(label, 60) for label in labels])
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.margins(x=0.1)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel(_text(axis_label))
        axes.set_title(_text(title), loc="left")
        if reference is not None:
            axes.axvline(reference, color=INK, linewidth=1, linestyle="--")
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=min(len(series), 4), frameon=False)


def draw_answers(
    rows: Mapping[str, tuple[Sequence[np.ndarray], Mapping[str, float]]], path_png: str | Path, title: str = ""
) -> None:
    """Draw frames of a video beside the probabilities of its classes, a row each.

    Args:
        rows: title of a row -> (frames, each uint8 RGB [H, W, 3]; class name -> probability from 0 to 1, best first).
        path_png: where the picture goes.
        title: above the picture.

    Raises:
        ValueError: there is nothing to draw.
        RunError: the file cannot be written.
    """
    if not rows or not all(len(frames) and classes for frames, classes in rows.values()):
        raise ValueError("a row needs frames and classes")
    num_frames = max(len(frames) for frames, _ in rows.values())
    with _figure(path_png, 1.35 * num_frames + 3.6, 1.75 * len(rows) + (0.4 if title else 0)) as figure:
        ratios = [1.0] * num_frames + [1.9]
        for (name, (frames, classes)), panels in zip(
            rows.items(), figure.subplots(len(rows), num_frames + 1, squeeze=False, width_ratios=ratios)
        ):
            for panel in panels[:-1]:
                panel.axis("off")
            for panel, frame in zip(panels, frames):
                panel.imshow(frame, interpolation="nearest")
            panels[0].set_title(_text(name), loc="left", fontsize=10)
            axes, values = panels[-1], list(classes.values())
            bars = axes.barh(range(len(values)), values, 0.7, color=[SERIES_COLOURS[0], *[GRID] * (len(values) - 1)])
            axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=3, fontsize=9)
            axes.set_yticks(range(len(values)), [_text(label, 24) for label in classes])
            axes.invert_yaxis()
            axes.set_xlim(0, 1.25)
            axes.set_xticks([])
            axes.tick_params(axis="y", length=0)
            axes.spines["bottom"].set_visible(False)
        figure.suptitle(_text(title)) if title else None


def _panels(figure: Any, count: int, columns: int) -> list[Any]:
    """`count` axes in rows of `columns`; the rest of the last row is blank."""
    rows = -(-count // columns)
    found = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in found[count:]:
        axes.axis("off")
    return found[:count]


def draw_boxes(
    panels: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    path_png: str | Path,
    title: str = "",
    caption: str = "",
) -> None:
    """Draw box plots from their statistics: a panel each with series of boxes side by side, outliers left out.

    Args:
        panels: title of a panel -> series -> boxes with whislo, q1, med, q3, whishi, label (below it) and note (above).
        path_png: where the picture goes.
        title: above the picture.
        caption: below it; what labels and notes are.

    Raises:
        ValueError: there is nothing to draw.
        RunError: the file cannot be written.
    """
    if not panels:
        raise ValueError("boxes need a panel")
    columns = min(4, len(panels))
    with _figure(path_png, 3.6 * columns, 2.5 * -(-len(panels) // columns) + 0.8) as figure:
        handles: dict[str, Any] = {}
        for axes, (name, series) in zip(_panels(figure, len(panels), columns), panels.items()):
            width = 0.8 / len(series)
            for index, (form, boxes) in enumerate(series.items()):
                places = [k - 0.4 + width * (index + 0.5) for k in range(len(boxes))]
                colour = SERIES_COLOURS[index]
                drawn = axes.bxp(
                    [dict(box) for box in boxes], positions=places, widths=width * 0.85, showfliers=False,
                    patch_artist=True, manage_ticks=False, medianprops={"color": INK},
                    boxprops={"facecolor": colour, "edgecolor": colour, "alpha": 0.8},
                    whiskerprops={"color": colour}, capprops={"color": colour},
                )  # fmt: skip
                handles.setdefault(form, drawn["boxes"][0])
                for place, box in zip(places, boxes):
                    axes.annotate(
                        box.get("note", ""), (place, 1), (0, 2), ("data", "axes fraction"), textcoords="offset points",
                        ha="center", va="bottom", fontsize=6 if len(series) > 1 else 7, color=colour,
                    )  # fmt: skip
            labels = [box["label"] for box in next(iter(series.values()))]
            axes.set_xticks(range(len(labels)), labels, fontsize=8)
            axes.set_title(_text(name, 44), loc="left", fontsize=9, pad=14)
            axes.axhline(0, color=GRID, linewidth=0.8, zorder=0)
            axes.tick_params(labelsize=8)
            axes.yaxis.set_major_formatter("{x:g}")
        figure.legend(
            handles.values(), handles, loc="outside lower center", ncols=4, frameon=False, title=_text(caption)
        )
        figure.suptitle(_text(title))


def draw_clouds(panels: Mapping[str, np.ndarray], groups: Sequence[str], path_png: str | Path, title: str = "") -> None:
    """Draw points in the plane, coloured by group, in a panel each; axes have no unit.

    Args:
        panels: title of a panel -> float [N, 2].
        groups: the group of each point; up to 20 have colours of their own, then colours repeat with other markers.
        path_png: where the picture goes.
        title: above the picture.

    Raises:
        ValueError: there is nothing to draw, or the points do not match the groups.
        RunError: the file cannot be written.
    """
    if not panels or any(np.shape(points) != (len(groups), 2) for points in panels.values()):
        raise ValueError("clouds need panels of one point a group entry")
    names, columns = sorted(set(groups)), min(4, len(panels))
    of_group = np.array(groups)
    with _figure(path_png, 3.3 * columns, 3.2 * -(-len(panels) // columns) + 0.9 + 0.2 * len(names) / 4) as figure:
        from matplotlib import colormaps

        colours = colormaps["tab10" if len(names) <= 10 else "tab20"].colors
        markers = "os^Dv<>pP*Xh"
        for axes, (name, points) in zip(_panels(figure, len(panels), columns), panels.items()):
            for index, group in enumerate(names):
                mine = np.asarray(points)[of_group == group]
                marker = markers[index // len(colours) % len(markers)]
                colour = colours[index % len(colours)]
                axes.scatter(
                    *mine.T, s=14, marker=marker, color=colour, linewidth=0, alpha=0.85, label=_text(group, 40)
                )
            axes.set_title("\n".join(_text(line, 60) for line in name.split("\n")), fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
        shown = figure.axes[0].get_legend_handles_labels()
        if len(names) <= 60:
            figure.legend(*shown, loc="outside lower center", ncols=min(5, len(names)), frameon=False, fontsize=8)
        figure.suptitle(_text(title))


def draw_trade_off(
    series: Mapping[str, Sequence[Mapping[str, Any]]],
    path_png: str | Path,
    title: str = "",
    axis_labels: tuple[str, str] = ("", ""),
) -> None:
    """Draw named points, those of a series joined in order of x; points without y are ticks on the lower edge. A name
    that would lie on other names is left out.

    Args:
        series: name -> points with x, y (None: not known), label and, where known, low and high, an interval of y.
        path_png: where the picture goes.
        title: above the picture.
        axis_labels: of x and y, with their units.

    Raises:
        ValueError: there is nothing to draw.
        RunError: the file cannot be written.
    """
    if not any(series.values()):
        raise ValueError("there are no points to draw")
    markers = "os^Dv<>pP*Xh"
    with _figure(path_png, 9, 6) as figure:
        axes, labels = figure.subplots(), []
        for index, (name, points) in enumerate(series.items()):
            colour, marker = SERIES_COLOURS[index % 5], markers[index % len(markers)]
            known = sorted((point for point in points if point["y"] is not None), key=lambda point: point["x"])
            x, y = ([point[key] for point in known] for key in ("x", "y"))
            if len(known) > 1:
                axes.plot(x, y, color=colour, linewidth=1, alpha=0.6)
            below = [max(0.0, point["y"] - point.get("low", point["y"])) for point in known]
            above = [max(0.0, point.get("high", point["y"]) - point["y"]) for point in known]
            if known:
                axes.errorbar(
                    x, y, [below, above] if any(below + above) else None, fmt=marker, color=colour, markersize=6,
                    elinewidth=0.8, capsize=2, label=_text(name, 40),
                )  # fmt: skip
            for point in points:
                if point["y"] is None:
                    axes.axvline(point["x"], 0, 0.03, color=colour, linewidth=1.2)
                    axes.annotate(
                        _text(point["label"], 40), (point["x"], 0.035), (0, 4), ("data", "axes fraction"),
                        textcoords="offset points", fontsize=7, color=colour, rotation=90, ha="center",
                    )  # fmt: skip
            labels += [(point["x"], point["y"], _text(point["label"], 40), colour) for point in known]
        _label_points(axes, labels)
        axes.set_xlabel(axis_labels[0])
        axes.set_ylabel(axis_labels[1])
        axes.margins(x=0.08, y=0.12)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_title(_text(title), loc="left")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)


def _label_points(axes: Any, labels: Sequence[tuple[float, float, str, str]], font_size: float = 7) -> None:
    """Write names (x, y, text, colour) beside points, on the first of four sides that is free; none: left out."""
    if not labels:
        return
    x, y = (np.array([label[axis] for label in labels]) for axis in (0, 1))
    width, height = axes.figure.get_size_inches() * 72 * 0.8  # points, about
    x_px, y_px = ((v - v.min()) / (np.ptp(v) or 1) * size for v, size in ((x, width), (y, height)))
    taken: list[tuple[float, float, float, float]] = []
    for label, left, bottom in zip(labels, x_px, y_px):
        text_width = 0.62 * font_size * len(label[2])
        for right, above in ((True, True), (True, False), (False, True), (False, False)):
            x0 = left + 4 if right else left - 4 - text_width
            y0 = bottom + 3 if above else bottom - 3 - font_size
            box = (x0, y0, x0 + text_width, y0 + font_size)
            if all(box[0] > o[2] or box[2] < o[0] or box[1] > o[3] or box[3] < o[1] for o in taken):
                taken.append(box)
                axes.annotate(
                    label[2], label[:2], (4 if right else -4, 3 if above else -3), textcoords="offset points",
                    ha="left" if right else "right", va="bottom" if above else "top", fontsize=font_size,
                    color=label[3],
                )  # fmt: skip
                break
