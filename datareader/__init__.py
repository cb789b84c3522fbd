"""Videos in, clips out: lists, sampling, exact frames, transforms, loaders. Nothing here imports Paddle."""

from datareader.batches import Batch, Failure
from datareader.class_names import read_class_names
from datareader.lists import NO_LABEL, VideoItem, read_list
from datareader.loaders import build_train_loader, build_valid_loader, build_view_loader
from datareader.video import Limits, Reading, VideoError, VideoInfo, probe, read_chosen, read_frames
from datareader.views import Crop, VideoViews, ViewProtocol
from datareader.windows import VideoWindows, build_window_loader

__all__ = [
    "NO_LABEL",
    "Batch",
    "Crop",
    "Failure",
    "Limits",
    "Reading",
    "VideoError",
    "VideoInfo",
    "VideoItem",
    "VideoViews",
    "VideoWindows",
    "ViewProtocol",
    "build_train_loader",
    "build_valid_loader",
    "build_view_loader",
    "build_window_loader",
    "probe",
    "read_chosen",
    "read_class_names",
    "read_frames",
    "read_list",
]
