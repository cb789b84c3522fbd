"""Text on frames: a label drawn once and blended into every frame that shows it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

# Fonts that hold Chinese, Japanese and Korean, as they are called on the systems where they are found.
WIDE_FONTS = (
    "Noto Sans CJK", "Noto Sans SC", "Source Han Sans", "WenQuanYi", "Microsoft YaHei", "SimHei", "SimSun", "PingFang",
    "Hiragino Sans", "Heiti", "Arial Unicode", "Droid Sans Fallback", "Unifont",
)  # fmt: skip
PLACEHOLDER_FONTS = ("Last Resort",)  # has a box for every character, and matplotlib 3.11 brings it
MIN_TEXT_PX = 8
TEXT_SHARE = 22  # a line of text is this part of the frame's height
BOX_OPACITY = 0.6


@lru_cache(maxsize=1)
def _known_fonts() -> tuple[str, ...]:
    """Files of the fonts to try: the one that comes with matplotlib, the wide ones of the system, then all others."""
    from matplotlib import font_manager

    def rank(font) -> int:
        return 0 if any(font.name.startswith(name) for name in WIDE_FONTS) else 1

    fonts = [font for font in font_manager.fontManager.ttflist if not font.name.startswith(PLACEHOLDER_FONTS)]
    system = sorted(fonts, key=rank)
    own = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans"))
    return (own, *dict.fromkeys(font.fname for font in system if font.fname != own))


@lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[int]:
    from matplotlib import font_manager

    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def find_font(text: str) -> str:
    """The file of a font that has every character of `text`, "" if there is none."""
    needed = {ord(character) for character in text if not character.isspace()}
    return next((path for path in _known_fonts() if needed <= _characters(path)), "")


def drawable_names(names: Iterable[str]) -> dict[str, str]:
    """What stands for each name on a frame: the name, or "?" for characters that no font has, where no font has all."""
    return {name: name if find_font(name) else _with_gaps(name) for name in names}


def _with_gaps(name: str) -> str:
    has = _characters(_known_fonts()[0])
    return "".join(c if c.isspace() or ord(c) in has else "?" for c in name)


@lru_cache(maxsize=64)
def label_box(text: str, frame_height: int, frame_width: int) -> np.ndarray:
    """White text on a dark, half transparent box that fits into the frame: float32 [h, w, 2] of brightness (0..255) and
    opacity (0..1)."""
    from PIL import Image, ImageDraw, ImageFont

    size = max(MIN_TEXT_PX, frame_height // TEXT_SHARE)
    path = find_font(text) or _known_fonts()[0]
    left, top, right, bottom = ImageFont.truetype(path, size).getbbox(text)
    room = frame_width - size
    if right - left > room:
        size = max(MIN_TEXT_PX, int(size * room / (right - left)))
        left, top, right, bottom = ImageFont.truetype(path, size).getbbox(text)
    margin = max(2, size // 3)
    picture = Image.new("L", (right - left + 2 * margin, bottom - top + 2 * margin), 0)
    ImageDraw.Draw(picture).text((margin - left, margin - top), text, 255, ImageFont.truetype(path, size))
    ink = np.asarray(picture, np.float32)[:frame_height, :frame_width]
    return np.stack([ink, np.maximum(ink / 255, BOX_OPACITY)], -1)


def draw_label(frame: np.ndarray, text: str) -> np.ndarray:
    """The frame, uint8 RGB [H, W, 3], with the text in its upper left corner; changed in place and returned."""
    height, width = frame.shape[:2]
    box = label_box(text, height, width)
    offset = min(height // 40, height - box.shape[0], width - box.shape[1])
    part = frame[offset : offset + box.shape[0], offset : offset + box.shape[1]]
    ink, opacity = box[..., :1], box[..., 1:]
    part[:] = np.rint(part * (1 - opacity) + ink * opacity).astype(np.uint8)
    return frame
