"""The output folder of a run. A part is `rows_per_part` rows of the list; it is done when its file is there.

    parts/000/part-000123.parquet        the result of part 123: a row per video, in the list's order
    pieces/000/part-000123/0-50.parquet  rows 0 to 49 of a part that was cut because it killed its workers; joined and
                                         deleted when all of them are there
    state/000/part-000123.json           how often the part failed, and why; only of parts that did

Files are written beside and renamed, and their content follows from the input alone: a part that is computed twice, by
whomever, is the same file.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clusters.videos import read_paths
from utils.files import sweep, write_atomically, write_json

Scorer = Callable[[int, "list[str]"], pa.Table]  # id of the first video, paths -> a row per video


@dataclass(frozen=True, order=True)
class Piece:
    """Rows start .. stop - 1 of the list, all of them of one part."""

    part: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def halves(self) -> tuple[Piece, Piece]:
        middle = (self.start + self.stop) // 2
        return Piece(self.part, self.start, middle), Piece(self.part, middle, self.stop)


@dataclass(frozen=True)
class Job:
    """Where the videos are and where results go; all that a worker needs to know.

    make_scorer: called once in each worker, pickled by name. fail_row: (id, path, reason) -> a table of one row, for a
    video that killed its workers.
    """

    folder: Path
    videos: Path
    num_videos: int
    rows_per_part: int
    make_scorer: Callable[[], Scorer]
    fail_row: Callable[[int, str, str], pa.Table]

    @property
    def num_parts(self) -> int:
        return -(-self.num_videos // self.rows_per_part)

    def part(self, number: int) -> Piece:
        """All rows of a part."""
        start = number * self.rows_per_part
        return Piece(number, start, min(start + self.rows_per_part, self.num_videos))

    def file(self, piece: Piece) -> Path:
        """Where the result of a part, or of a piece of one, lies."""
        if piece == self.part(piece.part):
            return self._path("parts", piece.part, ".parquet")
        return self._path("pieces", piece.part) / f"{piece.start}-{piece.stop}.parquet"

    def _path(self, kind: str, part: int, suffix: str = "") -> Path:
        return self.folder / kind / f"{part // 1000:03d}" / f"part-{part:06d}{suffix}"

    def is_done(self, piece: Piece) -> bool:
        return self.file(piece).exists()

    def missing_parts(self) -> list[int]:
        """The parts that have no file, in order."""
        names = {path.name for path in (self.folder / "parts").glob("*/part-*.parquet")}
        return [part for part in range(self.num_parts) if self.file(self.part(part)).name not in names]

    def run(self, piece: Piece, score: Scorer) -> pa.Table:
        """The scores of a piece."""
        return score(piece.start, read_paths(self.videos, piece.start, piece.stop))

    def write(self, piece: Piece, table: pa.Table) -> None:
        """Write a piece's file. The bytes depend on the rows only. Raises RunError when it cannot be written."""
        stream = io.BytesIO()
        repeated = [field.name for field in table.schema if field.type == pa.string() and field.name != "path"]
        # probabilities hardly repeat: a dictionary of them would add a third to the file
        pq.write_table(table.combine_chunks(), stream, compression="zstd", use_dictionary=repeated)
        write_atomically(self.file(piece), lambda file: file.write(stream.getbuffer()))

    def fail(self, piece: Piece, reason: str) -> None:
        """Write the file of a piece of one row: an error."""
        (path,) = read_paths(self.videos, piece.start, piece.stop)
        self.write(piece, self.fail_row(piece.start, path, reason))

    def join(self, part: int, pieces: Iterable[Piece]) -> None:
        """Write a part from the files of its pieces, and delete those."""
        tables = [pq.read_table(self.file(piece), partitioning=None) for piece in sorted(pieces)]
        self.write(self.part(part), pa.concat_tables(tables))
        self.forget(part)

    def forget(self, part: int) -> None:
        """Delete what is kept of the failures of a part."""
        shutil.rmtree(self._path("pieces", part), ignore_errors=True)

    def note_failure(self, part: int, count: int, cause: str) -> None:
        """Keep how often a part has failed, for a driver that is started again."""
        write_json(self._path("state", part, ".json"), {"failures": count, "last_cause": cause})

    def failures(self) -> dict[int, int]:
        """How often parts have failed so far: part -> count."""
        found = {}
        for file in (self.folder / "state").glob("*/part-*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found[int(file.stem.removeprefix("part-"))] = int(json.loads(file.read_text())["failures"])
        return found

    def sweep(self) -> None:
        """Delete the files that killed workers were writing more than a day ago."""
        for pattern in ("parts/*/.*.part", "pieces/*/*/.*.part"):
            sweep(self.folder, pattern)
