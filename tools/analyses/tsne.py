"""Videos in the plane by their features (the S3D paper's figure 7): python tools/analyse.py tsne --config=C --weights=W

A panel a stage: t-SNE of the stage's output, averaged over frames, height and width, coloured by class or by group of
classes. Under each panel, of the features themselves and not of the plane: the silhouette (-1..1) and the accuracy of
the nearest other video's label, with that of a random one. Distances are Euclidean.

--groups=something: the ten groups of Something-Something's labels that the paper draws, by the texts of the labels.
--groups=FILE: JSON, {"group": ["class name", ...], ...}. Videos outside all groups are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.cli import Parser, parse_switch, positive_int
from utils.errors import UserError
from utils.files import write_json
from utils.log import Progress
from utils.runtime import choose_device, prepare_environment

MIN_VIDEOS = 6
# Group of Something-Something -> how its labels begin, or what they contain.
SOMETHING_STARTS = ("Dropping", "Picking", "Putting", "Poking", "Tearing", "Pouring", "Holding", "Showing")
SOMETHING_MOVES = {"moving right to left": "from right to left", "moving left to right": "from left to right"}


def main(argv: list[str]) -> None:
    args = _parse(argv)
    load_sklearn()
    from configs import load_config
    from datareader import read_list
    from datareader.lists import class_names_of

    overrides = args.override + ([f"TEST.filelist={args.filelist}"] if args.filelist else [])
    config = load_config(args.config, overrides)
    names = class_names_of(config)
    group_of = groups_of_classes(names, args.groups)
    items = read_list(config.TEST.filelist, config.MODEL.num_classes)
    items = [item for item in items if group_of[item.label] is not None][: args.max_videos]
    check_videos([str(group_of[item.label]) for item in items], config.TEST.filelist)
    prepare_environment()
    choose_device(args.use_gpu)
    from tools.analyses.numbers import write_csv
    from utils.plots import draw_clouds

    features, kept = read_features(config, items, args)
    groups = [str(group_of[item.label]) for item in kept]
    check_videos(groups, config.TEST.filelist)
    panels, rows, numbers = {}, [], []
    for stage, values in features.items():
        found = separation(values, groups)
        plane = in_the_plane(values, args.seed, args.perplexity)
        found_text = f"silhouette {found['silhouette']:.3f}, nearest neighbour {found['nearest_neighbour']:.1f} %"
        panels[f"{stage}\n{found_text}"] = plane
        numbers.append({"stage": stage, "channels": values.shape[1], **found})
        rows += [
            {"stage": stage, "path": item.path, "label": names[item.label], "group": group, "x": x, "y": y}
            for item, group, (x, y) in zip(kept, groups, plane.tolist())
        ]
        print(f"{stage}: {found_text} (a random one: {found['random_neighbour']:.1f} %)")
    folder = Path(args.save_dir)
    draw_clouds(panels, groups, folder / "tsne.png", f"{config.MODEL.arch}: t-SNE of {len(kept)} videos")
    write_csv(folder / "tsne.csv", ("stage", "path", "label", "group", "x", "y"), rows)
    facts = {"config": args.config, "weights": args.weights, "arch": config.MODEL.arch, "seed": args.seed}
    write_json(folder / "tsne.json", {**facts, "videos": len(kept), "groups": sorted(set(groups)), "stages": numbers})
    print(f"{folder}/tsne.png, tsne.csv, tsne.json")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="analyse.py tsne", description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="YAML file of the network")
    parser.add_argument("--weights", help="file of weights (default: as eval.py)")
    parser.add_argument("--filelist", help="in place of TEST.filelist")
    parser.add_argument("--groups", default="", help="something, or a JSON file (default: each class for itself)")
    parser.add_argument("--stages", nargs="+", help="stages of the network (default: all)")
    parser.add_argument("--views", default="1x1", help="clips x crops averaged for a video (default: %(default)s)")
    parser.add_argument("--max_videos", type=positive_int, help="no more than the first so many")
    parser.add_argument(
        "--perplexity", type=float, default=30.0, help="at most a third of the videos (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of t-SNE (default: %(default)s)")
    parser.add_argument("--use_gpu", type=parse_switch, help="True or False; auto-detected when omitted")
    parser.add_argument("--save_dir", default="output/tsne", help="output folder (default: %(default)s)")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.KEY=VALUE",
        help="override a key of the configuration; may be repeated",
    )  # fmt: skip
    return parser.parse_args(argv)


def load_sklearn() -> Any:
    """scikit-learn, an optional package. Raises UserError with the pip line where it is missing."""
    try:
        import sklearn
    except ImportError:
        raise UserError('t-SNE needs scikit-learn: pip install ".[analysis]"') from None
    return sklearn


def groups_of_classes(class_names: Sequence[str], groups: str) -> list[str | None]:
    """The group of each class, None: in no group. groups: "" (each class is one), "something", or a JSON file."""
    if not groups:
        return list(class_names)
    if groups == "something":
        found = [something_group(name) for name in class_names]
    else:
        by_class = read_groups(groups)
        unknown = [name for name in by_class if name not in class_names]
        if unknown:
            raise UserError(f"{groups}: there is no class {unknown[0]!r} in this configuration")
        found = [by_class.get(name) for name in class_names]
    if not any(found):
        raise UserError(f"--groups={groups}: no class name belongs to a group; are these Something-Something's labels?")
    return found


def something_group(label: str) -> str | None:
    """The group of a label text of Something-Something among the ten that the paper draws, or None."""
    for group, words in SOMETHING_MOVES.items():
        if words in label.lower():
            return group
    first = label.split(" ", 1)[0].capitalize()
    return first if first in SOMETHING_STARTS else None


def read_groups(path: str) -> dict[str, str]:
    """Class name -> group, of a JSON file {"group": ["class name", ...]}."""
    try:
        groups = json.loads(Path(path).read_text(encoding="utf-8"))
        return {str(name): str(group) for group, names in groups.items() for name in [*names]}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; --groups is something or a JSON file") from error
    except (ValueError, AttributeError, TypeError):
        raise UserError(f'{path}: write JSON of the form {{"group": ["class name", ...]}}') from None


def check_videos(groups: Sequence[str], source: str) -> None:
    """Raises UserError where there is nothing to compare."""
    if len(groups) < MIN_VIDEOS:
        raise UserError(f"{source}: {len(groups)} videos of the groups; t-SNE needs {MIN_VIDEOS} or more")
    if len(set(groups)) < 2:
        raise UserError(f"{source}: all videos are of one class or group, {groups[0]!r}; there must be two or more")
    if len(set(groups)) == len(groups):
        raise UserError(f"{source}: no two videos are of one class or group; add videos, or --groups")


def read_features(config, items: Sequence, args: argparse.Namespace) -> tuple[dict[str, np.ndarray], list]:
    """Stage -> features float32 [videos, c], and the videos that could be read."""
    from datareader import Failure, build_view_loader
    from inference import build_backend
    from inference.features import pooled_stages

    loader = build_view_loader(config, items, section="TEST", views=args.views)
    model: Any = build_backend(config, args.weights, config.TEST.checkpoint_dir, section="TEST").model  # type: ignore[attr-defined]
    stages = args.stages or list(model.stage_names)
    unknown = [stage for stage in stages if stage not in model.stage_names]
    if unknown:
        raise UserError(f"--stages={unknown[0]}: the network's stages are {', '.join(model.stage_names)}")
    found: dict[str, list[np.ndarray]] = {stage: [] for stage in stages}
    kept, progress = [], Progress(len(items), 20, "video")
    for video in loader:
        if isinstance(video, Failure):
            progress.say(f"left out: {video.path}: {video.reason}")
        else:
            kept.append(items[video.video_id])
            ids = np.arange(len(video))
            step = config.TEST.batch_size
            parts = [pooled_stages(model, video.clips(ids[i : i + step]), stages) for i in ids[::step]]
            for stage in stages:
                found[stage].append(np.concatenate([part[stage] for part in parts]).mean(0))
        progress.advance("")
    progress.close()
    return {stage: np.stack(rows) if rows else np.zeros((0, 1)) for stage, rows in found.items()}, kept


def separation(features: np.ndarray, groups: Sequence[str]) -> dict[str, float]:
    """How far groups lie apart in features [N, c]: silhouette, -1..1; nearest_neighbour, the accuracy in percent of
    taking the label of the nearest other video (ties: the first); random_neighbour, that of any other video."""
    from sklearn.metrics import silhouette_score

    labels = np.unique(np.array(groups), return_inverse=True)[1]
    values = features.astype(np.float64)
    squares = (values**2).sum(1)
    distances = squares[:, None] + squares[None] - 2 * values @ values.T
    np.fill_diagonal(distances, np.inf)
    counts = np.bincount(labels)
    return {
        "silhouette": float(silhouette_score(values, labels)),
        "nearest_neighbour": 100.0 * float((labels[distances.argmin(1)] == labels).mean()),
        "random_neighbour": 100.0 * float((counts * (counts - 1)).sum()) / (len(labels) * (len(labels) - 1)),
    }


def in_the_plane(features: np.ndarray, seed: int, perplexity: float = 30.0) -> np.ndarray:
    """t-SNE of features [N, c] -> [N, 2]; the same for the same seed."""
    from sklearn.manifold import TSNE

    perplexity = min(perplexity, (len(features) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    return np.asarray(tsne.fit_transform(features.astype(np.float64)), np.float64)
