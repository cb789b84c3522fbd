"""Classification: one class per video. Softmax and cross-entropy; the best weights are those of the highest top-1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metrics import MultiViewMeter, TopkMeter
from metrics.results import VideoMeter


class Classification:
    """One of `num_classes` classes per video."""

    name = "classification"
    best_metric = "top1"
    metrics = ("top1", "top5")
    multi_label = False

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def targets(self, batch) -> np.ndarray:
        """One-hot, float32 [N, K]."""
        return np.eye(self.num_classes, dtype=np.float32)[batch.label]

    def loss(self, logits, targets):
        """Mean over clips of -sum_k target_k log softmax(logits)_k; both float32 [N, K]."""
        import paddle.nn.functional as F

        return F.cross_entropy(logits, targets, soft_label=True)

    def running_sums(self, logits: np.ndarray, batch, loss: float) -> np.ndarray:
        """float64 [5], see `TopkMeter.state`."""
        meter = TopkMeter()
        meter.update(logits, batch.label, loss)
        return meter.state()

    def running(self, sums: np.ndarray) -> dict:
        """top1, top5 in percent, loss, num_clips."""
        meter = TopkMeter()
        meter.load_state(sums)
        return meter.result()

    def meter(self, items: Sequence, class_names: Sequence[str] | None = None) -> MultiViewMeter:
        """A meter of top-1 and top-5 over videos."""
        return MultiViewMeter(
            self.num_classes,
            labels=[item.label for item in items],
            paths=[item.path for item in items],
            class_names=class_names,
        )

    def report(self, result: dict) -> str:
        """Accuracy of each class, of all videos, and how many videos there are."""
        accuracies = {
            "top1": "top-1",
            "top5": f"top-{result['topk']}",
            "clip_top1": "top-1 of single clips",
            "first_clip_top1": "top-1 of the first clip",
            "mean_class_accuracy": "mean class accuracy",
        }  # fused runs have none of single clips
        return report_tables(result, "top1", {key: title for key, title in accuracies.items() if key in result})

    def draw(self, meter: VideoMeter, folder: Path) -> list[Path]:
        """confusion_matrix.png."""
        from utils.plots import draw_confusion_matrix

        assert isinstance(meter, MultiViewMeter)
        path = folder / "confusion_matrix.png"
        draw_confusion_matrix(meter.confusion_matrix(), meter.class_names, path)
        return [path]

    def postprocess(self, scores: np.ndarray, class_names: Sequence[str], topk: int) -> list[dict]:
        """The `topk` most probable classes of scores [K], equal ones in order of index."""
        return best_classes(scores, class_names, topk)


def best_classes(scores: np.ndarray, class_names: Sequence[str], topk: int) -> list[dict]:
    """class, index and probability of the `topk` highest scores [K], equal ones in order of index."""
    order = (-scores).argsort(kind="stable")[:topk]
    return [{"class": class_names[i], "index": int(i), "probability": float(scores[i])} for i in order]


def report_tables(result: dict, per_class: str, metrics: dict[str, str]) -> str:
    """A meter's result as text: a table of `per_class` for each class, a table of metrics, the counts of videos.

    metrics: keys of the result -> their titles. A result with `intervals` has them beside.
    """
    from tabulate import tabulate

    classes = [(row["name"], row["num_videos"], row[per_class]) for row in result["per_class"] if row["num_videos"]]
    intervals = result.get("intervals", {})
    titles = ("accuracy", "%", "95 % interval") if intervals else ("accuracy", "%")
    rows = [(title, result[key], interval_text(intervals.get(key))) for key, title in metrics.items()]
    lines = [
        tabulate(classes, ("class", "videos", f"{per_class.replace('_', ' ')} %"), floatfmt=".2f"),
        "",
        tabulate([row[: len(titles)] for row in rows], titles, floatfmt=".2f"),
        *([intervals_note(result)] if intervals else []),
        "",
        f"{result['videos_seen']} of {result['videos_expected']} videos scored, {len(result['videos_broken'])} broken",
        *(f"broken, counted as wrong: {video['path']}: {video['cause']}" for video in result["videos_broken"]),
    ]
    return "\n".join(lines)


def interval_text(interval: list[float] | None) -> str:
    """An interval in percent, as [89.5, 97.7]; "" for None."""
    return "" if interval is None else f"[{interval[0]:.1f}, {interval[1]:.1f}]"


def intervals_note(result: dict) -> str:
    """What the intervals of a result are, and what they do not cover."""
    groups = result.get("groups")
    what = f"{groups['number']} groups of videos ({groups['source']})" if groups else "videos"
    return f"intervals: over {what}; what another training seed would change is not in them"
