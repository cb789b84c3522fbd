"""A small part of S3's protocol, for tests: objects are read whole or by ranges of bytes.

with S3Server({"bucket/key": b"..."}) as server:
    os.environ.update(server.environment)
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class S3Server(ThreadingHTTPServer):
    """objects: content by bucket/key; requests: (method, bucket/key, range or None) so far; failures: statuses that the
    next requests get, the last first."""

    daemon_threads = True

    def __init__(self, objects: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects, self.requests, self.failures = objects, [], []
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_port}", "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def __enter__(self) -> S3Server:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        key, wanted = unquote(self.path[1:]), self.headers.get("Range")
        self.server.requests.append((self.command, key, wanted))
        if self.server.failures:
            return self._reply(self.server.failures.pop(), b"")
        content = self.server.objects.get(key)
        if content is None:
            return self._reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if wanted is None:
            return self._reply(200, content)
        first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
        part = content[first : last + 1]
        self._reply(206, part, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"})

    def _reply(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        standing = {
            "ETag": '"1"',
            "Last-Modified": "Wed, 25 Nov 2026 00:00:00 GMT",
            "Content-Length": str(len(content)),
        }
        for name, value in {**standing, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass
