"""serve.py --two_stream: the fused scores of predict.py --two_stream, bit for bit, and nothing but classes."""

from __future__ import annotations

import base64
import json
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient  # noqa: E402

import serve  # noqa: E402
import serving.events  # noqa: E402
from inference.adaptive import weights_sha256  # noqa: E402
from inference.attention import find_looks  # noqa: E402
from serving.app import build_app  # noqa: E402
from serving.attention import read_clip  # noqa: E402
from serving.server import Server, Settings  # noqa: E402
from tests.script_runs import make_videos, run_script, two_stream_networks, write_list  # noqa: E402
from tests.test_serving_api import OCTETS, V1, is_problem  # noqa: E402
from tests.test_serving_jobs import finished, video_of  # noqa: E402
from tests.test_serving_page import CLIP, Site, browser, upload, visit, wait_for_end  # noqa: E402, F401
from tests.video_factory import draw_video  # noqa: E402

ONE_FRAME = "one frame.mp4"
PAIR = "adaptive:0.8"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    make_videos(folder, 2, 3)
    draw_video(folder / ONE_FRAME, num_frames=1, height=48, width=64)
    return folder


@pytest.fixture(scope="module")
def streams(tmp_path_factory, videos):
    """The weights of both networks, with the calibration of the pair."""
    folder = tmp_path_factory.mktemp("streams")
    found = two_stream_networks(folder, write_list(folder / "list.txt", []))
    curve = [{"threshold": 0.2, "confidence": 0.85}, {"threshold": 0.1, "confidence": 0.7}]
    facts = {"views": "2x3", "weights_sha256": weights_sha256(found), "num_videos": 9, "curve": curve}
    (found[0].parent / "adaptive_views_two_stream.json").write_text(json.dumps(facts))
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory, videos, streams):
    folder = tmp_path_factory.mktemp("serve")
    with pytest.MonkeyPatch.context() as patch:
        flags = ["--two_stream", *streams, "--backend=paddle"]
        patch.setattr(sys, "argv", ["serve.py", *map(str, flags)])
        networks = serve.networks_of(serve.parse_args())
    server = Server(networks, Settings(folder / "data", videos, topk=3), use_gpu=False)
    yield server
    server.stop()


@pytest.fixture
def client(server):
    return TestClient(build_app(server), base_url="http://127.0.0.1:8866", raise_server_exceptions=False)


def predicted(monkeypatch, folder, videos, streams, *flags) -> dict[str, dict]:
    """The records of predict.py by the videos' names."""
    own = ["--two_stream", *streams, f"--video_path={videos}", f"--save_dir={folder}", "--infer_topk=3"]
    run_script(monkeypatch, "predict", *own, "--backend=paddle", "--precision=float32", *flags)
    records = json.loads((folder / "predictions.json").read_text())
    return {record["path"].rsplit("/", 1)[1]: record for record in records}


@pytest.mark.parametrize("views", [None, "1x3", PAIR])
def test_classes_are_those_of_predict_py(monkeypatch, tmp_path, client, server, videos, streams, views):
    expected = predicted(monkeypatch, tmp_path, videos, streams, *([f"--views={views}"] if views else []))
    for row in client.get(f"{V1}/videos").json()["videos"]:
        begun = client.post(f"{V1}/jobs", json={"video_id": row["id"], "task": "classes", "views": views})
        assert begun.status_code in (200, 202), begun.text
        job = finished(server.scheduler.find(begun.json()["id"]))
        wanted = {**expected.pop(row["name"]), "path": row["name"]}
        if row["name"] == ONE_FRAME:
            assert job.state == "failed" and job.detail == wanted["error"] == "one frame has no motion"
            continue
        assert client.get(f"{V1}/jobs/{job.id}/record.json").json() == wanted  # every bit of the probabilities
        assert list(wanted["backends"]) == ["rgb", "flow"] and ("num_views" in wanted) == (views == PAIR)
        state = client.get(f"{V1}/jobs/{job.id}").json()
        assert state["segments"] == [] and [score["score"] for score in state["top5"]] == [
            row["probability"] for row in wanted["top"]
        ]
    assert not expected


def test_the_events_of_a_job_say_that_it_is_scored(monkeypatch, client, server):
    compute, event, told = server.engine.outputs, serving.events.event, threading.Event()

    def tell(kind, number, data):
        if (kind, data) == ("state", {"state": "scoring"}):
            told.set()
        return event(kind, number, data)

    monkeypatch.setattr(serving.events, "event", tell)
    monkeypatch.setattr(server.engine, "outputs", lambda *clips: told.wait(10) and compute(*clips))
    begun = client.post(
        f"{V1}/jobs", json={"video_id": video_of(server, "video 0 视频.mp4"), "task": "classes", "topk": 1}
    )
    with client.stream("GET", f"{begun.headers['location']}/events") as stream:
        lines = stream.read().decode().splitlines()
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert kinds[-2:] == ["state", "done"] and set(kinds[:-1]) <= {"position", "state"}
    done = json.loads(lines[-2].removeprefix("data: "))
    assert len(done["top5"]) == 1


