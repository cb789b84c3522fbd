"""A finished run's parts as few large files, for file systems that are slow with many."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import PurePath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from clusters.dataset import COMPACTED, SUCCESS_FILE
from clusters.folder import Folder, open_folder, read_json, write_json
from clusters.lock import folder_lock
from utils.errors import RunError, UserError

FILE_BYTES = 256_000_000


def result_files(files: Folder) -> list[str]:
    """The names of the files with a run's rows, in the list's order: joined ones where there are such."""
    success: dict[str, Any] = read_json(files, SUCCESS_FILE) or {}
    found = files.names("results" if COMPACTED in success else "parts")
    return sorted(
        (name for name in found if name.endswith(".parquet")),
        key=lambda name: int(PurePath(name).stem.rpartition("-")[2]),
    )


def read_tables(files: Folder, name: str) -> Iterator[pa.Table]:
    """The rows of a file, part by part. Raises UserError for a damaged one."""
    try:
        file = pq.ParquetFile(io.BytesIO(files.read(name)))
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)
    except (OSError, pa.ArrowException) as error:
        cause = str(error).splitlines()[0]
        raise UserError(f"{files}/{name} is damaged ({cause}); delete it and start the run again") from error


def compact(folder: str, file_bytes: int = FILE_BYTES) -> int:
    """Join the parts to results/results-00000.parquet ..., each closed once it has file_bytes, and delete them; returns
    the number of files. When it is killed, it can be called again; a run is not computed again after it.

    Raises UserError for a run that is not finished, RunError when the parts do not have its rows.
    """
    files = open_folder(folder)
    with folder_lock(folder, "driver.lock"):
        success = read_json(files, SUCCESS_FILE)
        if not success:
            raise UserError(f"{folder} has no {SUCCESS_FILE}: finish the run before its parts are joined")
        if COMPACTED not in success:
            left, num_files, counts = deque(result_files(files)), 0, list[int]()
            while left:
                name = f"results/results-{num_files:05d}.parquet"
                files.write(name, partial(_join, files=files, left=left, file_bytes=file_bytes, counts=counts))
                num_files += 1
            if sum(counts) != success["videos"]:
                raise RunError(f"{folder}/parts has {sum(counts)} of {success['videos']} rows; start the run again")
            success[COMPACTED] = num_files
            write_json(files, SUCCESS_FILE, success)
        for top in ("parts", "pieces", "state"):
            files.remove(top)
        return success[COMPACTED]


def _join(stream: BinaryIO, files: Folder, left: deque[str], file_bytes: int, counts: list[int]) -> None:
    """Write parts, taken from `left`, as row groups until the file is large enough; their rows go to `counts`."""
    writer = None
    while left and (writer is None or stream.tell() < file_bytes):
        for table in read_tables(files, left.popleft()):
            writer = writer or pq.ParquetWriter(stream, table.schema, compression="zstd")
            writer.write_table(table)
            counts.append(table.num_rows)
    if writer is not None:
        writer.close()
