"""The HTTP side: the way of a video, answers against the OpenAPI document, and attacks on each rule of security."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

pytest.importorskip("fastapi")
jsonschema = pytest.importorskip("jsonschema")
from fastapi.testclient import TestClient  # noqa: E402

from inference.example import EXAMPLES  # noqa: E402
from serving import security, uploads, videos  # noqa: E402
from serving.app import build_app  # noqa: E402
from serving.problems import Problem  # noqa: E402
from serving.server import Server, Settings  # noqa: E402
from tests.test_serving_jobs import example_spec, predicted  # noqa: E402
from utils.errors import RunError, UserError  # noqa: E402

CLIP = (EXAMPLES / "clip.mp4").read_bytes()
OCTETS = {"Content-Type": "application/octet-stream"}
V1 = "/api/v1"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    (folder / "videos").mkdir()
    (folder / "videos/clip.mp4").write_bytes(CLIP)
    (folder / "secret.mp4").write_bytes(CLIP)
    (folder / "videos/link.mp4").symlink_to(folder / "secret.mp4")
    server = Server(example_spec(), Settings(folder / "data", folder / "videos", max_upload=1 << 20), use_gpu=False)
    yield server
    server.stop()


@pytest.fixture
def client(server):
    return TestClient(build_app(server), base_url="http://127.0.0.1:8866", raise_server_exceptions=False)


def upload(client, data=CLIP, name="clip.mp4") -> str:
    answer = client.put(f"{V1}/uploads/{name}", content=data, headers=OCTETS)
    assert answer.status_code == 201, answer.text
    return answer.json()["video_id"]


def is_problem(answer, status: int, words: str = "") -> bool:
    """Whether an answer is a problem of RFC 9457 with that status, in one line."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) - {"detail_zh"} == {"type", "title", "status", "detail"} and "\n" not in body["detail"]
    assert answer.status_code == body["status"] == status and words in body["detail"], answer.text
    return True


def test_the_way_of_a_video(client, server, tmp_path):
    video_id = upload(client)
    begun = client.post(f"{V1}/jobs", json={"video_id": video_id, "hop": 0.2})
    assert begun.status_code == 202
    url = begun.headers["location"]
    with client.stream("GET", f"{url}/events") as stream:
        text = stream.read().decode()
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    kinds = [event["event"] for event in events]
    windows = [json.loads(event["data"]) for event in events if event["event"] == "window"]
    assert [window["index"] for window in windows] == list(range(9)) and kinds[-1] == "done"
    assert json.loads(events[kinds.index("info")]["data"]) == {
        "duration": 2.72, "frames": 68, "rate": 25.0, "num_windows": 9,
    }  # fmt: skip
    state = client.get(url).json()
    assert state["state"] == "done" and state["progress"] == 1 and state["num_windows"] == 9
    mean = [sum(w["score"] for win in windows for w in win["top5"] if w["class"] == 0) / 9]
    assert state["top5"][0] == {"class": 0, "score": pytest.approx(mean[0], abs=1e-6)}
    with client.stream("GET", f"{url}/events", headers={"Last-Event-ID": "7"}) as stream:
        rest = stream.read().decode()
    assert rest.count("event: window") == 2 and '"index": 7' in rest and '"index": 6' not in rest
    folder = predicted(tmp_path, "segments", stride_seconds=0.2) / "segments"
    for kind in ("csv", "srt", "vtt"):
        answer = client.get(f"{url}/segments.{kind}")
        assert answer.content == (folder / f"clip.{kind}").read_bytes()
        assert answer.headers["content-disposition"] == f'attachment; filename="clip.{kind}"'
    again = client.post(f"{V1}/jobs", json={"video_id": video_id, "hop": 0.2})
    assert again.status_code == 200 and again.json()["id"] == state["id"]
    assert [job["id"] for job in client.get(f"{V1}/jobs").json()["jobs"]] == [state["id"]]
    assert client.delete(url).status_code == 204 and is_problem(client.get(url), 404)
    assert video_id not in server.videos.ready and not (server.videos.folder / video_id).exists()


