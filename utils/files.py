"""Files that are either whole or not there; the default folder of checkpoints."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from utils.errors import RunError

LEFTOVER_SECONDS = 24 * 3600.0
# train.py writes its checkpoints here; eval.py, predict.py and export.py take weights from here by default
CHECKPOINT_DIR = "./data/checkpoints"
# `checkpoint_dir` in the zoo's configurations and in ours of earlier versions, where train.py never wrote by default
ZOO_CHECKPOINT_DIR = "./output"


def write_atomically(path: str | Path, write: Callable[[BinaryIO], Any], sync: bool = True) -> None:
    """Call `write(stream)` on a binary file beside `path`, sync it and rename it to `path`.

    A crash, a full disk or an exception in `write` leaves the old file (or none) behind, never half of the new one.

    sync: False leaves out what only a loss of power needs; the file is whole after the death of a process all the same.
    Raises RunError, naming the path, when the folder cannot be made or the file cannot be written.
    """
    write_together({path: write}, sync)


def write_together(files: dict[str | Path, Callable[[BinaryIO], Any]], sync: bool = True) -> None:
    """Like `write_atomically` for several files, in order: none is renamed before all are written."""
    written = []
    try:
        for path, write in files.items():
            current = Path(path)
            current.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=f".{current.name}.", suffix=".part", dir=current.parent)
            written.append((temporary, current))
            with os.fdopen(descriptor, "wb") as stream:
                write(stream)
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        for temporary, current in written:
            os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes private files; results are meant to be shared
            os.replace(temporary, current)
    except OSError as error:
        cause = error.strerror or error
        raise RunError(f"cannot write {current}: {cause}; free space or choose another folder") from error
    finally:
        for temporary, _ in written:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


@contextlib.contextmanager
def locked(folder: Path):
    """While entered, no other process may lock `folder`; RunError when one does. A killed one holds nothing."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with open(Path(folder) / ".lock", "a+b", buffering=0) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise RunError(
                f"process {lock.read().decode().strip() or '?'} of another run writes into {folder}; end it or choose "
                "another --save_dir"
            ) from error
        except OSError:  # a disk without locks
            pass
        with contextlib.suppress(OSError):  # a full disk
            lock.truncate(0)
            lock.write(str(os.getpid()).encode())
        yield


def sweep(folder: Path, pattern: str) -> None:
    """Delete the files of a pattern that killed processes were writing more than a day ago."""
    for file in folder.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > LEFTOVER_SECONDS:
                file.unlink()


def write_text(path: str | Path, text: str, sync: bool = True) -> None:
    """Write `text` as UTF-8, atomically; lone surrogates (undecodable file names) are kept as their bytes."""
    write_atomically(path, lambda stream: stream.write(text.encode("utf-8", "surrogateescape")), sync)


def write_json(path: str | Path, value: Any, sync: bool = True) -> None:
    """Write `value` as indented JSON in ASCII (every file name survives), atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", sync)


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises OSError."""
    with open(path, "rb") as stream:
        return stream_sha256(stream)


def stream_sha256(stream: BinaryIO) -> str:
    """The SHA-256 of what is left of an open file."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()
