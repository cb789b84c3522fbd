"""The cache of flow: a tree of files beside the lists' paths, `<cache>/<path>.<method>.flow.mp4`, and how it is read.

A file holds the codes of one video (datareader.flow.codes) as grey H.264, x above y, or as npz with the array `flow`,
uint8 [n, h, w, 2]. Folders of JPEG pairs, as denseflow and mmaction2 write them, are read as well.
"""

from __future__ import annotations

import glob
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from datareader import decoding
from datareader.decoding import ChooseIndices, Limits, Prepare, Reading, VideoError, printable
from datareader.flow import codes
from datareader.flow.manifest import Manifest, read_manifest, source_bytes
from datareader.flow.methods import FlowProvenance, check_method
from datareader.requests import ReaderSettings, Source
from utils.errors import UserError

SUFFIXES = {"h264": ".flow.mp4", "npz": ".flow.npz"}
HINT = "; make it again with tools/extract_flow.py --overwrite"


def relative_path(video: str, list_folder: str) -> str:
    """A video's path in the cache: below the list's folder if it lies there, else as the list has it. Always an end of
    its absolute path."""
    below = os.path.relpath(video, list_folder or ".")
    path = os.path.normpath(video)
    if not below.startswith(os.pardir + os.sep):
        return below
    return path if not path.startswith((os.sep, os.pardir)) else os.path.abspath(path).lstrip(os.sep)


def cache_file(cache: str | os.PathLike, relative: str, method: str, format: str) -> Path:
    """The file of a video's flow. format: h264 or npz."""
    return Path(cache) / f"{relative}.{method}{SUFFIXES[format]}"


def is_flow_file(path: str) -> bool:
    """Whether a path is that of a file of a cache."""
    return path.endswith(tuple(SUFFIXES.values()))


@dataclass(frozen=True)
class CachedFlow:
    """Flow that was computed before. A sample's path is that of its video, or of a file of flow itself.

    cache: the folder; provenance: of the flow that is asked for; backwards: flow is negated, which is
    about that of the video played backwards; computed: the source for videos that the cache does not hold, None: they
    are broken.
    """

    cache: str
    provenance: FlowProvenance
    backwards: bool = False
    computed: Source | None = None
    name: ClassVar[str] = "flow"

    def read(self, path: str, choose: ChooseIndices, reader: ReaderSettings, prepare: Prepare) -> Reading:
        """Chosen fields of flow, float32 [U, H, W, 2] in [-1, 1], each passed through `prepare`.

        Raises VideoError, naming the file, for flow that is missing, broken or of another video; UserError for flow of
        other settings, which all videos of a cache share.
        """
        file = self._find(path)
        if self.computed is not None and (file is None or _is_of_another(file, path)):
            check_method(self.provenance.method)
            return self.computed.read(path, choose, reader, prepare)
        if file is None:
            raise VideoError(path, f"no {self.provenance.method} flow of it in READER.flow_cache {self.cache}")

        def prepare_flow(flow: np.ndarray) -> np.ndarray:
            return prepare(-flow if self.backwards else flow)

        try:
            if os.path.isdir(file):
                return decoding.read_luma_pairs(
                    file, choose, reader.limits, lambda pair: prepare_flow(codes.decode_peers(pair))
                )
            manifest = read_manifest(file)
            self._check(path, file, manifest)
            read = _read_npz if manifest.format == "npz" else _read_h264
            return read(file, manifest, choose, reader.limits, lambda pair: prepare_flow(codes.decode(pair)))
        except VideoError as error:
            hint = "" if os.path.isdir(file) else HINT
            raise VideoError(path, f"flow {printable(file)}: {error.reason}{hint}") from error

    def reversed(self) -> CachedFlow:
        """The flow of the video played backwards, under the numbers of the video played forwards; approximately."""
        computed = self.computed and self.computed.reversed()
        return replace(self, backwards=not self.backwards, computed=computed)

    def _find(self, path: str) -> str | None:
        """The file or folder that holds a video's flow, if any."""
        if is_flow_file(path) or decoding.is_pair_folder(path):
            return path
        if self.computed is None and not os.path.isdir(self.cache):
            raise UserError(f"READER.flow_cache {self.cache} is no folder; tools/extract_flow.py makes one")
        method = self.provenance.method
        for relative in _endings(path):
            for format in SUFFIXES:
                file = cache_file(self.cache, relative, method, format)
                if file.exists():
                    return str(file)
            for name in (relative, os.path.splitext(relative)[0]):
                if decoding.is_pair_folder(os.path.join(self.cache, name)):
                    return os.path.join(self.cache, name)
            for file in Path(self.cache).glob(glob.escape(relative) + ".*.flow.*"):
                if file.suffix != ".json":
                    raise UserError(f"{printable(file)} is of another method than READER.flow_method {method}")
        return None

    def _check(self, path: str, file: str, manifest: Manifest) -> None:
        """That the file is whole and what is asked for."""
        difference = manifest.difference(self.provenance)
        if difference:
            raise UserError(
                f"{printable(file)}: {difference}; change READER's keys, or make it again with tools/extract_flow.py "
                "--overwrite"
            )
        if _differs(path, file, manifest):
            raise VideoError(
                file,
                f"computed from another video: this one is {source_bytes(path)} bytes, it is {manifest.source_bytes} "
                "bytes in the manifest",
            )
        size = os.path.getsize(file)
        if size != manifest.file_bytes:
            raise VideoError(file, f"cut off or changed: {size} bytes, {manifest.file_bytes} in the manifest")


