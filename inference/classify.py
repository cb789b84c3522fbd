"""The most probable classes of each video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from datareader import Failure, VideoItem, build_view_loader
from datareader.video import printable
from inference import score_views
from utils.log import Progress


def predict_classes(
    config,
    items: Sequence[VideoItem],
    build: Callable,
    names: list[str],
    topk: int,
    views: str | None,
    progress: Progress,
) -> Iterator[dict]:
    """A record a video: its path and the `topk` classes of the mean over its views, or the cause of its failure.

    build() gives the engine; it is called when the rest has been found right.
    """
    loader = build_view_loader(config, items, section="INFER", views=views)
    engine = build()
    for views_of_video in loader:
        if isinstance(views_of_video, Failure):
            record = failure_record(views_of_video, progress)
        else:
            if views_of_video.complaint:
                progress.say(f"{printable(views_of_video.path)}: {views_of_video.complaint}")
            scores = score_views(engine, views_of_video, config.INFER.batch_size).mean(0)
            record = {"path": views_of_video.path, "top": best_classes(scores, names, topk)}
            progress.say(_table(record))
        yield record


def best_classes(scores: np.ndarray, names: list[str], topk: int) -> list[dict]:
    """The `topk` most probable classes of scores [K], equal ones by index."""
    order = (-scores).argsort(kind="stable")[:topk]
    return [{"class": names[i], "index": int(i), "probability": float(scores[i])} for i in order]


def failure_record(failure: Failure, progress: Progress) -> dict:
    """What is told and kept about a video that cannot be read."""
    progress.say(f"error: {printable(failure.path)}: {failure.cause}")
    return {"path": failure.path, "error": failure.cause}


def _table(record: dict) -> str:
    from tabulate import tabulate

    rows = [(rank, row["class"], row["probability"]) for rank, row in enumerate(record["top"], 1)]
    return f"\n{printable(record['path'])}\n{tabulate(rows, ('rank', 'class', 'probability'), floatfmt='.4f')}\n"
