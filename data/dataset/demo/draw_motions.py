"""Frames of the demo's actions: textured scenes whose class is only in how they change, never in how they look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

# name -> (motion, whether its frames run backwards). The classes of a pair are exact reversals of each other, and all
# are their own mirror image, as training mirrors clips at random.
CLASSES = {
    "rise": ("lift", False),
    "fall": ("lift", True),
    "scatter": ("spread", False),
    "gather": ("spread", True),
    "brighten": ("light", False),
    "darken": ("light", True),
    "swing": ("swing", False),
    "flicker": ("flicker", False),
}
CLASS_NAMES = tuple(CLASSES)


def reversed_classes(classes: Mapping[str, tuple[str, bool]]) -> dict[str, str]:
    """The class that each one becomes when its frames are shown in reversed order; classes: as `CLASSES`."""
    return {
        name: next((other for other in classes if classes[other] == (motion, not backwards)), name)
        for name, (motion, backwards) in classes.items()
    }


REVERSED_CLASS = reversed_classes(CLASSES)
# motion -> how many objects, their radius and their distance from the middle, both in short sides of the frame
MOTIONS = {
    "lift": ((4, 8), (0.06, 0.13), (0.05, 0.42)),
    "spread": ((10, 18), (0.05, 0.085), (0.45, 0.65)),
    "light": ((1, 12), (0.05, 0.16), (0.08, 0.30)),
    "swing": ((3, 8), (0.06, 0.13), (0.05, 0.30)),
    "flicker": ((1, 12), (0.05, 0.16), (0.08, 0.30)),
}
ONE_WAY = ("lift", "spread", "light")
SHAPES = ("disc", "triangle", "square", "bar", "cross", "star")
CYCLE_FRAMES = (44, 72)  # how long a one-way motion takes from end to end
CAMERA_MARGIN = 8  # pixels by which the camera may stray
SUBPIXEL_BITS = 4  # cv2 draws at 1/16 pixel, so that slow motion is smooth


class Thing(NamedTuple):
    """An object: its own place (x, y) from the middle and its layers, a colour and corners [C, 2] each; in pixels."""

    home: np.ndarray
    layers: list[tuple[list[float], np.ndarray]]


def draw_frames(class_name: str, rng: np.random.Generator) -> np.ndarray:
    """Draw one video: a scene by chance and its change in time by the class.

    Size, length, texture, shapes, colours, speed, lighting, noise and jitter of the camera are left to chance. With
    `rng` in the same state a class and its pair have exactly the same frames in opposite order.

    Args:
        class_name: one of CLASS_NAMES.
        rng: its state decides all that is left to chance.

    Returns:
        uint8 RGB [n, H, W, 3], n in 40 .. 90, short side in 96 .. 128, H and W even.
    """
    motion, backwards = CLASSES[class_name]
    num_frames = int(rng.integers(40, 91))
    short_px = 2 * int(rng.integers(48, 65))
    long_px = 2 * int(short_px * rng.uniform(1.0, 1.36) / 2)
    height, width = (short_px, long_px) if rng.random() < 0.7 else (long_px, short_px)
    background = texture(rng, height + 2 * CAMERA_MARGIN, width + 2 * CAMERA_MARGIN)
    things = _objects(rng, motion, background, short_px)
    change = change_over_time(motion, num_frames, len(things), rng)
    places = _places(change, np.array([thing.home for thing in things]), width, height)
    jitter = np.clip(smooth_noise(rng, num_frames) * rng.uniform(0, 1.5), -CAMERA_MARGIN, CAMERA_MARGIN)
    noise = rng.uniform(0, 4)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for t in range(num_frames):
        move = np.float32([[1, 0, jitter[t, 0] - CAMERA_MARGIN], [0, 1, jitter[t, 1] - CAMERA_MARGIN]])
        picture = cv2.warpAffine(background, move, (width, height), flags=cv2.INTER_LINEAR)
        for thing, place in zip(things, places[t]):
            draw_thing(picture, thing, place + jitter[t])
        grain = rng.standard_normal((height // 2, width // 2), np.float32) * noise
        lit = picture * np.float32(change.gain[t]) + cv2.resize(grain, (width, height))[..., None]
        frames[t] = np.clip(lit, 0, 255).astype(np.uint8)
    return frames[::-1].copy() if backwards else frames


class Change(NamedTuple):
    """What happens to a scene of `count` objects in n frames; what the motion does not change is None or constant."""

    height: np.ndarray | None  # float [n, count], -0.5 (bottom) .. 0.5 (top) and a little beyond, in frame heights
    spread: np.ndarray  # float [n, count], the distance from the middle in units of the object's own
    side: np.ndarray  # float [n], how far all are shifted sideways, in frame widths
    gain: np.ndarray  # float [n], of the light


def change_over_time(
    motion: str,
    num_frames: int,
    count: int,
    rng: np.random.Generator,
    cycle_frames: tuple[int, int] = CYCLE_FRAMES,
) -> Change:
    """Let a motion run.

    The one-way motions repeat without end, each object at its own point of the cycle: it goes from one end to the other
    and starts again. So every moment looks alike, any window of frames shows the direction, and a clip that runs past
    the end of the video and goes on at its start (as short videos are read) shows one jump more and is still right.
    What rests does so at a value from the range that other motions run through.

    Args:
        motion: one of MOTIONS.
        num_frames: n, at least 1.
        count: objects, at least 1.
        rng: gives speed, unevenness and the points of the cycle.
        cycle_frames: limits of the time that a one-way motion takes from end to end.
    """
    time = np.arange(num_frames) / rng.uniform(*cycle_frames) + rng.random()
    order = (rng.permutation(count) + rng.uniform(-0.2, 0.2, count)) / count  # objects are spread over the cycle
    cycle = ((time[:, None] + order) % 1) ** rng.uniform(0.8, 1.25)
    rest = rng.uniform(-0.6, 0.6)
    gain = np.exp(0.6 * (2 * (time % 1) - 1 if motion == "light" else np.full(num_frames, rest)) - 0.15)
    if motion == "flicker":
        jumps = np.cumsum(rng.integers(2, 7, num_frames))
        level = np.searchsorted(jumps, np.arange(num_frames), side="right") % 2
        gain = gain * np.exp(rng.uniform(0.3, 0.5) * (2 * level - 1))
    side = np.zeros(num_frames)
    if motion == "swing":
        angle = 2 * np.pi * (np.arange(num_frames) / rng.uniform(13, 24) + rng.random())
        side = rng.uniform(0.1, 0.18) * np.sin(angle)
    height = 1.2 * cycle - 0.6 if motion == "lift" else None
    return Change(height, cycle if motion == "spread" else np.ones(cycle.shape), side, gain)


def _places(change: Change, homes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return where the objects are, float [n, count, 2]: (x, y) in pixels."""
    places = homes * change.spread[..., None] + [width / 2, height / 2]
    places[..., 0] += change.side[:, None] * width
    if change.height is not None:
        places[..., 1] = height * (0.5 - change.height)
    return places


