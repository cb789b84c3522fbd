"""The files of a run, by names such as parts/000/part-000123.parquet: in a folder, or under a prefix of a store."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from datareader.decoding import file_system, is_url, store_errors
from utils.errors import RunError
from utils.files import sweep, write_atomically


class Folder(Protocol):
    """A file is whole or not there, and once `write` has returned it is there for everybody. All but `read` raise
    RunError where the disk or the store fails."""

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError too."""
        ...

    def write(self, name: str, write: Callable[[BinaryIO], Any]) -> None:
        """Call `write(stream)`; what it has written replaces the file at once."""
        ...

    def exists(self, name: str) -> bool: ...

    def names(self, top: str) -> Iterator[str]:
        """Of all files below the folder `top`, in no order."""
        ...

    def remove(self, top: str) -> None:
        """A file, or a folder with all that is below it; nothing where there is none."""
        ...

    def sweep(self) -> None:
        """Delete what killed processes were writing more than a day ago."""
        ...

    @property
    def logs(self) -> Path:
        """A folder of this machine, for the output of its workers."""
        ...

    def __str__(self) -> str: ...


@lru_cache(maxsize=16)
def open_folder(place: str) -> Folder:
    """place: a path, or the URL of a prefix (s3://bucket/out)."""
    return StoreFolder(place) if is_url(place) else LocalFolder(Path(place))


def read_json(folder: Folder, name: str) -> dict[str, Any] | None:
    """The object in a file; None where there is none."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        value = json.loads(folder.read(name))
        return value if isinstance(value, dict) else None
    return None


def write_json(folder: Folder, name: str, value: dict[str, Any]) -> None:
    content = (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
    folder.write(name, lambda stream: stream.write(content))


class LocalFolder:
    """Files are written beside and renamed."""

    def __init__(self, path: Path):
        self.path = path
        self.logs = path / "logs"

    def __str__(self) -> str:
        return str(self.path)

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RunError(f"cannot read {self.path / name}: {error.strerror or error}") from error

    def write(self, name: str, write: Callable[[BinaryIO], Any]) -> None:
        write_atomically(self.path / name, write)

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def names(self, top: str) -> Iterator[str]:
        for folder, _, files in os.walk(self.path / top):
            below = Path(folder).relative_to(self.path).as_posix()
            yield from (f"{below}/{name}" for name in files if not name.startswith("."))

    def remove(self, top: str) -> None:
        path = self.path / top
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        for pattern in ("parts/*/.*.part", "pieces/*/*/.*.part"):
            sweep(self.path, pattern)


class StoreFolder:
    """Objects of a store: each is put whole, under its final name."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.system, self.prefix = file_system(self.url)
        self.logs = Path(tempfile.gettempdir()) / "paddle_nonlocal_logs"

    def __str__(self) -> str:
        return self.url

    def read(self, name: str) -> bytes:
        with self._errors("read", name), self.system.open_input_stream(self._key(name)) as stream:
            return stream.read()

    def write(self, name: str, write: Callable[[BinaryIO], Any]) -> None:
        with tempfile.TemporaryFile() as copy:  # an exception in `write` must not put half an object
            write(copy)
            copy.seek(0)
            with self._errors("write", name), self.system.open_output_stream(self._key(name)) as stream:
                shutil.copyfileobj(copy, stream, 8 << 20)

    def exists(self, name: str) -> bool:
        with self._errors("read", name):
            return self.system.get_file_info(self._key(name)).is_file

    def names(self, top: str) -> Iterator[str]:
        from pyarrow.fs import FileSelector

        with self._errors("list", top):
            found = self.system.get_file_info(FileSelector(self._key(top), allow_not_found=True, recursive=True))
        return (info.path[len(self.prefix) + 1 :] for info in found if info.is_file)

    def remove(self, top: str) -> None:
        for name in [*self.names(top), *([top] if self.exists(top) else [])]:
            with self._errors("delete", name), contextlib.suppress(FileNotFoundError):
                self.system.delete_file(self._key(name))

    def sweep(self) -> None:
        pass  # an object that was not put whole does not exist

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    @contextlib.contextmanager
    def _errors(self, verb: str, name: str) -> Iterator[None]:
        try:
            with store_errors():
                yield
        except RunError as error:
            raise RunError(f"cannot {verb} {self.url}/{name}: {error}") from error
