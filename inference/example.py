"""The example network and clip in examples/, which predict.py takes when no configuration and no weights are given."""

from __future__ import annotations

import argparse
from pathlib import Path

from utils.files import CHECKPOINT_DIR

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def choose_network(args: argparse.Namespace) -> None:
    """For the example network, fill in `args.config` (None: not given), `args.weights` and the video.

    The example network is taken when no configuration, no family, no weights and no override are given and train.py's
    default folder holds no weights of the user's own; a note says so.
    """
    own = Path(CHECKPOINT_DIR) / "NONLOCAL.pdparams"
    is_nonlocal = (args.model_name or "NONLOCAL").upper() == "NONLOCAL"
    if args.config or args.weights or args.override or own.is_file() or not is_nonlocal:
        return
    print(
        f"no --config and no --weights given, {own} does not exist: taking the example network, which knows the eight "
        f"drawn motions of {EXAMPLES.name}/demo_network/README.md"
    )
    args.config = str(EXAMPLES / "demo_network/config.yaml")
    args.weights = str(EXAMPLES / "demo_network/NONLOCAL.pdparams")
    if not args.video_path and not args.filelist:
        args.video_path = str(EXAMPLES / "clip.mp4")
