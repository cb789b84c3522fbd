"""Videos in, clips out: lists, sampling, exact frames, transforms, loaders. Nothing here imports Paddle."""

from datareader.lists import NO_LABEL, Sample, VideoItem, class_names_of, list_folder, read_class_names, read_list
from datareader.loaders import Batch, Failure, build_train_loader, build_valid_loader, build_view_loader
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
    "Sample",
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
    "class_names_of",
    "list_folder",
    "probe",
    "read_chosen",
    "read_class_names",
    "read_frames",
    "read_list",
]
