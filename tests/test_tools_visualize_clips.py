from __future__ import annotations

import subprocess
import sys

from tests.script_runs import ROOT, make_videos, tiny_config, write_list
from tests.video_factory import draw_video


def test_clips_are_drawn_without_training(tmp_path):
    videos = make_videos(tmp_path / "videos", 3, 3)
    sheet = draw(tmp_path, videos)
    assert sheet.shape == (2 * (32 + 2 + 16), 4 * (32 + 2), 3)


def test_clips_of_pixels_that_are_not_square_are_drawn_as_players_show_them(tmp_path):
    paths = [tmp_path / f"v{number}.mp4" for number in range(2)]
    videos = [(draw_video(path, 20, 48, 64, sample_aspect_ratio=(5, 4)), 0) for path in paths]
    sheet = draw(tmp_path, videos)
    assert sheet.shape == (2 * (32 + 2 + 16), 4 * (40 + 2), 3)


def draw(tmp_path, videos):
    """What the tool draws of two clips."""
    import cv2

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
    return cv2.imread(str(output))
