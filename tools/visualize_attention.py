"""Draw what a non-local block attends to (the paper's figure 3): python tools/visualize.py attention --video_path=V
--weights=W

For chosen points of one frame of a clip, or the points whose attention is the most concentrated: heat maps over all
frames of the clip and arrows to the strongest positions, as PNG, and the heat maps as mp4. Heat is drawn at the centres
of the block's positions, crop, strides and pools taken into account. The weights of a point sum to 1 for the two
softmax forms; those of the dot product may be negative (blue), and those of the concatenation are not normalised.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.cli import build_parser, positive_int
from utils.errors import UserError
from utils.runtime import choose_device, prepare_environment


@dataclass(frozen=True)
class Look:
    """The attention of a point of the clip. position: (t, h, w) of the block's grid; point_px: its centre (x, y);
    weights: [T, H', W']; heat: [T, S, S] over the pixels; targets: (t, x, y, weight), the strongest first;
    frames_per_step: frames of the clip that one t covers; is_signed: the weights do not sum to 1."""

    position: tuple[int, int, int]
    point_px: tuple[float, float]
    weights: np.ndarray
    heat: np.ndarray
    targets: list[tuple[int, float, float, float]]
    frames_per_step: int
    is_signed: bool


def main(argv: list[str]) -> None:
    arguments = _parse(argv)
    from configs import config_from_args

    config = config_from_args(arguments, ())
    prepare_environment()
    choose_device(arguments.use_gpu)
    from inference import build_backend
    from tools.attention_drawing import draw_look, write_video

    clip, frames, pixel_aspect = _read_clip(config, arguments)
    backend = build_backend(config, arguments.weights, config.INFER.checkpoint_dir)
    name, looks, scores = find_looks(backend.model, clip, arguments)
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


def find_looks(model, clip: np.ndarray, arguments: argparse.Namespace) -> tuple[str, list[Look], np.ndarray]:
    """The block's name, a Look for each point, and the class scores [K] of the clip."""
    import paddle

    from models.nonlocal_model.attention_map import attention_rows, grid_of_stage, nonlocal_blocks, recorded_inputs

    blocks = {_shown_name(name): block for name, block in nonlocal_blocks(model).items()}
    last_of_res3 = next((name for name in reversed(blocks) if name.startswith("res3.")), next(reversed(blocks), ""))
    name = _shown_name(arguments.block or last_of_res3)
    if name not in blocks:
        raise UserError(f"no non-local block {name!r} in this network; there are: {', '.join(blocks) or 'none'}")
    block, grid = blocks[name], grid_of_stage(model, name.partition(".")[0], clip.shape[-1])
    with recorded_inputs(block) as calls, paddle.no_grad():
        scores = model.class_scores(model(paddle.to_tensor(clip))).numpy()[0]
    x, num_steps = calls[0]
    size = tuple(x.shape[2:])
    step = arguments.frame // grid.frames_per_step
    if arguments.point:
        side = clip.shape[-1]
        points = [(step, grid.nearest(v * side, size[0]), grid.nearest(u * side, size[1])) for u, v in arguments.point]
    else:
        points = strongest_points(block, x, num_steps, step, size, arguments.num_points)
    weights, _ = attention_rows(block, x, num_steps, points)
    is_softmax = block.instantiation in ("gaussian", "embedded_gaussian")
    keys = grid.pooled() if block.subsample else grid
    looks = [_look(p, w, grid, keys, clip.shape[-1], is_softmax, arguments.num_arrows) for p, w in zip(points, weights)]
    return name, looks, scores


def _shown_name(block: str) -> str:
    """The name that users see, res3.nl1, of a block that is called stage3.nl1 in weight files."""
    return block.replace("stage", "res", 1) if block.startswith("stage") else block


def strongest_points(block, x, num_steps: int, step: int, size: tuple[int, int], count: int) -> list[tuple]:
    """Positions of one step with the largest single weight, no two of them neighbours."""
    from models.nonlocal_model.attention_map import attention_rows

    places = [(step, h, w) for h in range(size[0]) for w in range(size[1])]
    weights, _ = attention_rows(block, x, num_steps, places)
    order = np.argsort(-np.abs(weights).reshape(len(places), -1).max(1), kind="stable")
    apart, chosen = max(2, min(size) // 4), []
    for place in (places[i] for i in order):
        if all(max(abs(place[1] - other[1]), abs(place[2] - other[2])) >= apart for other in chosen):
            chosen.append(place)
        if len(chosen) == count:
            break
    return chosen


def _look(position, weights: np.ndarray, grid, keys, side: int, is_softmax: bool, num_arrows: int) -> Look:
    heat = np.stack([keys.spread(frame, side, side) for frame in weights])
    order = np.argsort(-np.abs(weights), axis=None, kind="stable")[:num_arrows]
    targets = []
    for t, h, w in zip(*np.unravel_index(order, weights.shape)):
        if weights[t, h, w]:
            targets.append((int(t), keys.centre(w), keys.centre(h), float(weights[t, h, w])))
    point = (grid.centre(position[2]), grid.centre(position[1]))
    return Look(position, point, weights, heat, targets, grid.frames_per_step, not is_softmax)


def _caption(config, model: Any, name: str, scores: np.ndarray) -> str:
    from datareader.lists import class_names_of
    from models.nonlocal_model.attention_map import nonlocal_blocks

    blocks = {_shown_name(block): layer for block, layer in nonlocal_blocks(model).items()}
    best, form = int(scores.argmax()), blocks[name].instantiation
    answer = class_names_of(config, "INFER")[best]
    return f"{name}, {form.replace('_', ' ')}; recognised: {answer} ({100 * scores[best]:.0f} %)"
