"""The videos that jobs may read: uploads, and those of one folder. A client knows them by ids that the server made."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from datareader.decoding import can_be_video
from serving.jobs import new_id
from serving.problems import Problem
from utils.files import write_json

MAX_NAME_BYTES = 180
MIN_FREE_BYTES = 64 << 20  # left to everything else on the disk
GUESS_SECONDS = 5.0
NEAR_LIMIT = 0.9  # the rest is for results, which come without asking


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that the disk is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Disk:
    """What the server may keep in its folder. limit: bytes. Uploads on their way have reserved what they will take."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        self.reserved: dict[str, int] = {}
        self._guess, self._guessed_until = 0, -1.0
        self._counting = threading.Lock()

    def used(self) -> int:
        """Bytes of all files, and of what uploads on their way will add."""
        total = sum(self.reserved.values())
        for parent, _, names in os.walk(self.folder):
            if Path(parent).name in self.reserved:
                continue
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    total += os.lstat(os.path.join(parent, name)).st_size
        return total

    def fits(self, num_bytes: int) -> bool:
        """Whether there is room. The guess is what was counted and what has been let in since. Files are counted again
        where the limit may be near; after GUESS_SECONDS beside the requests: thousands of files take a busy process
        seconds, for each of which it waits for its other threads."""
        if self.free() - num_bytes < min(MIN_FREE_BYTES, self.limit):
            return False
        if self._guessed_until < 0 or self._guess + num_bytes > NEAR_LIMIT * self.limit:
            self._count()
        elif time.monotonic() > self._guessed_until:
            self._guessed_until = float("inf")
            threading.Thread(target=self._count, daemon=True).start()
        self._guess += num_bytes
        return self._guess <= self.limit

    def _count(self) -> None:
        with self._counting:
            begin, before = time.monotonic(), self._guess
            used = before
            try:
                used = self.used()
            finally:
                self._guess += used - before  # what has been let in meanwhile may count twice until the next time
                counted = time.monotonic()
                self._guessed_until = counted + max(GUESS_SECONDS, 20 * (counted - begin))

    def free(self) -> int:
        """Bytes."""
        return shutil.disk_usage(self.folder).free


