"""tools/evaluate_detections.py on files in AVA's form and in ours."""

from __future__ import annotations

import json

import pytest

from tests.script_runs import ROOT, run_script

LABEL_MAP = "".join(f'item {{\n  name: "action {label}"\n  id: {label}\n}}\n' for label in (1, 3, 4))


@pytest.fixture
def evaluate(monkeypatch, tmp_path, capsys):
    """Evaluates files of these texts: (exit status, result, printed text, error)."""

    def call(truth: str, detections: str, *flags: str, protocol="ava", excluded=None, label_map=LABEL_MAP):
        texts = {"truth": truth, "detections": detections, "label_map": label_map, "excluded": excluded}
        for name, text in texts.items():
            if text is not None:
                (tmp_path / name).write_text(text, encoding="utf-8")
                flags += (f"--{name}={tmp_path / name}",)
        json_file = tmp_path / "result.json"
        json_file.unlink(missing_ok=True)
        flags += (f"--protocol={protocol}", f"--json={json_file}")
        status = run_script(monkeypatch, "tools.evaluate_detections", *flags)
        printed = capsys.readouterr()
        return status, json.loads(json_file.read_text()) if json_file.exists() else None, printed.out, printed.err

    return call


def lines(rows) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def test_the_reference_cases_as_files(evaluate):
    case = json.loads((ROOT / "tests/golden/ava_ap_reference.json").read_text(encoding="utf-8"))
    truth, detections = (
        lines([f"film {row[0] % 7}", f"{902 + row[0]:04d}", *row[1:]] for row in case[name])
        for name in ("truth", "detections")
    )
    label_map = "".join(f'label {{ name: "{n}" label_id: {n} label_type: OBJECT }}\n' for n in range(1, 7))
    status, result, printed, _ = evaluate(truth, detections, label_map=label_map)
    expected = case["expected"]
    assert status == 0 and result["protocol"] == "ava" and result["max_per_frame"] == 50
    assert result["mAP"] == pytest.approx(100 * expected["mAP@0.5IOU"], abs=1e-7)
    for row in result["per_class"][:5]:
        assert row["average_precision"] == pytest.approx(100 * expected[row["name"]], abs=1e-7)
    assert result["per_class"][5]["average_precision"] is None and result["classes_without_truth"] == [6]
    assert f"{result['mAP']:.2f}" in printed and "frames that truth does not name" in printed
    assert "video_mAP" not in result and "have x1 >= x2" in printed


BOX, OTHER = (0.1, 0.1, 0.5, 0.5), (0.5, 0.5, 0.9, 0.9)
TRUTH = [("a", 902, *BOX, 1, 0), ("a", "0902", *BOX, 3, 0), ("b", 903, *BOX, 3, 0), ("b", 904), ("b", 905, *BOX, 77, 0)]
FOUND = [(*row[:7], 1) for row in TRUTH[:3]]


@pytest.mark.parametrize(
    ("extra", "expected", "note"),
    [
        ([], 100, ""),
        ([("a", 950, *BOX, 3, 2)], 100, "1 rows of frames that truth does not name are left out"),
        ([("c", 902, *BOX, 3, 2)], 100, "1 rows of frames that truth does not name are left out"),
        ([("a", 902, *BOX, 2, 2)], 100, "1 rows of classes that the label map does not have are left out"),
        ([("a", 902, *BOX, 4, 2)], 100, ""),
        ([("b", 904, *BOX, 3, 2)], 100 * (1 + 2 / 3) / 2, ""),
        ([("b", 905, *BOX, 3, 2)], 100 * (1 + 2 / 3) / 2, ""),
        ([("b", 903, *OTHER, 3, 2)], 100 * (1 + 2 / 3) / 2, ""),
        ([("a", 902, *BOX, 3, "x")], 100, "1 rows are dropped, the first in line 4: a field is not a number"),
        ([("a", 902, 0, 0, 1, 1.2, 4, 2)], 100, "1 boxes leave the picture"),
    ],
)
def test_which_false_detections_count(evaluate, extra, expected, note):
    """In frames that truth does not name: none; of a class without truth: none; in a frame that truth names as empty or
    only with classes that are not judged, and beside a truth box: false."""
    status, result, printed, _ = evaluate(lines(TRUTH), lines(FOUND + extra))
    assert status == 0 and result["mAP"] == pytest.approx(expected) and note in printed
    assert [row["num_truth"] for row in result["per_class"]] == [1, 2, 0] and result["num_frames"] == 4
    assert result["classes_without_truth"] == [4] and result["box_recall"] == 100
    assert len(result["notes"]) == 1 + bool(note), "and one of the truth row of class 77"


def test_excluded_frames_count_on_neither_side(evaluate):
    detections = lines([*FOUND[:2], ("b", 903, *OTHER, 3, 2)])
    assert evaluate(lines(TRUTH), detections)[1]["mAP"] < 80
    status, result, printed, _ = evaluate(lines(TRUTH), detections, excluded="b,0903\n")
    assert status == 0 and result["mAP"] == 100 and result["num_truth"] == 2 and result["num_frames"] == 3
    assert printed.count("1 rows of excluded frames are left out") == 2


