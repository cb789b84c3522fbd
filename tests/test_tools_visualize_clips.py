from __future__ import annotations

import subprocess
import sys

from tests.script_runs import ROOT, make_videos, tiny_config, write_list


def test_clips_are_drawn_without_training(tmp_path):
    import cv2

    videos = make_videos(tmp_path / "videos", 3, 3)
    config = tiny_config(tmp_path, write_list(tmp_path / "list.txt", videos))
    output = tmp_path / "new/clips.png"
    command = [
        sys.executable,
        "tools/visualize.py",
        "clips",
        f"--config={config}",
        f"--output={output}",
        "--num_clips=2",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 clips of 4 frames of 32 px" in done.stdout
    assert cv2.imread(str(output)).shape == (2 * (32 + 2 + 16), 4 * (32 + 2), 3)
