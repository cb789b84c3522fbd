"""GET /api/v1/videos/{id}/preview.mp4: a copy in H.264, at most 640 px wide and high, for browsers that cannot play the
file itself."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from fastapi import APIRouter
from fastapi.responses import FileResponse

from datareader import Failure, VideoItem, build_window_loader
from datareader.lists import NO_LABEL
from datareader.workers import ReaderPool
from inference.overlay import write_annotated
from serving.files import StoredFile
from serving.work import check_duration
from utils.errors import UserError

if TYPE_CHECKING:
    from serving.server import Server

MAX_SIDE_PX = 640


def preview_router(server: Server) -> APIRouter:
    """The route; a copy is made once, one at a time, and kept as long as uploads are."""
    router = APIRouter()
    pool, lock = ReaderPool(1), threading.Lock()
    folder = server.settings.save_dir / "previews"

    @router.get("/api/v1/videos/{video_id}/preview.mp4", response_class=FileResponse, tags=["videos"])
    def preview(video_id: str):
        """The video as every browser plays it; the first request waits until the copy is made."""
        source, target = server.videos.path(video_id), folder / f"{video_id}.mp4"
        with lock:
            if not target.is_file():
                folder.mkdir(exist_ok=True)
                remove_old(folder, 3600 * server.settings.keep_hours)
                with contextlib.suppress(FileNotFoundError):  # it has just been deleted, which the reader says
                    server.scheduler.make_room(source.stat().st_size)
                write_preview(server, source, target, pool)
        return StoredFile(target, media_type="video/mp4")

    return router


def write_preview(server: Server, source: Path, target: Path, pool: ReaderPool) -> None:
    """Raises UserError and VideoError for a video that cannot be read, RunError for a full disk."""
    loader = build_window_loader(server.spec.config, [VideoItem(str(source), NO_LABEL, 1)])
    loader.pool = pool
    (windows,) = loader
    if isinstance(windows, Failure):
        raise UserError(windows.reason)
    check_duration(windows.timeline.end_seconds, server.settings.max_minutes)
    write_annotated(target, windows, lambda frame, _: shrink(frame))


def shrink(frame: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] whose longer side is at most MAX_SIDE_PX."""
    ratio = MAX_SIDE_PX / max(frame.shape[:2])
    if ratio >= 1:
        return frame
    height, width = (max(2, round(side * ratio)) for side in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def remove_old(folder: Path, seconds: float) -> None:
    """Remove the copies that were made so long ago."""
    for file in folder.iterdir():
        if file.stat().st_mtime < time.time() - seconds:
            file.unlink(missing_ok=True)
