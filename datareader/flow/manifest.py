"""The json file beside each file of a cache: what the flow was computed from, and how."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from datareader import decoding
from datareader.decoding import VideoError
from datareader.flow.methods import FlowProvenance

VERSION = 1
HEAD_BYTES = 1 << 20
# What must be equal for flow to be the same numbers; the rest of the provenance is for people.
SETTINGS = ("method", "bound", "short_side", "frame_rate")


@dataclass(frozen=True)
class Manifest:
    """One file of flow.

    source: the video's path as the list has it; source_bytes, source_mtime_ns, source_sha256: what the functions of
    these names give; provenance: the dict form of a FlowProvenance; num_flows: one fewer than the frames; height,
    width: of a plane, pixels; format: h264 or npz; crf: of h264, 0 is lossless, None of npz; file_bytes: size of the
    flow's file; warning: what is damaged in the video, "" for nothing.
    """

    source: str
    source_bytes: int
    source_mtime_ns: int
    source_sha256: str
    provenance: Mapping[str, Any]
    num_flows: int
    height: int
    width: int
    format: str
    crf: int | None
    file_bytes: int
    warning: str = ""
    version: int = VERSION

    def to_bytes(self) -> bytes:
        """Indented json in ASCII."""
        return (json.dumps(asdict(self), indent=2, allow_nan=False) + "\n").encode()

    def is_whole(self, file: str | os.PathLike) -> bool:
        """Whether the flow's file is there, in the size that was written."""
        return os.path.isfile(file) and os.path.getsize(file) == self.file_bytes

    def is_of(self, path: str) -> bool:
        """Whether a video is the one that the flow is of: of its size, and of its time or its first MiB, which is read
        only where the time differs. Raises VideoError."""
        return source_bytes(path) == self.source_bytes and (
            source_mtime_ns(path) == self.source_mtime_ns or source_sha256(path) == self.source_sha256
        )

    def difference(self, provenance: FlowProvenance) -> str:
        """The first setting that differs from those of `provenance`, both values named; "" for none."""
        for name in SETTINGS:
            have, asked = self.provenance.get(name), getattr(provenance, name)
            if have != asked:
                return f"flow of {name} {have}, {name} {asked} is asked for"
        return ""


def manifest_path(file: str | os.PathLike) -> Path:
    """Where the manifest of a file of flow lies."""
    return Path(f"{os.fspath(file)}.json")


def read_manifest(file: str | os.PathLike) -> Manifest:
    """The manifest of a file of flow. Raises VideoError where it is missing or cannot be understood."""
    path = manifest_path(file)
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise VideoError(file, f"its manifest {path.name} is missing") from error
    except (ValueError, RecursionError) as error:
        raise VideoError(file, f"its manifest {path.name} is no json file") from error
    if not isinstance(content, dict) or content.get("version") != VERSION or not _is_manifest(content):
        raise VideoError(file, f"its manifest {path.name} is none of version {VERSION}")
    return Manifest(**content)


def _is_manifest(content: dict) -> bool:
    numbers = [content.get(name) for name in ("num_flows", "height", "width", "file_bytes")]
    return (
        content.keys() == {field.name for field in fields(Manifest)}
        and isinstance(content["provenance"], dict)
        and isinstance(content["warning"], str)
        and all(isinstance(number, int) and number > 0 for number in numbers)
    )


def source_bytes(path: str) -> int:
    """The size of a video; of a folder of frames, that of its files together. Raises VideoError."""
    if os.path.isdir(path):
        return sum(size for _, size in _folder_files(path))
    decoding.check_file(path)
    with decoding.open_file(path) as stream:
        return stream.seek(0, os.SEEK_END)


def source_mtime_ns(path: str) -> int:
    """When a video, its shard or its folder of frames was last changed, nanoseconds. Raises OSError."""
    return decoding.identity_of(path)[3]


def source_sha256(path: str) -> str:
    """The SHA-256 of a video's first MiB; of a folder of frames, of its files' names and sizes. Raises VideoError."""
    if os.path.isdir(path):
        return hashlib.sha256(repr(_folder_files(path)).encode("utf-8", "surrogateescape")).hexdigest()
    decoding.check_file(path)
    with decoding.open_file(path) as stream:
        return hashlib.sha256(stream.read(HEAD_BYTES)).hexdigest()


def _folder_files(path: str) -> list[tuple[str, int]]:
    with os.scandir(path) as entries:
        return sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
