"""The copy for browsers that cannot play a file, and the page of the OpenAPI document."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from configs import load_config
from datareader import probe
from tests.script_runs import tiny_config
from tests.video_factory import draw_video, ffmpeg_frames
from utils.errors import UserError

pytest.importorskip("fastapi", reason="the server needs the extra `serve`")
from serving.pages import docs_page
from serving.preview import preview_router


@pytest.fixture()
def site(tmp_path):
    """The route, and the video that it is asked for: 10 frames of 1300 x 480 pixels of 4:3 in MPEG-4 part 2, avi."""
    video = draw_video(tmp_path / "v.avi", 10, 480, 1300, codec="mpeg4", sample_aspect_ratio=(4, 3))
    server = SimpleNamespace(
        spec=SimpleNamespace(config=load_config(tiny_config(tmp_path, tmp_path / "list.txt"))),
        settings=SimpleNamespace(save_dir=tmp_path, keep_hours=1.0, max_minutes=1.0),
        videos=SimpleNamespace(path=lambda _: video),
        scheduler=SimpleNamespace(make_room=lambda _: None),
    )
    return preview_router(server).routes[0].endpoint, video


def test_a_copy_has_all_frames_in_h264_in_the_shape_that_players_show(site):
    copy = site[0]("a").path
    info = probe(copy)
    assert (info.width, info.height) == (640, 178) and info.sample_aspect_ratio == (1, 1)  # 1300 * 4/3 : 480
    assert len(ffmpeg_frames(copy)) == 10 and b"avc1" in copy.read_bytes()


def test_a_copy_is_made_once_and_old_ones_go(site):
    copy = site[0]("a").path
    os.utime(copy, (1, 1))
    assert site[0]("a").path.stat().st_mtime == 1
    assert site[0]("b").path.is_file() and not copy.exists()


def test_what_cannot_be_read_leaves_no_copy(site):
    site[1].write_bytes(site[1].read_bytes()[:4000])
    with pytest.raises(UserError, match="no video that can be opened"):
        site[0]("a")
    assert list((site[1].parent / "previews").iterdir()) == []


def test_the_page_of_the_api_shows_each_route_as_text():
    answer = {"description": "found", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}}}
    route = {"description": "Ask <b>", "parameters": [{"name": "topk", "in": "query"}], "responses": {"200": answer}}
    document = {
        "info": {"title": "N"},
        "paths": {"/a/{id}": {"get": route}},
        "components": {"schemas": {"Job": {"x": 1}}},
    }
    text = docs_page(document)
    assert all(word in text for word in ("GET /a/{id}", "topk", "Job", "Ask &lt;b&gt;")) and "<script" not in text