def smooth_noise(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """Return a camera held by hand: float [n, 2] pixels of deviation about 1, the same law forwards and backwards."""
    window = np.hanning(9)
    raw = rng.standard_normal((num_frames + 8, 2))
    return np.stack([np.convolve(axis, window / np.linalg.norm(window), "valid") for axis in raw.T], axis=1)


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a background, uint8 [height, width, 3]: two colours mixed by clouds, stripes, checks or a gradient."""
    colours = rng.uniform(40, 215, (2, 3)).astype(np.float32)
    kind = rng.integers(4)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, cell = rng.uniform(0, np.pi), rng.uniform(10, 40)
    along, across = xs * np.cos(angle) + ys * np.sin(angle), ys * np.cos(angle) - xs * np.sin(angle)
    if kind == 0:
        grid = rng.random((int(rng.integers(3, 12)), int(rng.integers(3, 12)))).astype(np.float32)
        mix = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    elif kind == 1:
        mix = 0.5 + 0.5 * np.sin(2 * np.pi * along / cell)
    elif kind == 2:
        mix = 0.5 + 0.5 * np.tanh(4 * np.sin(np.pi * along / cell) * np.sin(np.pi * across / cell))
    else:
        mix = (along - along.min()) / (np.ptp(along) + 1)
    speckle = cv2.resize(rng.standard_normal((height // 3, width // 3), np.float32), (width, height))
    mix = np.clip(mix, 0, 1)[..., None]
    ground = colours[0] * mix + colours[1] * (1 - mix) + (speckle * rng.uniform(0, 10))[..., None]
    return np.clip(ground, 0, 255).astype(np.uint8)


def _objects(rng: np.random.Generator, motion: str, background: np.ndarray, short_px: int) -> list[Thing]:
    """Return a motion's objects, spread all around the middle, of colours unlike the ground."""
    counts, radii, distances = MOTIONS[motion]
    ground, turn, things = background.mean(axis=(0, 1)), rng.uniform(0, 2 * np.pi), []
    count = int(rng.integers(counts[0], counts[1] + 1))
    for index in range(count):
        angle = turn + 2 * np.pi * (index + rng.uniform(-0.3, 0.3)) / count
        home = rng.uniform(*distances) * short_px * np.array([np.cos(angle), np.sin(angle)])
        colour = colour_unlike(ground, rng)
        shape, outline = turned_shape(rng)
        corners, inner = outline * rng.uniform(*radii) * short_px, rng.uniform(0, 255, 3)
        things.append(Thing(home, layers_of(shape, corners, colour, inner)))
    return things


def colour_unlike(ground: np.ndarray, rng: np.random.Generator, limits: tuple[float, float] = (0, 255)) -> np.ndarray:
    """A colour, float [3], each channel within `limits`, that differs from the colour `ground` by 55 a channel."""
    colour = rng.uniform(*limits, 3)
    while np.abs(colour - ground).mean() < 55:
        colour = rng.uniform(*limits, 3)
    return colour


def turned_shape(rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """One of SHAPES and its corners [C, 2], turned by any angle; the radius is about 1."""
    shape, angle = SHAPES[rng.integers(len(SHAPES))], rng.uniform(0, 2 * np.pi)
    return shape, _outline(shape) @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def layers_of(shape: str, corners: np.ndarray, colour: np.ndarray, inner: np.ndarray) -> list:
    """The layers of a `Thing`: the outline and, unless it is a bar, a smaller one of another colour inside."""
    layers = [(colour.tolist(), corners), (inner.tolist(), corners * 0.45)]
    return layers[:1] if shape == "bar" else layers


def draw_thing(picture: np.ndarray, thing: Thing, place: np.ndarray) -> None:
    """Draw an object into uint8 [H, W, 3] at `place` (x, y) pixels."""
    for colour, corners in thing.layers:
        points = ((corners + place) * 2**SUBPIXEL_BITS + 0.5).astype(np.int32)
        cv2.fillPoly(picture, [points], colour, cv2.LINE_AA, SUBPIXEL_BITS)


def _outline(shape: str) -> np.ndarray:
    """Return the corners [C, 2] of a shape of radius about 1."""
    if shape == "bar":
        return np.array([[-1.5, -0.4], [1.5, -0.4], [1.5, 0.4], [-1.5, 0.4]])
    if shape == "cross":
        arm, quarter_turn = np.array([[0.3, 0.3], [1.1, 0.3], [1.1, -0.3]]), np.array([[0, -1], [1, 0]])
        return np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, quarter) for quarter in range(4)])
    corners = {"triangle": 3, "square": 4, "star": 10}.get(shape, 24)
    angles = np.arange(corners) * 2 * np.pi / corners
    radii = np.where(np.arange(corners) % 2, 0.5, 1.2) if shape == "star" else np.ones(corners)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