def test_score_answers_with_the_record_of_predict_py(client, server, tmp_path):
    (expected,) = json.loads((predicted(tmp_path, "classes", views="2x1") / "predictions.json").read_text())
    answer = client.post(f"{V1}/score?views=2x1&name=clip.mp4", content=CLIP, headers=OCTETS)
    assert answer.json() == {**expected, "path": "clip.mp4"}
    assert not list(server.videos.folder.iterdir()) and not server.disk.reserved


def test_a_score_whose_client_has_gone_is_ended_at_once(server, monkeypatch):
    """As uvicorn tells it: the whole body, then http.disconnect. The job may not wait for its batch."""
    gate, compute, answers = threading.Event(), server.engine.outputs, []
    monkeypatch.setattr(server.engine, "outputs", lambda clips: gate.wait(5) and compute(clips))
    messages = iter([{"type": "http.request", "body": CLIP, "more_body": False}])
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/octet-stream")]
    scope = {"type": "http", "method": "POST", "path": f"{V1}/score", "query_string": b"", "headers": headers,
             "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 1), "root_path": ""}  # fmt: skip

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    async def send(message):
        answers.append(message)

    before = set(server.scheduler.jobs)
    asyncio.run(build_app(server)(scope, receive, send))
    assert answers[0]["status"] == 400 and not gate.is_set()
    assert set(server.scheduler.jobs) == before and not list(server.videos.folder.iterdir())
    gate.set()
    while server.scheduler.active():
        time.sleep(0.01)
    assert set(server.scheduler.folder.iterdir()) == {server.scheduler.jobs[job].folder for job in before}


def test_an_upload_goes_on_where_the_line_broke(client, server):
    begun = client.post(f"{V1}/uploads", json={"name": "a.mp4", "bytes": len(CLIP)})
    url, video_id = begun.headers["location"], begun.json()["video_id"]
    part = client.patch(url, content=CLIP[:7000], headers={**OCTETS, "Upload-Offset": "0"})
    assert part.json() == {"video_id": video_id, "offset": 7000, "bytes": len(CLIP), "complete": False}
    assert client.head(url).headers["upload-offset"] == "7000"
    wrong = client.patch(url, content=CLIP, headers={**OCTETS, "Upload-Offset": "6999"})
    assert is_problem(wrong, 409) and wrong.headers["upload-offset"] == "7000"
    rest = client.patch(url, content=CLIP[7000:], headers={**OCTETS, "Upload-Offset": "7000"})
    assert rest.json()["complete"] and server.videos.path(video_id).read_bytes() == CLIP
    ranged = client.get(f"{V1}/videos/{video_id}/content", headers={"Range": "bytes=100-199"})
    assert ranged.status_code == 206 and ranged.content == CLIP[100:200]
    assert ranged.headers["content-type"] == "video/mp4" and ranged.headers["x-content-type-options"] == "nosniff"
    assert client.delete(url).status_code == 204 and is_problem(client.get(f"{V1}/videos/{video_id}/content"), 404)


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fpasswd", "%3Cimg%20onerror%3D1%3E", "n" * 300, "%FF%FE", "a%00b"])
def test_no_name_becomes_a_path(client, server, name):
    answer = client.put(f"{V1}/uploads/{name}", content=CLIP, headers=OCTETS)
    if answer.status_code == 201:
        assert len(answer.json()["name"].encode()) <= 180
        video_id = answer.json()["video_id"]
        assert [path.name for path in (server.videos.folder / video_id).iterdir()].count("video") == 1
        server.videos.delete(video_id)
    else:
        assert is_problem(answer, 404)
    assert not list(server.videos.folder.iterdir())


@pytest.mark.parametrize("data", [b"", b"no video", b"#EXTM3U\nhttp://127.0.0.1/x", CLIP[:3000]])
def test_what_is_no_video_is_refused_and_leaves_nothing(client, server, data):
    assert is_problem(client.put(f"{V1}/uploads/x.mp4", content=data, headers=OCTETS), 422)
    assert not list(server.videos.folder.iterdir()) and not server.disk.reserved


def test_the_folder_offers_its_own_files_only(client, server):
    (video,) = client.get(f"{V1}/videos").json()["videos"]
    assert video["name"] == "clip.mp4" and "/" not in video["id"]
    assert client.get(f"{V1}/videos/{video['id']}/content").content == CLIP
    for guess in ("..%2Fsecret.mp4", "link.mp4", "clip.mp4"):
        assert is_problem(client.get(f"{V1}/videos/{guess}/content"), 404)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "video_id"), ({"video_id": "nope"}, "no such video"), ({"video_id": "x", "task": "dance"}, "task"),
        ({"video_id": "x", "views": "7"}, "views"), ({"video_id": "x", "views": "10x3"}, "one clip"),
        ({"video_id": "x", "task": "features", "stage": "res9"}, "res5"), ({"video_id": "x", "path": "/etc"}, "path"),
        ({"video_id": "x", "stage": "res5"}, "stage"), ({"video_id": "x", "hop": -1}, "hop"),
        ({"video_id": "x", "task": "classes", "hop": 1}, "sliding"),
    ],
)  # fmt: skip
def test_a_wrong_job_gets_one_line(client, body, words):
    answer = client.post(f"{V1}/jobs", json=body)
    assert is_problem(answer, 404 if words == "no such video" else 422, words)
    assert answer.json()["detail_zh"]


