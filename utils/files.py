"""Files that are either whole or not there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from utils.errors import RunError


def write_atomically(path: str | Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call `write(stream)` on a binary file beside `path`, sync it and rename it to `path`.

    A crash, a full disk or an exception in `write` leaves the old file (or none) behind, never half of the new one.

    Raises RunError, naming the path, when the folder cannot be made or the file cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes private files; results are meant to be shared
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another folder"
        ) from error
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: str | None) -> None:
    if path is not None and os.path.exists(path):
        os.unlink(path)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically; lone surrogates (undecodable file names) are kept as their bytes."""
    write_atomically(path, lambda stream: stream.write(text.encode("utf-8", "surrogateescape")))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON in ASCII (every file name survives), atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