@dataclass
class Upload:
    """A file on its way. size: bytes announced; None: not known before the end."""

    id: str
    folder: Path
    name: str
    size: int | None
    offset: int = 0
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)
    touched: float = field(default_factory=time.time)
    is_busy: bool = False
    is_deleted: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)  # of the folder

    @property
    def file(self) -> Path:
        return self.folder / "video"

    def write(self, data: bytes) -> None:
        """Append to the file. Raises Problem when the disk is full and when the upload was deleted."""
        with self.lock:
            self.check()
            try:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | (os.O_EXCL if self.offset == 0 else 0)
                descriptor = os.open(self.file, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
                with open(descriptor, "wb") as stream:
                    stream.write(data)
            except OSError as error:
                if is_full(error):
                    raise Problem(507, "the server's disk is full; try again later") from error
                raise
            self.sha256.update(data)
            self.offset += len(data)
            self.touched = time.time()

    def check(self) -> None:
        """Raise Problem when the upload was deleted."""
        if self.is_deleted:
            raise Problem(404, "this upload has been deleted")

    def remove(self) -> None:
        with self.lock:
            self.is_deleted = True
            shutil.rmtree(self.folder, ignore_errors=True)


class Videos:
    """folder: of the uploads. shown: a folder whose videos are offered, None: none."""

    def __init__(self, folder: Path, shown: Path | None, disk: Disk):
        self.folder, self.disk = folder, disk
        self.shown = shown.resolve() if shown else None
        self.uploads: dict[str, Upload] = {}  # on their way
        self.ready: dict[str, dict] = {}
        self.listed: dict[str, Path] = {}
        self.lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)
        for entry in folder.iterdir():
            try:
                facts = json.loads((entry / "upload.json").read_text(encoding="utf-8"))
                if (entry / "video").stat().st_size != facts["bytes"]:
                    raise ValueError("half deleted")
                self.ready[entry.name] = facts
            except (OSError, ValueError):
                shutil.rmtree(entry, ignore_errors=True)  # cut off

    # ------------------------------------------------------------------------------------------- the folder

    def list_folder(self) -> list[dict]:
        """id, name and bytes of the folder's videos in order of name: regular files below its real path."""
        found: dict[str, Path] = {}
        rows = []
        for parent, folders, names in os.walk(self.shown) if self.shown else ():
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(parent) / name
                if name.startswith(".") or not self._is_inside(path) or not can_be_video(str(path)):
                    continue
                shown = path.relative_to(self.shown).as_posix()  # type: ignore[arg-type]
                token = hashlib.sha256(os.fsencode(shown)).digest()[:16]
                video_id = base64.b32encode(token).decode().rstrip("=").lower()
                found[video_id] = path
                rows.append({"id": video_id, "name": printable_name(shown), "bytes": path.stat().st_size})
        self.listed = found
        return rows

    def _is_inside(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            real = path.resolve(strict=True)
            return stat.S_ISREG(real.stat().st_mode) and self.shown is not None and self.shown in real.parents
        return False

    # ------------------------------------------------------------------------------------------- all videos

    def path(self, video_id: str) -> Path:
        """The file of a video. Raises Problem for an unknown one."""
        if video_id in self.ready:
            return self.folder / video_id / "video"
        if video_id not in self.listed:
            self.list_folder()
        path = self.listed.get(video_id)
        if path is None or not self._is_inside(path):
            raise Problem(404, "no such video; upload it, or choose one of the folder")
        return path.resolve()

    def describe(self, video_id: str) -> tuple[str, str]:
        """A video's name for people, and what identifies its content. Raises Problem."""
        path = self.path(video_id)
        if (facts := self.ready.get(video_id)) is not None:
            return facts["name"], facts["sha256"]
        try:
            found = path.stat()
        except FileNotFoundError:
            raise Problem(404, "this video has just been deleted") from None
        return printable_name(path.name), f"{video_id} {found.st_size} {found.st_mtime_ns}"

    # ------------------------------------------------------------------------------------------- uploads

    def begin(self, name: str, size: int | None, reserved: int) -> Upload:
        """size: bytes; None: not known. reserved: bytes for which there is room."""
        upload = Upload(new_id(), Path(), printable_name(name), size)
        upload.folder = self.folder / upload.id
        upload.folder.mkdir(mode=0o700)
        with self.lock:
            self.uploads[upload.id] = upload
            self.disk.reserved[upload.id] = reserved
        return upload

    def find_upload(self, video_id: str) -> Upload:
        """Raises Problem for one that is not on its way."""
        upload = self.uploads.get(video_id)
        if upload is None:
            raise Problem(404, "no such upload; it may have been given up, or is complete")
        return upload

    def finish(self, upload: Upload) -> dict:
        """The upload is a video from now on: video_id, name, bytes, sha256."""
        facts = {"name": upload.name, "bytes": upload.offset, "sha256": upload.sha256.hexdigest()}
        with upload.lock:
            upload.check()
            write_json(upload.folder / "upload.json", {**facts, "created": time.time()}, sync=False)
            with self.lock:
                self.ready[upload.id] = {**facts, "created": time.time()}
                self.uploads.pop(upload.id, None)
                self.disk.reserved.pop(upload.id, None)
        return {"video_id": upload.id, **facts}

    def delete(self, video_id: str) -> None:
        """Remove an upload, whole or on its way; those of the folder stay."""
        with self.lock:
            upload = self.uploads.pop(video_id, None)
            is_ready = self.ready.pop(video_id, None) is not None
            self.disk.reserved.pop(video_id, None)
        if upload is not None:
            upload.remove()
        elif is_ready:
            shutil.rmtree(self.folder / video_id, ignore_errors=True)

    def delete_unused(self, used: set[str], oldest: float) -> None:
        """Remove the uploads of before `oldest` (seconds since 1970) that are not among `used`."""
        for video_id, facts in list(self.ready.items()):
            if video_id not in used and facts["created"] < oldest:
                self.delete(video_id)
        for video_id, upload in list(self.uploads.items()):
            if not upload.is_busy and upload.touched < oldest:
                self.delete(video_id)


def printable_name(name: str) -> str:
    """A name for people only: without folders and control characters, at most MAX_NAME_BYTES bytes."""
    name = "".join(c if c.isprintable() else "?" for c in name.encode("utf-8", "replace").decode("utf-8"))
    return name.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore") or "video"
