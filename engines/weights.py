"""The weights that stand in for a --weights that was left out."""

from __future__ import annotations

from pathlib import Path

from utils.checkpoint import CHECKPOINT_DIR
from utils.errors import UserError

# video_arc_choice -> entry of the weight table that its zoo published
PUBLISHED_WEIGHTS = {1: "paddle_zoo_c2d_r50_nl"}


def find_weights(config, checkpoint_dir: str) -> str:
    """NONLOCAL.pdparams of `checkpoint_dir` or of train.py's default folder, else the zoo's download.

    Raises UserError when nothing fits.
    """
    own = Path(checkpoint_dir) / "NONLOCAL.pdparams"
    for file in (own, Path(CHECKPOINT_DIR) / own.name):
        if file.is_file():
            print(f"--weights is left out: taking {file}")
            return str(file)
    name = PUBLISHED_WEIGHTS.get(config.MODEL.video_arc_choice)
    if name is None or config.MODEL.num_classes != 400:
        raise UserError(f"pass --weights=FILE: {own} does not exist and nobody published weights for this network")
    from models.nonlocal_model.weights import fetch_weights

    return str(fetch_weights(name))
