from __future__ import annotations

import json
import subprocess
import sys

from tests.script_runs import ROOT


def test_the_demo_runs_from_videos_to_results(tmp_path):
    """The whole chain with a hundredth of the data: every step, every file, no accuracy."""
    command = [
        sys.executable, "tools/demo.py", f"--output_dir={tmp_path / 'out'}", f"--data_dir={tmp_path / 'videos'}",
        "--num_train=1", "--num_test=1", "-o", "TRAIN.max_iter=2", "-o", "TEST.num_test_clips=3",
        "-o", "INFER.num_test_clips=3",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    results = json.loads((tmp_path / "out/results.json").read_text())
    wanted = {"top1", "top5", "num_videos", "num_classes", "reversed_top1", "train_seconds", "predict"}
    assert wanted <= results.keys()
    assert (results["num_videos"], results["num_classes"]) == (8, 8)
    assert len(results["predict"]["top"]) == 5
    for picture in ("train/curves.png", "eval/confusion_matrix.png", "reversed.png"):
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")
    assert "frames reversed" in done.stdout
