"""Bodies of requests on their way into files: room is made first, and what comes is written as it comes."""

from __future__ import annotations

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from datareader.video import VideoError
from serving.problems import Problem
from serving.server import Server
from serving.videos import Upload
from utils.errors import RunError, UserError

WRITE_BYTES = 1 << 20
RESERVE_BYTES = 32 << 20  # at a time, where the size is not known
GONE = 400  # the client: nobody sees this answer


async def receive_video(server: Server, request: Request, name: str) -> dict:
    """Store the body as a new video: video_id, name, bytes, sha256. Nothing of it stays when this raises Problem."""
    size = int(request.headers.get("content-length", 0)) or None
    upload = await run_in_threadpool(begin, server, name, size)
    try:
        await _append(server, request, upload)
        return await run_in_threadpool(finish, server, upload)
    except ClientDisconnect:
        raise Problem(GONE, "the client has gone") from None
    finally:
        if upload.id not in server.videos.ready:
            await run_in_threadpool(server.videos.delete, upload.id)


async def resume_upload(server: Server, request: Request, upload: Upload, offset: int) -> dict | None:
    """Append the body to an upload; what came stays when the line breaks. Once it is whole: as `receive_video`."""
    if upload.is_busy or offset != upload.offset:
        raise Problem(409, f"the upload is at {upload.offset} bytes", {"Upload-Offset": str(upload.offset)})
    upload.is_busy = True
    try:
        await _append(server, request, upload)
        if upload.offset < (upload.size or 0):
            return None
        return await run_in_threadpool(finish, server, upload)
    except ClientDisconnect:
        raise Problem(GONE, "the client has gone") from None
    except Problem as problem:
        if problem.status in (413, 422, 507):
            await run_in_threadpool(server.videos.delete, upload.id)
        raise
    finally:
        upload.is_busy = False


def begin(server: Server, name: str, size: int | None) -> Upload:
    """Raises Problem for a file that is too large, now or ever."""
    limit = server.settings.max_upload
    if size is not None and size > limit:
        raise Problem(413, f"{size} bytes are too many, the limit is {limit} (--max_upload)")
    server.scheduler.make_room(size or RESERVE_BYTES)
    try:
        return server.videos.begin(name, size, size or RESERVE_BYTES)
    except OSError as error:
        raise Problem(507, "the server cannot write; its disk may be full") from error


async def _append(server: Server, request: Request, upload: Upload) -> None:
    limit = server.settings.max_upload if upload.size is None else upload.size
    waiting = bytearray()
    try:
        async for chunk in request.stream():
            waiting += chunk
            if upload.offset + len(waiting) > limit:
                raise Problem(413, f"the file is larger than {limit} bytes")
            if len(waiting) >= WRITE_BYTES:
                whole, waiting = waiting, bytearray()  # a failed write is not tried again below
                await run_in_threadpool(_write, server, upload, whole)
    finally:  # what came before the line broke is kept for a PATCH
        if waiting and upload.offset + len(waiting) <= limit:
            await run_in_threadpool(_write, server, upload, waiting)


def _write(server: Server, upload: Upload, data: bytearray) -> None:
    reserved = server.disk.reserved
    if upload.offset + len(data) > reserved.get(upload.id, 0):
        server.scheduler.make_room(RESERVE_BYTES)
        with server.videos.lock:
            if upload.id in reserved:  # else it has just been deleted
                reserved[upload.id] = upload.offset + len(data) + RESERVE_BYTES
    upload.write(bytes(data))


def finish(server: Server, upload: Upload) -> dict:
    """Raises Problem when the file is no video that the server takes."""
    try:
        if not upload.offset:
            raise Problem(422, "the file is empty")
        server.check_video(upload.file)
        return server.videos.finish(upload)
    except VideoError as error:
        raise Problem(422, error.reason) from None
    except UserError as error:
        raise Problem(422, str(error)) from None
    except RunError as error:
        raise Problem(507, "the server cannot write; its disk may be full") from error
