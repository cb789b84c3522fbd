"""Several runs judged as one: the metrics of their fused scores, beside those of each run alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from metrics.comparison import compare
from metrics.fusion import cross_validated_fusion, fuse, mixture_weights, own_probabilities
from metrics.joining import JoinedRuns, join_runs
from metrics.probabilities import log_probabilities
from metrics.results import VideoMeter, VideoScores, load_scores
from metrics.temperature import apply_temperature, fit_temperature
from tasks.classification import Classification
from tasks.multi_label import MultiLabel
from utils.errors import UserError

NUM_FOLDS = 5
OF_SINGLE_CLIPS = ("clip_top1", "first_clip_top1")  # runs save means over views


def judge_fusion(
    runs: Mapping[str, VideoScores],
    of: str | None = None,
    weights: Sequence[float] | None = None,
    groups: str = "",
) -> tuple[Classification | MultiLabel, VideoMeter, dict]:
    """The task, the meter of the fused scores and its result, with "fusion": what was fused, with which weights, and
    the metrics of the runs, of equal weights and of weights found on held-out folds (`cross_validated_fusion`), all
    over the videos that every run scored, the others wrong; and the comparison with the best run.

    of: a name of metrics.fusion.FUSED; None: logits where all runs hold them, else probabilities. weights: one a run,
    None: 1 each. groups: as --groups of eval.py. Raises UserError as `join_runs` does, for weights that do not fit and
    logits that are not there.
    """
    joined = join_runs(runs)
    if of is None:
        of = "logits" if joined.logits is not None and joined.labels.ndim == 1 else "probabilities"
    weights = [1.0] * len(runs) if weights is None else [float(weight) for weight in weights]
    fused = fuse(_values(joined, of), weights, of)
    num_classes = len(joined.class_names)
    task = MultiLabel(num_classes) if joined.labels.ndim == 2 else Classification(num_classes)
    meter = joined.meter(fused)
    if groups:
        meter.set_groups(groups)
    result = {**meter.result(), **meter.intervals()}
    for key in OF_SINGLE_CLIPS:
        result.pop(key, None)
    rows = dict(zip(joined.names, joined.scores))
    if len({*weights}) > 1:
        rows["equal weights"] = fuse(_values(joined, of), [1.0] * len(runs), of)
    if joined.labels.ndim == 1 and joined.scored.sum() >= 2 * NUM_FOLDS:
        rows[f"probabilities, weights of {NUM_FOLDS} held-out folds"] = cross_validated_fusion(
            joined.scores, joined.labels[joined.scored], NUM_FOLDS
        )
    rows[f"fused {of.replace('_', ' ')}"] = fused
    result["fusion"] = {
        "runs": joined.names,
        "of": of,
        "weights": weights,
        "metrics": [_metrics(task, name, joined.meter(scores)) for name, scores in rows.items()],
    }
    if joined.labels.ndim == 1:
        result["fusion"]["against_best_run"] = _against_best_run(joined, fused)
    return task, meter, result


def _against_best_run(joined: JoinedRuns, fused: np.ndarray) -> dict:
    """The paired comparison of the fused scores with the run of the highest top-1; difference in percent."""
    rights = [joined.right(scores) for scores in joined.scores]
    best = int(np.argmax([right.sum() for right in rights]))
    found = compare(joined.right(fused), rights[best])
    return {
        "run": joined.names[best],
        "difference": 100 * found.difference,
        "interval": [100 * bound for bound in found.interval],
        "p_value": found.p_value,
    }


def load_runs(files: Mapping[str, str | Path], filelist: str | None = None) -> dict[str, VideoScores]:
    """The scores.npz of each run by its name, as `load_scores` reads it."""
    return {name: load_scores(file, filelist) for name, file in files.items()}


def fuse_video(outputs: Sequence[tuple[np.ndarray, np.ndarray]], multi_label: bool) -> np.ndarray:
    """The fused scores of a video, float64 [K], with equal weights, as `judge_fusion` fuses.

    outputs: of each run the scores and the logits of the video's views, float [V, K] each.
    """
    means = [(scores.mean(axis=0)[None], logits.mean(axis=0)[None]) for scores, logits in outputs]
    return fuse_views(means, multi_label)[0]


def fuse_views(outputs: Sequence[tuple[np.ndarray, np.ndarray]], multi_label: bool) -> np.ndarray:
    """The same of each view by itself, float64 [V, K]."""
    values = [scores if multi_label else logits for scores, logits in outputs]
    return fuse(values, [1.0] * len(values), fused_of(multi_label))


def fused_of(multi_label: bool) -> str:
    """What is fused where both are there: a name of metrics.fusion.FUSED."""
    return "probabilities" if multi_label else "logits"


def with_logits(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of views, float [V, K], as outputs of a run: with the logits, up to a constant a view."""
    return scores, log_probabilities(scores)


