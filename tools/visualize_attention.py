"""Draw what a non-local block attends to (the paper's figure 3): python tools/visualize.py attention --video_path=V
--weights=W

For chosen points of one frame of a clip, or the points whose attention is the most concentrated: heat maps over all
frames of the clip and arrows to the strongest positions, as PNG, and the heat maps as mp4. Heat is drawn at the centres
of the block's positions, crop, strides and pools taken into account. The weights of a point sum to 1 for the two
softmax forms; those of the dot product may be negative (blue), and those of the concatenation are not normalised.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from utils.cli import build_parser, positive_int
from utils.errors import UserError
from utils.runtime import choose_device, prepare_environment


def main(argv: list[str]) -> None:
    arguments = _parse(argv)
    from configs import config_from_args

    config = config_from_args(arguments, ())
    prepare_environment()
    choose_device(arguments.use_gpu)
    from inference import build_backend
    from inference.attention import find_looks
    from tools.attention_drawing import draw_look, write_video

    clip, frames, pixel_aspect = _read_clip(config, arguments)
    backend = build_backend(config, arguments.weights, config.INFER.checkpoint_dir)
    name, looks, scores = find_looks(
        backend.model,
        clip,
        arguments.frame,
        arguments.point or (),
        block=arguments.block,
        num_points=arguments.num_points,
        num_arrows=arguments.num_arrows,
    )
    stem = f"{Path(arguments.video_path).stem}_{name}_frame{arguments.frame}"
    caption = _caption(config, backend.model, name, scores)
    for number, look in enumerate(looks, 1):
        path = Path(arguments.save_dir) / f"{stem}_point{number}"
        draw_look(frames, look, arguments.frame, f"{path}.png", caption, pixel_aspect)
        write_video(frames, look, arguments.frame, f"{path}.mp4", pixel_aspect)
        t, h, w = look.position
        total = f"their sum is {look.weights.sum():.4f}"
        print(f"{path}.png and .mp4: position {t}, {h}, {w}; {look.weights.size} weights, {total}")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = build_parser(__doc__, save_dir="output/attention", log_interval=1)
    parser.prog = "visualize.py attention"
    parser.add_argument("--video_path", required=True, help="the video")
    parser.add_argument("--weights", help="file of weights (default: as for predict.py)")
    parser.add_argument("--block", help="as res3.nl1 (default: the last one of res3, else the last one)")
    parser.add_argument("--clip", type=int, default=0, help="one of the ten test clips, 0..9 (default: %(default)s)")
    parser.add_argument("--frame", type=int, default=0, help="frame of the clip, from 0 (default: %(default)s)")
    parser.add_argument(
        "--point",
        action="append",
        type=_point,
        metavar="X,Y",
        help="a point of that frame's crop as fractions of its width and height, as 0.5,0.25; may be repeated",
    )
    parser.add_argument("--num_points", type=positive_int, default=3, help="without --point (default: %(default)s)")
    parser.add_argument("--num_arrows", type=positive_int, default=20, help="arrows per point (default: %(default)s)")
    return parser.parse_args(argv)


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise argparse.ArgumentTypeError(f"expected X,Y with both from 0 to 1, found {text!r}")
    return x, y


def _read_clip(config, arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, float]:
    """The centre crop of the clip: float32 [1, 3, T, S, S] for the network and uint8 [T, S, S, 3] for
    drawing, and width / height of a pixel."""
    from datareader import NO_LABEL, Failure, VideoItem, build_view_loader, probe
    from datareader.windows import read_pixel_aspect
    from utils.clip_sheets import as_rgb, display_scale

    if not 0 <= arguments.clip < 10:
        raise UserError(f"--clip={arguments.clip}: there are clips 0 to 9")
    if not 0 <= arguments.frame < config.INFER.video_length:
        raise UserError(f"--frame={arguments.frame}: a clip has frames 0 to {config.INFER.video_length - 1}")
    items = [VideoItem(arguments.video_path, NO_LABEL, 1)]
    loader = build_view_loader(config, items, section="INFER", views="10x1", num_workers=0)
    (views,) = loader
    if isinstance(views, Failure):
        raise UserError(f"{views.path}: {views.reason}")
    clip = views.clips(np.array([arguments.clip]))
    mean, std = map(np.array, display_scale(config))
    shown = clip[0].transpose(1, 2, 3, 0) * std + mean
    across, down = read_pixel_aspect(loader.pool, arguments.video_path, loader.reader)
    aspect = across / down
    if not config.INPUT.keep_aspect_ratio:  # drawn in the video's shape
        info = probe(arguments.video_path)
        aspect *= info.width / info.height
    return clip, as_rgb(np.clip(np.rint(shown), 0, 255).astype(np.uint8)), aspect


def _caption(config, model: Any, name: str, scores: np.ndarray) -> str:
    from datareader.lists import class_names_of
    from inference.attention import find_block

    best, form = int(scores.argmax()), find_block(model, name)[1].instantiation
    answer = class_names_of(config, "INFER")[best]
    return f"{name}, {form.replace('_', ' ')}; recognised: {answer} ({100 * scores[best]:.0f} %)"
