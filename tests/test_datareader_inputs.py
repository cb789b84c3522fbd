"""Which files of a folder are videos: by their suffix, or by what they begin with."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest

from datareader.decoding import VIDEO_SUFFIXES, can_be_video
from datareader.lists import list_folder
from tests.video_factory import draw_video
from utils.errors import UserError

CONTAINERS = {
    "mp4": {}, "mov": {}, "mkv": {}, "webm": {"codec": "libvpx"}, "avi": {"codec": "mpeg4"}, "ts": {}, "flv": {},
    "mpg": {"codec": "mpeg2video"}, "3gp": {}, "asf": {"codec": "mpeg4"}, "ogv": {"codec": "libtheora"},
}  # fmt: skip


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_video_without_a_suffix_is_known_by_its_content(tmp_path, suffix):
    import av

    encoding = CONTAINERS[suffix]
    if encoding.get("codec", "libx264") not in av.codecs_available:
        pytest.skip("this FFmpeg cannot draw it")
    path = draw_video(tmp_path / f"v.{suffix}", num_frames=8, height=96, width=128, **encoding)
    bare = tmp_path / "bare"
    shutil.move(path, bare)
    assert can_be_video(bare)


def other_files(folder):
    """Texts, pictures, sounds, arrays: what lies beside videos."""
    import cv2
    import imageio_ffmpeg

    picture = np.zeros((16, 16, 3), np.uint8)
    for suffix in ("png", "jpg", "webp", "bmp"):
        cv2.imwrite(str(folder / f"picture.{suffix}"), picture)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "lavfi", "-i", "sine=duration=0.2"]
    for suffix in ("wav", "mp3", "m4a", "flac", "mka", "oga", "wma"):
        subprocess.run([*command, str(folder / f"sound.{suffix}")], check=True, stdin=subprocess.DEVNULL)
    texts = {
        "README.md": "# Videos",
        "list.txt": "a.mp4 1",
        "a free page.txt": "The free world",
        "G": "G" * 4,
        "empty": "",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    np.savez(folder / "a.npz", a=picture)
    os.mkfifo(folder / "fifo")
    os.symlink("nowhere", folder / "dangling")
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_gives_its_videos_and_the_paths_of_what_it_passed_over(tmp_path):
    others = other_files(tmp_path)
    for name in ("b.MP4", "sub/no suffix", "sub/c.mkv"):
        draw_video(tmp_path / "v.mkv", num_frames=4)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.move(tmp_path / "v.mkv", tmp_path / name)
    (tmp_path / "a broken.avi").write_text("no video")
    (tmp_path / "empty.webm").write_bytes(b"")
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    skipped: list[str] = []
    items = list_folder(str(tmp_path), skipped)
    names = ["a broken.avi", "b.MP4", "empty.webm", "sub/c.mkv", "sub/no suffix"]
    assert [os.path.relpath(item.path, tmp_path) for item in items] == names
    assert sorted(os.path.relpath(path, tmp_path) for path in skipped) == others


def test_a_folder_without_a_video_is_refused_by_name_with_the_count(tmp_path):
    (tmp_path / "README.md").write_text("# Videos")
    for folder, words in ((tmp_path, "skipped 1 file that is not a video"), (tmp_path / "no", "holds no video")):
        folder.mkdir(exist_ok=True)
        with pytest.raises(UserError, match=words) as caught:
            list_folder(str(folder))
        assert str(folder) in str(caught.value)


def test_the_table_of_suffixes_stands_once():
    """The generators of lists and the check of a data set take it from the reader."""
    import sys

    from tests.script_runs import ROOT

    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import check_videos
    finally:
        sys.path.remove(str(ROOT / "tools"))
    from data.dataset import lists_writer

    assert check_videos.VIDEO_SUFFIXES is lists_writer.VIDEO_SUFFIXES is VIDEO_SUFFIXES
    assert len(set(VIDEO_SUFFIXES)) == len(VIDEO_SUFFIXES)
