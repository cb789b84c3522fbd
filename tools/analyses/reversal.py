"""Accuracy with frames reversed (the S3D paper's table 1): python tools/analyse.py reversed --config=C --weights=W

Evaluates TEST.filelist twice as eval.py does, with the same frames and crops; the second time the frames of each clip
are reversed after they were chosen. Prints both accuracies of each class and of all videos with their 95 % Wilson
intervals, and how many answers stay the same. A network that does not use the order of frames loses nothing.

The evaluations themselves are in SAVE_DIR/forwards and SAVE_DIR/reversed. --forwards and --reversed take two finished
ones in place of a network.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inference import Backend, BackendSpec, add_backend_flags
from metrics import VideoScores, load_scores, topk_correct
from metrics.intervals import wilson_interval
from utils.cli import Parser, parse_switch
from utils.errors import UserError
from utils.files import write_json
from utils.runtime import choose_device, prepare_environment

ORDERS = ("forwards", "reversed")
MAX_DRAWN = 40
COLUMNS = (
    "class", "videos", "forwards_right", "forwards_top1", "forwards_low", "forwards_high", "reversed_right",
    "reversed_top1", "reversed_low", "reversed_high",
)  # fmt: skip


def main(argv: list[str]) -> None:
    args = _parse(argv)
    folder = Path(args.save_dir)
    finished = (args.forwards, args.reversed)
    if any(finished) != all(finished):
        raise UserError("--forwards and --reversed go together: two folders of eval.py, the second of --reverse_frames")
    if not all(finished):
        if not args.config:
            raise UserError("pass --config=FILE and --weights=FILE, or --forwards and --reversed, folders of eval.py")
        finished = (folder / "forwards", folder / "reversed")
        evaluate_both(args, *finished)
    from tabulate import tabulate

    from tools.analyses.numbers import write_csv
    from utils.plots import draw_bars

    rows, whole = compare(*(load_scores(Path(run) / "scores.npz") for run in finished))
    shown = [row for row in rows if row["videos"]]
    texts = [
        (
            row["class"],
            row["videos"],
            *(f"{row[f'{order}_top1']:.1f} ({interval_text(row, order)})" for order in ORDERS),
        )
        for row in shown
    ]
    print(tabulate(texts, ("class", "videos", "top-1 % (95 % interval)", "reversed"), disable_numparse=True))
    print(
        f"the same answer in both orders: {whole['same_answer']} of {whole['videos_scored']} videos; largest change of "
        f"a class score {whole['largest_change']:.2g}"
    )
    drawn = shown if len(shown) <= MAX_DRAWN else largest_losses(shown)
    draw_bars(
        [f"{row['class']} ({row['videos']})" for row in drawn],
        {order: [row[f"{order}_top1"] for row in drawn] for order in ORDERS},
        folder / "reversed.png",
        "Frames in order and reversed" + ("" if drawn is shown else f": the {len(drawn) - 1} classes that lose most"),
        "top-1, %, with 95 % Wilson intervals",
        intervals={order: [(row[f"{order}_low"], row[f"{order}_high"]) for row in drawn] for order in ORDERS},
    )
    write_csv(folder / "reversed.csv", COLUMNS, rows)
    write_json(folder / "reversed.json", {"runs": [str(run) for run in finished], **whole, "classes": rows})
    print(f"{folder}/reversed.png, reversed.csv, reversed.json")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="analyse.py reversed", description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file of the network")
    parser.add_argument("--weights", help="file of weights (default: as eval.py)")
    parser.add_argument("--filelist", help="in place of TEST.filelist")
    parser.add_argument("--views", help="clips x crops of a video, such as 10x3 (default: as eval.py)")
    parser.add_argument("--forwards", metavar="FOLDER", help="a finished evaluation")
    parser.add_argument("--reversed", metavar="FOLDER", help="a finished evaluation with --reverse_frames")
    parser.add_argument("--use_gpu", type=parse_switch, help="True or False; auto-detected when omitted")
    parser.add_argument("--log_interval", type=int, default=20, help="videos between two lines (default: %(default)s)")
    parser.add_argument("--save_dir", default="output/reversed", help="output folder (default: %(default)s)")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.KEY=VALUE",
        help="override a key of the configuration; may be repeated",
    )  # fmt: skip
    add_backend_flags(parser)
    return parser.parse_args(argv)


def evaluate_both(args: argparse.Namespace, forwards: Path, backwards: Path) -> None:
    """Run `evaluate_videos` in both orders, with one backend."""
    from configs import load_config
    from inference.evaluate import EvalOptions, evaluate_videos
    from utils.parallel import join_ranks

    overrides = args.override + ([f"TEST.filelist={args.filelist}"] if args.filelist else [])
    config = load_config(args.config, overrides)
    prepare_environment()
    ranks = join_ranks(choose_device(args.use_gpu))
    backend = BuiltOnce(
        config, args.weights, config.TEST.checkpoint_dir, backend=args.backend, precision=args.precision, section="TEST"
    )
    for folder, is_reversed in ((forwards, False), (backwards, True)):
        options = EvalOptions(folder, args.weights, args.views, is_reversed, args.log_interval)
        evaluate_videos(config, backend, options, ranks)


@dataclass(frozen=True)
class BuiltOnce(BackendSpec):
    """A BackendSpec whose copies share one backend, built when it is first asked for."""

    shared: list[Backend] = field(default_factory=list)

    def build(self) -> Backend:
        if not self.shared:
            self.shared.append(super().build())
        return self.shared[0]


def compare(forwards: VideoScores, backwards: VideoScores) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of all videos and of each class (percent, intervals in percent), and what is said of all answers.

    Broken videos are in every denominator. Raises UserError for evaluations of different videos or of several labels.
    """
    if forwards.labels is None or backwards.labels is None or forwards.multi_label:
        raise UserError("frames reversed: both evaluations must be of this version and of one class a video")
    sides, all_labels = [], []
    for side in (forwards, backwards):
        missing = np.zeros(0, np.int64) if side.broken_labels is None else side.broken_labels
        right = topk_correct(side.scores, side.labels, 1)
        sides.append((np.concatenate([side.labels, missing]), np.concatenate([right, np.zeros(len(missing), bool)])))
        ids = np.zeros(0, np.int64) if side.broken_video_ids is None else side.broken_video_ids
        all_labels.append(dict(zip([*side.video_ids.tolist(), *ids.tolist()], sides[-1][0].tolist())))
    if all_labels[0] != all_labels[1] or forwards.list_sha256 != backwards.list_sha256:
        raise UserError("frames reversed: the two evaluations are not of the same videos and labels")
    if not all_labels[0]:
        raise UserError("frames reversed: the evaluations hold no videos")
    names = forwards.class_names or [str(k) for k in range(forwards.scores.shape[1])]
    rows = [row_of("all videos", [(np.ones(len(labels), bool), right) for labels, right in sides])]
    rows += [row_of(name, [(labels == k, right) for labels, right in sides]) for k, name in enumerate(names)]
    common = np.intersect1d(forwards.video_ids, backwards.video_ids)
    a, b = (side.scores[np.searchsorted(side.video_ids, common)] for side in (forwards, backwards))
    whole = {
        "videos_scored": len(common),
        "same_answer": int((a.argmax(1) == b.argmax(1)).sum()),
        "largest_change": float(np.abs(a - b).max()) if len(common) else 0.0,
    }
    return rows, {**whole, **{name: value for name, value in rows[0].items() if name != "class"}}


def row_of(name: str, sides: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """A row of COLUMNS. sides: for each order which videos count, and which are right, bool [N] both."""
    row: dict[str, Any] = {"class": name, "videos": int(sides[0][0].sum())}
    for order, (mine, right) in zip(ORDERS, sides):
        num_right = int((right & mine).sum())
        row[f"{order}_right"] = num_right
        if row["videos"]:
            low, high = wilson_interval(num_right, row["videos"])
            row[f"{order}_top1"] = 100 * num_right / row["videos"]
            row.update({f"{order}_low": 100 * low, f"{order}_high": 100 * high})
    return row


def interval_text(row: dict[str, Any], order: str) -> str:
    """An interval as "84.2 .. 98.1"."""
    return f"{row[f'{order}_low']:.1f} .. {row[f'{order}_high']:.1f}"


def largest_losses(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All videos' row, and those of the classes that lose most when reversed."""
    classes = sorted(rows[1:], key=lambda row: row["reversed_top1"] - row["forwards_top1"])
    return [rows[0], *classes[: MAX_DRAWN - 1]]
