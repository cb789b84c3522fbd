"""The dataset doctor finds every planted fault and raises no false alarm."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from video_factory import draw_video, set_rotation, truncate

ROOT = Path(__file__).resolve().parents[1]


def check(tmp_path, *arguments):
    command = [sys.executable, str(ROOT / "tools/check_videos.py"), *map(str, arguments), "--workers", "2"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten faults among healthy and merely odd videos."""
    folder = tmp_path_factory.mktemp("doctor")
    fine = {"plain.mp4": {}, "b c.mkv": {}, "d.avi": {"codec": "mpeg4"}, "e.webm": {"codec": "libvpx"}, "g.ts": {}}
    for hue, (name, encoding) in enumerate(fine.items()):
        draw_video(folder / name, num_frames=30 + hue, hue=hue, **encoding)
    set_rotation(draw_video(folder / "phone.mp4", num_frames=24, hue=5), 90)
    draw_video(folder / "cut.avi", num_frames=60, codec="mpeg4")
    truncate(folder / "cut.avi", 0.6)
    draw_video(folder / "cut.mkv", num_frames=60, hue=1)
    truncate(folder / "cut.mkv", 0.6)
    draw_video(folder / "headless.mp4", num_frames=60)
    truncate(folder / "headless.mp4", 0.5)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "page.mp4").write_text("<html>404 Not Found</html>" * 20)
    draw_video(folder / "short.mp4", num_frames=3)
    (folder / "copy.mp4").write_bytes((folder / "plain.mp4").read_bytes())
    names = [*fine, "phone.mp4", "cut.avi", "cut.mkv", "headless.mp4", "empty.mp4", "page.mp4", "short.mp4", "copy.mp4"]
    lines = [f"{name} {i % 3}" for i, name in enumerate(names)]
    lines += ["gone.mp4 0", "plain.mp4 7", "no_label.mp4"]
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    return folder


EXPECTED = {
    "cut.avi": "cut off", "cut.mkv": "cut off", "headless.mp4": "broken", "empty.mp4": "empty", "page.mp4": "broken",
    "short.mp4": "short", "copy.mp4": "duplicate", "gone.mp4": "missing",
}  # fmt: skip


def test_ten_faults_and_no_false_alarm(folder, tmp_path):
    out, clean = tmp_path / "out.json", tmp_path / "clean.txt"
    result = check(tmp_path, folder / "list.txt", "--num_classes", 3, "--json", out, "--clean_list", clean)
    assert result.returncode == 1, result.stderr
    found = json.loads(out.read_text())
    faults = {os.path.basename(v["path"]): list(v["faults"]) for v in found["verdicts"] if v["faults"] and v["path"]}
    assert faults == {name: [kind] for name, kind in EXPECTED.items()}
    lines = {v["line"]: list(v["faults"]) for v in found["verdicts"] if not v["path"]}
    assert lines == {15: ["label"], 16: ["malformed"]}
    assert [os.path.basename(v["path"]) for v in found["verdicts"] if v["oddities"]] == ["phone.mp4"]
    assert found["without_fault"] == 6
    assert found["classes"]["0"] == {"listed": 6, "without_fault": 2}
    kept = [line.rsplit(" ", 1) for line in clean.read_text().splitlines()]
    assert [os.path.basename(name) for name, _ in kept] == [
        "plain.mp4",
        "b c.mkv",
        "d.avi",
        "e.webm",
        "g.ts",
        "phone.mp4",
    ]
    assert [label for _, label in kept] == ["0", "1", "2", "0", "1", "2"]
    assert "Traceback" not in result.stderr


def test_a_healthy_folder_is_healthy(tmp_path):
    for name in ("run/a.mp4", "run/b.mp4", "jump/c.mp4"):
        draw_video(tmp_path / "data" / name, num_frames=12 + len(name), hue=len(name) % 5 + (name[-5] == "b"))
    (tmp_path / "data" / "notes.txt").write_text("no video")
    result = check(tmp_path, tmp_path / "data", "--json", tmp_path / "out.json")
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["classes"] == {"jump": {"listed": 1, "without_fault": 1}, "run": {"listed": 2, "without_fault": 2}}


def test_a_stopped_run_goes_on(folder, tmp_path):
    state = tmp_path / "state.jsonl"
    path = folder / "plain.mp4"
    status = path.stat()
    told = {"error": "remembered, not looked at again"}
    state.write_text(json.dumps([f"{path} {status.st_size} {status.st_mtime_ns}", told]) + '\n["half a li')
    (tmp_path / "list.txt").write_text(f"{path} 0\n{folder / 'g.ts'} 1\n")
    result = check(tmp_path, tmp_path / "list.txt", "--state", state, "--json", tmp_path / "out.json")
    assert "continuing after 1 videos" in result.stderr
    verdicts = json.loads((tmp_path / "out.json").read_text())["verdicts"]
    assert [list(v["faults"].values()) for v in verdicts] == [["remembered, not looked at again"], []]
    assert not state.exists()


def test_wrong_usage_is_one_line(tmp_path):
    result = check(tmp_path, tmp_path / "nothing.txt")
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot read the list") and result.stderr.count("\n") == 1
    os.mkdir(tmp_path / "hollow")
    assert "no video in" in check(tmp_path, tmp_path / "hollow").stderr