def test_every_answer_is_as_the_document_says(client, server):
    document = client.get(f"{V1}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert not client.get("/openapi.json").is_success and not client.get("/redoc").is_success
    video_id = client.get(f"{V1}/videos").json()["videos"][0]["id"]
    job_id = client.post(f"{V1}/jobs", json={"video_id": video_id, "hop": 1}).json()["id"]
    checked = 0
    for path, methods in document["paths"].items():
        if "get" not in methods or path.endswith("events"):
            continue
        for job, video in ((job_id, video_id), ("x", "x")):
            answer = client.get(path.format(job_id=job, video_id=video, kind="json", name="x"))
            responses = methods["get"]["responses"]
            media = answer.headers["content-type"].partition(";")[0]
            entry = responses.get(str(answer.status_code), responses["default"])
            if media == "application/problem+json":
                assert is_problem(answer, answer.status_code)
                entry = responses["default"]
            if "json" in media and media in entry.get("content", {}):
                wanted = entry["content"][media]["schema"]
                jsonschema.validate(answer.json(), {**wanted, "components": document["components"]})
                checked += 1
    assert checked >= 8
    assert "nonlocal_http_requests_total{" in client.get("/metrics").text


# ------------------------------------------------------------------------------------------------ attacks


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8866", "[::2]", ""])
def test_another_name_is_no_name_of_this_server(client, host):
    assert is_problem(client.get(f"{V1}/health", headers={"Host": host}), 421)


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "[::1]:8866", "127.0.0.1"])
def test_its_own_names_are(client, host):
    assert client.get(f"{V1}/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1:8866.evil", "http://[::1"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_page_of_another_origin_changes_nothing(client, origin, method):
    answer = client.request(method, f"{V1}/uploads/x", headers={**OCTETS, "Origin": origin})
    assert is_problem(answer, 403) and "access-control-allow-origin" not in answer.headers


def test_pages_of_other_sites_do_not_even_read(client):
    crossing = {"Sec-Fetch-Site": "cross-site"}
    assert is_problem(client.get(f"{V1}/health", headers=crossing), 403)
    own = {"Origin": "http://127.0.0.1:8866", "Sec-Fetch-Site": "same-origin"}
    assert client.post(f"{V1}/jobs", json={}, headers=own).status_code == 422  # it came in


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_what_a_form_can_send_is_refused(client, kind):
    assert is_problem(client.put(f"{V1}/uploads/x", content=CLIP, headers={"Content-Type": kind}), 415)


def test_every_answer_forbids_what_the_page_does_not_need(client):
    for answer in (client.get(f"{V1}/health"), client.get("/nothing"), client.get("/", headers={"Host": "x"})):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'") and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer" and "server" not in answer.headers


def test_a_token_opens_what_is_closed_without(server, monkeypatch):
    monkeypatch.setattr(server, "settings", Settings(server.settings.save_dir, token="right-token"))
    app = build_app(server)
    client = TestClient(app, base_url="http://127.0.0.1:8866", follow_redirects=False)
    assert is_problem(client.get(f"{V1}/health"), 401)
    for header in ("Bearer wrong", "Basic right-token", "Bearer", "right-token"):
        assert is_problem(client.get(f"{V1}/health", headers={"Authorization": header}), 401)
    assert client.get(f"{V1}/health", headers={"Authorization": "Bearer right-token"}).status_code == 200
    assert is_problem(client.put(f"{V1}/uploads/x?token=right-token", content=b"", headers=OCTETS), 401)
    answer = client.get(f"{V1}/health?token=right-token&a=1")
    assert answer.status_code == 303 and answer.headers["location"] == f"{V1}/health?a=1"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert client.get(f"{V1}/health").status_code == 200  # by the cookie


def test_too_large_is_said_before_a_byte_is_read(client, server):
    def never():
        raise AssertionError("read")
        yield b""

    headers = {**OCTETS, "Content-Length": "5000000000"}
    assert is_problem(client.put(f"{V1}/uploads/x", content=never(), headers=headers), 413, "--max_upload")
    large = client.post(f"{V1}/jobs", content=b"x" * 70_000, headers={"Content-Type": "application/json"})
    assert is_problem(large, 413)


def test_a_body_without_a_length_is_counted(client, server):
    pieces = (b"x" * 100_000 for _ in range(20))
    assert is_problem(client.put(f"{V1}/uploads/x", content=pieces, headers=OCTETS), 413)
    assert not list(server.videos.folder.iterdir()) and not server.disk.reserved


def test_a_body_that_comes_too_slowly_is_given_up(monkeypatch):
    monkeypatch.setattr(security, "CHUNK_SECONDS", 0.05)

    async def silent():
        await asyncio.sleep(10)

    with pytest.raises(Problem) as given_up:
        asyncio.run(security.timed_body(silent, 100)())
    assert given_up.value.status == 408
    monkeypatch.setattr(security, "RATE_SECONDS", 0.02)

    async def trickle():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def drain(receive):
        for _ in range(50):
            await receive()

    with pytest.raises(Problem) as given_up:
        asyncio.run(drain(security.timed_body(trickle, 1000)))
    assert given_up.value.status == 408 and "a second" in given_up.value.detail


@pytest.mark.parametrize("how", ["budget", "disk"])
def test_a_full_disk_takes_nothing_and_loses_nothing(client, server, monkeypatch, how):
    kept = upload(client)
    if how == "budget":
        monkeypatch.setattr(server.disk, "limit", server.disk.used() + 1000)
    else:
        opened = videos.os.open

        def full(path, flags, *rest, **more):
            if flags & videos.os.O_APPEND:
                raise OSError(errno.ENOSPC, "No space left on device")
            return opened(path, flags, *rest, **more)

        monkeypatch.setattr(videos.os, "open", full)
    assert is_problem(client.put(f"{V1}/uploads/x", content=CLIP, headers=OCTETS), 507)
    monkeypatch.undo()
    assert [path.name for path in server.videos.folder.iterdir()] == [kept]
    assert upload(client) and len(list(server.videos.folder.iterdir())) == 2
    for video_id in list(server.videos.ready):
        server.videos.delete(video_id)


def test_room_is_made_by_what_is_finished_longest(client, server, monkeypatch):
    ids = [upload(client, name=f"{n}.mp4") for n in range(2)]
    for video_id in ids:
        url = client.post(f"{V1}/jobs", json={"video_id": video_id, "hop": 2}).headers["location"]
        while client.get(url).json()["state"] != "done":
            time.sleep(0.01)
    monkeypatch.setattr(server.disk, "limit", server.disk.used() + len(CLIP) // 2)
    upload(client, name="new.mp4")
    assert ids[0] not in server.videos.ready and ids[1] in server.videos.ready
    for video_id in list(server.videos.ready):
        server.videos.delete(video_id)


def test_a_broken_line_leaves_no_upload_behind(server):
    """As uvicorn tells it: http.disconnect in the middle of a body."""

    class Gone:
        headers: dict = {}

        async def stream(self):
            yield CLIP[:5000]
            raise uploads.ClientDisconnect

    before = len(list(server.videos.folder.iterdir()))
    for _ in range(50):
        with pytest.raises(Problem):
            asyncio.run(uploads.receive_video(server, Gone(), "x"))  # type: ignore[arg-type]
    assert len(list(server.videos.folder.iterdir())) == before and not server.disk.reserved


def test_half_a_character_and_a_long_name_are_quoted_in_one_short_line(client):
    body = '{"video_id": "x", "\\ud800' + "n" * 5000 + '": 1}'
    answer = client.post(f"{V1}/jobs", content=body, headers={"Content-Type": "application/json"})
    assert is_problem(answer, 422) and len(answer.json()["detail"]) <= 800


def test_requests_without_a_body_have_none(client):
    assert is_problem(client.request("GET", f"{V1}/health", content=b"x"), 400, "no body")


@pytest.mark.parametrize(("range_", "status"), [("bytes=999999-", 416), ("bytes=x", 400)])
def test_a_range_that_does_not_exist_is_a_problem(client, range_, status):
    video_id = client.get(f"{V1}/videos").json()["videos"][0]["id"]
    answer = client.get(f"{V1}/videos/{video_id}/content", headers={"Range": range_})
    assert is_problem(answer, status) and (status == 400 or answer.headers["content-range"].endswith(f"/{len(CLIP)}"))


def test_an_upload_that_is_deleted_while_it_comes_leaves_nothing(client, server):
    begun = client.post(f"{V1}/uploads", json={"name": "a.mp4", "bytes": 1000})
    upload = server.videos.find_upload(begun.json()["video_id"])
    upload.write(b"x")
    assert client.delete(begun.headers["location"]).status_code == 204
    with pytest.raises(Problem, match="deleted"):
        uploads._write(server, upload, bytearray(b"x"))
    with pytest.raises(Problem, match="deleted"):
        server.videos.finish(upload)
    assert upload.id not in server.disk.reserved and not upload.folder.exists()


def test_a_second_server_does_not_work_in_the_same_folder(server):
    with pytest.raises(RunError, match="another run"):
        Server(server.spec, server.settings, use_gpu=False)


def test_a_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file/data: Not a directory; choose another folder"):
        Server(server.spec, replace(server.settings, save_dir=tmp_path / "file/data"), use_gpu=False)


def test_sigterm_while_the_network_is_built_ends_the_server_with_its_status(tmp_path):
    command = [sys.executable, "-u", "serve.py", f"--save_dir={tmp_path}", "--port=0"]
    process = subprocess.Popen(command, cwd=EXAMPLES.parent, stdout=subprocess.PIPE, text=True)
    with process.stdout as lines:
        assert "example network" in next(lines)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM


def test_a_body_that_is_no_json_is_named_without_a_place(client):
    answer = client.post("/api/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "JSON decode error")
