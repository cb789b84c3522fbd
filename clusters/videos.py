"""The videos of a run: a Parquet file with a column `path`; a video's id is its row."""

from __future__ import annotations

import os

import pyarrow.parquet as pq

from datareader.decoding import open_list


def count_videos(file: str | os.PathLike) -> int:
    """The rows of a Parquet file. Raises as open_list does."""
    with open_list(file) as stream:
        return pq.read_metadata(stream).num_rows


def read_paths(file: str | os.PathLike, start: int, stop: int) -> list[str]:
    """The paths of the rows start .. stop - 1; of a row without one: "". Of a file in a store only these are read."""
    paths: list[str] = []
    with open_list(file) as stream, pq.ParquetFile(stream) as table:
        first = 0
        for group in range(table.num_row_groups):
            num_rows = table.metadata.row_group(group).num_rows
            if first < stop and start < first + num_rows:
                column = table.read_row_group(group, columns=["path"]).column("path")
                rows = column[max(0, start - first) : stop - first].to_pylist()
                paths += [os.fsdecode(path or "") for path in rows]
            first += num_rows
    return paths
