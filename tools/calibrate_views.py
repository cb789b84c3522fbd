"""Calibrate adaptive views.

python tools/calibrate_views.py --scores eval/scores.npz --weights output/train/NONLOCAL.pdparams

Reads the scores of all views that `eval.py --save_views` keeps and writes adaptive_views.json beside the weights:
for each threshold of the stopping rule (inference/adaptive.py) the mean number of views, the fraction of videos whose
answer stays that of all views, and the confidence that it stays in another video. `--views=adaptive` of eval.py and
predict.py takes the lowest threshold that reaches its confidence. Calibrate on videos that are not evaluated later:
confidence c needs at least 1 / (1 - c) - 1 of them, 99 for 0.99.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datareader.views import ViewProtocol  # noqa: E402 - the tool is started as a file
from inference.adaptive import CALIBRATION_FILE, calibrate  # noqa: E402
from metrics.results import load_scores  # noqa: E402
from utils.cli import Parser, run  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import write_json  # noqa: E402
from weights.containers import stored_sha256  # noqa: E402

PRINTED = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)  # thresholds


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--scores", required=True, help="scores.npz of eval.py --save_views")
    parser.add_argument("--weights", required=True, help="the weights that it evaluated")
    args = parser.parse_args()
    if not Path(args.weights).is_file():
        raise UserError(f"--weights {args.weights}: no such file")
    found = load_scores(args.scores)
    if found.view_scores is None:
        raise UserError(f"{args.scores} has no scores of single views; make it with eval.py --save_views")
    if not len(found.view_scores):
        raise UserError(f"{args.scores} has no video that was scored")
    sha256 = stored_sha256(args.weights)
    if found.weights_sha256 != sha256:
        raise UserError(f"{args.scores} was made with other weights than {args.weights}")
    views, _, mirrored = found.views.partition(" ")
    protocol = ViewProtocol.parse(views, bool(mirrored))
    multi_label = found.labels.ndim == 2
    labels = None if multi_label else found.labels
    curve = calibrate(found.view_scores, protocol.spread_order(), multi_label, labels)
    target = Path(args.weights).parent / CALIBRATION_FILE
    record = {
        "views": str(protocol),
        "weights_sha256": sha256,
        "num_videos": len(found.view_scores),
        "list_sha256": found.list_sha256,
        "curve": curve,
    }
    print(_table(curve))
    write_json(target, record)
    print(f"{target} is written: {len(found.view_scores)} videos, {protocol} views each")


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
