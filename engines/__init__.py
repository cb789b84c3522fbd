"""Clip batch -> scores: one call, whatever computes it. Importing this does not import Paddle."""

from __future__ import annotations

import numpy as np

from engines.choice import add_engine_flags
from engines.weights import find_weights


def build_engine(
    config, weights: str | None, checkpoint_dir: str, *, engine: str = "paddle", precision: str = "float32"
):
    """The network of the configuration with its weights, ready for `scores(clips)`.

    weights: a file, or None: `checkpoint_dir`/NONLOCAL.pdparams where it exists, else the zoo's download.
    engine, precision: as --engine and --precision say (`add_engine_flags`).
    Returns an object with `scores(clips float32 [N, 3, T, H, W]) -> float32 [N, K]`, `name` and `precision`.
    """
    from engines.eager import EagerEngine
    from models import build_model
    from models.nonlocal_model.weights import load_weights

    path = weights or find_weights(config, checkpoint_dir)
    model = build_model(config)
    print(load_weights(model, path).summary())
    return EagerEngine(model)


def score_views(engine, views, batch_size: int) -> np.ndarray:
    """Scores float32 [V, K] of a video's views, `batch_size` views at a time."""
    ids = np.arange(len(views))
    return np.concatenate([engine.scores(views.clips(ids[i : i + batch_size])) for i in ids[::batch_size]])


__all__ = ["add_engine_flags", "build_engine", "find_weights", "score_views"]
