"""The output folder of a run. A part is `rows_per_part` rows of the list; it is done when its file is there.

    parts/000/part-000123.parquet        the result of part 123: a row per video, in the list's order
    pieces/000/part-000123/0-50.parquet  rows 0 to 49 of a part that was cut because it killed its workers; joined and
                                         deleted when all of them are there
    state/000/part-000123.json           how often the part failed, and why; only of parts that did

Files are whole or not there (folder.py), and their content follows from the input alone: a part that is computed twice,
by whomever, is the same file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clusters.folder import Folder, open_folder, read_json, write_json
from clusters.videos import read_paths
from utils.errors import RunError

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

    folder, videos: paths, or URLs of a store. make_scorer: called once in each worker, pickled by name. fail_row: (id,
    path, reason) -> a table of one row, for a video that killed its workers. worker_bytes: of memory, at which a worker
    ends itself; 0: no bound. seconds_per_video: a worker that takes longer for its piece than this for each is ended.
    """

    folder: str | Path
    videos: str | Path
    num_videos: int
    rows_per_part: int
    make_scorer: Callable[[], Scorer]
    fail_row: Callable[[int, str, str], pa.Table]
    worker_bytes: int = 0
    seconds_per_video: float = math.inf

    @property
    def files(self) -> Folder:
        return open_folder(str(self.folder))

    @property
    def num_parts(self) -> int:
        return -(-self.num_videos // self.rows_per_part)

    def part(self, number: int) -> Piece:
        """All rows of a part."""
        start = number * self.rows_per_part
        return Piece(number, start, min(start + self.rows_per_part, self.num_videos))

    def name(self, piece: Piece) -> str:
        """Of the file with the result of a part, or of a piece of one."""
        if piece == self.part(piece.part):
            return _name("parts", piece.part, ".parquet")
        return f"{_name('pieces', piece.part)}/{piece.start}-{piece.stop}.parquet"

    def is_done(self, piece: Piece) -> bool:
        return self.files.exists(self.name(piece))

    def missing_parts(self) -> list[int]:
        """The parts that have no file, in order."""
        names = {*self.files.names("parts")}
        return [part for part in range(self.num_parts) if _name("parts", part, ".parquet") not in names]

    def paths(self, piece: Piece) -> list[str]:
        """The videos of a piece. Raises RunError where the list cannot be read."""
        try:
            return read_paths(self.videos, piece.start, piece.stop)
        except (OSError, pa.ArrowException) as error:
            raise RunError(f"cannot read the list {self.videos}: {str(error).splitlines()[0]}") from error

    def write(self, piece: Piece, table: pa.Table) -> None:
        """Write a piece's file. The bytes depend on the rows only. Raises RunError when it cannot be written."""
        stream = io.BytesIO()
        repeated = [field.name for field in table.schema if field.type == pa.string() and field.name != "path"]
        # probabilities hardly repeat: a dictionary of them would add a third to the file
        pq.write_table(table.combine_chunks(), stream, compression="zstd", use_dictionary=repeated)
        self.files.write(self.name(piece), lambda file: file.write(stream.getbuffer()))

    def read(self, piece: Piece, columns: list[str] | None = None) -> pa.Table:
        """A piece's rows. Raises RunError."""
        return pq.read_table(io.BytesIO(self.content(piece)), columns=columns)

    def content(self, piece: Piece) -> bytes:
        """A piece's file. Raises RunError."""
        try:
            return self.files.read(self.name(piece))
        except FileNotFoundError as error:
            raise RunError(f"{self.folder}/{self.name(piece)} has gone; start the run again") from error

    def fail(self, piece: Piece, reason: str) -> None:
        """Write the file of a piece of one row: an error."""
        (path,) = self.paths(piece)
        self.write(piece, self.fail_row(piece.start, path, reason))

    def join(self, part: int, pieces: Iterable[Piece]) -> None:
        """Write a part from the files of its pieces, and delete those."""
        self.write(self.part(part), pa.concat_tables([self.read(piece) for piece in sorted(pieces)]))
        self.files.remove(_name("pieces", part))

    def forget(self, part: int) -> None:
        """Delete a part's file, for it to be computed again."""
        self.files.remove(_name("pieces", part))
        self.files.remove(_name("parts", part, ".parquet"))

    def note_failure(self, part: int, count: int, cause: str) -> None:
        """Keep how often a part has failed, for a driver that is started again."""
        write_json(self.files, _name("state", part, ".json"), {"failures": count, "last_cause": cause})

    def failures(self) -> dict[int, int]:
        """How often parts have failed so far: part -> count."""
        found = {}
        for name in self.files.names("state"):
            count = (read_json(self.files, name) or {}).get("failures")
            if isinstance(count, int):
                found[int(Path(name).stem.removeprefix("part-"))] = count
        return found


def _name(kind: str, part: int, suffix: str = "") -> str:
    return f"{kind}/{part // 1000:03d}/part-{part:06d}{suffix}"
