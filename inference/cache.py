"""Exported networks kept on disk: written beside and renamed when whole, checked by checksum, the oldest dropped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.errors import RunError
from weights.download import weights_folder

MANIFEST = "entry.json"
MAX_ENTRIES = 8
SECONDS_OF_A_LEFTOVER = 24 * 3600.0


def cache_folder() -> Path:
    """$PADDLE_NONLOCAL_HOME/exported, else ~/.paddle/weights/exported."""
    return weights_folder() / "exported"


def key_of(facts: dict[str, Any]) -> str:
    """A folder name for what an entry was made from."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def fetch(key: str, build: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """The folder of an entry and the facts that its `build` returned; built when it is not there or damaged.

    build(folder) writes the entry's files into an empty folder and returns facts for JSON. Raises RunError when the
    folder cannot be written.
    """
    target = cache_folder() / key
    facts = _read(target)
    if facts is None:
        try:
            facts = _build(target, build)
        except OSError as error:
            cause = error.strerror or error
            raise RunError(
                f"cannot keep an exported network in {target.parent} ({cause}); free space, or set "
                "PADDLE_NONLOCAL_HOME to a folder that can be written"
            ) from error
    with contextlib.suppress(OSError):
        os.utime(target / MANIFEST)  # the entries used last are kept
        _drop_old(target)
    return target, facts


def _read(folder: Path) -> dict[str, Any] | None:
    """The facts of a whole entry; None when there is none or a file is not what was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = all(file_digest(folder / name) == digest for name, digest in manifest["sha256"].items())
        return manifest["facts"] if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _build(target: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part.", dir=target.parent))
    try:
        facts = build(part)
        digests = {file.name: file_digest(file) for file in sorted(part.iterdir())}
        (part / MANIFEST).write_text(json.dumps({"sha256": digests, "facts": facts}), encoding="utf-8")
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(part, 0o777 & ~umask)  # mkdtemp makes private folders
        if target.exists() and _read(target) is None:
            shutil.rmtree(target)
        try:
            os.rename(part, target)
        except OSError:
            if _read(target) is None:  # not another process's entry of the same content
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return facts


def _drop_old(current: Path) -> None:
    """Delete all but the MAX_ENTRIES entries used last, and what killed processes left."""
    entries = []
    for folder in current.parent.iterdir():
        if folder.name.startswith(".part."):
            if time.time() - folder.stat().st_mtime > SECONDS_OF_A_LEFTOVER:
                shutil.rmtree(folder, ignore_errors=True)
        elif (folder / MANIFEST).is_file() and folder != current:
            entries.append(((folder / MANIFEST).stat().st_mtime, folder))
    for _, folder in sorted(entries, reverse=True)[MAX_ENTRIES - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