def comparison_table(result: dict) -> str:
    """The runs and their fusion, a line each, and the comparison with the best run, as text."""
    from tabulate import tabulate

    rows = result["fusion"]["metrics"]
    header = [f"{key} %" for key in rows[0] if key != "name"]
    table = tabulate([[*row.values()] for row in rows], ["", *header], floatfmt=".2f")
    against = result["fusion"].get("against_best_run")
    if against is None:
        return table
    (low, high), p = against["interval"], against["p_value"]
    return (
        f"{table}\n\nfused - {against['run']}: {against['difference']:+.1f} points of top-1 [{low:.1f}, {high:.1f}], "
        f"P {'< 0.0001' if p < 1e-4 else f'= {p:.2g}'} (McNemar, exact)"
    )


@dataclass(frozen=True)
class Tuning:
    """What was found on held-out videos: of each run its weight and the temperature of its scores, 1 each where runs
    are not calibrated."""

    weights: list[float]
    temperatures: list[float]

    def calibrated(self, runs: Mapping[str, VideoScores]) -> dict[str, VideoScores]:
        """The runs at their temperatures."""
        scores = [apply_temperature(run.scores, t) for run, t in zip(runs.values(), self.temperatures)]
        return {name: replace(run, scores=scaled) for (name, run), scaled in zip(runs.items(), scores)}


def tune(held_out: Mapping[str, VideoScores], judged: Mapping[str, VideoScores], calibrate: bool) -> Tuning:
    """The `mixture_weights` of the same runs on other videos than those that are judged; with `calibrate` of their
    scores at the temperatures that fit them best.

    Raises UserError where a judged video is among the held-out ones, and as `join_runs` does.
    """
    if len(held_out) != len(judged):
        raise UserError(f"--tune_on: pass {len(judged)} files, the same runs as --scores in the same order")
    joined = join_runs(held_out)
    if joined.labels.ndim == 2:
        raise UserError("--tune_on: weights are found for videos of one class each; pass --weights")
    known = {path for run in judged.values() for path in [*run.paths, *(run.broken_paths or [])]}
    shared = next((path for path in joined.paths if path in known), None)
    if shared is not None:
        raise UserError(f"--tune_on: {shared} is one of the videos of --scores; weights are found on other videos")
    names = next(iter(judged.values())).class_names
    if names is not None and names != joined.class_names:
        raise UserError("--tune_on: the files are of other classes than those of --scores")
    if not joined.scored.any():
        raise UserError("--tune_on: no video has a score in all files")
    labels, scores = joined.labels[joined.scored], joined.scores
    temperatures = [1.0] * len(scores)
    if calibrate:
        temperatures = [fit_temperature(run, labels) for run in scores]
        scores = [apply_temperature(run, t) for run, t in zip(scores, temperatures)]
    return Tuning(mixture_weights(own_probabilities(scores, labels)).tolist(), temperatures)


def _values(joined: JoinedRuns, of: str) -> list[np.ndarray]:
    if of != "probabilities" and joined.labels.ndim == 2:
        raise UserError(f"--of {of} is for videos of one class each; choose --of probabilities")
    if of != "logits":
        return joined.scores
    if joined.logits is None:
        raise UserError("--of logits: not every file holds logits; evaluate again, or choose --of probabilities")
    return joined.logits


def _metrics(task: Classification | MultiLabel, name: str, meter: VideoMeter) -> dict:
    result = meter.result()
    keys = [*task.metrics, *(key for key in ("mean_class_accuracy",) if key in result)]
    return {"name": name, **{key: result[key] for key in keys}}
