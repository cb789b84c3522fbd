"""A small part of S3's protocol, for tests: objects are read whole or by ranges of bytes, put, listed and deleted.

with S3Server({"bucket/key": b"..."}) as server:
    os.environ.update(server.environment)
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

MAX_KEYS = 1000  # in the answer to one request for a list


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
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # puts without a trailer
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
        if "list-type=2" in self.path:
            self._list()
        else:
            self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._fails():
            self.server.objects[unquote(self.path[1:])] = content
            self._reply(200, b"")

    def do_DELETE(self) -> None:
        if not self._fails():
            self.server.objects.pop(unquote(self.path[1:]), None)
            self._reply(204, b"")

    def _fails(self) -> bool:
        """Note the request, and answer it with a failure that is due."""
        self.server.requests.append((self.command, unquote(self.path[1:]), self.headers.get("Range")))
        if self.server.failures:
            self._reply(self.server.failures.pop(), b"")
            return True
        return False

    def _list(self) -> None:
        """ListObjectsV2, with and without a delimiter."""
        if self._fails():
            return
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        bucket, prefix = unquote(parts.path).strip("/"), query.get("prefix", "")
        found: dict[str, bytes | None] = {}  # key -> content, None: common to several keys
        for name, content in sorted(self.server.objects.items()):
            key = name.removeprefix(f"{bucket}/")
            if name.startswith(f"{bucket}/{prefix}"):
                head, slash, _ = key[len(prefix) :].partition(query.get("delimiter", "\0"))
                found.update({prefix + head + slash: None} if slash else {key: content})
        keys = [key for key in found if key > query.get("continuation-token", "")]
        most = min(MAX_KEYS, int(query.get("max-keys", MAX_KEYS)))
        text = f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys[:most])}</KeyCount>"
        text += f"<IsTruncated>{str(len(keys) > most).lower()}</IsTruncated>"
        if len(keys) > most:
            text += f"<NextContinuationToken>{escape(keys[most - 1])}</NextContinuationToken>"
        for key in keys[:most]:
            content = found[key]
            if content is None:
                text += f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>"
            else:
                text += (
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
                    f"<LastModified>2026-11-25T00:00:00.000Z</LastModified></Contents>"
                )
        self._reply(200, f"<ListBucketResult>{text}</ListBucketResult>".encode())

    def _answer(self) -> None:
        key, wanted = unquote(self.path[1:]), self.headers.get("Range")
        if self._fails():
            return None
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
