"""Clip batch -> scores: one call, whatever computes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.eager import EagerEngine
from models import build_model
from models.nonlocal_model.weights import fetch_weights, load_weights
from utils.errors import UserError

# video_arc_choice -> entry of the weight table that its zoo published
PUBLISHED_WEIGHTS = {1: "paddle_zoo_c2d_r50_nl"}


def build_engine(config, weights: str | None, checkpoint_dir: str) -> EagerEngine:
    """The network of the configuration with its weights, ready for `scores(clips)`.

    weights: a file, or None: `checkpoint_dir`/NONLOCAL.pdparams where it exists, else the zoo's download.
    """
    path = weights or find_weights(config, checkpoint_dir)
    model = build_model(config)
    print(load_weights(model, path).summary())
    return EagerEngine(model)


def find_weights(config, checkpoint_dir: str) -> str:
    """What stands in for a --weights that was left out. Raises UserError when nothing does."""
    own = Path(checkpoint_dir) / "NONLOCAL.pdparams"
    if own.is_file():
        print(f"--weights is left out: taking {own}")
        return str(own)
    name = PUBLISHED_WEIGHTS.get(config.MODEL.video_arc_choice)
    if name is None or config.MODEL.num_classes != 400:
        raise UserError(f"pass --weights=FILE: {own} does not exist and nobody published weights for this network")
    return str(fetch_weights(name))


def score_views(engine, views, batch_size: int) -> np.ndarray:
    """Scores float32 [V, K] of a video's views, `batch_size` views at a time."""
    ids = np.arange(len(views))
    return np.concatenate([engine.scores(views.clips(ids[i : i + batch_size])) for i in ids[::batch_size]])
