"""Drawing for tools/visualize_attention.py: panels with heat and arrows, and a video."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np

from utils.files import write_atomically

COLUMNS, PANEL_INCHES = 4, 2.6
VIDEO_PX, VIDEO_FPS, FRAMES_A_PICTURE = 384, 10, 5
POINT_COLOUR = "#00e5ff"


def draw_look(
    frames: np.ndarray, look: Any, query_frame: int, path_png: str, caption: str, pixel_aspect: float = 1.0
) -> None:
    """One panel a frame of the clip (uint8 [T, S, S, 3]) with its heat; arrows from the point to the strongest
    positions, each to the first frame that its step covers. pixel_aspect: width / height of a pixel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import ConnectionPatch

    columns = min(COLUMNS, len(frames))
    rows = -(-len(frames) // columns)
    wide, high = max(1.0, pixel_aspect) * PANEL_INCHES, max(1.0, 1 / pixel_aspect) * PANEL_INCHES
    size = (columns * wide + 1.2, rows * (high + 0.3) + 1.0)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False)
    low, high, colours = _scale(look)
    for panel in panels.flat:
        panel.axis("off")
    for number, (panel, frame) in enumerate(zip(panels.flat, frames)):
        picture = _blend(frame, look.heat[number // look.frames_per_step], low, high, colours)
        panel.imshow(picture, aspect=1 / pixel_aspect)
        panel.set_title(f"frame {number}" + (" (point)" if number == query_frame else ""), fontsize=10)
    x, y = look.point_px
    start = panels.flat[query_frame]
    strongest = max((abs(weight) for *_, weight in look.targets), default=1.0)
    for t, to_x, to_y, weight in look.targets:
        target = panels.flat[min(t * look.frames_per_step, len(frames) - 1)]
        if t == look.position[0]:
            target = start
        arrow = ConnectionPatch(
            (x, y), (to_x, to_y), "data", "data", axesA=start, axesB=target, arrowstyle="-|>", mutation_scale=9,
            color="#2f6bff" if weight < 0 else "#ffd400", alpha=0.25 + 0.7 * abs(weight) / strongest, linewidth=1.1,
        )  # fmt: skip
        figure.add_artist(arrow)
    start.plot(x, y, "o", markersize=8, markerfacecolor=POINT_COLOUR, markeredgecolor="black")
    label = f"weight; their sum is {look.weights.sum():.3f}; uniform: {look.uniform_weight:.2g} each"
    if look.is_signed:
        label = "weight, not normalised"
    figure.colorbar(ScalarMappable(Normalize(low, high), colours), ax=panels, label=label, shrink=0.7)
    title = f"{caption}\nattention of the marked point of frame {query_frame}"
    figure.suptitle(title, fontsize=11, parse_math=False)  # a class name may hold a dollar sign
    write_atomically(path_png, lambda stream: figure.savefig(stream, format="png"))


def _scale(look: Any) -> tuple[float, float, Any]:
    """Limits of the colours and the colour map: smallest to largest weight, symmetrical where there are both signs."""
    from matplotlib import colormaps

    low, high = float(look.weights.min()), float(look.weights.max())
    if low < 0:
        return -max(-low, high), max(-low, high), colormaps["coolwarm"]
    return low, max(high, low + 1e-12), colormaps["inferno"]


def _blend(frame: np.ndarray, heat: np.ndarray, low: float, high: float, colours: Any) -> np.ndarray:
    """The frame in grey with the colours of the heat over it, stronger for larger weights: uint8 [S, S, 3]. No heat is
    drawn where it is NaN."""
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    fractions = np.clip((np.nan_to_num(heat) - low) / (high - low), 0, 1)
    strength = 0.75 * np.nan_to_num(np.abs(heat) / high if low < 0 else fractions + 0 * heat)[..., None]
    return np.rint(grey * (1 - strength) + colours(fractions)[..., :3] * 255 * strength).astype(np.uint8)


def write_video(
    frames: np.ndarray, look: Any, query_frame: int, path_mp4: str, pixel_aspect: float = 1.0
) -> None:  # fmt: skip
    """The frames beside themselves with heat, half a second each, as H.264; the point is marked on its frame.
    pixel_aspect: as for `draw_look`; the pixels of the mp4 are square."""
    import av

    low, high, colours = _scale(look)
    buffer = io.BytesIO()
    width = 2 * round(max(1.0, pixel_aspect) * VIDEO_PX / 2)
    height = 2 * round(max(1.0, 1 / pixel_aspect) * VIDEO_PX / 2)
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=VIDEO_FPS)
        stream.width, stream.height, stream.pix_fmt = 2 * width, height, "yuv420p"
        for number, frame in enumerate(frames):
            heat = _blend(frame, look.heat[number // look.frames_per_step], low, high, colours)
            sides = [cv2.resize(side, (width, height), interpolation=cv2.INTER_CUBIC) for side in (frame, heat)]
            picture = np.concatenate(sides, axis=1)
            if number == query_frame:
                _mark(picture, look.point_px, (width / frame.shape[1], height / frame.shape[0]))
            cv2.putText(picture, f"frame {number}", (8, height - 10), 0, 0.7, (0, 0, 0), 4, cv2.LINE_AA)
            cv2.putText(picture, f"frame {number}", (8, height - 10), 0, 0.7, (255, 255, 255), 1, cv2.LINE_AA)
            for _ in range(FRAMES_A_PICTURE):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    write_atomically(path_mp4, lambda file: file.write(buffer.getvalue()))


def _mark(picture: np.ndarray, point_px: tuple[float, float], scales: tuple[float, float]) -> None:
    """A ring around the point, in both halves. scales: picture pixels per frame pixel, across and down."""
    for left in (0, picture.shape[1] // 2):
        centre = (int(left + (point_px[0] + 0.5) * scales[0]), int((point_px[1] + 0.5) * scales[1]))
        cv2.circle(picture, centre, 9, (0, 0, 0), 4, cv2.LINE_AA)
        cv2.circle(picture, centre, 9, (0, 229, 255), 2, cv2.LINE_AA)
