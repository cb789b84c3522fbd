"""What every request must pass before a route sees it, and what every answer carries. A plain ASGI middleware.

- Host must be a name of this server: a page of another name that resolves to this machine (DNS rebinding) gets 421.
- What changes something must come from our own page or from no page: Origin, Sec-Fetch-Site, and a content type that a
  form cannot send (CSRF).
- With a token: `Authorization: Bearer`, or `?token=` once, which becomes a cookie.
- Bodies are counted and timed while they stream in.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response

from serving.problems import Problem
from serving.server import Server

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
BODY_TYPES = ("application/octet-stream", "application/offset+octet-stream", "application/json")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
BODY_METHODS = ("POST", "PUT", "PATCH")
METHODS = (*SAFE_METHODS, *BODY_METHODS, "DELETE")
MAX_JSON_BYTES = 64 << 10
CHUNK_SECONDS = 30.0  # without a byte
RATE_SECONDS, MIN_BYTES_PER_SECOND = 60.0, 10_000
TOKEN_COOKIE = "token"
API = "/api/"

Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]


class Guard:
    """Around the whole application."""

    def __init__(self, app: Callable, server: Server):
        settings = server.settings
        self.app, self.server, self.token = app, server, settings.token
        names = {"127.0.0.1", "localhost", "[::1]", settings.host, *settings.allow_hosts}
        self.hosts = {bracketed(name.lower()) for name in names} - {"0.0.0.0", "[::]"}
        self.origins = set(settings.allow_origins)

    async def __call__(self, scope: dict, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        status = 500

        async def send_with_headers(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
                if scope["path"].startswith(API):
                    answer.setdefault("Cache-Control", "no-store")
                if origin in self.origins:
                    answer["Access-Control-Allow-Origin"], answer["Vary"] = origin, "Origin"
                    answer["Cross-Origin-Resource-Policy"] = "cross-origin"
            await send(message)

        try:
            early = self.answer(scope, headers)
            if early is None:
                await self.app(scope, timed_body(receive, self.limit_of(scope)), send_with_headers)
            else:
                await early(scope, receive, send_with_headers)
        except Problem as problem:
            await problem.response()(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.server.counts.requests[method, route, status] += 1

    def answer(self, scope: dict, headers: Headers) -> Response | None:
        """An answer that needs no route. Raises Problem for a request that is refused."""
        method, path, host = scope["method"], scope["path"], headers.get("host", "").lower()
        if hostname(host) not in self.hosts:
            raise Problem(421, "this server does not go by that name; start it with --allow_host=NAME")
        origin = headers.get("origin")
        own = origin is None or is_of_host(origin, host) or origin in self.origins
        is_allowed = origin in self.origins
        if method == "OPTIONS" and is_allowed:
            names = "Authorization, Content-Type, Last-Event-ID, Upload-Offset"
            methods = "GET, HEAD, POST, PUT, PATCH, DELETE"
            allowed = {"Access-Control-Allow-Methods": methods, "Access-Control-Allow-Headers": names}
            return Response(status_code=204, headers=allowed)
        crosses = headers.get("sec-fetch-site") == "cross-site" and not is_allowed
        if crosses and (method not in SAFE_METHODS or path.startswith(API)):
            raise Problem(403, "a page of another site may not use this server")
        if method not in SAFE_METHODS and not own:
            raise Problem(403, "a page of another origin may not use this server; programs send no Origin")
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if has_body and method not in BODY_METHODS:
            raise Problem(400, f"{method} takes no body here", {"Connection": "close"})
        redirect = self.check_token(scope, headers)
        if redirect is not None:
            return redirect
        if method in BODY_METHODS:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in BODY_TYPES:
                raise Problem(415, f"Content-Type must be one of {', '.join(BODY_TYPES)}")
            limit, size = self.limit_of(scope), headers.get("content-length", "0")
            if size.isdecimal() and int(size) > limit:
                flag = " (--max_upload)" if limit == self.server.settings.max_upload else ""
                raise Problem(413, f"{size} bytes are too many, the limit is {limit}{flag}", {"Connection": "close"})
        return None

    def check_token(self, scope: dict, headers: Headers) -> Response | None:
        """None when the request may pass; a redirect that takes the token out of the address."""
        if not self.token:
            return None
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(value.strip()):
            return None
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(TOKEN_COOKIE)
        except CookieError:
            cookie = None
        if cookie is not None and self.is_token(cookie.value):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["method"] == "GET" and self.is_token(dict(query).get("token", "")):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            answer = RedirectResponse("/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(TOKEN_COOKIE, self.token, httponly=True, samesite="strict")
            return answer
        raise Problem(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.token.encode())

    def limit_of(self, scope: dict) -> int:
        """Bytes that a body may have."""
        path, method = scope["path"], scope["method"]
        is_video = (path.startswith("/api/v1/uploads/") and method in ("PUT", "PATCH")) or path == "/api/v1/score"
        return self.server.settings.max_upload if is_video else MAX_JSON_BYTES


def timed_body(receive: Receive, limit: int) -> Receive:
    """`receive`, which raises Problem for a body of more than `limit` bytes, and for one that comes too slowly."""
    total, since, since_total, is_complete = 0, time.monotonic(), 0, False

    async def receive_in_time() -> Any:
        nonlocal total, since, since_total, is_complete
        if is_complete:  # what follows is only that the client has gone
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), CHUNK_SECONDS)
        except asyncio.TimeoutError:
            raise Problem(408, f"no byte came for {CHUNK_SECONDS:g} s", {"Connection": "close"}) from None
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if total > limit:
                raise Problem(413, f"the body is larger than {limit} bytes", {"Connection": "close"})
            now = time.monotonic()
            if now - since > RATE_SECONDS:
                if not is_complete and total - since_total < MIN_BYTES_PER_SECOND * (now - since):
                    slow = f"less than {MIN_BYTES_PER_SECOND} bytes came a second"
                    raise Problem(408, slow, {"Connection": "close"})
                since, since_total = now, total
        return message

    return receive_in_time


def is_of_host(origin: str, host: str) -> bool:
    """Whether an Origin header names the host of the Host header, with its port."""
    try:
        return urlsplit(origin).netloc.lower() == host
    except ValueError:  # no address
        return False


def hostname(host: str) -> str:
    """The name in a Host header, without the port; IPv6 addresses in brackets."""
    return host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name
