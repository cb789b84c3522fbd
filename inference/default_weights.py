"""The weights that a script takes when --weights is not given."""

from __future__ import annotations

from pathlib import Path

from utils.errors import UserError
from utils.folders import CHECKPOINT_DIR, ZOO_CHECKPOINT_DIR

# video_arc_choice -> entry of the weight table that its zoo published
PUBLISHED_WEIGHTS = {1: "paddle_zoo_c2d_r50_nl"}


def find_weights(config, checkpoint_dir: str) -> str:
    """`checkpoint_dir`/NONLOCAL.pdparams where it exists, else the zoo's download.

    The zoo's configurations and ours of earlier versions say `./output`, where train.py writes nothing by default:
    behind that folder train.py's default folder is searched.

    Raises UserError when nothing fits.
    """
    folders = [Path(checkpoint_dir)]
    if folders[0] == Path(ZOO_CHECKPOINT_DIR):
        folders.append(Path(CHECKPOINT_DIR))
    files = [folder / "NONLOCAL.pdparams" for folder in folders]
    for file in files:
        if file.is_file():
            print(f"no --weights given: taking {file}")
            return str(file)
    absent = " and ".join(map(str, files)) + (" do not exist" if len(files) > 1 else " does not exist")
    name = PUBLISHED_WEIGHTS.get(config.MODEL.video_arc_choice)
    if name is None or config.MODEL.num_classes != 400:
        raise UserError(f"pass --weights=FILE: {absent} and nobody published weights for this network")
    from weights.loading import fetch_weights

    print(f"no --weights given, {absent}: taking the published {name}")
    return str(fetch_weights(name))
