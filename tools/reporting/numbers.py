"""Everything that the page says, as plain numbers: the content of report.json. Fractions are from 0 to 1."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from metrics.calibration import calibration, log_loss
from metrics.classes import class_table, confused_pairs, confusion, mixed_pairs
from metrics.comparison import compare, compare_classes, compare_pairs, holm
from metrics.coverage import risk_coverage, threshold_table
from metrics.fusion import cross_validated_fusion, fuse, mixture_weights, own_probabilities
from metrics.intervals import accuracy_interval, class_bootstrap, percentile_interval
from metrics.multilabel import mean_average_precision, mean_average_precision_draws
from metrics.probabilities import log_probabilities, own_probability, stratified_folds
from metrics.score_intervals import score_intervals
from metrics.temperature import fit_temperature, held_out_temperature
from metrics.topk import topk_correct
from metrics.view_counts import accuracy_by_views, agreement_of_views
from tools.reporting.runs import Run, Runs
from utils.files import file_sha256

FORMAT_VERSION = 1
TOPK = 5
MAX_CURVE_POINTS = 200
MAX_PER_CLASS = 3  # mistakes of one class among the largest losses
MAX_CONFIDENT, MAX_AGREED, SHOWN_CLASSES, VIDEOS_OF_A_PAIR = 10, 20, 3, 4
SURE = 0.9  # confidence of runs that agree on a wrong class
FEW_VIDEOS = 10  # a fold of fewer decides nothing


def report_numbers(runs: Runs, folds: int, seed: int, num_mistakes: int) -> dict[str, Any]:
    """report.json of runs over the same videos.

    folds: on which temperatures, thresholds and weights are chosen and judged. seed: of everything random.
    num_mistakes: how many of the first run's largest losses are listed.
    """
    found = [run_numbers(run, runs, folds, seed) for run in runs.runs]
    report = {
        "format_version": FORMAT_VERSION,
        "made_with": {"seed": seed, "folds": folds, "python": platform.python_version(), "numpy": np.__version__},
        "num_videos": len(runs.paths),
        "num_groups": None if runs.groups is None else int(runs.groups.max()) + 1,
        "multi_label": runs.multi_label,
        "class_names": runs.class_names,
        "runs": found,
        "recipes": recipes(runs.runs, [run["mean_average_precision" if runs.multi_label else "top1"] for run in found]),
    }
    if runs.multi_label:
        return report
    return {
        **report,
        "comparisons": comparisons(runs, seed),
        "fusion": fusion(runs, folds, seed),
        "mistakes": mistakes(runs, num_mistakes),
        "agreed_mistakes": agreed_mistakes(runs),
    }


def run_numbers(run: Run, runs: Runs, folds: int, seed: int) -> dict[str, Any]:
    """What is known of one run."""
    rng = np.random.default_rng(seed)
    paths, reasons = run.found.broken_paths or [], run.found.broken_reasons or []
    broken = {**dict(zip(map(os.path.basename, paths), reasons)), **dict(zip(paths, reasons))}  # as runs are joined
    missing = [runs.paths[video] for video in np.flatnonzero(run.rows < 0)]
    numbers = {
        "name": run.name,
        "folder": str(run.folder),
        "scores_sha256": file_sha256(run.folder / "scores.npz"),
        "weights_sha256": run.found.weights_sha256,
        "list_path": run.found.list_path,
        "list_sha256": run.found.list_sha256,
        "settings": settings_of(run),
        "num_scored": len(run.scored),
        "broken": [
            {"path": path, "reason": broken.get(path) or broken.get(os.path.basename(path), "")} for path in missing
        ],
    }
    if runs.multi_label:
        return {**numbers, **average_precisions(run, runs, rng)}
    if not len(run.scored):
        return {**numbers, **accuracies(run, runs, rng)}
    return {
        **numbers,
        **accuracies(run, runs, rng),
        "calibration": calibration(run.scores, run.labels, rng),
        "confidence_histogram": np.histogram(run.confidence, 10, (0, 1))[0].tolist(),
        "intervals": score_intervals(run.scores, run.labels, rng, groups_of(run, runs)),
        "temperature": temperature(run, folds, seed),
        "coverage": coverage(run, folds, seed),
        **classes(run, runs),
        "views": views(run, runs),
    }


def settings_of(run: Run) -> dict[str, Any]:
    """What is known of how a run was made: texts and switches of results.json; of flow, its keys; what was fused."""
    settings = {key: value for key, value in run.results.items() if isinstance(value, (str, bool))}
    reader = (run.config or {}).get("READER")
    if isinstance(reader, dict) and reader.get("modality") == "flow":
        settings |= {key: value for key, value in reader.items() if key == "modality" or key.startswith("flow_")}
    if run.is_fusion:
        settings |= {f"fused_{key}": run.results["fusion"].get(key) for key in ("of", "runs", "weights")}
    return settings


def groups_of(run: Run, runs: Runs) -> np.ndarray | None:
    """The groups of the scored videos, numbered without gaps, int64 [M]."""
    return None if runs.groups is None else np.unique(runs.groups[run.scored], return_inverse=True)[1]


def accuracies(run: Run, runs: Runs, rng: np.random.Generator) -> dict[str, Any]:
    """top1, top5 and mean_class_accuracy of all videos, with intervals: Wilson's, or the bootstrap over groups."""
    top5 = np.zeros(len(run.rows), bool)
    top5[run.scored] = topk_correct(run.scores, run.labels, TOPK)
    draws = class_bootstrap(run.right, runs.labels, len(runs.class_names), rng, runs.groups)
    recalls = [run.right[runs.labels == k].mean() for k in np.unique(runs.labels)]
    return {
        "top1": accuracy(run.right, runs.groups, rng),
        "top5": {"k": min(TOPK, len(runs.class_names)), **accuracy(top5, runs.groups, rng)},
        "mean_class_accuracy": {"value": float(np.mean(recalls)), "interval": list(percentile_interval(draws))},
    }


