"""Files as answers: a range that does not exist, and a file that has just been deleted, are problems like any other."""

from __future__ import annotations

from typing import Any

from fastapi.responses import FileResponse

from serving.problems import Problem

REFUSALS = {
    400: "the header Range cannot be read; write bytes=FIRST-LAST",
    416: "the file has no such bytes; Content-Range says how many it has",
}


class StoredFile(FileResponse):
    """FileResponse, whose own refusals are plain text, and which raises RuntimeError for a file that is gone."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        is_started = is_refused = False

        async def watched(message: Any) -> None:
            nonlocal is_started, is_refused
            is_started = True
            if message["type"] == "http.response.start" and message["status"] in REFUSALS:
                is_refused = True
                kept = {k.decode(): v.decode() for k, v in message["headers"] if k == b"content-range"}
                await Problem(message["status"], REFUSALS[message["status"]], kept).response()(scope, receive, send)
            elif not is_refused:
                await send(message)

        try:
            await super().__call__(scope, receive, watched)
        except RuntimeError:
            if is_started:
                raise
            await Problem(404, "this file has just been deleted").response()(scope, receive, send)
