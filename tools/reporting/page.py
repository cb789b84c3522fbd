"""The page: report.json (tools/reporting/numbers.py) and thumbnails -> one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.reporting import charts
from tools.reporting.charts import Chart, bar, colour
from tools.reporting.markup import Html, cell, element, join, number, table
from tools.reporting.numbers import MAX_PER_CLASS
from tools.reporting.texts import Texts, decimals, interval, p_value, percent
from tools.reporting.thumbnails import MIDDLE, STRIP, Thumbnail
from tools.reporting.verdict import sentences

# of a video, at some places -> its picture
Pictures = Callable[[str, tuple[float, ...]], Thumbnail]

MAX_CHANGES, MAX_FOLDED, MAX_CLASSES = 10, 20, 1000
FEW_VIDEOS = 10  # classes with fewer are shown pale
STYLE, SCRIPT = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))


def render(report: dict[str, Any], pictures: Pictures, language: str = "en", link: bool = False) -> str:
    """The whole page. link: paths of videos are links to the files. language: one of texts.LANGUAGES."""
    t = Texts(language)
    page = Page(report, pictures, t, link)
    sections = [(title, body) for title, body in page.sections() if body]
    title = t("Evaluation of {names}", names=t(", ").join(run["name"] for run in report["runs"]))
    links = [element("a", heading, href=f"#s{place}") for place, (heading, _) in enumerate(sections)]
    body = element(
        "body",
        element("header", element("h1", title), element("nav", links)),
        *(element("section", element("h2", head, id=f"s{i}"), part) for i, (head, part) in enumerate(sections)),
        Html(f"<script>{SCRIPT}</script>"),
    )
    policy = f"default-src 'none'; img-src data:; style-src {checksum(STYLE)}; script-src {checksum(SCRIPT)}; "
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy + "base-uri 'none'; form-action 'none'"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        Html(f"<style>{STYLE}</style>"),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang=t.code)}\n"


def checksum(text: str) -> str:
    """By which the page's policy allows exactly this script or style, and nothing that a name smuggles in."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class Page:
    """Writes the sections of one report."""

    def __init__(self, report: dict[str, Any], pictures: Pictures, t: Texts, link: bool):
        self.report, self.pictures, self.t, self.link = report, pictures, t, link
        self.runs: list[dict[str, Any]] = report["runs"]
        self.first = self.runs[0]
        self.judged = [run for run in self.runs if run.get("calibration")]  # those with a score at all

    def sections(self) -> list[tuple[str, Html]]:
        """Title and content of each section; those without content are not shown."""
        t = self.t
        return [
            (t("Verdict"), self.verdict()),
            (t("Metrics"), self.metrics()),
            (t("Comparison"), self.comparison()),
            (t("Calibration"), self.calibration()),
            (t("Coverage"), self.coverage()),
            (t("Classes"), self.classes()),
            (t("Fusion"), self.fusion()),
            (t("Worst mistakes"), self.mistakes()),
            (t("How it was made"), self.making()),
        ]

    # Verdict

    def verdict(self) -> Html:
        said = self.t(" ").join(filter(None, sentences(self.report, self.t)))
        return join([element("p", said, class_="verdict"), self.note("verdict")])

    # Metrics

    def metrics(self) -> Html:
        t = self.t
        if self.report["multi_label"]:
            rows = [
                [
                    self.name(run),
                    self.with_interval(run["mean_average_precision"]),
                    number(str(run["num_scored"])),
                    number(str(len(run["broken"]))),
                ]
                for run in self.runs
            ]
            return join([table(["", t("mAP, %"), t("scored"), t("broken")], rows), self.seeds(), self.broken()])
        head = [
            "", t("top-1, %"), t("top-{k}, %", k=self.first["top5"]["k"]), t("mean class accuracy, %"),
            t("log loss"), t("Brier score"), t("scored"), t("broken"),
        ]  # fmt: skip
        rows = []
        for run in self.runs:
            found = run.get("calibration") or {}
            rows.append([
                self.name(run), *(self.with_interval(run[key]) for key in ("top1", "top5", "mean_class_accuracy")),
                *(self.with_bounds(run, found, key, 3) for key in ("log_loss", "brier")),
                number(str(run["num_scored"])), number(str(len(run["broken"]))),
            ])  # fmt: skip
        groups = self.report["num_groups"]
        how = (
            t("Intervals of top-1 and top-k are Wilson's; videos are taken as independent.")
            if groups is None
            else t("Intervals are bootstrap intervals over {groups} groups of videos.", groups=groups)
        )
        return join([table(head, rows), self.seeds(), element("p", how), self.views(), self.broken()])

    def seeds(self) -> list[Html]:
        t = self.t
        said = [
            t(
                "{runs}: one recipe, {n} seeds: {metric} {mean} ± {deviation} % (mean ± standard deviation).",
                runs=t(", ").join(recipe["runs"]), n=len(recipe["runs"]), mean=percent(recipe["mean"]),
                deviation=percent(recipe["standard_deviation"]),
                metric="mAP" if self.report["multi_label"] else "top-1",
            )
            for recipe in self.report["recipes"]
        ]  # fmt: skip
        return [element("p", text) for text in said]

    def views(self) -> Html:
        t, runs = self.t, [run for run in self.runs if run.get("views")]
        if not runs:
            return Html("")
        head = [t("clips x crops"), *(run["name"] for run in runs)]
        rows = []
        for row in runs[0]["views"]["accuracies"]:
            cells = [self._view_cell(run, row["clips"], row["crops"]) for run in runs]
            rows.append([f"{row['clips']} x {row['crops']}", *cells])
        return join([element("h3", t("Accuracy by number of views")), table(head, rows), self.note("views")])

    def _view_cell(self, run: dict[str, Any], clips: int, crops: int) -> Html:
        for row in run["views"]["accuracies"]:
            if (row["clips"], row["crops"]) == (clips, crops):
                star = "*" if row["as_good_as_all"] else ""
                return number(f"{percent(row['accuracy'])}{star} ({interval(row['interval'])})", row["accuracy"])
        return number("-")

    def broken(self) -> list[Html]:
        return [
            self.folded(
                self.t("Videos of {run} without a score: {n}", run=run["name"], n=len(run["broken"])),
                [f"{video['path']}: {video['reason']}" for video in run["broken"]],
            )
            for run in self.runs
            if run["broken"]
        ]

    # Comparison

    def comparison(self) -> Html:
        t, pairs = self.t, self.report.get("comparisons")
        if not pairs:
            return Html("")
        head = [
            t("runs A and B"), t("both right"), t("only A"), t("only B"), t("neither"), t("A - B, points"), t("P"),
            t("A or B, %"), t("same answer, %"), t("detectable, points"), t("better"),
        ]  # fmt: skip
        rows = [
            [
                f"{pair['first']} - {pair['second']}",
                *(number(str(pair[key])) for key in ("both", "first_only", "second_only", "neither")),
                number(f"{percent(pair['difference'], True)} ({interval(pair['interval'], True)})", pair["difference"]),
                number(p_value(pair["corrected_p_value"]), pair["corrected_p_value"]),
                number(percent(pair["oracle"])),
                number("-" if pair["agreement"] is None else percent(pair["agreement"])),
                number(percent(pair["detectable_difference"])),
                pair["better"] or t("not shown"),
            ]
            for pair in pairs
        ]
        of_first = [self._changes(pair) for pair in pairs if "classes" in pair]
        return join([table(head, rows), self.note("comparison"), of_first])

    def _changes(self, pair: dict[str, Any]) -> Html:
        """The classes that changed between the first run and another, and the videos that turned."""
        t, names = self.t, self.report["class_names"]
        changed = [row for row in pair["classes"] if row["first_only"] + row["second_only"]]
        rows = [
            [
                names[row["index"]], number(str(row["num_videos"])), number(str(row["first_only"])),
                number(str(row["second_only"])), number(p_value(row["p_value"]), row["p_value"]),
            ]
            for row in changed[:MAX_CHANGES]
        ]  # fmt: skip
        only = [t("only {run}", run=pair[key]) for key in ("first", "second")]
        head = [t("class"), t("videos"), *only, t("P (Holm)")]
        lists = [
            self.folded(
                t("Videos that only {run} has right: {n}", run=pair[key], n=len(videos)),
                [self.path(path) for path in videos],
            )
            for key, videos in (("first", pair["first_only_videos"]), ("second", pair["second_only_videos"]))
            if videos
        ]
        title = t("Largest changes: {first} and {second}", first=pair["first"], second=pair["second"])
        return join([element("h3", title), table(head, rows) if rows else "", lists])

    # Calibration and coverage

    def calibration(self) -> Html:
        t = self.t
        if not self.judged:
            return Html("")
        head = [
            "", t("mean confidence, %"), t("accuracy, %"), t("ECE, %"), t("by chance, %"), t("debiased, %"),
            t("largest gap (MCE), %"), t("classwise, %"), t("log loss"), t("temperature"),
            t("ECE at it, %"), t("log loss at it"),
        ]  # fmt: skip
        rows = []
        for run in self.judged:
            found, cooled = run["calibration"], run["temperature"] or {}
            after = cooled.get("held_out", {})
            by_chance = None if found["ece"] is None else (
                f"{percent(found['null_ece_mean'])} ({t('95 %: {value}', value=percent(found['null_ece_95']))})"
            )  # fmt: skip
            rows.append([
                self.name(run), number(percent(found["mean_confidence"])), number(percent(found["accuracy"])),
                number(percent(found["ece"])), number(by_chance or "-"), number(percent(found["debiased_error"])),
                number(percent(found["largest_error"])), number(percent(found["classwise_ece"])),
                number(decimals(found["log_loss"])), number(decimals(cooled.get("temperature"))),
                number(percent(after.get("ece"))), number(decimals(after.get("log_loss"))),
            ])  # fmt: skip
        diagrams = [self._reliability(run) for run in self.judged if run["calibration"]["bins"]]
        few = t("With fewer than 90 videos there are too few for an ECE.")
        return join([
            table(head, rows), self.note("calibration"),
            element("div", diagrams, class_="charts") if diagrams else element("p", few),
        ])  # fmt: skip

    def _reliability(self, run: dict[str, Any]) -> Html:
        """Accuracy over confidence, a point a bin, and the part of the videos in each tenth of confidence."""
        t, bins = self.t, run["calibration"]["bins"]
        labels = (t("mean confidence of a bin, %"), t("accuracy, %"), t("Reliability of {run}", run=run["name"]))
        chart = Chart((0, 100), (0, 100), labels)
        counts = run["confidence_histogram"]
        for tenth, count in enumerate(counts):
            chart.column(10 * tenth, 10 * tenth + 10, 100 * count / sum(counts), charts.GRID)
        chart.line([(0, 0), (100, 100)], charts.INK, dashed=True, width=1)
        for found in bins:
            chart.dot(
                100 * found["confidence"], 100 * found["accuracy"], colour(self.place(run)),
                (100 * found["interval"][0], 100 * found["interval"][1]),
            )  # fmt: skip
        caption = t("{run}: each point is a bin with its Wilson interval; grey: videos by confidence.", run=run["name"])
        return element("figure", chart.svg(), element("figcaption", caption))

    def coverage(self) -> Html:
        t = self.t
        if not self.judged:
            return Html("")
        head = [
            "", t("wanted accuracy, %"), t("threshold"), t("answers, %"), t("answers, held out, %"),
            t("accuracy, held out, %"),
        ]  # fmt: skip
        rows = [
            [
                self.name(run), number(f"{100 * row['wanted_accuracy']:g}"), number(decimals(row["threshold"])),
                *(number(percent(row[key])) for key in ("coverage", "held_out_coverage", "held_out_accuracy")),
            ]
            for run in self.judged for row in run["coverage"]["thresholds"]
        ]  # fmt: skip
        areas = [
            [
                self.name(run),
                *(self.with_bounds(run, run["coverage"], key, 4) for key in ("area", "excess_area", "auroc")),
            ]
            for run in self.judged
        ]
        return join([
            element("div", self._risk_chart(), class_="charts"), table(head, rows),
            table(["", t("AURC"), t("E-AURC"), t("AUROC")], areas), self.note("coverage"),
        ])  # fmt: skip

    def _risk_chart(self) -> Html:
        t = self.t
        highest = max(5.0, *(100 * point[1] for run in self.judged for point in run["coverage"]["curve"]))
        labels = (t("coverage: videos answered, %"), t("risk: wrong among them, %"), t("Risk against coverage"))
        chart = Chart((0, 100), (0, highest), labels)
        for run in self.judged:
            curve = [(100 * coverage, 100 * risk) for coverage, risk, _ in run["coverage"]["curve"]]
            chart.line(curve, colour(self.place(run)))
        return element("figure", chart.svg(), element("figcaption", [self.key(run) for run in self.judged]))

    # Classes

    def classes(self) -> Html:
        t, names, runs = self.t, self.report["class_names"], [run for run in self.runs if run.get("classes")]
        if not runs:
            return Html("")
        if self.report["multi_label"]:
            head = [t("class"), t("videos"), *(t("AP of {run}, %", run=run["name"]) for run in runs)]
            rows = [
                [names[k], number(str(of[0]["num_videos"])), *(number(percent(row["average_precision"])) for row in of)]
                for k, of in enumerate(zip(*(run["classes"] for run in runs)))
            ]
            return join([table(head, rows[:MAX_CLASSES], sortable=True), self.more(len(rows) - MAX_CLASSES)])
        first, others = runs[0], runs[1:]
        head = [
            t("class"), t("videos"), t("recall, %"), "", t("precision, %"), t("F1, %"),
            *(t("recall of {run}, %", run=run["name"]) for run in others),
        ]  # fmt: skip
        shown = sorted((row for row in first["classes"] if row["num_videos"]), key=lambda row: row["recall"])
        rows = [
            [
                names[row["index"]], number(str(row["num_videos"])),
                number(f"{percent(row['recall'])} ({interval(row['interval'])})", row["recall"]),
                cell(bar(row["recall"], *row["interval"])),
                *(number(percent(row[key]), row[key]) for key in ("precision", "f1")),
                *(number(percent(run["classes"][row["index"]]["recall"])) for run in others),
            ]
            for row in shown
        ]  # fmt: skip
        few = [row["num_videos"] < FEW_VIDEOS for row in shown]
        note = self.note("classes", run=first["name"], few=FEW_VIDEOS)
        classes = table(head, rows[:MAX_CLASSES], sortable=True, pale=few)
        return join([classes, self.more(len(rows) - MAX_CLASSES), note, self._pairs(first)])

    def _pairs(self, run: dict[str, Any]) -> Html:
        t, names = self.t, self.report["class_names"]
        if not run["confused_pairs"]:
            return Html("")
        rows = [
            [
                names[pair["true"]], names[pair["predicted"]],
                number(str(pair["count"])), number(percent(pair["fraction"])),
                cell(element("div", [self.picture(path, MIDDLE) for path in pair["videos"]], class_="small")),
            ]
            for pair in run["confused_pairs"]
        ]  # fmt: skip
        mixed = [
            [
                " / ".join(names[k] for k in pair["classes"]),
                number(str(pair["count"])),
                number(percent(pair["fraction"])),
            ]
            for pair in run["mixed_pairs"]
        ]
        return join([
            element("h3", t("Confused classes")),
            table([t("class"), t("taken for"), t("videos"), t("of the class, %"), t("some of them")], rows),
            element("h3", t("Classes taken for each other")),
            table([t("classes"), t("videos"), t("of both classes, %")], mixed),
        ])  # fmt: skip

    # Fusion

    def fusion(self) -> Html:
        t, found = self.t, self.report.get("fusion")
        if not found:
            return Html("")
        titles = {
            "arithmetic": t("mean of probabilities, equal weights"),
            "geometric": t("geometric mean, equal weights"),
            "held_out_weights": t("mean of probabilities, weights of the other folds"),
            "logits": t("sum of logits"),
        }
        by_name = {run["name"]: run for run in self.runs}
        rows = []
        for single in found["singles"]:
            run = by_name[single["name"]]
            rows.append([self.name(run), self.with_interval(run["top1"]), number(decimals(single["log_loss"])), "", ""])
        for way in found["ways"]:
            against = way["against_best"]
            difference = f"{percent(against['difference'], True)} ({interval(against['interval'], True)})"
            rows.append([
                cell(titles[way["name"]], wide=True), self.with_interval(way["top1"]),
                number(decimals(way["log_loss"])), number(difference), number(p_value(against["corrected_p_value"])),
            ])  # fmt: skip
        head = ["", t("top-1, %"), t("log loss"), t("against {run}, points", run=found["best_single"]), t("P (Holm)")]
        weights = ", ".join(f"{name} {weight:.3f}" for name, weight in zip(found["runs"], found["weights"]))
        note = self.note("fusion", weights=weights, n=found["num_videos"])
        chart = element("div", self._weights_chart(found), class_="charts") if found["curve"] else ""
        return join([table(head, rows), note, chart])

    def _weights_chart(self, found: dict[str, Any]) -> Html:
        t, points = self.t, [(weight, 100 * value) for weight, value in found["curve"]]
        values = [value for _, value in points]
        low, high = max(0.0, min(values) - 2), min(100.0, max(values) + 2)
        labels = (t("weight of {run}", run=found["runs"][0]), t("top-1, %"), t("Top-1 over the weight of a run"))
        chart = Chart((0, 1), (low, high), labels)
        chart.line(points, colour(0))
        caption = t("For the eye only: a weight read off this curve would be chosen on the test videos.")
        return element("figure", chart.svg(), element("figcaption", caption))

    # Mistakes

    def mistakes(self) -> Html:
        t, found = self.t, self.report.get("mistakes")
        if not found:
            return Html("")
        intro = t("Wrong among the scored videos of {run}: {n}.", n=found["num_wrong"], run=self.first["name"])
        lists = [
            (
                t("Largest loss, at most {n} a class", n=MAX_PER_CLASS),
                [self._mistake(v) for v in found["largest_losses"]],
            ),
            (t("Confident and wrong"), [self._mistake(v) for v in found["most_confident"]]),
            (
                t("Label or network? All runs agree on a wrong class"),
                [self._agreed(video) for video in self.report["agreed_mistakes"]],
            ),
        ]
        return join([
            element("p", intro),
            *(join([element("h3", title), element("ul", items, class_="videos")]) for title, items in lists if items),
        ])  # fmt: skip

    def _mistake(self, video: dict[str, Any]) -> Html:
        t, names = self.t, self.report["class_names"]
        answers = [
            element("div", bar(one["score"]), f" {percent(one['score'])} % {names[one['index']]}")
            for one in video["answers"]
        ]
        truth = t("true: {name}; loss {loss}", name=names[video["label"]], loss=f"{video['loss']:.2f}")
        return self._video(video["path"], [element("strong", truth), answers])

    def _agreed(self, video: dict[str, Any]) -> Html:
        names = self.report["class_names"]
        said = self.t(
            "labelled {label}, recognised as {predicted} with {least} % and more",
            label=names[video["label"]], predicted=names[video["predicted"]], least=percent(video["least_confidence"]),
        )  # fmt: skip
        return self._video(video["path"], [element("strong", said)])

    def _video(self, path: str, about: Sequence[Any]) -> Html:
        return element("li", self.picture(path, STRIP), about, element("div", self.path(path), class_="note"))

    # How it was made

    def making(self) -> Html:
        t, made = self.t, self.report["made_with"]
        rows = []
        for run in self.runs:
            settings = ", ".join(f"{key} {value}" for key, value in run["settings"].items())
            rows.append([
                self.name(run), *(cell(text, wide=True) for text in (
                    run["folder"], settings, f"{run['list_path']} {run['list_sha256']}", run["weights_sha256"],
                    run["scores_sha256"])),
            ])  # fmt: skip
        versions = ", ".join(f"{key} {value}" for key, value in made.items())
        formulas = [element("li", text) for text in t.formulas(self.report["multi_label"])]
        checksums = [t("list, SHA-256"), t("weights, SHA-256"), t("scores.npz, SHA-256")]
        return join([
            table(["", t("folder"), t("settings"), *checksums], rows),
            element("p", t("Made by tools/report.py: {versions}.", versions=versions)), element("ul", formulas),
        ])  # fmt: skip

    # Pieces

    def note(self, name: str, **values: object) -> Html:
        return element("p", self.t.note(name, **values), class_="note")

    def more(self, count: int) -> Html | str:
        """That `count` rows are not shown; nothing for 0 and less."""
        return element("p", self.t("and {n} more, in the .json beside this page", n=count)) if count > 0 else ""

    def folded(self, title: str, lines: Sequence[str]) -> Html:
        """A list that opens by a click, of MAX_FOLDED lines at most."""
        items = element("ul", [element("li", line) for line in lines[:MAX_FOLDED]])
        return element("details", element("summary", title), items, self.more(len(lines) - MAX_FOLDED))

    def place(self, run: dict[str, Any]) -> int:
        return next(place for place, other in enumerate(self.runs) if other is run)

    def key(self, run: dict[str, Any]) -> Html:
        """The run's name behind a patch of its colour."""
        patch = Html(
            f'<svg class="key" viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" '
            f'fill="{colour(self.place(run))}"/></svg>'
        )
        return element("span", patch, f"{run['name']} ")

    def name(self, run: dict[str, Any]) -> Html:
        return cell(self.key(run))

    def with_interval(self, metric: dict[str, Any]) -> Html:
        return number(f"{percent(metric['value'])} ({interval(metric['interval'])})", metric["value"])

    def with_bounds(self, run: dict[str, Any], metrics: dict[str, Any], key: str, digits: int) -> Html:
        """A number that is no percentage, with its bootstrap interval."""
        value, bounds = metrics.get(key), run.get("intervals", {}).get(key)
        ends = f" ({' – '.join(decimals(end, digits) for end in bounds)})" if bounds else ""
        return number(decimals(value, digits) + ends, value)

    def path(self, path: str) -> Html:
        return element("a", path, href=Path(path).absolute().as_uri()) if self.link else element("span", path)

    def picture(self, path: str, places: tuple[float, ...]) -> Html:
        thumbnail = self.pictures(path, places)
        if thumbnail.address:
            return element("img", src=thumbnail.address, alt=self.t("frames of {path}", path=path), title=path)
        return element("div", self.t("no picture: {cause}", cause=thumbnail.cause), class_="gone")
