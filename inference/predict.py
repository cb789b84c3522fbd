"""All that predict.py does: find the videos, compute classes, segments or features, write predictions.json."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from configs.schema import Config
from datareader.lists import class_names_of
from inference.backends import BackendSpec, refuse_detector
from inference.classify import PredictOptions, find_videos
from utils.errors import UserError
from utils.files import write_json
from utils.log import Progress

if TYPE_CHECKING:
    from inference.two_streams import TwoStreams

# What can be predicted -> module and function, imported when asked for. A function takes (config, items, backend, names
# of the classes, options, progress) and yields a record per video; "error" in a record says that the video failed.
JOBS = {
    "classes": ("inference.classify", "predict_classes"),
    "two_streams": ("inference.two_streams", "predict_classes"),  # its backend is a TwoStreams
    "segments": ("inference.segment", "predict_segments"),
    "features": ("inference.features", "predict_features"),
    "actions": ("inference.detect", "predict_actions"),
}


def predict_videos(
    config: Config,
    backend: BackendSpec | TwoStreams,
    options: PredictOptions,
    *,
    job: str,
    video_path: str,
    filelist: str,
) -> None:
    """Predict videos and write options.folder/predictions.json: a record per video, also when the run is interrupted.

    job: a key of JOBS. video_path: a video or a folder; "": those of the list in the file `filelist`.
    Raises UserError when a video could not be predicted (after all others have been), or when an argument is wrong.
    """
    if job != "actions":
        refuse_detector(config)
    items = find_videos(video_path, filelist)
    names = class_names_of(config, "INFER") if job not in ("features", "actions") else []
    module, function = JOBS[job]
    predict = getattr(import_module(module), function)
    progress = Progress(len(items), options.log_interval, "video")
    target, records, num_broken = options.folder / "predictions.json", [], 0
    try:
        for record in predict(config, items, backend.checked_on(items), names, options, progress):
            records.append(record)
            num_broken += "error" in record
            progress.advance(f"{num_broken} broken")
    finally:
        progress.close()
        if records:
            write_json(target, records)
    print(f"{len(items) - num_broken} of {len(items)} videos predicted; their results are in {target}")
    if num_broken:
        raise UserError(f"{num_broken} of {len(items)} videos could not be predicted; they are named above")
