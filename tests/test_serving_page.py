"""The page in a real browser, the system's Chromium, driven by playwright (the extra `browser`), and serve.py.

Skipped, by name, where one of the two is missing. axe-core is read from node_modules: `npm install --no-save axe-core`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from serving.jobs import FINAL
from tests.video_factory import draw_video

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "serving/page"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = ROOT / "node_modules/axe-core/axe.min.js"
CLIP = ROOT / "examples/clip.mp4"
PATIENCE_MS = 60_000  # of a browser
EXAMPLE = ("--config=examples/demo_network/config.yaml", "--weights=examples/demo_network/NONLOCAL.pdparams")
SERIOUS = ("serious", "critical")


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


class Site:
    """serve.py in a process of its own. folder: of its uploads and its videos. network: flags that name it."""

    def __init__(self, folder: Path, network=EXAMPLE):
        self.folder, self.network, self.port, self.process = folder, network, 0, None

    def start(self) -> None:
        flags = [f"--save_dir={self.folder}/data", f"--folder={self.folder}/videos", f"--port={self.port}"]
        command = [sys.executable, "serve.py", *self.network, *flags, "--backend=paddle", "--use_gpu=False"]
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        while not (line := self.process.stdout.readline()).startswith("open "):
            assert line, (self.folder / "log").read_text()
        self.address = line.split()[1]
        self.port = int(self.address.rsplit(":", 1)[1].strip("/"))

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):
    for name in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"the browser tests need {name} (the extra `serve`)")
    site = Site(tmp_path_factory.mktemp("serve"))
    (site.folder / "videos").mkdir()
    shutil.copy(CLIP, site.folder / f"videos/<b>clip&{'long' * 20}.mp4")
    try:
        site.start()
        yield site
    finally:
        if site.process is not None:
            site.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                site.process.wait(30)
            site.kill()


@pytest.fixture(scope="module")
def address(site):
    return site.address


@pytest.fixture()
def visit(browser, address):
    """A function that opens the page in a context of its own; afterwards nothing may have been wrong with it."""
    contexts, complaints = [], []

    def open_page(locale="en-US", width=1280, expected=(), routes=None, script="", **options):
        """expected: words of lines that are no complaints. routes: pattern -> who answers. script: run first."""
        context = browser.new_context(locale=locale, viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()

        def complain(text: str) -> None:
            if not any(word in text for word in (*expected, "ERR_ABORTED")):  # the page ends requests itself
                complaints.append(text)

        if script:
            page.add_init_script(script)
        page.on("pageerror", lambda error: complain(f"error: {error}"))
        page.on("console", lambda line: line.type in ("error", "warning") and complain(f"console: {line.text}"))
        page.on("request", lambda request: complain(f"leaves: {request.url}") if not is_own(request.url) else None)
        page.on("requestfailed", lambda request: complain(f"fails: {request.url} {request.failure}"))
        for pattern, answer in (routes or {}).items():
            page.route(pattern, answer)
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
    made = ("state_", "views_")  # keys that the script puts together
    assert [k for k in tables[0] if k not in used and f'"{k}"' not in script and not k.startswith(made)] == []


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
    stored = page.request.get(address + page.locator("#downloads a").first.get_attribute("href")).json()
    page.get_by_text(re.compile(f"^{done}[:：] ?{stored['segments'][0]['class']}\\W")).wait_for()
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
    page.locator("#state", has_text="完成").wait_for()
    page.reload()
    page.locator("html[lang=zh-CN]").wait_for()  # the choice is kept


def test_axe_finds_nothing_serious(visit, address):
    if not AXE.is_file():
        pytest.skip("axe-core is missing: npm install --no-save axe-core")
    page = visit(bypass_csp=True)

    def findings():
        found = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.add_script_tag(path=AXE)
            report = page.evaluate("axe.run()")
            assert len(report["passes"]) > 10
            found += [(v["id"], v["nodes"][0]["target"]) for v in report["violations"] if v["impact"] in SERIOUS]
        return found

    page.locator("#examples .segments span").first.wait_for()
    page.locator("#folder summary").click()
    assert findings() == []
    upload(page)
    wait_for_end(page)
    page.check("#look")
    page.locator("#strip figure").first.wait_for()
    for summary in page.locator("main summary").all():
        if summary.is_visible():
            summary.click()
    assert findings() == []
    page.goto(address + "docs")
    assert findings() == []


def test_while_it_plays_it_looks_at_most_twice_a_second(visit):
    page = visit()
    upload(page)
    wait_for_end(page)
    page.check("#look")
    page.locator("#strip figure").first.wait_for()
    page.locator("#speed").select_option("0.25")
    begun = """performance.getEntriesByType("resource").filter(entry => entry.name.endsWith("attention"))
        .map(entry => entry.startTime)"""
    before = len(page.evaluate(begun))
    page.locator("#play").click()
    while len(times := page.evaluate(begun)) < before + 3:
        assert not page.locator("#player").evaluate("player => player.ended")
        page.wait_for_timeout(50)
    times = times[before:]
    assert all(later - earlier > 499 for earlier, later in zip(times, times[1:]))


def test_pixels_that_are_not_square(visit, tmp_path):
    """The file is square and shown twice as high as wide, with bars on both sides. A click's fractions are those of the
    picture, and the point is drawn there."""
    page = visit(expected=("Canvas2D",))  # Chromium's advice on how this test reads pixels
    upload(page, draw_video(tmp_path / "tall.mp4", 30, 64, 64, sample_aspect_ratio=(1, 2)))
    wait_for_end(page)
    page.check("#look")
    page.locator("#strip figure").first.wait_for()
    stage = page.locator("#stage").bounding_box()
    wide = stage["height"] / 2
    left = (stage["width"] - wide) / 2
    assert left > 100
    page.mouse.click(stage["x"] + left - 20, stage["y"] + 0.6 * stage["height"])  # beside the picture: no question
    with page.expect_response("**/attention") as response:
        page.mouse.click(stage["x"] + left + 0.3 * wide, stage["y"] + 0.6 * stage["height"])
    asked, answer = json.loads(response.value.request.post_data), response.value.json()
    assert (asked["x"], asked["y"]) == pytest.approx((0.3, 0.6), abs=0.01)
    page.get_by_text(f"{answer['targets'][0]['weight']:.3f}").first.wait_for()
    colour = "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data]"
    overlay = page.locator("#overlay")
    assert overlay.evaluate(colour, [left + answer["x"] * wide, answer["y"] * stage["height"]]) == [0, 229, 255, 255]
    assert overlay.evaluate(colour, [left - 20, stage["height"] / 2])[3] == 0


def test_the_folder_shows_results_of_examples_and_all_videos_page_by_page(visit):
    names = [f"{number:03}.mp4" for number in range(250)]

    def videos(route):
        first = int(route.request.url.partition("offset=")[2] or 0)
        rows = [{"id": name, "name": name, "bytes": 1} for name in names[first : first + 100]]
        route.fulfill(json={"videos": rows, "total": len(names)})

    page = visit(routes={"**/videos*": videos})
    page.locator("#folder summary").click()
    for count in (100, 200, 250):
        page.locator(f"#videos li:nth-child({count})").wait_for()
        if count < 250:
            page.get_by_role("button", name=f"{250 - count} more").click()
    assert page.locator("#videos button").all_inner_texts() == names and page.locator("#more").is_hidden()
    page.locator("#examples .segments span").first.wait_for()
    shown = page.locator("#examples .segments span").all_inner_texts()
    with page.expect_response(lambda answer: answer.request.method == "POST") as response:
        page.locator("#examples button").click()
    wait_for_end(page)
    assert response.value.status == 200  # known already
    assert [name for name, _, _ in timeline(page)] == shown


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


def event(name: str, number: int | None = None, **data) -> str:
    """A server-sent event."""
    return ("" if number is None else f"id: {number}\n") + f"event: {name}\ndata: {json.dumps(data)}\n\n"


def window(index: int) -> str:
    top = [{"class": 0, "score": 0.5}]
    return event("window", index + 1, index=index, start=index, end=index + 1, top5=top, seconds_left=1)


FEED = """
const ask = window.fetch;
window.fetch = (url, options) => String(url).endsWith("/events")
  ? Promise.resolve(new Response(new ReadableStream({ start: (stream) => { window.stream = stream; } })))
  : ask(url, options);
