"""The videos of a run: a Parquet file with a column `path`; a video's id is its row."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq


def count_videos(file: Path) -> int:
    """The rows of a Parquet file."""
    return pq.read_metadata(file).num_rows


def read_paths(file: Path, start: int, stop: int) -> list[str]:
    """The paths of the rows start .. stop - 1; of a row without one: ""."""
    paths: list[str] = []
    with pq.ParquetFile(file) as table:
        first = 0
        for group in range(table.num_row_groups):
            num_rows = table.metadata.row_group(group).num_rows
            if first < stop and start < first + num_rows:
                column = table.read_row_group(group, columns=["path"]).column("path")
                rows = column[max(0, start - first) : stop - first].to_pylist()
                paths += [os.fsdecode(path or "") for path in rows]
            first += num_rows
    return paths
