"""The cache of exported networks: entries are written to a temporary folder, renamed when complete and checked by
SHA-256 when read; the least recently used ones are deleted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

from utils.errors import RunError
from utils.files import file_sha256
from weights.download import weights_folder

MANIFEST = "entry.json"
MAX_ENTRIES = 16
LEFTOVER_SECONDS = 24 * 3600.0


class Exporter(Protocol):
    """Makes an entry."""

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the entry's files into an empty folder and return facts for JSON."""


def cache_folder() -> Path:
    """$PADDLE_NONLOCAL_HOME/exported, else ~/.paddle/weights/exported."""
    return weights_folder() / "exported"


def key_of(facts: dict[str, Any]) -> str:
    """The name of the entry that follows from these facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def fetch(key: str, exporter: Exporter) -> tuple[Path, dict[str, Any]]:
    """The folder of an entry and the facts that its exporter returned; made when it is missing or damaged.

    Raises RunError when the folder cannot be written.
    """
    target = cache_folder() / key
    facts = _read(target)
    if facts is None:
        try:
            facts = _make(target, exporter)
        except OSError as error:
            cause = error.strerror or error
            raise RunError(
                f"cannot keep an exported network in {target.parent} ({cause}); free space, or set "
                "PADDLE_NONLOCAL_HOME to a writable folder"
            ) from error
    with contextlib.suppress(OSError):
        os.utime(target / MANIFEST)  # marks the entry as used
        _drop_old(target)
    return target, facts


def _read(folder: Path) -> dict[str, Any] | None:
    """The facts of an entry; None when it is missing or a file is not what was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = all(file_sha256(folder / name) == digest for name, digest in manifest["sha256"].items())
        return manifest["facts"] if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _make(target: Path, exporter: Exporter) -> dict[str, Any]:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part.", dir=target.parent))
    try:
        facts = exporter.write(part)
        digests = {file.name: file_sha256(file) for file in sorted(part.iterdir())}
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
    """Delete all but the MAX_ENTRIES most recently used entries, and leftovers of killed processes."""
    entries = []
    for folder in current.parent.iterdir():
        if folder.name.startswith(".part."):
            if time.time() - folder.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        elif (folder / MANIFEST).is_file() and folder != current:
            entries.append(((folder / MANIFEST).stat().st_mtime, folder))
    for _, folder in sorted(entries, reverse=True)[MAX_ENTRIES - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)
