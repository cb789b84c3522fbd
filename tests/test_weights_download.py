"""Downloads from a server of our own: whole, resumed, damaged, refused, offline."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from utils.errors import RunError, UserError
from weights import download as module
from weights.download import download

CONTENT = bytes(range(256)) * 5000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; /cut breaks off after a third, /plain knows no ranges, /none is not there."""

    def do_GET(self):
        requested = self.headers.get("Range")
        self.server.ranges.append(requested)
        if self.path.startswith("/none"):
            self.send_error(404)
            return
        start = 0
        if requested and not self.path.startswith("/plain"):
            start = int(requested[len("bytes=") :].rstrip("-"))
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.end_headers()
                return
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        is_cut = self.path.startswith("/cut") and len(self.server.ranges) == 1
        self.wfile.write(CONTENT[start : len(CONTENT) // 3] if is_cut else CONTENT[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.ranges = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_whole_file_comes_once(server, tmp_path):
    digest = hashlib.sha256(CONTENT).hexdigest()
    for _ in range(2):
        path = download(f"{server.url}/w.bin?x=1", tmp_path / "new", sha256=digest)
        assert path == tmp_path / "new" / "w.bin" and path.read_bytes() == CONTENT
    assert len(server.ranges) == 1 and [p.name for p in path.parent.iterdir()] == ["w.bin"]


def test_a_broken_transfer_is_continued_where_it_ended(server, tmp_path):
    with pytest.raises(RunError, match="curl"):
        download(f"{server.url}/cut.bin", tmp_path)
    assert not (tmp_path / "cut.bin").exists()
    path = download(f"{server.url}/cut.bin", tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest()[:8])
    assert path.read_bytes() == CONTENT and server.ranges == [None, f"bytes={len(CONTENT) // 3}-"]


@pytest.mark.parametrize("name, length", [("plain.bin", 100), ("w.bin", len(CONTENT)), ("w.bin", len(CONTENT) + 5)])
def test_a_part_that_cannot_be_continued(server, tmp_path, name, length):
    """No ranges on the server; whole already; longer than the file."""
    (tmp_path / f"{name}.part").write_bytes((CONTENT + b"12345")[:length])
    assert download(f"{server.url}/{name}", tmp_path).read_bytes() == CONTENT


def test_another_file_than_expected_is_deleted(server, tmp_path):
    with pytest.raises(UserError, match="not the expected file"):
        download(f"{server.url}/w.bin", tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"1", b"my own weights"])
def test_a_copy_that_is_another_file_is_refused_in_one_line_and_kept(server, tmp_path, content):
    """Cut off, longer, or of the user's own: nothing is downloaded over it."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    (tmp_path / "w.bin").write_bytes(content)
    for sha256 in (digest, digest[:8], digest.upper()):
        with pytest.raises(UserError, match=r"w\.bin is not the published file.*delete or rename") as caught:
            download(f"{server.url}/w.bin", tmp_path, sha256=sha256)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "w.bin").read_bytes() == content and server.ranges == []
    (tmp_path / "w.bin").unlink()
    assert download(f"{server.url}/w.bin", tmp_path, sha256=digest).read_bytes() == CONTENT


def test_a_right_copy_and_one_of_unknown_checksum_need_no_network(tmp_path):
    (tmp_path / "w.bin").write_bytes(CONTENT)
    for sha256 in (hashlib.sha256(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()[:8].upper(), ""):
        assert download("http://127.0.0.1:9/dir/w.bin", tmp_path, sha256=sha256) == tmp_path / "w.bin"


def test_what_another_process_brought_meanwhile_is_checked_too(server, monkeypatch, tmp_path):
    alone = module._alone

    @contextlib.contextmanager
    def overtaken(part):
        with alone(part):
            (tmp_path / "w.bin").write_bytes(b"another file")
            yield

    monkeypatch.setattr(module, "_alone", overtaken)
    with pytest.raises(UserError, match="not the published file"):
        download(f"{server.url}/w.bin", tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert server.ranges == []


def test_offline_is_told_with_the_command(tmp_path):
    with pytest.raises(RunError) as caught:
        download("http://127.0.0.1:9/dir/w.bin", tmp_path, instead="pass --weights=FILE")
    text = str(caught.value)
    assert f"curl -L --create-dirs -C - -o {tmp_path}/w.bin http://127.0.0.1:9/dir/w.bin" in text
    assert "--weights=FILE" in text and "\n" not in text


def test_a_stalled_server_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "SECONDS_WITHOUT_DATA", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(RunError, match="timed out"):
        download(f"http://127.0.0.1:{silent.getsockname()[1]}/w.bin", tmp_path)


def test_processes_that_want_the_same_file_do_not_disturb_each_other(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: download(f"{server.url}/w.bin", tmp_path), range(4)))
    assert set(paths) == {tmp_path / "w.bin"} and paths[0].read_bytes() == CONTENT
    assert len(server.ranges) == 1 and [p.name for p in tmp_path.iterdir()] == ["w.bin"]


def test_missing_on_the_server(server, tmp_path):
    with pytest.raises(RunError, match="Not Found|404"):
        download(f"{server.url}/none.bin", tmp_path)


def test_mirror_and_cache_folder_by_environment(monkeypatch, tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "w.bin").write_bytes(b"mirrored")
    monkeypatch.setenv("PADDLE_NONLOCAL_MIRROR", (tmp_path / "mirror").as_uri())
    monkeypatch.setenv("PADDLE_NONLOCAL_HOME", str(tmp_path / "cache"))
    assert download("http://127.0.0.1:9/dir/w.bin") == tmp_path / "cache" / "w.bin"
    assert (tmp_path / "cache" / "w.bin").read_bytes() == b"mirrored"
    with pytest.raises(RunError, match="none.bin"):
        download("http://127.0.0.1:9/dir/none.bin")
    monkeypatch.setenv("PADDLE_NONLOCAL_MIRROR", "ftp://somewhere")
    with pytest.raises(UserError, match="PADDLE_NONLOCAL_MIRROR"):
        download("http://127.0.0.1:9/dir/other.bin")


def test_without_the_variable_the_zoos_folder_is_used(monkeypatch):
    monkeypatch.delenv("PADDLE_NONLOCAL_HOME", raising=False)
    monkeypatch.setenv("HOME", "/somewhere")
    assert str(module.weights_folder()) == "/somewhere/.paddle/weights"
