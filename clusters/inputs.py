"""What a user gives as --input, as a Parquet file of paths."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from clusters.folder import open_folder
from datareader.decoding import is_url, open_list
from datareader.lists import iter_paths, list_folder, skip_message
from utils.errors import RunError, UserError
from utils.files import stream_sha256

NAME = "videos.parquet"  # of the file written here
ROWS_PER_GROUP = 10_000  # of the files written here: what is held in memory at once
SCHEMA = pa.schema([("path", pa.binary())])  # names of files are bytes


class VideoTable:
    """The input of a run: a folder, a list (`path` or `path label` lines), or a Parquet file with a column `path`; the
    latter two may lie in a store (s3://bucket/list.parquet).

    sha256: of the file, or of a folder's paths. Raises UserError when there is no such input, or no video in it.
    """

    def __init__(self, source: str):
        self.source = source
        self._folder: list[str] | None = None
        if os.path.isdir(source):
            skipped: list[str] = []
            self._folder = [item.path for item in list_folder(source, skipped)]
            if skipped:
                print(skip_message(skipped))
            self.sha256 = hashlib.sha256(b"\0".join(map(os.fsencode, self._folder))).hexdigest()
            return
        try:
            with open_list(source) as stream:
                self.sha256 = stream_sha256(stream)
        except (OSError, RunError) as error:
            raise UserError(f"cannot read the list {source}: {getattr(error, 'strerror', None) or error}") from error

    def as_parquet(self, folder: str) -> str:
        """A Parquet input itself; else videos.parquet in a folder (of a store, too), written where it is missing."""
        if self.source.endswith(".parquet"):
            _check(self.source)
            return self.source if is_url(self.source) else os.path.abspath(self.source)
        target = open_folder(folder)
        if not target.exists(NAME):
            paths = iter_paths(self.source) if self._folder is None else self._folder
            target.write(NAME, lambda stream: _write(stream, paths))
        return f"{folder}/{NAME}"


def _write(stream, paths: Iterable[str]) -> None:
    rows = iter(paths)
    with pq.ParquetWriter(stream, SCHEMA, compression="zstd") as writer:
        while group := [os.fsencode(path) for path in itertools.islice(rows, ROWS_PER_GROUP)]:
            writer.write_table(pa.table([group], schema=SCHEMA))


def _check(path: str) -> None:
    try:
        with open_list(path) as stream:
            file = pq.ParquetFile(stream)
            schema, num_rows = file.schema_arrow, file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is no Parquet file: {str(error).splitlines()[0]}") from error
    if "path" not in schema.names:
        raise UserError(f"{path} has no column path; it has {', '.join(schema.names)}")
    kind = schema.field("path").type
    if not any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)):
        raise UserError(f"{path}: the column path holds {kind}; it must hold strings")
    if not num_rows:
        raise UserError(f"the list {path} holds no video")
