"""Connections that would take a place for ever are ended, over sockets; so many that wait do not hold up the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx
import uvicorn

import serve
from serving import connections
from serving.app import build_app
from serving.connections import HttpProtocol
from serving.server import Counts, Settings

LARGE = 30 << 20  # bytes: more than the buffers of both sides hold
SECONDS = 0.3  # in place of both limits


async def app(scope, receive, send) -> None:
    """/large: so many bytes. Else a word after twice the limit."""
    body = bytes(LARGE) if scope["path"] == "/large" else b"done"
    if len(body) < LARGE:
        await asyncio.sleep(2 * SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    for first in range(0, len(body), 1 << 16):
        await send({"type": "http.response.body", "body": body[first : first + (1 << 16)], "more_body": True})
    await send({"type": "http.response.body"})


@pytest.fixture(scope="module")
def port():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "REQUEST_SECONDS", SECONDS)
        patch.setattr(connections, "ANSWER_SECONDS", SECONDS)
        config = uvicorn.Config(app, http=HttpProtocol, ws="none", lifespan="off", log_level="critical", loop="asyncio")
        server, listener = uvicorn.Server(config), serve.listen("127.0.0.1", 0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def connect(port: int, request: bytes, receive_bytes: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_bytes is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    client.sendall(request)
    return client


def rest(client: socket.socket, pause: float = 0.0) -> bytes:
    """What comes until the other side ends the connection."""
    parts = []
    with client, contextlib.suppress(ConnectionResetError):
        while part := client.recv(1 << 20):
            parts.append(part)
            time.sleep(pause)
    return b"".join(parts)


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_request_that_does_not_come_is_given_up_in_one_line(port, head):
    """Bytes that trickle in do not prolong it."""
    client, begin, sends = connect(port, head), time.monotonic(), True
    while sends and head and time.monotonic() - begin < 20:
        client.settimeout(0.05)
        try:
            sends = client.send(b"x") > 0 and not client.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            pass
        except OSError:
            sends = False
    client.settimeout(20)
    head, _, body = rest(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ") and b"application/problem+json" in head
    assert json.loads(body)["status"] == 408 and json.loads(body)["detail_zh"]


@pytest.mark.parametrize(
    "request_", [b"\0\0\r\n\r\n", b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
def test_what_is_no_request_is_refused_in_one_line(port, request_):
    head, _, body = rest(connect(port, request_)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"application/problem+json" in head and json.loads(body)["detail_zh"]


def test_an_answer_is_not_mixed_with_a_refusal(port):
    """Of what follows on the same connection."""
    client = connect(port, b"PUT /large HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert client.recv(1, socket.MSG_PEEK)
    client.sendall(b"zz\r\n")
    time.sleep(SECONDS / 10)  # it is read before the answer's end, or the refusal comes after that
    _, _, found = rest(client).partition(b"\r\n\r\n")
    assert not found[:LARGE].strip(b"\0") and found[LARGE:][:13] in (b"", b"HTTP/1.1 400 ")


def test_a_request_in_work_is_not(port):
    assert rest(connect(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).endswith(b"done")


def test_an_answer_that_is_not_read_is_broken_off_and_one_that_is_read_slowly_is_not(port):
    request = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    unread, slow = (connect(port, request, receive_bytes=1 << 16) for _ in range(2))
    assert rest(slow, pause=SECONDS / 100).count(b"\0") == LARGE  # takes several times the limit
    time.sleep(2 * SECONDS)
    with unread, pytest.raises(ConnectionResetError):  # what was sent is not kept either
        while unread.recv(1 << 20):
            pass


def test_as_many_requests_as_there_are_connections_may_wait(tmp_path):
    """Each holds a thread: for a copy of a video, say. Another request is answered all the same."""
    gate = threading.Event()
    videos = SimpleNamespace(path=lambda video_id: gate.wait(30), list_folder=list)
    server = SimpleNamespace(settings=Settings(tmp_path), counts=Counts(), videos=videos, stop=lambda: None)
    application = build_app(server)  # type: ignore[arg-type]

    async def ask() -> int:
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with (
            application.router.lifespan_context(application),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=30) as client,
        ):
            content = [client.get("/api/v1/videos/x/content") for _ in range(serve.MAX_CONNECTIONS - 1)]
            waiting = [asyncio.create_task(request) for request in content]
            await asyncio.sleep(0.2)
            try:
                return (await asyncio.wait_for(client.get("/api/v1/videos"), 10)).status_code
            finally:
                gate.set()
                await asyncio.gather(*waiting)

    assert asyncio.run(ask()) == 200
