"""The page in a real browser, the system's Chromium, driven by playwright (the extra `browser`): the real server.

Skipped, by name, where one of the two is missing. axe-core is read from node_modules: `npm install --no-save axe-core`.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from configs import load_config
from inference import BackendSpec
from tests.video_factory import draw_video

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "serving/page"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = ROOT / "node_modules/axe-core/axe.min.js"
CLIP = ROOT / "examples/clip.mp4"
PATIENCE_MS = 60_000  # of a browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need the extra `browser`")
    if CHROMIUM is None:
        pytest.skip("the browser tests need chromium (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        # root, as in a container, has no sandbox
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory):
    """Of a server in this process, with the example network."""
    uvicorn = pytest.importorskip("uvicorn", reason="the browser tests need the extra `serve`")
    from serving.app import build_app
    from serving.server import Server, Settings

    folder = tmp_path_factory.mktemp("serve")
    (folder / "videos").mkdir()
    shutil.copy(CLIP, folder / f"videos/<b>clip&{'long' * 20}.mp4")
    config = load_config(str(ROOT / "examples/demo_network/config.yaml"))
    spec = BackendSpec(config, str(ROOT / "examples/demo_network/NONLOCAL.pdparams"), "", backend="paddle")
    server = Server(spec, Settings(save_dir=folder / "data", folder=folder / "videos"), use_gpu=False)
    infer = config.INFER
    server.engine.outputs(np.zeros((1, 3, infer.video_length, infer.crop_size, infer.crop_size), np.float32))
    http = uvicorn.Server(uvicorn.Config(build_app(server), log_level="warning"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=http.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.scheduler.stopping.set()
    http.should_exit = True
    thread.join()


@pytest.fixture()
def visit(browser, address):
    """A function that opens the page in a context of its own; afterwards nothing may have been wrong with it."""
    contexts, complaints = [], []

    def open_page(locale: str = "en-US", width: int = 1280, expected: tuple[str, ...] = (), **options):
        context = browser.new_context(locale=locale, viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()

        def complain(text: str) -> None:
            if not any(word in text for word in expected):
                complaints.append(text)

        page.on("pageerror", lambda error: complain(f"error: {error}"))
        page.on("console", lambda line: line.type in ("error", "warning") and complain(f"console: {line.text}"))
        page.on("request", lambda request: complain(f"leaves: {request.url}") if not is_own(request.url) else None)
        page.goto(address)
        page.locator("#model:not(:empty)").wait_for()
        return page

    def is_own(url: str) -> bool:
        return url.startswith((address, "blob:" + address, "data:"))

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def upload(page, file=CLIP):
    page.set_input_files("#file", file)


def wait_for_end(page):
    page.locator("#downloads").wait_for()


def timeline(page) -> list[tuple[str, float, float]]:
    """Class, start and end of each segment, as fractions of the timeline."""
    bars = "nodes => nodes.map(n => [n.textContent, parseFloat(n.style.left), parseFloat(n.style.width)])"
    return [
        (name, left / 100, (left + width) / 100)
        for name, left, width in page.locator("#segments span").evaluate_all(bars)
    ]


# ------------------------------------------------------------------------------------------- files


class Keys(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.found |= {value for name, value in attrs if name in ("data-text", "data-label")}


def test_both_languages_have_all_texts_and_no_other():
    tables = [json.loads((PAGE / f"{language}.json").read_text(encoding="utf-8")) for language in ("en", "zh")]
    assert tables[0].keys() == tables[1].keys() and all(all(table.values()) for table in tables)
    fields = [{key: set(re.findall(r"\{\w+\}", text)) for key, text in table.items()} for table in tables]
    assert fields[0] == fields[1]
    script, keys = (PAGE / "page.js").read_text(encoding="utf-8"), Keys()
    keys.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    used = keys.found | set(re.findall(r'(?:say|showState|finish)\([^"()]*"(\w+)"', script))
    assert used <= tables[0].keys()
    assert [
        key for key in tables[0] if key not in used and f'"{key}"' not in script and not key.startswith("state_")
    ] == []


def test_the_page_is_small_and_loads_nothing_from_elsewhere():
    files = list(PAGE.iterdir())
    assert sum(file.stat().st_size for file in files) < 60_000
    for file in files:
        assert not re.search(r"(https?:)?//[\w-]+\.\w|innerHTML|eval\(|style=", file.read_text(encoding="utf-8")), file


# ------------------------------------------------------------------------------------------- the whole way


@pytest.mark.parametrize(("locale", "width", "done"), [("en-US", 1280, "Done"), ("zh-CN", 320, "完成")])
def test_from_the_file_to_segments_and_links_in_both_languages(visit, address, locale, width, done):
    page = visit(locale, width)
    assert page.locator("html").get_attribute("lang") == {"en-US": "en", "zh-CN": "zh-CN"}[locale]
    upload(page)
    wait_for_end(page)
    page.get_by_text(done, exact=True).first.wait_for()
    stored = page.request.get(address + page.locator("#downloads a").first.get_attribute("href")).json()
    length = stored["duration_seconds"]
    expected = [(s["class"], s["start_seconds"] / length, s["end_seconds"] / length) for s in stored["segments"]]
    for found, wanted in zip(timeline(page), expected, strict=True):
        assert found == (wanted[0], pytest.approx(wanted[1], abs=1e-4), pytest.approx(wanted[2], abs=1e-4))
    page.check("#look")
    page.locator("#strip figure").first.wait_for()
    box = page.locator("#stage").bounding_box()
    with page.expect_response("**/attention") as response:
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    asked, answer = json.loads(response.value.request.post_data), response.value.json()
    assert (asked["x"], asked["y"]) == pytest.approx((0.5, 0.25), abs=0.01)
    page.get_by_text(f"{answer['targets'][0]['weight']:.3f}").first.wait_for()
    assert page.locator("#strip figure").count() == min(8, len(answer["frames"]))
    wide = "nodes => nodes.filter(n => n.getBoundingClientRect().right > innerWidth + 1).map(n => n.outerHTML)"
    assert page.locator("body *:not(#segments *)").evaluate_all(wide) == []


def test_the_keyboard_alone_is_enough(visit):
    page = visit()
    upload(page)  # the file chooser belongs to the browser
    wait_for_end(page)
    slider = page.locator("#timeline")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.locator("#timeline[aria-valuenow='1.0']").wait_for()
    assert re.match(r"0:01\.0, \w+, \d+ %", slider.get_attribute("aria-valuetext"))
    page.keyboard.press("Home")
    page.locator("#timeline[aria-valuenow='0.0']").wait_for()
    page.keyboard.press("a")
    page.locator("#strip button").first.focus()
    with page.expect_response("**/attention"):
        page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert page.locator("#strip figure").count() == 0 and not page.locator("#look").is_checked()
    page.keyboard.press("l")
    page.get_by_text("完成", exact=True).first.wait_for()
    page.reload()
    assert page.locator("html[lang=zh-CN]").count() == 1  # the choice is kept


def test_axe_finds_nothing_serious(visit, address):
    if not AXE.is_file():
        pytest.skip("axe-core is missing: npm install --no-save axe-core")
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme, bypass_csp=True)

        def findings(page=page):
            page.add_script_tag(path=AXE)
            found = page.evaluate("axe.run()")["violations"]
            return [(v["id"], v["nodes"][0]["target"]) for v in found if v["impact"] in ("serious", "critical")]

        assert findings() == []
        upload(page)
        wait_for_end(page)
        page.check("#look")
        page.locator("#strip figure").first.wait_for()
        for summary in page.locator("summary").all():
            summary.click()
        assert findings() == []
    page.goto(address + "docs")
    assert findings() == []


# ------------------------------------------------------------------------------------------- broken lines and bad input


def test_an_upload_goes_on_after_a_broken_line(visit):
    page, offsets = visit(expected=("ERR_FAILED",)), []

    def patch(route):
        offsets.append(route.request.headers.get("upload-offset"))
        route.abort() if len(offsets) == 1 else route.continue_()

    page.route("**/uploads/*", lambda route: patch(route) if route.request.method == "PATCH" else route.continue_())
    upload(page)
    page.locator("#banner").wait_for()
    wait_for_end(page)
    assert offsets == ["0", "0"] and page.locator("#banner").is_hidden()


def test_events_go_on_where_the_line_broke_and_none_counts_twice(visit):
    page, last_ids = visit(), []

    def window(index: int) -> str:
        data = {
            "index": index,
            "start": index,
            "end": index + 1,
            "top5": [{"class": 0, "score": 0.5}],
            "seconds_left": 1,
        }
        return f"id: {index + 1}\nevent: window\ndata: {json.dumps(data)}\n\n"

    def event(name: str, **data) -> str:
        return f"event: {name}\ndata: {json.dumps(data)}\n\n"

    whole = [{"class": 1, "score": 0.25}]

    def events(route):
        last_ids.append(route.request.headers.get("last-event-id"))
        body = event("info", duration=3, frames=75, rate=25, num_windows=3) + window(0) + window(1)
        if len(last_ids) == 2:
            body = (
                window(1)
                + window(2)
                + event("segments", segments=[], top5=whole)
                + event("done", warning="", top5=whole)
            )
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.route("**/events", events)
    upload(page)
    wait_for_end(page)
    assert last_ids == [None, "2"]
    # the server's mean of the whole video, not one of the windows' first classes
    assert page.locator("#whole li").count() == 1 and "25 %" in page.locator("#whole").inner_text()


def test_what_is_no_video_gets_the_readers_line_and_another_can_be_tried(visit, tmp_path):
    page = visit(expected=("422", "ERR_"))
    broken = tmp_path / "<img src=x onerror=document.title=1>.mp4"
    broken.write_bytes(b"not a video")
    upload(page, broken)
    page.locator("#state.bad").wait_for()
    assert page.locator("#state").inner_text().endswith("Try another video.") and page.title() == "NONLOCAL"
    assert page.locator("img").count() == 0
    upload(page)
    wait_for_end(page)


def test_a_file_that_is_too_large_is_not_sent(visit):
    page = visit()
    page.route("**/model", lambda route: route.fulfill(json={**route.fetch().json(), "max_upload": 100}))
    page.reload()
    page.locator("#model:not(:empty)").wait_for()
    page.on("request", lambda request: pytest.fail("sent") if "uploads" in request.url else None)
    upload(page)
    page.get_by_text("--max_upload").wait_for()


def test_a_stopped_job_can_be_run_again(visit):
    page = visit()
    page.route("**/events", lambda route: None)  # never answered
    with page.expect_request("**/events"):
        upload(page)
    with page.expect_request(lambda request: request.method == "DELETE" and "/jobs/" in request.url):
        page.locator("#stop").click()
    page.get_by_text("Stopped", exact=True).first.wait_for()
    page.unroute("**/events")
    page.locator("#again").click()
    wait_for_end(page)


def test_two_people_work_at_once_and_see_their_own_jobs(visit):
    pages = [visit(), visit()]
    for page in pages:
        upload(page)
    for page in pages:
        wait_for_end(page)
        assert page.locator("#history li").count() == 1


def test_what_the_browser_cannot_play_is_shown_as_a_copy(visit, tmp_path):
    page = visit(expected=("ERR_",))
    upload(page, draw_video(tmp_path / "old.avi", 30, codec="mpeg4"))
    wait_for_end(page)
    copy = page.locator("#player[src$='/preview.mp4']")
    copy.wait_for()
    copy.evaluate("player => player.videoWidth || new Promise(ready => player.onloadeddata = ready)")
    assert copy.evaluate("player => [player.videoWidth, player.videoHeight]") == [84, 64]
