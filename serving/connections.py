"""The limits on connections that uvicorn does not have: clients that send no whole request, or read no answer."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.problems import PROBLEM_JSON, Problem

REQUEST_SECONDS = 20.0  # for the head of a request, and for what comes after an early answer
ANSWER_SECONDS = 60.0  # without room for another byte of an answer


class HttpProtocol(H11Protocol):
    """Ends a connection that has held no request in work for REQUEST_SECONDS, and one whose client has not read for
    ANSWER_SECONDS: each would take one of the few places for ever."""

    waiting: asyncio.TimerHandle | None = None  # for a request
    stuck: asyncio.TimerHandle | None = None  # the answer

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self.waiting, self.stuck):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stuck = self.loop.call_later(ANSWER_SECONDS, self._reset)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.stuck is not None:
            self.stuck.cancel()

    def _reset(self) -> None:
        """A connection that is only closed keeps what was not read in the kernel, for minutes."""
        stream = self.transport.get_extra_info("socket")
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _watch(self) -> None:
        """Bytes do not restart the timer; only a request ends it."""
        is_working = self.cycle is not None and not self.cycle.response_complete
        if self.waiting is not None and is_working:
            self.waiting.cancel()
            self.waiting = None
        elif self.waiting is None and not is_working:
            self.waiting = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None:
            self._refuse(Problem(408, f"no whole request came within {REQUEST_SECONDS:g} s"))
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """In place of uvicorn's, which is plain text and fails where an answer has begun."""
        self._refuse(Problem(400, "this is no whole request of HTTP/1.1"))

    def _refuse(self, problem: Problem) -> None:
        """End the connection with one line, or with none where an answer is on its way."""
        is_answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not is_answering and not self.transport.is_closing():
            body = json.dumps(problem.content()).encode()
            head = [f"HTTP/1.1 {problem.status} {problem.content()['title']}", f"Content-Type: {PROBLEM_JSON}"]
            head += [f"Content-Length: {len(body)}", "Connection: close"]
            self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()
