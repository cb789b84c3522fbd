"""tools/report.py on hand-made runs: its numbers, its page, and what it refuses."""

from __future__ import annotations

import ast
import base64
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from metrics.multilabel import mean_average_precision_draws
from metrics.probabilities import softmax
from metrics.score_intervals import score_intervals
from tests.script_runs import ROOT, make_videos, run_script
from tools.reporting import page, texts
from tools.reporting.charts import ticks
from tools.reporting.markup import element
from tools.reporting.runs import short_names
from tools.reporting.thumbnails import HEIGHT_PX, STRIP, Thumbnails

EVIL = "<img src=x onerror=alert(1)>"
NAMES = ["rise", EVIL, "50 % & \x07 'more'", "swing"]
NUM_VIDEOS, NUM_BROKEN = 120, 2
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def write_run(folder: Path, seed: int, strength: float, paths: list[str], **change) -> Path:
    """A run of K = 4 classes in which the true class has `strength` more logit; the last two videos are broken."""
    rng = np.random.default_rng(seed)
    label = np.arange(len(paths)) % 4
    logits = rng.normal(size=(len(paths), 4)) + strength * np.eye(4)[label]
    whole, end = len(paths) - NUM_BROKEN, len(paths)
    arrays = {
        "video_id": np.arange(whole), "path": np.array(paths[:whole]), "scores": softmax(logits[:whole]).astype("f4"),
        "logits": logits[:whole].astype("f4"), "label": label[:whole], "class_names": np.array(NAMES),
        "broken_video_id": np.arange(whole, end), "broken_path": np.array(paths[whole:]),
        "broken_reason": np.array(["no frames"] * NUM_BROKEN), "broken_label": label[whole:],
        "list_path": np.array("list.txt"), "list_sha256": np.array("ab"), **change,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "scores.npz", **{name: array for name, array in arrays.items() if array is not None})
    results = {"top1": 50.0, "mAP": 50.0, "views": "10x3", "weights": "w", "reverse_frames": False}
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump({"TRAIN": {"seed": seed, "epoch": 1}}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """The bootstrap has its own tests; here it need not be exact."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for function in (score_intervals, mean_average_precision_draws):
            monkeypatch.setattr(f"tools.reporting.numbers.{function.__name__}", partial(function, num_draws=30))
        yield


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    """Two videos that are there and many that are gone."""
    folder = tmp_path_factory.mktemp("videos")
    there = [str(path) for path, _ in make_videos(folder, 2, 2)]
    return there + [f"{folder}/gone {EVIL.replace('/', '')} {number}.mp4" for number in range(2, NUM_VIDEOS)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, paths) -> list[Path]:
    """Two runs; of the stronger one the scores of 2 clips x 3 crops are kept."""
    folder = tmp_path_factory.mktemp("runs")
    weak = write_run(folder / "weak" / "eval", 0, 1.2, paths)
    of_views = np.random.default_rng(3).dirichlet(np.ones(4), (NUM_VIDEOS - NUM_BROKEN, 6)).astype(np.float16)
    more = {"format_version": np.array(3), "weights_sha256": np.array("cd"), "views": np.array("2x3")}
    return [weak, write_run(folder / "strong" / "eval", 1, 2.2, paths, view_scores=of_views, **more)]


def report(monkeypatch, out: Path, *flags: object) -> int:
    return run_script(monkeypatch, "tools.report", *flags, f"--out={out}")


@pytest.fixture(scope="module")
def made(tmp_path_factory, runs) -> tuple[str, dict]:
    """The page of both runs, and its numbers."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert report(monkeypatch, out, *runs) == 0
    return out.read_text(encoding="utf-8"), json.loads(out.with_suffix(".json").read_text())


# Numbers


def test_accuracies_count_broken_videos_as_wrong(made, runs):
    _, numbers = made
    for run, folder in zip(numbers["runs"], runs):
        arrays = np.load(folder / "scores.npz")
        right = int((arrays["scores"].argmax(1) == arrays["label"]).sum())
        assert run["top1"]["num_right"] == right and run["top1"]["value"] == right / NUM_VIDEOS
        low, high = run["top1"]["interval"]
        assert low < right / NUM_VIDEOS < high
        assert run["num_scored"] == NUM_VIDEOS - NUM_BROKEN
        assert [video["reason"] for video in run["broken"]] == ["no frames"] * NUM_BROKEN


def test_the_comparison_counts_video_by_video(made, runs):
    _, numbers = made
    first, second = (np.load(folder / "scores.npz") for folder in runs)
    a, b = (arrays["scores"].argmax(1) == arrays["label"] for arrays in (first, second))
    (pair,) = numbers["comparisons"]
    assert (pair["both"], pair["first_only"], pair["second_only"]) == ((a & b).sum(), (a & ~b).sum(), (b & ~a).sum())
    assert pair["neither"] == (~a & ~b).sum() + NUM_BROKEN
    assert pair["better"] == "strong" and pair["p_value"] < 0.05 and pair["interval"][1] < 0
    assert sorted(pair["second_only_videos"]) == sorted(first["path"][b & ~a].tolist())
    assert sum(row["second_only"] for row in pair["classes"]) == pair["second_only"]


def test_accuracy_by_number_of_views_is_shown_where_the_scores_of_views_are_kept(made, runs):
    text, numbers = made
    weak, strong = numbers["runs"]
    arrays = np.load(runs[1] / "scores.npz")
    right = (arrays["view_scores"].astype("f4").mean(1).argmax(1) == arrays["label"]).sum()
    assert weak["views"] is None and strong["weights_sha256"] == "cd"
    assert [(row["clips"], row["crops"]) for row in strong["views"]["accuracies"]][-1] == (2, 3)
    assert strong["views"]["accuracies"][-1]["accuracy"] == right / NUM_VIDEOS
    assert "Accuracy by number of views" in text and "2 x 3" in text


def test_logits_are_fused_over_all_videos(made, runs):
    _, numbers = made
    fusion = numbers["fusion"]
    logits = sum(np.load(folder / "scores.npz")["logits"] for folder in runs)
    right = (logits.argmax(1) == np.load(runs[0] / "scores.npz")["label"]).sum()
    assert {way["name"]: way["top1"]["num_right"] for way in fusion["ways"]}["logits"] == right
    assert fusion["best_single"] == "strong" and sum(fusion["weights"]) == pytest.approx(1)
    assert fusion["curve"][0][1] == numbers["runs"][1]["top1"]["value"]  # weight 0 of the first run
    assert fusion["curve"][-1][1] == numbers["runs"][0]["top1"]["value"]


def test_the_worst_mistakes_have_the_largest_loss_and_few_of_a_class(made, runs):
    _, numbers = made
    arrays = np.load(runs[0] / "scores.npz")
    loss = -np.log(arrays["scores"][np.arange(len(arrays["label"])), arrays["label"]])
    wrong = arrays["scores"].argmax(1) != arrays["label"]
    found = numbers["mistakes"]
    assert found["num_wrong"] == wrong.sum()
    worst = max(np.flatnonzero(wrong), key=lambda row: loss[row])
    assert found["largest_losses"][0]["path"] == arrays["path"][worst]
    assert found["largest_losses"][0]["loss"] == pytest.approx(loss[worst], rel=1e-6)
    labels = [video["label"] for video in found["largest_losses"]]
    assert all(labels.count(label) <= 3 for label in range(4)) and len(labels) == 12
    both = {video["path"] for video in found["largest_losses"]} & {video["path"] for video in found["most_confident"]}
    assert not both


def test_videos_on_which_all_runs_agree_and_are_sure_but_wrong_are_listed(monkeypatch, tmp_path, paths):
    sure = np.full((len(paths) - NUM_BROKEN, 4), 0.01, np.float32)
    sure[np.arange(len(sure)), np.arange(len(sure)) % 4] = 0.97
    sure[5] = sure[6]  # video 5, of class 1, is taken for class 2
    folders = [write_run(tmp_path / name, 0, 1, paths, scores=sure) for name in "ab"]
    assert report(monkeypatch, tmp_path / "r.html", *folders) == 0
    numbers = json.loads((tmp_path / "r.json").read_text())
    (lead,) = numbers["agreed_mistakes"]
    assert (lead["path"], lead["label"], lead["predicted"]) == (paths[5], 1, 2)
    assert "Label or network?" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_order_of_rows_changes_nothing(monkeypatch, tmp_path, made, runs, paths):
    """The same videos in another order of the list give the same numbers."""
    _, numbers = made
    for folder in runs:
        arrays = dict(np.load(folder / "scores.npz"))
        order = np.random.default_rng(7).permutation(len(arrays["label"]))
        for name in {"path", "scores", "logits", "label", "view_scores"} & arrays.keys():
            arrays[name] = arrays[name][order]
        target = tmp_path / folder.parent.name / folder.name
        shutil.copytree(folder, target)
        np.savez(target / "scores.npz", **arrays)
    folders = [tmp_path / folder.parent.name / folder.name for folder in runs]
    assert report(monkeypatch, tmp_path / "r.html", *folders) == 0
    found = json.loads((tmp_path / "r.json").read_text())
    of_the_file = dict.fromkeys(("scores_sha256", "folder"))
    first, second = ({**report, "runs": [run | of_the_file for run in report["runs"]]} for report in (numbers, found))
    assert first == second


def test_runs_that_differ_in_the_seed_alone_are_averaged(made):
    _, numbers = made
    (recipe,) = numbers["recipes"]
    values = [run["top1"]["value"] for run in numbers["runs"]]
    assert recipe["runs"] == ["weak", "strong"]
    assert recipe["mean"] == pytest.approx(np.mean(values))
    assert recipe["standard_deviation"] == pytest.approx(np.std(values, ddof=1))


def test_groups_widen_the_intervals(monkeypatch, tmp_path, made, runs):
    _, numbers = made
    assert report(monkeypatch, tmp_path / "r.html", runs[0], r"--groups=(\d)\.mp4|视") == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["num_groups"] == 11
    assert found["runs"][0]["top1"]["value"] == numbers["runs"][0]["top1"]["value"]
    assert found["runs"][0]["top1"]["interval"] != numbers["runs"][0]["top1"]["interval"]


def test_several_labels_a_video_have_average_precisions(monkeypatch, tmp_path, paths):
    metrics = pytest.importorskip("sklearn.metrics")
    labels = np.random.default_rng(0).random((NUM_VIDEOS, 4)) < 0.4
    whole = NUM_VIDEOS - NUM_BROKEN
    more = {"label": None, "broken_label": None, "labels": labels[:whole], "broken_labels": labels[whole:]}
    folder = write_run(tmp_path / "run", 0, 1, paths, **more)
    assert report(monkeypatch, tmp_path / "r.html", folder) == 0
    numbers = json.loads((tmp_path / "r.json").read_text())
    scores = np.concatenate([np.load(folder / "scores.npz")["scores"], np.full((NUM_BROKEN, 4), -1)])
    expected = metrics.average_precision_score(labels, scores, average=None)
    assert [row["average_precision"] for row in numbers["runs"][0]["classes"]] == pytest.approx(expected.tolist())
    assert numbers["runs"][0]["mean_average_precision"]["value"] == pytest.approx(expected.mean())


def test_the_temperature_can_be_written(monkeypatch, tmp_path, made, runs):
    _, numbers = made
    target = tmp_path / "temperature.json"
    assert report(monkeypatch, tmp_path / "r.html", runs[0], f"--write_temperature={target}") == 0
    written = json.loads(target.read_text())
    assert written["temperature"] == numbers["runs"][0]["temperature"]["temperature"]
    assert written["num_videos"] == NUM_VIDEOS - NUM_BROKEN and written["list_sha256"] == "ab"


@pytest.mark.parametrize("correct", [True, False])
def test_one_video_of_one_class_makes_a_report(monkeypatch, tmp_path, correct):
    no_id, no_text = np.zeros(0, np.int64), np.zeros(0, "U1")
    score = np.array([[0.7, 0.3]] if correct else [[0.3, 0.7]], np.float32)
    folder = write_run(
        tmp_path / "run", 0, 1, ["a", "b", "c"], class_names=np.array(["x", "y"]), logits=None, scores=score,
        video_id=np.array([0]), path=np.array(["gone.mp4"]), label=np.array([0]), broken_video_id=no_id,
        broken_path=no_text, broken_reason=no_text, broken_label=no_id,
    )  # fmt: skip
    assert report(monkeypatch, tmp_path / "r.html", folder) == 0
    numbers = json.loads((tmp_path / "r.json").read_text())
    assert numbers["runs"][0]["top1"]["value"] == float(correct) and numbers["runs"][0]["calibration"]["ece"] is None


def test_a_run_without_a_single_score_makes_a_report(monkeypatch, tmp_path):
    empty = {
        "video_id": np.zeros(0, np.int64), "path": np.zeros(0, "U1"), "scores": np.zeros((0, 4), np.float32),
        "label": np.zeros(0, np.int64), "logits": None,
    }  # fmt: skip
    folder = write_run(tmp_path / "run", 0, 1, ["a", "b", "c"], **empty)
    assert report(monkeypatch, tmp_path / "r.html", folder) == 0
    assert json.loads((tmp_path / "r.json").read_text())["runs"][0]["top1"]["value"] == 0.0


# The page


class Links(HTMLParser):
    """What a page would load or lead to."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[str] = []
        self.names: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)
        self.found += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_loads_nothing_and_is_well_formed(made):
    text, _ = made
    ElementTree.fromstring(text)
    links = Links(text)
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in links.found)
    assert not {"link", "iframe", "object", "embed", "form"} & {*links.names}
    assert "http" not in text.replace("http-equiv", "") and "default-src &#x27;none&#x27;" in text
    assert links.names.count("script") == links.names.count("style") == 1


def test_names_paths_and_causes_are_text_and_nothing_else(made):
    text, _ = made
    assert EVIL not in text and "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "\x07" not in text and "onerror" not in [name for name in Links(text).names]
    assert "unsafe-inline" not in text


def test_the_policy_allows_the_pages_own_script_and_style_alone(made):
    text, _ = made
    for name in ("script", "style"):
        content = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)[1]
        assert f"{name}-src {page.checksum(content)}" in text.replace("&#x27;", "'")


def test_the_verdict_names_the_better_run_and_the_interval(made):
    text, numbers = made
    first = numbers["runs"][0]["top1"]
    assert f"weak recognises {100 * first['value']:.1f} % ({100 * first['interval'][0]:.1f} – " in text
    assert "2 of them have no score and count as wrong." in text
    points = -100 * numbers["comparisons"][0]["difference"]
    assert f"strong is better than weak by {points:.1f} points" in text
    assert "They do not cover another training seed." in text


def test_pictures_are_jpeg_and_a_video_that_is_gone_is_a_box_with_the_cause(made, paths):
    text, _ = made
    assert "no picture: no such file or directory" in text
    with Thumbnails(10**6) as thumbnails:
        found = thumbnails.of(paths[0], STRIP)
        assert thumbnails.of(paths[0], STRIP) is found
        missing = thumbnails.of(paths[9], STRIP)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(found.address.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (HEIGHT_PX, 4 * 128 + 6, 3)  # four frames of 64 x 48 px, enlarged
    assert not missing.address and missing.cause


def test_links_are_addresses_of_files_whatever_a_path_says(monkeypatch, tmp_path, paths):
    names = ["javascript:alert(1)//", "a b#c?d.mp4", *paths[2:12]]
    folder = write_run(tmp_path / "run", 0, -9, names)
    assert report(monkeypatch, tmp_path / "r.html", folder, "--link") == 0
    links = [
        link for link in Links((tmp_path / "r.html").read_text("utf-8")).found if not link.startswith(("#", "data"))
    ]
    assert links and all(link.startswith("file:///") for link in links)
    assert any(link.endswith("/a%20b%23c%3Fd.mp4") for link in links)


def test_pictures_beyond_the_limit_are_counted(paths):
    with Thumbnails(30_000) as thumbnails:
        found = [thumbnails.of(paths[0], STRIP) for _ in range(30)]
    shown = [thumbnail for thumbnail in found if thumbnail.address]
    assert 1 <= len(shown) < 30 and sum(len(thumbnail.address) for thumbnail in shown) < 30_000
    assert thumbnails.num_left_out == 30 - len(shown) and "size limit" in found[-1].cause


def test_the_page_stays_within_its_limit_and_says_so(monkeypatch, tmp_path, paths, capsys):
    monkeypatch.setattr("tools.report.MAX_BYTES", 1000)
    always_wrong = write_run(tmp_path / "run", 0, -9, paths[:12])
    assert report(monkeypatch, tmp_path / "r.html", always_wrong) == 0
    assert "img src" not in (tmp_path / "r.html").read_text(encoding="utf-8").replace("&lt;img", "")
    assert re.search(r"\d+ pictures are left out", capsys.readouterr().out)


def test_every_text_of_the_page_is_in_chinese_and_none_is_left_over():
    trees = [ast.parse((ROOT / f"tools/reporting/{name}.py").read_text("utf-8")) for name in ("page", "verdict")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls = [node for node in nodes if ast.unparse(node.func) in ("t", "self.t")]
    said = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    assert said == {*texts.CHINESE}
    pairs = [*texts.CHINESE.items(), *texts.NOTES.values(), *texts.FORMULAS[False], *texts.FORMULAS[True]]
    for english, chinese in pairs:
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", chinese)), english


def test_the_chinese_page_has_the_same_numbers(monkeypatch, tmp_path, made, runs):
    text, _ = made
    assert report(monkeypatch, tmp_path / "r.html", *runs, "--lang=cn") == 0
    chinese = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert 'lang="zh-CN"' in chinese and "结论" in chinese and "Verdict" not in chinese
    cells = re.compile(r'<td class="number"[^>]*>([^<]*)')
    assert cells.findall(chinese) == [cell.replace("95 %: ", "95 %：") for cell in cells.findall(text)]


def test_elements_escape_everything_that_is_not_markup():
    assert element("p", "a < b", element("b", "&"), class_='x"y') == '<p class="x&quot;y">a &lt; b<b>&amp;</b></p>'
    assert element("img", alt="\ud800", hidden=True, title=None) == '<img alt="\\ud800" hidden=""/>'


def test_ticks_are_round_and_inside():
    assert ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert all(53.1 <= value <= 56.4 for value in ticks(53.1, 56.4)) and len(ticks(53.1, 56.4)) >= 3


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["out/eval"], ["eval"]),
        (["out/a/eval", "out/b/eval"], ["a", "b"]),
        (["out/eval", "out/eval/rgb", "out/eval/flow"], ["eval", "rgb", "flow"]),
        (["x/a", "x/b", "y/a"], ["x/a", "x/b", "y/a"]),
        (["a/net/eval", "b/net/eval"], ["a", "b"]),
    ],
)
def test_runs_are_called_by_what_tells_them_apart(folders, names):
    assert short_names(folders) == names


# What is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": None}, "holds no scores"),
        ({"label": np.full(118, 9)}, "label outside"),
        ({"scores": np.full((118, 4), np.nan, np.float32)}, "not finite"),
        ({"scores": np.full((118, 4), 0.5, np.float32)}, "add up to 1"),
        ({"class_names": np.array(["w", "x", "y", "z"])}, "class 0 is"),
    ],
)
def test_files_that_are_wrong_are_refused_in_one_line(monkeypatch, tmp_path, runs, paths, capsys, change, words):
    bad = write_run(tmp_path / "bad", 5, 1, paths, **change)
    assert report(monkeypatch, tmp_path / "r.html", runs[0], bad) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1
    assert not (tmp_path / "r.html").exists() and not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(("name", "content"), [("results.json", "[1]"), ("results.json", "{"), ("config.yaml", "- 1")])
def test_damaged_notes_of_a_run_are_named(monkeypatch, tmp_path, paths, capsys, name, content):
    folder = write_run(tmp_path / "run", 0, 1, paths[:12])
    (folder / name).write_text(content, encoding="utf-8")
    assert report(monkeypatch, tmp_path / "r.html", folder) == 2
    assert f"{folder / name} is damaged" in capsys.readouterr().err


def test_a_run_given_twice_is_refused(monkeypatch, tmp_path, runs, capsys):
    assert report(monkeypatch, tmp_path / "r.html", runs[0], f"{runs[0]}/../eval") == 2
    assert "pass each run once" in capsys.readouterr().err


def test_every_unreadable_run_is_named(monkeypatch, tmp_path, capsys):
    assert report(monkeypatch, tmp_path / "r.html", tmp_path / "a", tmp_path / "b") == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'a'}" in error and f"{tmp_path / 'b'}" in error


def test_runs_of_other_lists_are_refused_or_compared_on_what_they_share(monkeypatch, tmp_path, runs, paths, capsys):
    fewer = write_run(tmp_path / "fewer", 5, 1, paths[:80])
    assert report(monkeypatch, tmp_path / "r.html", runs[0], fewer) == 2
    assert "of other lists" in capsys.readouterr().err
    assert report(monkeypatch, tmp_path / "r.html", runs[0], fewer, "--common") == 0
    assert json.loads((tmp_path / "r.json").read_text())["num_videos"] == 80


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out=r.json"], "name the page"),
        (["--write_temperature=t"], "too few videos"),
        (["--folds=1"], "--folds must be 2 or more"),
        (["--seed=-1"], "--seed and --mistakes 0 or more"),
    ],
)
def test_flags_that_cannot_work_are_refused(monkeypatch, tmp_path, paths, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    small = write_run(tmp_path / "run", 0, 1, paths[:12])
    assert run_script(monkeypatch, "tools.report", small, "--out=r.html", *flags) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "r.html").exists()


def test_files_of_older_versions_take_their_labels_from_the_list(monkeypatch, tmp_path, runs, paths, made, capsys):
    arrays = np.load(runs[0] / "scores.npz")
    old = tmp_path / "old"
    shutil.copytree(runs[0], old)
    np.savez(old / "scores.npz", **{name: arrays[name] for name in ("video_id", "path", "scores")})
    assert report(monkeypatch, tmp_path / "r.html", old) == 2
    assert "pass --filelist" in capsys.readouterr().err
    listed = "".join(f"{path} {number % 4}\n" for number, path in enumerate(paths))
    (tmp_path / "list.txt").write_text(listed, encoding="utf-8")
    assert report(monkeypatch, tmp_path / "r.html", old, f"--filelist={tmp_path / 'list.txt'}") == 0
    found = json.loads((tmp_path / "r.json").read_text())["runs"][0]
    assert found["top1"] == made[1]["runs"][0]["top1"] and len(found["broken"]) == NUM_BROKEN


# In a browser


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_page_without_a_message_and_sorts_its_tables(tmp_path, made):
    text, _ = made
    click = "<script>document.querySelector('table.sortable th.number').click()</script>"
    (tmp_path / "sorted.html").write_text(
        re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", f"{click}</body>"), encoding="utf-8"
    )
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={tmp_path}/p"]
    shown = {}
    for name in ("page", "sorted"):
        command = [str(CHROMIUM), *flags, "--dump-dom", f"file://{tmp_path}/{name}.html"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert "CONSOLE" not in done.stderr and "Refused" not in done.stderr
        shown[name] = done.stdout
    assert "data-turn" not in shown["page"] and 'data-turn="1"' in shown["sorted"]