window.feed = (text) => window.stream.enqueue(new TextEncoder().encode(text));
"""


def test_each_state_of_a_job_is_shown(visit):
    page, held, whole = visit(script=FEED), [], [{"class": 1, "score": 1}]

    def hold(route):
        held.append(route) if route.request.method == "PATCH" else route.continue_()

    page.route("**/uploads/*", hold)
    page.clock.install()  # a state stands for two seconds

    def shows(text: str) -> None:
        page.clock.run_for(2100)
        page.locator("#state", has_text=re.compile(text)).wait_for()

    upload(page)
    while not held:
        page.wait_for_timeout(10)
    shows(r"^Uploading: .* of 0\.\d MB, .* MB/s$")
    with page.expect_response("**/jobs"):
        held[0].continue_()
    while not page.evaluate("'stream' in window"):
        page.wait_for_timeout(10)

    def feed(text: str) -> None:
        page.evaluate("text => feed(text)", text)

    feed(event("position", position=2))
    shows("^Queued: 2 before you$")
    feed(event("info", duration=3, frames=12, rate=4, num_windows=3))
    shows("^Reading the video$")
    assert page.locator("#results").is_hidden()
    feed(window(0))
    shows("^Scoring, 1 windows, 1 s left$")
    pending = page.locator("#pending").evaluate("node => parseFloat(node.style.left)")
    assert pending == pytest.approx(100 / 3, abs=0.01) and page.locator("#stop").is_visible()
    feed(event("segments", segments=[{"start": 0, "end": 1, "class": 0, "score": 0.5}], top5=whole))
    feed(event("done", warning="damaged: packets", warning_zh="损坏", top5=whole))
    shows("^Done, with a warning: Damaged: packets$")
    page.keyboard.press("l")
    page.clock.run_for(2100)
    page.locator("#state", has_text=re.compile("^完成，但有警告：损坏$")).wait_for()


def test_events_go_on_where_the_line_broke_and_none_counts_twice(visit):
    page, last_ids = visit(), []

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
    for part in ("#stage", "#controls", "#timeline"):
        assert page.locator(part).is_hidden()
    assert page.locator("#explain").inner_text() == ""
    page.keyboard.press("l")
    page.locator("#state.bad", has_text="请换一个视频").wait_for()
    assert not re.search("[A-Za-z]{3}", page.locator("#state").inner_text().replace("FFmpeg", "")), "English is left"
    upload(page)
    wait_for_end(page)
    assert page.locator("#timeline").is_visible()


def test_a_file_that_is_too_large_is_not_sent(visit):
    model = lambda route: route.fulfill(json={**route.fetch().json(), "max_upload": 100})  # noqa: E731
    page = visit(routes={"**/model": model})
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
    page.locator("#state", has_text="Stopped").wait_for()
    page.unroute("**/events")
    page.locator("#again").click()
    wait_for_end(page)


def test_two_people_work_at_once_and_see_their_own_jobs(visit):
    pages = [visit(), visit()]
    for page in pages:
        upload(page)
    for page in pages:
        wait_for_end(page)
        page.locator("#history li").first.wait_for()  # it comes after the end
        assert page.locator("#history li").count() == 1


def test_a_killed_server_that_starts_again_goes_on_and_so_does_the_page(visit, site, tmp_path):
    page = visit(expected=("ERR_",))
    page.locator("#stride").fill("0.1")
    with page.expect_response(lambda answer: answer.url.endswith("/jobs") and answer.request.method == "POST") as job:
        upload(page, draw_video(tmp_path / "long.mp4", 1500))
    page.locator("#state", has_text="Scoring").wait_for()
    site.kill()
    stored = json.loads((site.folder / f"data/jobs/{job.value.json()['id']}/job.json").read_text())
    assert stored["state"] not in FINAL, "the video is too short for this test"
    page.locator("#banner").wait_for()
    site.start()
    wait_for_end(page)
    assert page.locator("#banner").is_hidden()
    state = page.request.get(f"{site.address}api/v1/jobs/{stored['id']}").json()
    assert state["state"] == "done" and state["num_windows"] == state["info"]["num_windows"]
    page.get_by_text(re.compile("^Done")).wait_for()
    shown = [(name, pytest.approx(left, abs=1e-4)) for name, left, _ in timeline(page)]
    classes = page.request.get(f"{site.address}api/v1/model").json()["classes"]["en"]
    assert [(classes[s["class"]], s["start"] / state["info"]["duration"]) for s in state["segments"]] == shown


def test_what_the_browser_cannot_play_is_shown_as_a_copy(visit, tmp_path):
    page = visit(expected=("ERR_",))
    upload(page, draw_video(tmp_path / "old.avi", 30, codec="mpeg4"))
    wait_for_end(page)
    copy = page.locator("#player[src$='/preview.mp4']")
    copy.wait_for()
    copy.evaluate("player => player.videoWidth || new Promise(ready => player.onloadeddata = ready)")
    assert copy.evaluate("player => [player.videoWidth, player.videoHeight]") == [84, 64]
