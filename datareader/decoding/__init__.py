"""The one door to everything that opens a video: a file, a member of a shard, or a folder of numbered JPEG frames.

Three back ends read frames: pyav (the default, exact), decord and opencv (docs/data.md says where those two are not
exact). Times, streams, pixel shapes and inspections come from PyAV. The packages of the back ends are imported on first
use. Folders of frames have a reader of their own, whatever the decoder. Users import datareader.video; nobody outside
this folder imports its files.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

import numpy as np

from datareader.decoding.base import (
    MIN_DECODED_RATIO,
    SQUARE_PIXELS,
    Budget,
    ChooseIndices,
    Damage,
    FrameKeeper,
    FrameSelection,
    Inspection,
    Limits,
    Prepare,
    Reading,
    Timeline,
    VideoError,
    VideoInfo,
    display_size,
    printable,
)
from datareader.decoding.containers import VIDEO_SUFFIXES, can_be_video, is_frame_folder, is_pair_folder, open_video
from datareader.decoding.shards import ShardMember, shard_index, shard_index_path, split_member
from datareader.decoding.storage import check_file, exists, identity_of, local_file, open_file, open_list
from datareader.decoding.stores import file_system, is_url, store_errors
from utils.errors import UserError

__all__ = [
    "DECODERS",
    "FOLDER_FPS",
    "MIN_DECODED_RATIO",
    "SQUARE_PIXELS",
    "VIDEO_SUFFIXES",
    "Budget",
    "ChooseIndices",
    "Damage",
    "FrameKeeper",
    "FrameSelection",
    "Inspection",
    "Limits",
    "Prepare",
    "Reading",
    "ShardMember",
    "Timeline",
    "VideoError",
    "VideoInfo",
    "can_be_video",
    "check_file",
    "display_size",
    "exists",
    "file_system",
    "identity_of",
    "inspect",
    "is_frame_folder",
    "is_pair_folder",
    "is_url",
    "local_file",
    "next_frames",
    "open_file",
    "open_list",
    "open_video",
    "pixel_aspect",
    "printable",
    "probe",
    "store_errors",
    "read",
    "read_luma",
    "read_luma_pairs",
    "shard_index",
    "shard_index_path",
    "split_member",
    "timeline",
]
DECODERS = ("pyav", "decord", "opencv")
FOLDER_FPS = 12.0  # of folders of frames, which do not say it: that of Something-Something V1


def read(
    path: str | os.PathLike,
    choose_indices: ChooseIndices,
    decoder: str = "pyav",
    limits: Limits | None = None,
    prepare: Prepare | None = None,
) -> Reading:
    """The chosen frames of a video, uint8 RGB and upright. Raises VideoError.

    choose_indices: number of frames -> int64 array of any shape. It may be called again when the number first assumed
    proves wrong, so it must depend on nothing else. prepare: applied to each frame as soon as it is decoded (a resize),
    so that memory follows the frames that are kept.
    """
    return _reader_of(path, decoder).read(os.fspath(path), choose_indices, limits or Limits(), prepare or _unchanged)


def read_luma(
    path: str, choose_indices: ChooseIndices, limits: Limits | None = None, prepare: Prepare | None = None
) -> Reading:
    """Like `read`, but the luma planes as they are stored, uint8 [H, W]: the bytes of a lossless grey video."""
    check_file(path)
    luma = import_module("datareader.decoding.colours").LumaPlane
    return _backend("pyav").read(path, choose_indices, limits or Limits(), prepare or _unchanged, luma)


def read_luma_pairs(
    path: str, choose_indices: ChooseIndices, limits: Limits | None = None, prepare: Prepare | None = None
) -> Reading:
    """Like `read_luma`, of a folder of JPEG pairs x_00001.jpg and y_00001.jpg (or flow_x_..., flow_y_...): uint8
    [H, W, 2]. Other files of the folder are ignored; a plane that is missing or broken raises VideoError."""
    return _folder_reader().read_luma_pairs(path, choose_indices, limits or Limits(), prepare or _unchanged)


def probe(path: str | os.PathLike, limits: Limits | None = None, folder_fps: float = FOLDER_FPS) -> VideoInfo:
    """The true properties of a video; the header is not trusted. folder_fps: frames a second of a folder of frames.

    Raises VideoError.
    """
    if os.path.isdir(path):
        return _folder_reader().probe(os.fspath(path), limits or Limits(), folder_fps)
    check_file(path)
    return _backend("pyav").probe(os.fspath(path), limits or Limits())


def inspect(path: str, limits: Limits | None = None, folder_fps: float = FOLDER_FPS) -> Inspection:
    """Decode the whole video and keep nothing. Raises VideoError when less than a tenth of it decodes, and for any
    frame of a folder that does not."""
    if os.path.isdir(path):
        return _folder_reader().inspect(path, limits or Limits(), folder_fps)
    check_file(path)
    return _backend("pyav").inspect(path, limits or Limits())


def pixel_aspect(path: str, limits: Limits | None = None) -> tuple[int, int]:
    """The sample aspect ratio of the upright frames, as `VideoInfo` has it. Raises VideoError."""
    return _reader_of(path).pixel_aspect(path, limits or Limits())


def timeline(path: str, limits: Limits, may_decode: bool, folder_fps: float = FOLDER_FPS) -> Timeline | int:
    """When the frames are shown; an int, the number of packets, where the frames must be decoded to be counted and
    `may_decode` is False. Raises VideoError."""
    if os.path.isdir(path):
        return _folder_reader().timeline(path, limits, folder_fps)
    check_file(path)
    return _backend("pyav").timeline(path, limits, may_decode)


def next_frames(
    path: str,
    limits: Limits,
    selection: FrameSelection,
    first: int,
    count: int,
    prepare: Prepare | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[np.ndarray, Damage]:
    """`count` of the selected frames from the one at place `first` on: uint8 [count, h, w, 3] and what was damaged.

    The process continues where the last call for the same selection ended, and otherwise starts again. prepare: as in
    `read`; it is compared with the last call's, so it must have an equality. size: (height, width) of the result, None:
    that of the first frame. Raises VideoError.
    """
    return _reader_of(path).next_frames(path, limits, selection, first, count, prepare, size)


def _unchanged(frame: np.ndarray) -> np.ndarray:
    return frame


def _reader_of(path: str | os.PathLike, decoder: str = "pyav") -> ModuleType:
    """The module that reads this path. Raises VideoError where it cannot be a video."""
    if os.path.isdir(path):
        return _folder_reader()
    check_file(path)
    return _backend(decoder)


def _folder_reader() -> ModuleType:
    return import_module("datareader.decoding.frame_folder")


def _backend(decoder: str) -> ModuleType:
    """The module of a decoder; its package is imported here and not before."""
    if decoder not in DECODERS:
        raise UserError(f"unknown decoder {decoder!r}; READER.decoder is one of {', '.join(DECODERS)}")
    packages = {"pyav": "av", "decord": "decord", "opencv": "opencv-python-headless"}
    try:
        return import_module(f"datareader.decoding.{decoder}_backend")
    except ImportError as error:
        raise UserError(
            f"READER.decoder {decoder} needs a package: pip install {packages[decoder]} ({error})"
        ) from error