def test_score_answers_with_the_fused_record(monkeypatch, tmp_path, client, videos, streams):
    name = "video 1 视频.mp4"
    expected = predicted(monkeypatch, tmp_path, videos, streams, "--views=1x1")[name]
    answer = client.post(f"{V1}/score?views=1x1&name=x.mp4", content=(videos / name).read_bytes(), headers=OCTETS)
    assert answer.json() == {**expected, "path": "x.mp4"}


def test_the_model_names_both_networks_and_their_fusion(client, streams):
    model = client.get(f"{V1}/model").json()
    both = model["two_streams"]
    assert model["tasks"] == ["classes"] and model["views"] == []
    assert (both["of"], both["weights"]) == ("logits", [1, 1])
    found = [both[name]["weights_sha256"] for name in ("rgb", "flow")]
    assert found == weights_sha256(streams).split() and model["weights_sha256"] == found[0] != found[1]
    assert [both[name]["weights_bytes"] for name in ("rgb", "flow")] == [file.stat().st_size for file in streams]


@pytest.mark.parametrize("task", [{}, {"task": "segments"}, {"task": "features", "stage": "res5"}])
def test_other_tasks_are_refused_in_both_languages(client, server, task):
    answer = client.post(f"{V1}/jobs", json={"video_id": video_of(server, ONE_FRAME), **task})
    assert is_problem(answer, 422, "finds classes alone; ask for the task classes")
    assert "classes" in answer.json()["detail_zh"]


def test_a_look_is_the_rgb_networks(client, server, videos):
    name = "video 1 视频.mp4"
    answer = client.post(f"{V1}/attention", json={"video_id": video_of(server, name), "time": 0.4}).json()
    clip = read_clip(server.spec.config, server.probes, str(videos / name), 0.4)
    block, (look,), *_ = find_looks(
        server.spec.build_eager().model, clip.views.clips([0]), clip.frame, [], block=None, num_points=1, num_arrows=8
    )
    heat = np.frombuffer(base64.b64decode(answer["heat"]), "<f2").reshape(answer["grid"])
    np.testing.assert_array_equal(heat, look.weights.astype("<f2"))
    assert answer["block"] == block in client.get(f"{V1}/model").json()["blocks"]


def test_examples_are_classes(client, server):
    server.examples.start()
    deadline = time.monotonic() + 60
    while server.examples.pending:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    examples = client.get(f"{V1}/examples").json()["examples"]
    assert [len(example["top5"]) for example in examples] == [0, 3, 3]  # one frame has no motion


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory, streams):  # noqa: F811
    site = Site(tmp_path_factory.mktemp("site"), ("--two_stream", *map(str, streams)))
    (site.folder / "videos").mkdir()
    site.start()
    yield site.address
    site.process.terminate()
    site.process.wait(30)


def test_the_page_shows_classes_without_a_timeline_of_segments(visit, address):  # noqa: F811
    page = visit("zh-CN", 320)
    assert "i3d_r50 + i3d_r50" in page.inner_text("#model") and not page.locator("#stride").is_visible()
    upload(page, CLIP)
    for _ in range(2):  # as it comes, and from the history
        wait_for_end(page)
        page.get_by_text("完成：").wait_for()
        (link,) = page.locator("#downloads a").all()
        record = page.request.get(address + link.get_attribute("href")).json()
        shown = [(row["class"], f"{round(100 * row['probability'])} %") for row in record["top"]]
        assert page.locator("#whole div").evaluate_all(
            "rows => rows.map(r => [...r.children].map(c => c.innerText))"
        ) == [list(row) for row in shown]
        hidden = [
            page.locator(part).is_visible() for part in ("#now", "#curve", "#pending", "#segment-details", "#features")
        ]
        assert not any(hidden) and page.locator("#timeline").bounding_box()["height"] < 30  # to seek with
        page.locator("#history button").click()
    page.locator("#timeline").focus()
    page.keyboard.press("End")
    page.wait_for_function("document.getElementById('player').currentTime > 2")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--two_stream", 1, 0], "is of modality flow, not rgb"),
        (["--two_stream", 0, 0], "is of modality rgb, not flow"),
        (["--two_stream", 0, "none.pdparams"], "--two_stream none.pdparams: no such file"),
        (["--two_stream", 0], "expected 2 arguments"),
        (["--two_stream", 0, 1, "--weights=w"], "leave --weights and --config out"),
        (["--two_stream", 0, 1, "--stride_seconds=1"], "--two_stream finds classes; leave it out"),
        (["--two_stream", 0, 1, "--views=three"], "write clips x crops"),
        (["--two_stream", 0, 1, "--keep_hours=0"], "expected hours above 0"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(monkeypatch, tmp_path, streams, capsys, flags, words):
    named = [streams[flag] if isinstance(flag, int) else flag for flag in flags]
    assert run_script(monkeypatch, "serve", *named, f"--save_dir={tmp_path / 'out'}", "--port=0") == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1] and not (tmp_path / "out").exists()


def test_a_calibration_that_does_not_serve_is_refused_at_the_start(monkeypatch, tmp_path, streams, capsys):
    flags = ["--two_stream", *streams, f"--save_dir={tmp_path}", "--port=0", "--backend=paddle", "--use_gpu=False"]
    assert run_script(monkeypatch, "serve", *flags, "--views=adaptive:0.9") == 2
    assert "adaptive_views_two_stream.json reaches 0.8500" in capsys.readouterr().err.strip().splitlines()[-1]
