"""A member of a shard is read as a file of its own with the same bytes, and never as anything else."""

from __future__ import annotations

import io
import os
import tarfile

import numpy as np
import pytest
from video_factory import draw_video, truncate

from datareader import Limits, VideoError, decoding, probe, read_frames, read_list

FILES = {
    "a.mp4": {},
    "b c.mkv": {},
    "视频.avi": {"codec": "mpeg4"},
    "d.ts": {},
    "e.mpg": {"codec": "mpeg2video"},
    "cut.avi": {"codec": "mpeg4"},
}


def index_text(shard) -> str:
    """The index by its definition, one line a file (of samples of one file each)."""
    with tarfile.open(shard) as tar:
        lines = [f"{m.name.split('.')[-1]} {m.offset_data} {m.size} {m.name}" for m in tar]
    return "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Loose videos, one of them cut off, and shard.tar with all of them in the middle of others."""
    folder = tmp_path_factory.mktemp("shards")
    for number, (name, encoding) in enumerate(FILES.items()):
        draw_video(folder / name, num_frames=40 + number, hue=number, **encoding)
    truncate(folder / "cut.avi", 0.8)
    with tarfile.open(folder / "shard.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name in FILES:
            tar.add(folder / name, f"{'long' * 40}/{name}" if name == "d.ts" else name)
    (folder / "shard.idx").write_text(index_text(folder / "shard.tar"))
    return folder


def member(folder, name: str) -> str:
    return f"{folder}/shard.tar#{'long' * 40 + '/' if name == 'd.ts' else ''}{name}"


@pytest.mark.parametrize("name", FILES)
def test_a_member_is_read_as_the_loose_file(folder, name):
    loose, packed = str(folder / name), member(folder, name)
    assert probe(packed) == probe(loose)
    assert decoding.inspect(packed) == decoding.inspect(loose)  # with the bytes that a cut file lacks
    times = [decoding.timeline(path, Limits(), True) for path in (loose, packed)]
    np.testing.assert_array_equal(times[0].times, times[1].times)
    selection = decoding.FrameSelection.of(np.arange(0, 9, 3), times[0].num_frames)
    frames = [decoding.next_frames(path, Limits(), selection, 1, 2)[0] for path in (loose, packed)]
    np.testing.assert_array_equal(*frames)


def test_an_open_member_has_the_bytes_of_the_file_and_no_others(folder):
    content, rng = (folder / "b c.mkv").read_bytes(), np.random.default_rng(0)
    expected = io.BytesIO(content)
    with decoding.open_file(member(folder, "b c.mkv")) as stream:
        for place in rng.integers(0, len(content) + 20, 200).tolist():
            from_start = place % 2 == 0
            stream.seek(place if from_start else place - len(content), os.SEEK_SET if from_start else os.SEEK_END)
            assert stream.tell() == expected.seek(place)
            size = int(rng.integers(0, 2 * len(content)))
            assert stream.read(size) == expected.read(size)


@pytest.mark.parametrize("decoder", decoding.DECODERS)
@pytest.mark.parametrize("name", ["a.mp4", "b c.mkv"])
def test_every_decoder_reads_members(folder, name, decoder):
    pytest.importorskip({"decord": "decord", "opencv": "cv2", "pyav": "av"}[decoder])
    frames = [read_frames(path, [3, 17, 9], decoder) for path in (folder / name, member(folder, name))]
    np.testing.assert_array_equal(*frames)


def test_a_list_names_members_beside_itself(folder, monkeypatch):
    (folder / "list.txt").write_text("shard.tar#b c.mkv 1\nshard.tar#a.mp4 0\na.mp4 2\n", encoding="utf-8")
    monkeypatch.chdir("/")
    items = read_list(folder / "list.txt")
    assert [(item.path, item.label) for item in items] == [
        (f"{folder}/shard.tar#b c.mkv", 1), (f"{folder}/shard.tar#a.mp4", 0), (f"{folder}/a.mp4", 2)]  # fmt: skip
    monkeypatch.chdir(folder)
    os.makedirs("elsewhere", exist_ok=True)
    (folder / "elsewhere/list.txt").write_text("shard.tar#a.mp4 0\n")
    assert read_list("elsewhere/list.txt")[0].path == "shard.tar#a.mp4"


def test_a_file_with_the_name_of_a_member_is_itself(folder, tmp_path):
    path = draw_video(tmp_path / "x.tar#y.mp4", num_frames=9)
    assert probe(path).num_frames == 9


def rewritten(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def broken_shards(folder):
    """By what is wrong: (content of the shard, of its index, the beginning of the reason). The first file is a.mp4."""
    shard, index = (folder / "shard.tar").read_bytes(), (folder / "shard.idx").read_bytes()
    size = os.path.getsize(folder / "a.mp4")
    place = index.split(b"\n")[1].split()[1]
    other = io.BytesIO()
    with tarfile.open(fileobj=other, mode="w") as tar:
        tar.add(folder / "e.mpg", "a.mp4")
    stale = "its shard is another one than its index is of; make it with tools/index_shards.py"
    return {
        "no shard": (None, index, "no such file or directory"),
        "no index": (shard, None, "its shard has no index; make it with tools/index_shards.py"),
        "no member": (shard, index.replace(b"a.mp4", b"A.mp4"), "no such file in the index of its shard"),
        "an end of a name": (shard, index.replace(b" a.mp4", b" my a.mp4"), "no such file in the index of its shard"),
        "another shard": (other.getvalue().ljust(len(shard), b"\0"), index, stale),
        "another place": (shard, rewritten(index, place, b"1024"), stale),
        "another size": (shard, rewritten(index, b" %d " % size, b" %d " % (size - 1)), stale),
        "before the start": (shard, rewritten(index, b" %s " % place, b" 0 "), stale),
        "far behind the end": (shard, rewritten(index, b" %s " % place, b" %s " % (b"9" * 18)), stale),
        "beyond all files": (
            shard,
            rewritten(index, b" %s " % place, b" %s " % (b"9" * 30)),
            "no such file in the index",
        ),
        "cut shard": (shard[: int(place) + size - 1], index, "its shard is cut off before the end of this file"),
        "other text": (shard, b"v9 1\n" + index, "the index of its shard is no index of version 1.2"),
        "empty shard": (b"", index, "the file is empty"),
    }


def test_a_broken_shard_is_an_error_of_the_video_in_one_line(folder, tmp_path):
    for name, (shard, index, reason) in broken_shards(folder).items():
        for suffix, content in (("tar", shard), ("idx", index)):
            (tmp_path / f"s.{suffix}").unlink(missing_ok=True)
            if content is not None:
                (tmp_path / f"s.{suffix}").write_bytes(content)
        with pytest.raises(VideoError) as caught:
            probe(f"{tmp_path}/s.tar#a.mp4")
        assert caught.value.reason.startswith(reason), name
        assert caught.value.path == f"{tmp_path}/s.tar#a.mp4"


def test_a_member_without_content_is_told(tmp_path):
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.mp4"))
    (tmp_path / "shard.idx").write_text(index_text(tmp_path / "shard.tar"))
    with pytest.raises(VideoError, match="the file is empty"):
        probe(f"{tmp_path}/shard.tar#a.mp4")
    (tmp_path / "fifo.idx").write_text("v1.2 0\n")
    os.mkfifo(tmp_path / "fifo.tar")
    with pytest.raises(VideoError, match="a FIFO, not a video file"):
        probe(f"{tmp_path}/fifo.tar#a.mp4")


def test_no_open_file_is_left(folder):
    probe(member(folder, "a.mp4"))
    before = len(os.listdir("/proc/self/fd"))
    for decoder in decoding.DECODERS:
        read_frames(member(folder, "a.mp4"), [0], decoder)
    with pytest.raises(VideoError):
        probe(member(folder, "none.mp4"))
    assert len(os.listdir("/proc/self/fd")) == before
