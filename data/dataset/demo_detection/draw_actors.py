"""Scenes of several actors, each with an action of its own that only shows in how it changes, and their exact boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from data.dataset.demo.draw_motions import (
    CAMERA_MARGIN,
    Thing,
    change_over_time,
    colour_unlike,
    draw_thing,
    layers_of,
    reversed_classes,
    smooth_noise,
    texture,
    turned_shape,
)

# name -> (motion of data.dataset.demo.draw_motions, whether its frames run backwards). The classes of a pair are exact
# reversals of each other, and all are their own mirror image.
CLASSES = {
    "rise": ("lift", False),
    "fall": ("lift", True),
    "grow": ("spread", False),
    "shrink": ("spread", True),
    "brighten": ("light", False),
    "darken": ("light", True),
    "swing": ("swing", False),
    "flicker": ("flicker", False),
}
CLASS_NAMES = tuple(CLASSES)
REVERSED_CLASS = reversed_classes(CLASSES)
NUM_FRAMES = (40, 60)
SIDE_PX = (128, 160)
NUM_ACTORS = (2, 4)
ACTOR_PX = (24, 48)  # diameter of the circle around an actor
CYCLE_FRAMES = (20, 36)  # how long a one-way motion takes from end to end
COLOURS = (40, 200)  # of the channels of an actor's colour, which the light then multiplies by 0.47 to 1.57
KEY_FRAME_INTERVAL = 8
CLIP_MARGIN = 12  # frames before and behind a key frame


class Actor(NamedTuple):
    """class_name: what it does. layers: as those of a `Thing`, of diameter 1 and light 1. place: float [n, 2], its
    centre (x, y) in pixels. diameter: float [n], pixels. gain: float [n], of its light."""

    class_name: str
    layers: list
    place: np.ndarray
    diameter: np.ndarray
    gain: np.ndarray

    def at(self, t: int) -> Thing:
        """What is drawn in frame t."""
        layers = [
            (np.clip(np.array(colour) * self.gain[t], 0, 255).tolist(), corners * self.diameter[t])
            for colour, corners in self.layers
        ]
        return Thing(self.place[t], layers)


@dataclass(frozen=True)
class Scene:
    """A video of n frames before it is drawn.

    height, width: of a frame. background: uint8 [height + 16, width + 16, 3]. jitter: float [n, 2], by how many pixels
    the camera is off. grain: standard deviation of the noise, grain_seed: what decides it. backwards: the frames are
    shown from the last to the first, by which every class becomes the other one of its pair.
    """

    height: int
    width: int
    background: np.ndarray
    actors: list[Actor]
    jitter: np.ndarray
    grain: float
    grain_seed: int
    backwards: bool = False

    @property
    def num_frames(self) -> int:
        """n."""
        return len(self.jitter)

    @property
    def classes(self) -> tuple[str, ...]:
        """What each actor does."""
        names = (actor.class_name for actor in self.actors)
        return tuple(REVERSED_CLASS[name] if self.backwards else name for name in names)

    def boxes(self) -> np.ndarray:
        """The actors' boxes (x1, y1, x2, y2), float64 [n, A, 4], pixels; the pixel of index 0 reaches from 0 to 1.

        A box is the bounding rectangle of the corners that are drawn, clipped to the picture.
        """
        boxes = np.empty((self.num_frames, len(self.actors), 4))
        for number, actor in enumerate(self.actors):
            outline = actor.layers[0][1]
            centre = actor.place + self.jitter + 0.5  # a pixel's centre is 0.5 from its edges
            boxes[:, number, :2] = outline.min(axis=0) * actor.diameter[:, None] + centre
            boxes[:, number, 2:] = outline.max(axis=0) * actor.diameter[:, None] + centre
        boxes = np.clip(boxes, 0, [self.width, self.height] * 2)
        return boxes[::-1] if self.backwards else boxes

    def draw(self) -> np.ndarray:
        """The frames, uint8 RGB [n, height, width, 3]."""
        rng = np.random.default_rng(self.grain_seed)
        frames = np.empty((self.num_frames, self.height, self.width, 3), np.uint8)
        for t, jitter in enumerate(self.jitter):
            move = np.float32([[1, 0, jitter[0] - CAMERA_MARGIN], [0, 1, jitter[1] - CAMERA_MARGIN]])
            picture = cv2.warpAffine(self.background, move, (self.width, self.height), flags=cv2.INTER_LINEAR)
            for actor in self.actors:
                thing = actor.at(t)
                draw_thing(picture, thing, thing.home + jitter)
            grain = rng.standard_normal((self.height // 2, self.width // 2), np.float32) * np.float32(self.grain)
            grain = cv2.resize(grain, (self.width, self.height))[..., None]
            frames[t] = np.clip(picture + grain, 0, 255).astype(np.uint8)
        return frames[::-1].copy() if self.backwards else frames


def scene_by_chance(rng: np.random.Generator) -> Scene:
    """A scene of 2 to 4 actors, each in a quarter of the picture and each with an action by chance.

    Size, length, texture, shapes, colours, speed, noise and jitter of the camera are left to chance. What an action
    does not change rests at a value from the range that other actions run through, so that no frame tells the action.
    """
    num_frames = int(rng.integers(NUM_FRAMES[0], NUM_FRAMES[1] + 1))
    height, width = (2 * int(rng.integers(SIDE_PX[0] // 2, SIDE_PX[1] // 2 + 1)) for _ in range(2))
    background = texture(rng, height + 2 * CAMERA_MARGIN, width + 2 * CAMERA_MARGIN)
    ground = background.mean(axis=(0, 1))
    quarters = rng.permutation(4)[: rng.integers(NUM_ACTORS[0], NUM_ACTORS[1] + 1)]
    actors = [_actor(quarter, num_frames, height, width, ground, rng) for quarter in quarters.tolist()]
    jitter = np.clip(smooth_noise(rng, num_frames) * rng.uniform(0, 1), -CAMERA_MARGIN, CAMERA_MARGIN)
    return Scene(height, width, background, actors, jitter, rng.uniform(0, 4), int(rng.integers(2**32)))


def key_frames(num_frames: int) -> list[int]:
    """The annotated frames of a scene, counted from 0: every eighth one that has twelve frames on either side."""
    return list(range(CLIP_MARGIN, num_frames - CLIP_MARGIN + 1, KEY_FRAME_INTERVAL))


def _actor(
    quarter: int, num_frames: int, height: int, width: int, ground: np.ndarray, rng: np.random.Generator
) -> Actor:
    """An actor that stays in a quarter of the picture (0 .. 3, row by row)."""
    class_name = CLASS_NAMES[rng.integers(len(CLASS_NAMES))]
    motion, backwards = CLASSES[class_name]
    change = change_over_time(motion, num_frames, 1, rng, CYCLE_FRAMES)
    shape, outline = turned_shape(rng)
    outline = outline / (2 * np.linalg.norm(outline, axis=1).max())
    layers = layers_of(shape, outline, colour_unlike(ground, rng, COLOURS), rng.uniform(*COLOURS, 3))
    size, lift = np.full(num_frames, rng.random()), np.full(num_frames, rng.uniform(-0.6, 0.6))
    if motion == "spread":
        size = change.spread[:, 0]
    if change.height is not None:
        lift = change.height[:, 0]
    diameter = ACTOR_PX[0] + (ACTOR_PX[1] - ACTOR_PX[0]) * size
    free = np.array([width, height]) / 2 - diameter.max()  # how far it can go within its quarter
    side = rng.uniform(-0.3, 0.3) * free[0] + 0.6 * width * change.side
    middle = np.array([quarter % 2 + 0.5, quarter // 2 + 0.5]) * [width / 2, height / 2]
    place = middle + np.stack([side, -lift / 1.2 * free[1]], axis=1)
    states = place, diameter, change.gain
    return Actor(class_name, layers, *(state[::-1] if backwards else state for state in states))