def accuracy(right: np.ndarray, groups: np.ndarray | None, rng: np.random.Generator) -> dict[str, Any]:
    """value, interval and num_right of the fraction of right videos, bool [N]."""
    count = int(right.sum())
    return {"value": count / len(right), "interval": list(accuracy_interval(right, groups, rng)), "num_right": count}


def average_precisions(run: Run, runs: Runs, rng: np.random.Generator) -> dict[str, Any]:
    """mean_average_precision with its bootstrap interval, and the classes'; a broken video ranks last."""
    scores = np.full(runs.labels.shape, -np.inf)
    scores[run.scored] = run.scores
    found = mean_average_precision(scores, runs.labels)
    draws = mean_average_precision_draws(scores, runs.labels, rng, runs.groups)
    return {
        "mean_average_precision": {"value": found["mAP"] / 100, "interval": list(percentile_interval(draws))},
        "classes": [
            {"index": k, "num_videos": int(count), "average_precision": None if value is None else value / 100}
            for k, (count, value) in enumerate(zip(runs.labels.sum(axis=0), found["average_precision"]))
        ],
    }


def temperature(run: Run, folds: int, seed: int) -> dict[str, Any] | None:
    """The temperature of all videos, and calibration where each video has that of the other folds; None where there
    are too few videos."""
    if len(run.scored) < folds * FEW_VIDEOS:
        return None
    scaled, of_folds = held_out_temperature(run.scores, run.labels, stratified_folds(run.labels, folds, seed))
    return {
        "temperature": fit_temperature(run.scores, run.labels),
        "of_folds": of_folds,
        "held_out": calibration(scaled, run.labels, np.random.default_rng(seed)),
    }


def coverage(run: Run, folds: int, seed: int) -> dict[str, Any]:
    """Risk against coverage of the scored videos: area, excess_area, auroc, thresholds, and points of the curve."""
    right = run.right[run.scored]
    curve = risk_coverage(run.confidence, right)
    points = np.unique(np.linspace(0, len(curve.answered) - 1, MAX_CURVE_POINTS).round().astype(np.int64))
    return {
        "area": curve.area(),
        "excess_area": curve.excess_area(),
        "auroc": curve.auroc(),
        "thresholds": threshold_table(run.confidence, right, stratified_folds(run.labels, folds, seed)),
        "curve": np.stack([curve.coverage, curve.risk, curve.thresholds], axis=1)[points].tolist(),
    }


def classes(run: Run, runs: Runs) -> dict[str, Any]:
    """classes (`class_table`), and pairs of classes that are taken for each other, with some of their videos."""
    num_classes = len(runs.class_names)
    matrix = confusion(run.labels, run.predicted, num_classes)
    num_videos = np.bincount(runs.labels, minlength=num_classes)
    pairs = confused_pairs(matrix, num_videos)
    for pair in pairs:
        of_pair = run.scored[(run.labels == pair["true"]) & (run.predicted == pair["predicted"])]
        pair["videos"] = [runs.paths[video] for video in of_pair[:VIDEOS_OF_A_PAIR]]
    return {
        "classes": class_table(matrix, num_videos),
        "confused_pairs": pairs,
        "mixed_pairs": mixed_pairs(matrix, num_videos),
    }