def test_the_51st_row_of_a_frame_and_the_flag(evaluate):
    detections = lines([("a", 902, *OTHER, 4, 1)] * 50 + [("a", 902, *BOX, 1, 0.5)])
    assert evaluate(lines(TRUTH), detections)[1]["mAP"] == 0
    status, result, *_ = evaluate(lines(TRUTH), detections, "--max_per_frame=0")
    assert status == 0 and result["mAP"] == 50 and result["max_per_frame"] == 0


def test_nobody_found_is_a_result(evaluate):
    status, result, *_ = evaluate(lines(TRUTH), "")
    assert status == 0 and result["mAP"] == 0 and result["box_recall"] == 0


def tube(video, frames, x, label, last):
    return [(video, f"#{frame}", x + frame, 10, x + frame + 29, 69, label, last) for frame in frames]


PIXELS = "# boxes: pixels\n"
TUBES = [*tube("a", range(1, 21), 5, 1, 0), *tube("a", range(4, 24), 90, 1, 1), *tube("b", range(1, 31), 5, 3, 0)]
TUBES += tube("b", range(1, 21), 150, 4, 1)


def test_truth_is_100_in_frames_and_videos(evaluate):
    detections = PIXELS + lines([(*row[:7], 1) for row in TUBES])
    status, result, printed, _ = evaluate(PIXELS + lines(TUBES), detections, protocol="act")
    assert status == 0 and result["mAP"] == 100 and result["protocol"] == "act" and "max_per_frame" not in result
    assert result["video_mAP"] == {"0.2": 100, "0.5": 100, "0.75": 100, "0.5:0.95": 100}
    assert "video-mAP@0.5:0.95" in printed and result["per_class"][1]["video_average_precision"]["0.75"] == 100


def test_act_counts_frames_without_truth_of_judged_videos_and_classes_without_truth(evaluate):
    truth = [row for row in TUBES if row[6] != 4]
    detections = [(*row[:7], 0.5) for row in truth]
    false = [*tube("a", range(31, 51), 200, 3, 0.9), *tube("c", range(1, 21), 5, 3, 0.9)]
    status, result, printed, _ = evaluate(PIXELS + lines(truth), PIXELS + lines([*detections, *false]), protocol="act")
    assert status == 0 and "20 rows of frames that truth does not name are left out" in printed
    area = sum((n / (20 + n) + (n - 1) / (19 + n)) / 2 for n in range(1, 31)) / 30
    precisions = [row["average_precision"] for row in result["per_class"]]
    assert precisions == pytest.approx([100, 100 * area, 0]) and result["mAP"] == pytest.approx(sum(precisions) / 3)
    assert result["video_mAP"]["0.5"] == pytest.approx((100 + 25 + 0) / 3), "(0 + 1/2) / 2 behind a false tube"


@pytest.mark.parametrize(
    ("truth", "note"),
    [
        (lines(row[:7] for row in TUBES), "without gaps, unlike a"),
        (lines(row for row in TUBES if row[1] != "#9"), "without gaps, unlike a"),
        (lines((row[0], row[1][1:], *row[2:]) for row in TUBES), "it needs numbered frames"),
    ],
)
def test_without_tubes_in_truth_there_is_no_video_map_and_a_note_says_so(evaluate, truth, note):
    detections = lines((*row.split(",")[:7], 1) for row in truth.splitlines())
    status, result, printed, _ = evaluate(PIXELS + truth, PIXELS + detections, protocol="act")
    assert status == 0 and result["mAP"] == 100 and result["video_mAP"] is None
    assert "no video-mAP: " in printed and note in printed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"truth": "a,902,0.1,0.1,0.5\n"}, "truth:1: expected 2, 7 or 8 columns"),
        ({"truth": lines(TRUTH[-1:])}, "no row is of a class of the label map"),
        ({"excluded": "a,902\nb,903\n"}, "no row is of a class of the label map"),
        ({"excluded": "a;902\n"}, "excluded:1: expected 2 columns"),
        ({"detections": PIXELS + "a,902,1,1,50,50,1,1\n"}, "has boxes in relative units"),
        (
            {"detections": "a,#902,0.1,0.1,0.5,0.5,1,1\n"},
            "none of the rows can be used; line 1: seconds and #frames are mixed",
        ),
        ({"protocol": "act"}, "needs boxes in pixels"),
        ({"label_map": "1: sit\n"}, "label_map:1: expected entries"),
        ({"flags": ["--max_per_frame=-1"]}, "--max_per_frame is a number of 0 or more, with --protocol ava"),
        ({"flags": ["--max_per_frame=9"], "protocol": "act"}, "with --protocol ava"),
        ({"protocol": "voc"}, "invalid choice"),
    ],
)
def test_bad_input_is_one_line_and_status_2(evaluate, change, words):
    change = {"truth": lines(TRUTH), "detections": lines(FOUND), **change}
    status, result, _, error = evaluate(
        change.pop("truth"), change.pop("detections"), *change.pop("flags", ()), **change
    )
    assert status == 2 and result is None and words in error.strip().splitlines()[-1] and "Traceback" not in error
