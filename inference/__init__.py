"""Clip batch -> scores: one call, whatever computes it. Importing this does not import Paddle."""

from __future__ import annotations

import numpy as np

from inference.choice import INSTALL_HINT, add_engine_flags, candidates, not_installed
from inference.default_weights import find_weights
from utils.errors import RunError


def build_engine(
    config,
    weights: str | None,
    checkpoint_dir: str,
    *,
    engine: str = "paddle",
    precision: str = "float32",
    section: str = "INFER",
):
    """The network of the configuration with its weights, ready for `scores(clips)`.

    weights: a file, or None: `checkpoint_dir`/NONLOCAL.pdparams where it exists, else the zoo's download.
    engine, precision: as --engine and --precision say (`add_engine_flags`). section: INFER or TEST, whose clips to make
    ready for.
    Returns an object with `scores(clips float32 [N, 3, T, H, W]) -> float32 [N, K]`, `name` and `precision`.
    Raises UserError for an engine that cannot run here. `auto` goes on to the next one instead, and says so.
    """
    import paddle

    names = candidates(engine, precision, paddle.device.get_device().partition(":")[0])
    path = weights or find_weights(config, checkpoint_dir)

    def network():
        return load_network(config, path)  # not kept: an exported network needs it once, and its memory is wanted then

    for name in names:
        try:
            built = _build(name, precision, config, path, network, getattr(config, section))
            break
        except RunError as error:
            if name == names[-1]:
                raise
            print(f"engine {name}: {error}; trying the next one")
    absent = not_installed() if engine == "auto" and len(names) > 1 else []
    hint = f" (faster, but not installed: {', '.join(absent)}; {INSTALL_HINT})" if absent else ""
    print(f"engine: {built.name}, {built.precision}{hint}")
    return built


def _build(name: str, precision: str, config, path: str, network, clip):
    from inference.eager import EagerEngine

    if name == "paddle":
        return EagerEngine(network(), precision)
    try:
        open(path, "rb").close()
    except OSError:
        network()  # says what is wrong with the file
    from inference.exported import ExportedEngine

    return ExportedEngine(name, precision, config, path, network, clip.video_length, clip.crop_size)


def load_network(config, path: str):
    """The eager network of a configuration with the weights of a file, in evaluation mode."""
    from models import build_model
    from weights.loading import load_weights

    model = build_model(config)
    print(load_weights(model, path).summary())
    model.eval()
    return model


def score_views(engine, views, batch_size: int) -> np.ndarray:
    """Scores float32 [V, K] of a video's views, `batch_size` views at a time."""
    ids = np.arange(len(views))
    return np.concatenate([engine.scores(views.clips(ids[i : i + batch_size])) for i in ids[::batch_size]])


__all__ = ["add_engine_flags", "build_engine", "find_weights", "load_network", "score_views"]