def views(run: Run, runs: Runs) -> dict[str, Any] | None:
    """Top-1 by the number of clips and crops, where scores.npz holds every view (eval.py --save_views)."""
    found = run.found
    if found.view_scores is None:
        return None
    rows = run.rows[run.scored]
    return {
        "accuracies": accuracy_by_views(found.view_scores, run.labels, found.num_clips, len(runs.paths), rows),
        "mean_agreement": float(agreement_of_views(found.view_scores, rows).mean()),
    }


def recipes(runs: Sequence[Run], metrics: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs that differ in nothing but the seed: their names, and mean and standard deviation of their metric."""
    of_recipe: dict[str, dict[Any, int]] = {}
    for place, run in enumerate(runs):
        train = (run.config or {}).get("TRAIN")
        if isinstance(train, dict):
            settings = {key: run.results.get(key) for key in ("views", "reverse_frames", "backend", "precision")}
            recipe = repr(({**run.config, "TRAIN": {**train, "seed": None}}, settings))
            of_recipe.setdefault(recipe, {}).setdefault(train.get("seed"), place)
    found = []
    for places in (list(own.values()) for own in of_recipe.values() if len(own) > 1):
        values = [metrics[place]["value"] for place in places]
        found.append(
            {
                "runs": [runs[place].name for place in places],
                "mean": float(np.mean(values)),
                "standard_deviation": float(np.std(values, ddof=1)),
            }
        )
    return found


def comparisons(runs: Runs, seed: int) -> list[dict[str, Any]]:
    """Every pair of runs; of those with the first run also the classes that changed and the videos that turned."""
    found = []
    pairs = compare_pairs([run.right for run in runs.runs], seed, runs.groups)
    for (i, j), (comparison, corrected) in pairs.items():
        first, second = runs.runs[i], runs.runs[j]
        better = comparison.better(corrected)
        numbers = {
            "first": first.name,
            "second": second.name,
            **asdict(comparison),
            "difference": comparison.difference,
            "corrected_p_value": corrected,
            "oracle": comparison.oracle,
            "detectable_difference": comparison.detectable_difference,
            "agreement": agreement(first, second),
            "better": (None, first.name, second.name)[better],
        }
        if i == 0:
            turned = ((first.right & ~second.right), (second.right & ~first.right))
            numbers["classes"] = [asdict(c) for c in compare_classes(first.right, second.right, runs.labels)]
            numbers["first_only_videos"], numbers["second_only_videos"] = (
                [runs.paths[video] for video in np.flatnonzero(videos)] for videos in turned
            )
        found.append(numbers)
    return found


def agreement(first: Run, second: Run) -> float | None:
    """The fraction of the videos scored by both runs with the same best class."""
    both = np.intersect1d(first.scored, second.scored)
    answers = [run.predicted[np.searchsorted(run.scored, both)] for run in (first, second)]
    return float((answers[0] == answers[1]).mean()) if len(both) else None


def fusion(runs: Runs, folds: int, seed: int) -> dict[str, Any] | None:
    """The runs that are no fusions themselves, fused in several ways, over the videos that all of them scored.

    The weights of each fold's videos are found on the other folds. None for fewer than two runs or too few videos.
    """
    parts = [run for run in runs.runs if not run.is_fusion]
    scored = np.flatnonzero(np.all([run.rows >= 0 for run in parts], axis=0)) if parts else ()
    if len(parts) < 2 or len(scored) < folds * FEW_VIDEOS:
        return None
    labels = runs.labels[scored]
    scores = [run.found.scores[run.rows[scored]] for run in parts]
    equal = [1.0] * len(parts)
    ways = {
        "arithmetic": fuse(scores, equal, "probabilities"),
        "geometric": fuse(scores, equal, "log_probabilities"),
        "held_out_weights": cross_validated_fusion(scores, labels, folds, seed),
    }
    if all(run.found.logits is not None for run in parts):
        ways["logits"] = fuse([run.found.logits[run.rows[scored]] for run in parts], equal, "logits")
    best = max(parts, key=lambda run: run.right.sum())
    rights = [all_right(fused, scored, runs) for fused in ways.values()]
    against = [compare(right, best.right, seed, runs.groups) for right in rights]
    corrected = holm([comparison.p_value for comparison in against])
    rng = np.random.default_rng(seed)
    return {
        "runs": [run.name for run in parts],
        "num_videos": len(scored),
        "weights": mixture_weights(own_probabilities(scores, labels)).tolist(),
        "best_single": best.name,
        "singles": [{"name": run.name, "log_loss": log_loss(s, labels)} for run, s in zip(parts, scores)],
        "ways": [
            {
                "name": name,
                "top1": accuracy(right, runs.groups, rng),
                "log_loss": log_loss(fused, labels),
                "against_best": {
                    "difference": comparison.difference,
                    "interval": list(comparison.interval),
                    "p_value": comparison.p_value,
                    "corrected_p_value": p_value,
                    "better": comparison.better(p_value) == 1,
                },
            }
            for (name, fused), right, comparison, p_value in zip(ways.items(), rights, against, corrected)
        ],
        "curve": weight_curve(scores, scored, runs) if len(parts) == 2 else None,
    }


def weight_curve(scores: Sequence[np.ndarray], scored: np.ndarray, runs: Runs) -> list[list[float]]:
    """Top-1 of the arithmetic mean over the first run's weight, 0 to 1: a picture, nothing is chosen by it."""
    weights = np.linspace(0, 1, 21)
    fused = (fuse(scores, [weight, 1 - weight], "probabilities") for weight in weights)
    return [[float(w), float(all_right(s, scored, runs).mean())] for w, s in zip(weights, fused)]


def all_right(scores: np.ndarray, scored: np.ndarray, runs: Runs) -> np.ndarray:
    """Which of all videos are right at 1, bool [N], by scores [M, K] of those at the places `scored`."""
    right = np.zeros(len(runs.paths), bool)
    right[scored] = scores.argmax(axis=1) == runs.labels[scored]
    return right


def mistakes(runs: Runs, most: int) -> dict[str, Any]:
    """The first run's wrong videos: largest_losses, -log s_y, few of each class; then the most confident others."""
    run = runs.runs[0]
    wrong = np.flatnonzero(~run.right[run.scored])
    losses = -log_probabilities(own_probability(run.scores, run.labels))
    chosen, of_class = [], dict.fromkeys(range(len(runs.class_names)), 0)
    for row in wrong[np.argsort(-losses[wrong], kind="stable")].tolist():
        label = int(run.labels[row])
        if len(chosen) < most and of_class[label] < MAX_PER_CLASS:
            of_class[label] += 1
            chosen.append(row)
    others = np.setdiff1d(wrong, chosen)
    confident = others[np.argsort(-run.confidence[others], kind="stable")][: min(most, MAX_CONFIDENT)]
    return {
        "num_wrong": len(wrong),
        "largest_losses": [{**answer(run, runs, row), "loss": float(losses[row])} for row in chosen],
        "most_confident": [{**answer(run, runs, row), "loss": float(losses[row])} for row in confident.tolist()],
    }


def answer(run: Run, runs: Runs, row: int) -> dict[str, Any]:
    """path, label, and the best classes with their scores of one scored video of a run."""
    best = np.argsort(-run.scores[row], kind="stable")[:SHOWN_CLASSES]
    return {
        "path": runs.paths[run.scored[row]],
        "label": int(run.labels[row]),
        "answers": [{"index": int(k), "score": float(run.scores[row, k])} for k in best],
    }


def agreed_mistakes(runs: Runs) -> list[dict[str, Any]]:
    """Videos that every run takes for the same wrong class with a confidence above 0.9: is it the label? A lead for a
    person, as in confident learning (Northcutt et al. 2021). Only for two runs and more that are no fusions."""
    parts = [run for run in runs.runs if not run.is_fusion]
    if len(parts) < 2:
        return []
    guesses, confidences = np.full((2, len(parts), len(runs.paths)), -1.0)
    for place, run in enumerate(parts):
        guesses[place, run.scored], confidences[place, run.scored] = run.predicted, run.confidence
    least = confidences.min(axis=0)
    agreed = np.flatnonzero((guesses == guesses[0]).all(axis=0) & (guesses[0] != runs.labels) & (least > SURE))
    agreed = agreed[np.argsort(-least[agreed], kind="stable")][:MAX_AGREED]
    return [
        {
            "path": runs.paths[video],
            "label": int(runs.labels[video]),
            "predicted": int(guesses[0, video]),
            "least_confidence": float(least[video]),
        }
        for video in agreed
    ]