def _differs(path: str, file: str, manifest: Manifest) -> bool:
    """Whether the flow was computed from a video of another size."""
    return path != file and decoding.exists(path) and source_bytes(path) != manifest.source_bytes


def _is_of_another(file: str, path: str) -> bool:
    """Whether a file that was found for a video was computed from another one of its name."""
    return not os.path.isdir(file) and path != file and _differs(path, file, read_manifest(file))


def _endings(path: str) -> Iterator[str]:
    """a/b/c.mp4, b/c.mp4, c.mp4 of /a/b/c.mp4: a cache can lie below any folder of its videos' paths."""
    parts = os.path.abspath(path).lstrip(os.sep).split(os.sep)
    return (os.path.join(*parts[first:]) for first in range(len(parts)))


def _read_h264(file: str, manifest: Manifest, choose: ChooseIndices, limits: Limits, prepare: Prepare) -> Reading:
    height, width = manifest.height, manifest.width

    def prepare_planes(luma: np.ndarray) -> np.ndarray:
        if luma.shape != (2 * height, width):
            found = f"{luma.shape[1]}x{luma.shape[0]} px, {width}x{2 * height} px in the manifest"
            raise VideoError(file, f"two planes of {found}")
        return prepare(np.stack([luma[:height], luma[height:]], -1))

    reading = decoding.read_luma(file, choose, limits, prepare_planes)
    if reading.warning:
        raise VideoError(file, reading.warning)
    if reading.num_frames != manifest.num_flows:
        raise VideoError(file, f"{reading.num_frames} frames of flow, {manifest.num_flows} in the manifest")
    return replace(reading, warning=manifest.warning)


def _read_npz(file: str, manifest: Manifest, choose: ChooseIndices, limits: Limits, prepare: Prepare) -> Reading:
    shape = (manifest.num_flows, manifest.height, manifest.width, 2)
    try:
        fields = _load_array(file, shape, limits)
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise VideoError(file, f"a broken npz file ({error})") from error
    indices = np.asarray(choose(len(fields)), np.int64)
    numbers = np.unique(indices)
    frames = np.stack([prepare(fields[number]) for number in numbers])
    return Reading(frames, numbers, indices, len(fields), manifest.warning)


def _load_array(file: str, shape: tuple[int, ...], limits: Limits) -> np.ndarray:
    """The array `flow` of this shape, uint8. Nothing is allocated or unpickled for a file that holds another one."""
    size = math.prod(shape)
    if size > limits.max_bytes:
        raise ValueError(f"{size >> 20} MiB, the limit is {limits.max_bytes >> 20} MiB")
    with zipfile.ZipFile(file) as archive, archive.open("flow.npy") as stream:
        np.lib.format.read_magic(stream)
        found, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        if (found, fortran_order, dtype) != (shape, False, np.uint8):
            raise ValueError(f"holds {dtype} {found}, uint8 {shape} is in the manifest")
        data = stream.read(size)
        stream.read()  # to the end, where the checksum is compared
    return np.frombuffer(data, np.uint8).reshape(shape)
