"""Late fusion of runs of eval.py: one set of scores out of several, joined by the videos' paths.

python tools/fuse_scores.py --scores rgb/scores.npz flow/scores.npz --save_dir=fused

Writes results.json, results.txt, scores.npz and pictures as eval.py does. A video without a score in any of the files
counts as wrong. Weights are given by hand or found on other videos (--tune_on), never on those that are judged.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.fusion import FUSED  # noqa: E402 - the tool is started as a file
from metrics.joining import with_labels  # noqa: E402
from metrics.results import VideoScores  # noqa: E402
from tasks.fusion import comparison_table, judge_fusion, load_runs, tune  # noqa: E402
from utils.cli import Parser, run  # noqa: E402
from utils.errors import UserError  # noqa: E402


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--scores", nargs="+", required=True, help="scores.npz of two runs or more")
    parser.add_argument("--weights", nargs="+", type=float, help="one a run (default: 1 each)")
    parser.add_argument(
        "--of", choices=FUSED,
        help="what is added up: logits as two-stream I3D does, probabilities (their mean), or log_probabilities (the "
        "geometric mean) (default: logits where all files hold them, else probabilities)",
    )  # fmt: skip
    parser.add_argument(
        "--tune_on", nargs="+", metavar="SCORES",
        help="scores.npz of the same runs on other videos, on which the weights are found (with --of probabilities)",
    )  # fmt: skip
    parser.add_argument(
        "--fuse_calibrated", action="store_true", help="each run at the temperature that fits it best on --tune_on"
    )
    parser.add_argument("--filelist", help="the list of the videos, for files of version 1, which hold no labels")
    parser.add_argument("--groups", default="", metavar="FILE|REGEX", help="as of eval.py")
    parser.add_argument("--save_dir", required=True, help="output folder")
    args = parser.parse_args()
    if args.tune_on and (args.weights or args.of not in (None, "probabilities")):
        parser.error("--tune_on finds the weights of --of probabilities; leave --weights out")
    if args.fuse_calibrated and not args.tune_on:
        parser.error("--fuse_calibrated goes with --tune_on, on whose videos temperatures are found")
    runs = named_runs("--scores", args.scores, args.filelist)
    more = {}
    if args.tune_on:
        tuning = tune(named_runs("--tune_on", args.tune_on), runs, args.fuse_calibrated)
        args.of, args.weights = "probabilities", tuning.weights
        if args.fuse_calibrated:
            runs, more["temperatures"] = tuning.calibrated(runs), tuning.temperatures
    task, meter, result = judge_fusion(runs, args.of, args.weights, args.groups)
    result["fusion"].update(more)
    from inference.evaluate import write_results

    first = next(iter(runs.values()))
    write_results(
        Path(args.save_dir), task, meter, result, args.filelist or first.list_path, first.list_sha256,
        f"{task.report(result)}\n\n{comparison_table(result)}",
    )  # fmt: skip


def named_runs(flag: str, paths: list[str], filelist: str | None = None) -> dict[str, VideoScores]:
    """The runs by their files' names. Raises UserError for fewer than two, and as `load_scores` does."""
    if len({*paths}) < max(2, len(paths)):
        raise UserError(f"{flag}: pass two files or more, each once")
    runs = load_runs({path: path for path in paths}, filelist)
    if filelist is None:
        return runs
    from datareader import read_list

    return {
        path: found if found.labels is not None else with_labels(found, read_list(filelist, found.scores.shape[1]))
        for path, found in runs.items()
    }


if __name__ == "__main__":
    run(main)
