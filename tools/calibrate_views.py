"""Calibrate adaptive views.

python tools/calibrate_views.py --scores eval/scores.npz --weights output/train/NONLOCAL.pdparams
python tools/calibrate_views.py --scores both/rgb/scores.npz both/flow/scores.npz --weights RGB FLOW   (--two_stream)

Reads the scores of all views that `eval.py --save_views` keeps and writes adaptive_views.json beside the weights:
for each threshold of the stopping rule (inference/adaptive.py) the mean number of views, the fraction of videos whose
answer stays that of all views, and the confidence that it stays in another video. `--views=adaptive` of eval.py and
predict.py takes the lowest threshold that reaches its confidence. Two files are fused as eval.py --two_stream does;
adaptive_views_two_stream.json is written beside the first weights. Calibrate on videos that are not evaluated later:
confidence c needs at least 1 / (1 - c) - 1 of them, 99 for 0.99.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datareader.views import ViewProtocol  # noqa: E402 - the tool is started as a file
from inference.adaptive import calibrate, calibration_file, weights_sha256  # noqa: E402
from metrics.joining import join_runs  # noqa: E402
from metrics.results import VideoScores, load_scores  # noqa: E402
from utils.cli import Parser, run  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import write_json  # noqa: E402

PRINTED = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)  # thresholds


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--scores", nargs="+", required=True, help="scores.npz of eval.py --save_views, or those of RGB and flow"
    )
    parser.add_argument("--weights", nargs="+", required=True, help="the weights that it evaluated, in the same order")
    args = parser.parse_args()
    if len(args.scores) != len(args.weights) or len(args.scores) > 2:
        parser.error("pass one file of scores and one of weights, or two of each, RGB first")
    runs = [_load(*files) for files in zip(args.scores, args.weights)]
    first = runs[0]
    if any(run.views != first.views for run in runs):
        raise UserError(f"--scores: the views differ, {' and '.join(run.views for run in runs)}")
    view_scores, labels = _of_common_videos(dict(zip(args.scores, runs)))
    views, _, mirrored = first.views.partition(" ")
    protocol = ViewProtocol.parse(views, bool(mirrored))
    multi_label = first.multi_label
    curve = calibrate(view_scores, protocol.spread_order(), multi_label, None if multi_label else labels)
    target = calibration_file(args.weights)
    record = {
        "views": str(protocol),
        "weights_sha256": weights_sha256(args.weights),
        "num_videos": len(labels),
        "list_sha256": first.list_sha256,
        "curve": curve,
    }
    print(_table(curve))
    write_json(target, record)
    print(f"{target} is written: {len(labels)} videos, {protocol} views each")


def _load(scores: str, weights: str) -> VideoScores:
    """The run of a network. Raises UserError where it has no scores of views, or other weights made it."""
    if not Path(weights).is_file():
        raise UserError(f"--weights {weights}: no such file")
    found = load_scores(scores)
    if found.view_scores is None:
        raise UserError(f"{scores} has no scores of single views; make it with eval.py --save_views")
    if not len(found.view_scores):
        raise UserError(f"{scores} has no video that was scored")
    if found.weights_sha256 != weights_sha256([weights]):
        raise UserError(f"{scores} was made with other weights than {weights}")
    return found


def _of_common_videos(runs: dict[str, VideoScores]) -> tuple[list[np.ndarray], np.ndarray]:
    """The scores of views of each run, [M, V, K], and the labels of the M videos that all scored."""
    joined = join_runs(runs)
    if not joined.scored.any():
        raise UserError("--scores: no video has a score in both files")
    common = joined.rows[:, joined.scored]
    return [run.view_scores[rows] for run, rows in zip(runs.values(), common)], joined.labels[joined.scored]


def _table(curve: list[dict]) -> str:
    from tabulate import tabulate

    columns = {"mean views": ("mean_views", 1), "answer kept %": ("kept", 100), "accuracy %": ("accuracy", 100)}
    columns = {head: (name, factor) for head, (name, factor) in columns.items() if name in curve[0]}
    rows = [
        [row["threshold"], *(factor * row[name] for name, factor in columns.values()), row["confidence"]]
        for row in curve
        if row["threshold"] in PRINTED
    ]
    return tabulate(rows, ("threshold", *columns, "confidence"), floatfmt=(".1f", *[".2f"] * len(columns), ".4f"))


if __name__ == "__main__":
    run(main)
